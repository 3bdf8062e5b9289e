package httpapi

import (
	"encoding/json"
	"flag"
	"fmt"
	"mime"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/account"
)

// Every reply that any test of this package gets from a real server is compared with the OpenAPI document: its status
// must be documented for the route and its body must have the documented shape. After a whole run each documented
// route must have been seen to succeed at least once.

var succeeded sync.Map // "GET /api/leads"

// succeedElsewhere need what this package's servers do not have; the tests named here call them.
var succeedElsewhere = map[string]string{
	"POST /api/campaigns/{id}/pause":    "internal/service: a campaign must be sending",
	"POST /api/campaigns/{id}/resume":   "internal/service: a campaign must be paused",
	"POST /api/runs/{id}/retry":         "internal/service: a run must be parked",
	"GET /api/crm/hubspot/contact/{id}": "needs a connection of that kind, which a later version has",
	"GET /api/crm/salesforce/lead/{id}": "needs a connection of that kind, which a later version has",
}

func TestMain(m *testing.M) {
	code := m.Run()
	if code == 0 && flag.Lookup("test.run").Value.String() == "" && flag.Lookup("test.list").Value.String() == "" {
		code = unseen()
	}
	os.Exit(code)
}

var documented sync.Map // all routes of the document

func unseen() int {
	var missing []string
	documented.Range(func(k, _ any) bool {
		name := k.(string)
		if _, ok := succeeded.Load(name); !ok && succeedElsewhere[name] == "" {
			missing = append(missing, name)
		}
		return true
	})
	if len(missing) == 0 {
		return 0
	}
	sort.Strings(missing)
	fmt.Printf("no test has seen these routes succeed, so that nothing says whether their documentation is true:\n  %s\n", strings.Join(missing, "\n  "))
	return 1
}

// conform compares a reply with the document.
func conform(t testing.TB, api *API, method, target string, status int, header http.Header, body string) {
	t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		return // not a path of a route
	}
	_, pattern := api.mux.Handler(&http.Request{Method: method, URL: u})
	_, path, _ := strings.Cut(pattern, " ")
	op := operation(api, method, path)
	if op == nil {
		return // a page, or no route
	}
	name := method + " " + path
	documented.Store(name, true)
	if status < 400 {
		succeeded.Store(name, true)
	}
	res := op.Responses[strconv.Itoa(status)]
	if res == nil {
		t.Errorf("%s answered %d, which is not documented", name, status)
		return
	}
	if status == http.StatusNotModified || len(res.Content) == 0 || header.Get("Content-Encoding") != "" {
		return
	}
	ct, _, _ := mime.ParseMediaType(header.Get("Content-Type"))
	media := res.Content[ct]
	if media == nil {
		t.Errorf("%s answered %d as %q, documented is another type", name, status, ct)
		return
	}
	if !strings.HasSuffix(ct, "json") || media.Schema == nil {
		return
	}
	var v any
	if err := json.Unmarshal([]byte(body), &v); err != nil {
		t.Errorf("%s answered %d with what is no JSON: %v", name, status, err)
		return
	}
	found := &huma.ValidateResult{}
	huma.Validate(api.huma.OpenAPI().Components.Schemas, media.Schema, huma.NewPathBuffer([]byte("body"), 4), huma.ModeReadFromServer, v, found)
	for i, e := range found.Errors {
		if i < 3 {
			t.Errorf("%s answered %d not as documented: %v\n%.400s", name, status, e, body)
		}
	}
}

func operation(api *API, method, path string) *huma.Operation {
	item := api.huma.OpenAPI().Paths[path]
	if item == nil {
		return nil
	}
	return map[string]*huma.Operation{"GET": item.Get, "POST": item.Post, "PUT": item.Put, "PATCH": item.Patch, "DELETE": item.Delete}[method]
}

// document notes every route of a server's document, so that unseen knows them all.
func document(api *API) {
	for _, rt := range api.Routes() {
		if !rt.Hidden {
			documented.Store(rt.Method+" "+rt.Path, true)
		}
	}
}

// TestOpenAPI_EachNounAnswersAsDocumented reads one object of each noun and takes each through its states; do compares
// every reply with the document.
func TestOpenAPI_EachNounAnswersAsDocumented(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin := s.login(t, "admin")
	own := ownObjects(t, s, admin)
	at := func(prefix string) string { return own[prefix] }
	for _, rt := range s.api.Routes() {
		if rt.Method == "GET" && !rt.Hidden && pathParam.MatchString(rt.Path) && rt.Permission != account.Public && !strings.HasPrefix(rt.Path, "/api/tenants") {
			if r := s.as(t, admin, "GET", fill(rt.Path, at), ""); r.Status != 200 && !strings.Contains(rt.Path, "/api/crm/") {
				t.Errorf("GET %s of one's own object: %d\n%s", rt.Path, r.Status, r.Body)
			}
		}
	}
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/runs/{id}/cancel", `{}`},
		{"POST", "/api/workflows/{id}/execute", `{"lead_id":"` + own["/api/leads/{id}"] + `"}`},
		{"POST", "/api/workflows/pause", `{"workflow_id":"` + own["/api/workflows/{id}"] + `"}`},
		{"POST", "/api/workflows/resume", `{"workflow_id":"` + own["/api/workflows/{id}"] + `"}`},
		{"PUT", "/api/workflows/{id}", `{"name":"Walk on"}`},
		{"POST", "/api/campaigns/{id}/test", `{}`},
		{"POST", "/api/campaigns/{id}/schedule", fmt.Sprintf(`{"at":%q}`, s.clock.now().Add(24*time.Hour).Format(time.RFC3339))},
		{"POST", "/api/campaigns/{id}/start", `{}`},
		{"POST", "/api/campaigns/{id}/cancel", `{}`},
		{"DELETE", "/api/campaigns/{id}", ""},
		{"POST", "/api/campaigns/webhook", `{"events":[]}`},
		{"DELETE", "/api/suppressions/{address}?reason=asked+for+it", ""},
		{"DELETE", "/api/workflows/{id}", ""},
	} {
		if r := s.as(t, admin, c.method, fill(c.path, at), c.body); r.Status != 200 {
			t.Errorf("%s %s: %d\n%s", c.method, c.path, r.Status, r.Body)
		}
	}
}
