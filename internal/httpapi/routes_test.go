package httpapi

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// The walk reads the route table: a new route is walked as soon as it is registered. A route with an id in its path
// must have a line in ownObjects.

var pathParam = regexp.MustCompile(`\{[^}]+\}`)

// missingID is an id of the usual form that nobody has.
const missingID = "01890000-0000-7000-8000-000000000000"

// fill puts an id for each parameter into a route's path; id gets the path up to and including the parameter.
func fill(path string, id func(prefix string) string) string {
	path = strings.TrimSuffix(path, "{$}")
	var out strings.Builder
	last := 0
	for _, at := range pathParam.FindAllStringIndex(path, -1) {
		out.WriteString(path[last:at[0]])
		out.WriteString(id(path[:at[1]]))
		last = at[1]
	}
	return out.String() + path[last:]
}

func nothing(string) string { return missingID }

// answer is the beginning of a reply; streams don't end by themselves.
func answer(t *testing.T, s *accountServer, credential, method, path, body string) *reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if credential != "" {
		req.Header.Set("Authorization", "Bearer "+credential)
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer res.Body.Close()
	b := []byte{}
	if !strings.HasPrefix(res.Header.Get("Content-Type"), "text/event-stream") {
		b, _ = io.ReadAll(io.LimitReader(res.Body, 1<<20))
	}
	if len(b) < 1<<20 {
		conform(t, s.api, method, path, res.StatusCode, res.Header, string(b))
	}
	return &reply{t, res.StatusCode, res.Header, string(b)}
}

func (r *reply) code() string {
	var p Problem
	_ = json.Unmarshal([]byte(r.Body), &p)
	return p.Code
}

// bodyOf is an empty JSON body for the methods that take one: it gets past decoding wherever nothing is required.
func bodyOf(method string) string {
	if method == "GET" || method == "DELETE" {
		return ""
	}
	return "{}"
}

// keysByRole gives one API key per role of a tenant; suffix is its users' suffix.
func (s *accountServer) keysByRole(t *testing.T, suffix string) map[account.Role]string {
	t.Helper()
	out := map[account.Role]string{}
	for _, role := range account.Roles {
		_, out[role] = s.key(t, s.login(t, string(role)+suffix), "")
	}
	return out
}

func TestRoutes_EveryRoleMayWhatTheTableSays(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	for tenant, suffix := range map[account.TenantID]string{account.FirstTenant: "", "other": "-other"} {
		keys := s.keysByRole(t, suffix)
		for _, rt := range s.api.Routes() {
			path := fill(rt.Path, nothing)
			for _, role := range account.Roles {
				r := answer(t, s, keys[role], rt.Method, path, bodyOf(rt.Method))
				may := account.EffectivePermissions(tenant, role).Has(rt.Permission)
				refused := r.Status == 403 && r.code() == "forbidden"
				switch {
				case r.Status == 401 && rt.Permission != account.Public:
					t.Errorf("%s %s as %s: 401 with a good key\n%s", rt.Method, rt.Path, role, r.Body)
				case !may && !refused:
					t.Errorf("%s %s as %s of %s: %d, want 403 because it needs %s\n%s", rt.Method, rt.Path, role, tenant, r.Status, rt.Permission, r.Body)
				case may && refused:
					t.Errorf("%s %s as %s of %s: refused although the role has %s\n%s", rt.Method, rt.Path, role, tenant, rt.Permission, r.Body)
				case r.Status == 500:
					t.Errorf("%s %s as %s: 500\n%s", rt.Method, rt.Path, role, r.Body)
				}
			}
		}
	}
}

func TestRoutes_NobodyGetsInWithoutAGoodCredential(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin := s.login(t, "admin")
	_, expired := s.key(t, admin, `,"expires_in_days":1`)
	s.clock.add(24 * time.Hour)
	admin = s.login(t, "admin")
	id, revoked := s.key(t, admin, "")
	s.as(t, admin, "DELETE", "/api/auth/keys/"+id, "").want(200)
	ended := s.login(t, "admin")
	s.as(t, ended, "POST", "/api/auth/logout", "").want(200)
	for _, rt := range s.api.Routes() {
		path := fill(rt.Path, nothing)
		for credential, code := range map[string]string{"": "no_credential", expired: "key_expired", revoked: "key_revoked", ended: "session_ended", "ll_made_up": "bad_key", "e30.e30.e30": "bad_token"} {
			r := answer(t, s, credential, rt.Method, path, bodyOf(rt.Method))
			if rt.Permission == account.Public {
				if c := r.code(); c == "no_credential" || c == "forbidden" {
					// refresh takes its credential itself; the others must not ask for one
					if rt.ID != "refresh-login" {
						t.Errorf("%s %s is public and asks for a credential: %s", rt.Method, rt.Path, r.Body)
					}
				}
				continue
			}
			if r.Status != 401 || r.code() != code {
				t.Errorf("%s %s with %.8q: %d %s, want 401 %s", rt.Method, rt.Path, credential, r.Status, r.code(), code)
			}
		}
	}
}

