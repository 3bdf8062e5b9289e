package httpapi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestOpenAPI_CoversEveryRoute(t *testing.T) {
	s := newServer(t)
	r := do(t, s, "", "GET", "/api/openapi.json", "").want(200)
	if other := do(t, s, "", "GET", "/openapi.json", ""); other.Body != r.Body {
		t.Error("the two paths differ")
	}
	var doc struct {
		OpenAPI string
		Paths   map[string]map[string]struct {
			OperationID string                     `json:"operationId"`
			Permission  string                     `json:"x-permission"`
			Responses   map[string]json.RawMessage `json:"responses"`
			Parameters  []struct{ Name, In string }
		}
		Components struct{ Schemas map[string]json.RawMessage }
	}
	if err := json.Unmarshal([]byte(r.Body), &doc); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(doc.OpenAPI, "3.1") {
		t.Errorf("version %q", doc.OpenAPI)
	}
	ids := map[string]string{}
	param := regexp.MustCompile(`\{([^}.]+)`)
	for _, rt := range s.api.Routes() {
		if rt.Hidden {
			continue
		}
		op, ok := doc.Paths[rt.Path][strings.ToLower(rt.Method)]
		name := rt.Method + " " + rt.Path
		if !ok {
			t.Errorf("%s is not documented", name)
			continue
		}
		if op.OperationID == "" || ids[op.OperationID] != "" {
			t.Errorf("%s: operation id %q is missing or also that of %s", name, op.OperationID, ids[op.OperationID])
		}
		ids[op.OperationID] = name
		if op.Permission != rt.Permission.String() {
			t.Errorf("%s: documented permission %q, checked %q", name, op.Permission, rt.Permission)
		}
		if op.Responses["200"] == nil && op.Responses["202"] == nil && op.Responses["204"] == nil && op.Responses["308"] == nil {
			t.Errorf("%s: no success is documented", name)
		}
		for _, m := range param.FindAllStringSubmatch(rt.Path, -1) {
			found := false
			for _, p := range op.Parameters {
				found = found || p.In == "path" && p.Name == m[1]
			}
			if !found {
				t.Errorf("%s: path parameter %s is not documented", name, m[1])
			}
		}
	}
	for _, ref := range regexp.MustCompile(`"#/components/schemas/([^"]+)"`).FindAllStringSubmatch(r.Body, -1) {
		if doc.Components.Schemas[ref[1]] == nil {
			t.Errorf("schema %s is used and not there", ref[1])
		}
	}
	if etag := r.Header.Get("ETag"); etag == "" {
		t.Error("no ETag")
	} else {
		do(t, s, "", "GET", "/api/openapi.json", "", "If-None-Match", etag).want(304)
	}
	z := do(t, s, "", "GET", "/api/openapi.json", "", "Accept-Encoding", "gzip").want(200)
	if z.Header.Get("Content-Encoding") != "gzip" {
		t.Fatal("no gzip copy")
	}
	zr, err := gzip.NewReader(bytes.NewReader([]byte(z.Body)))
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := io.ReadAll(zr); err != nil || string(plain) != r.Body {
		t.Error("the gzip copy differs")
	}
}

// A browser must get everything from this server: each file named in the pages is there, and no other host is.
func TestDocs_NeedNoOtherHost(t *testing.T) {
	s := newServer(t)
	for _, path := range []string{"/docs", "/api/docs", "/docs/errors", "/"} {
		r := do(t, s, "", "GET", path, "").want(200)
		if csp := r.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || strings.Contains(csp, "http") {
			t.Errorf("%s: policy %q", path, csp)
		}
		if strings.Contains(r.Body, "//") && regexp.MustCompile(`(src|href)="(https?:)?//`).MatchString(r.Body) {
			t.Errorf("%s names another host", path)
		}
		for _, m := range regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(r.Body, -1) {
			if strings.HasPrefix(m[1], "/admin/") {
				do(t, s, "", "GET", m[1], "").problem(401, "no_credential")
				continue
			}
			if f := do(t, s, "", "GET", m[1], ""); f.Status != http.StatusOK || f.Body == "" {
				t.Errorf("%s: %s answers %d", path, m[1], f.Status)
			}
		}
	}
	do(t, s, "", "GET", "/docs/assets/swagger-initializer.js", "").want(404)
}

func TestJobsScreen_IsForAdministratorsOnly(t *testing.T) {
	s := newServer(t)
	s.api.Jobs = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, "screen "+r.URL.Path) })
	do(t, s, "", "GET", "/admin/jobs/", "").problem(401, "no_credential")
	do(t, s, "manager", "GET", "/admin/jobs/api/jobs", "").problem(403, "forbidden")
	if b := do(t, s, "admin", "GET", "/admin/jobs/api/jobs", "").want(200).Body; b != "screen /admin/jobs/api/jobs" {
		t.Error(b)
	}
	do(t, s, "admin", "POST", "/admin/jobs/api/jobs/cancel", "{}").want(200)
	do(t, s, "admin", "POST", "/admin/jobs/api/jobs/cancel", "{}", "Sec-Fetch-Site", "cross-site").problem(403, "foreign_origin")
	do(t, s, "admin", "POST", "/admin/jobs/api/jobs/cancel", "{}", "Origin", "https://elsewhere.example").problem(403, "foreign_origin")
}

func TestUnknownPaths_AreProblems(t *testing.T) {
	s := newServer(t)
	do(t, s, "", "GET", "/api/nonexistent", "").problem(404, "no_such_route")
	r := do(t, s, "", "DELETE", "/health", "")
	r.problem(405, "method_not_allowed")
	if r.Header.Get("Allow") != "GET" {
		t.Errorf("Allow %q", r.Header.Get("Allow"))
	}
	for _, h := range []string{"X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy", "X-Request-Id"} {
		if r.Header.Get(h) == "" {
			t.Errorf("no %s", h)
		}
	}
}