// TestRoutes_AnotherTenantsIDsDoNotExist compares the answer for another tenant's id with that for an id which nobody
// has: status and body must be the same but for the id itself.
func TestRoutes_AnotherTenantsIDsDoNotExist(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin := s.login(t, "admin")
	own := ownObjects(t, s, admin)
	_, foreign := s.key(t, s.login(t, "admin-other"), "")
	for _, rt := range s.api.Routes() {
		if !pathParam.MatchString(strings.TrimSuffix(rt.Path, "{$}")) || rt.Permission == account.Public || rt.Permission == account.SystemAdmin {
			continue
		}
		known := true
		path := fill(rt.Path, func(prefix string) string {
			id, ok := own[prefix]
			if !ok {
				known = false
				t.Errorf("%s %s: say in ownObjects how to get an id for %s", rt.Method, rt.Path, prefix)
			}
			return id
		})
		if !known {
			continue
		}
		body := bodyOf(rt.Method)
		if b, ok := validBodies[rt.Method+" "+rt.Path]; ok {
			body = b
		}
		query := validQueries[rt.Method+" "+rt.Path]
		theirs, none := answer(t, s, foreign, rt.Method, path+query, body), answer(t, s, foreign, rt.Method, fill(rt.Path, missing)+query, body)
		a, b := withoutRequestID(theirs.Body), withoutRequestID(none.Body)
		for prefix, id := range own {
			if _, same := words[prefix]; !same { // a word is the same in both paths
				a = strings.ReplaceAll(a, id, missingID)
			}
		}
		for _, id := range missingNames {
			b = strings.ReplaceAll(b, id, missingID)
		}
		if theirs.Status != none.Status || a != b {
			t.Errorf("%s %s tells another tenant's id from a missing one:\n%d %s%d %s", rt.Method, rt.Path, theirs.Status, a, none.Status, b)
		}
		if theirs.Status < 400 {
			t.Errorf("%s %s answered %d for another tenant's id", rt.Method, rt.Path, theirs.Status)
		}
		if (body == "" || validBodies[rt.Method+" "+rt.Path] != "") && theirs.Status != 404 {
			t.Errorf("%s %s: %d for another tenant's id, want 404\n%s", rt.Method, rt.Path, theirs.Status, theirs.Body)
		}
	}
}

// TestRoutes_MalformedIDsAndTextAreRefusedInWords walks every route on both engines with ids that are none and with
// text that one of the engines cannot store: never a 5xx, and a malformed id is as unknown as a missing one.
func TestRoutes_MalformedIDsAndTextAreRefusedInWords(t *testing.T) {
	ids := []string{"%00", "a%00b", "%ff%fe", "'", "%22%7B%7D", "..%2f..", "%F0%9F%92%A9", strings.Repeat("x", 3000), "-1", "null"}
	bodies := []string{`{"name":"a\u0000b","username":"a\u0000","email":"\u0000@example.org","first_name":"\u0000","body":"\u0000","title":"\u0000","tags":["\u0000"],"role":"\u0000","key":"\u0000","subject":"\u0000","workflow_id":"\u0000","lead_id":"\u0000","to":"\u0000@x.y"}`,
		`{"leads":[{"email":"\u0000"}]}`, `[]`, `null`, `"x"`, `{"a":` + strings.Repeat("[", 5000) + strings.Repeat("]", 5000) + `}`, "\xff", `{"name":1e999}`}
	for engine, o := range map[string]store.Options{"sqlite": {Path: filepath.Join(t.TempDir(), "leadloom.db")}, "postgres": {PostgresURL: storetest.PostgresURL(t), PoolSize: 4}} {
		t.Run(engine, func(t *testing.T) {
			s := withUsers(t, newAccountServerOn(t, cheapHash, o))
			_, key := s.key(t, s.login(t, "admin"), "")
			for _, rt := range s.api.Routes() {
				if strings.HasPrefix(rt.Path, "/admin/jobs") || strings.HasPrefix(rt.Path, "/health") {
					continue // the jobs screen's own; 503 is an answer of health
				}
				for _, id := range ids {
					if !pathParam.MatchString(strings.TrimSuffix(rt.Path, "{$}")) {
						id = "" // once
					}
					path := fill(rt.Path, func(string) string { return id })
					r := answer(t, s, key, rt.Method, path, bodyOf(rt.Method))
					if r.Status >= 500 {
						t.Errorf("%s %s: %d\n%s", rt.Method, path, r.Status, r.Body)
					}
					if id == "" {
						break
					}
					if bodyOf(rt.Method) == "" && r.Status != 404 && r.Status != 422 && !strings.Contains(rt.Path, "{crm}") && r.Status < 500 && !strings.Contains(rt.Path, "/tags/{tag}") {
						t.Errorf("%s %.60s: %d for an id that is none, want 404\n%s", rt.Method, path, r.Status, r.Body)
					}
				}
				if rt.Method == "GET" {
					for _, q := range []string{"?q=%00&email=%00&cursor=%00", "?q=%ff", "?limit=x&skip=-1", "?cursor=AAAA", "?from=%00&type=%27&actor=%27"} {
						if r := answer(t, s, key, rt.Method, fill(rt.Path, nothing)+q, ""); r.Status >= 500 {
							t.Errorf("GET %s%s: %d\n%s", rt.Path, q, r.Status, r.Body)
						}
					}
					continue
				}
				for _, body := range bodies {
					if r := answer(t, s, key, rt.Method, fill(rt.Path, nothing), body); r.Status >= 500 {
						t.Errorf("%s %s with %.60q: %d\n%s", rt.Method, rt.Path, body, r.Status, r.Body)
					}
				}
			}
		})
	}
}
