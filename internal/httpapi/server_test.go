package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/secret"
	"leadloom/internal/service"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// testServer is a real server on a socket over a real store. Its callers are named by role and tenant instead of
// passwords; routes_test.go walks the routes with real credentials.
type testServer struct {
	*httptest.Server
	api *API
	svc *service.Services
	st  *store.Store
}

func newServer(t testing.TB) *testServer {
	t.Helper()
	return serverOn(t, storetest.SQLite(t))
}

// eachServer runs a test over both engines.
func eachServer(t *testing.T, f func(t *testing.T, s *testServer)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, st *store.Store) { f(t, serverOn(t, st)) })
}

// serverOn serves a store; it can be called again for the same one, as after a restart.
func serverOn(t testing.TB, st *store.Store) *testServer {
	t.Helper()
	st.SetInserter(noQueue{})
	box := secret.NewBox(bytes.Repeat([]byte{7}, 32))
	svc := service.New(service.Deps{Store: st, Secrets: box})
	api := New(Deps{Services: svc, Secrets: box, Version: "test", Instance: st.InstanceID(), Authenticate: testCredentials})
	s := &testServer{httptest.NewServer(api.Handler()), api, svc, st}
	t.Cleanup(s.Close)
	document(api)
	return s
}

// testCredentials reads "Test-Caller: role" or "role@tenant"; the tenant is t-one unless named.
func testCredentials(r *http.Request) (account.Scope, error) {
	role, tenant, _ := strings.Cut(r.Header.Get("Test-Caller"), "@")
	if tenant == "" {
		tenant = "t-one"
	}
	p, ok := account.ParseRole(role)
	if !ok {
		return account.Scope{}, fault.Unauthorized("no_credential", "name a role")
	}
	return account.NewScope(account.TenantID(tenant), account.Actor{Kind: account.ActorUser, ID: "u-" + role, Name: role}, account.UserID("u-"+role), p.Permissions()), nil
}

// reply is what came back.
type reply struct {
	t      testing.TB
	Status int
	Header http.Header
	Body   string
}

// do sends a request as role ("" sends none) and reads the reply whole. body is JSON text; header pairs may follow.
func do(t testing.TB, s *testServer, role, method, path, body string, header ...string) *reply {
	t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, s.URL+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body == "" {
		req.Body = nil
	} else {
		req.Header.Set("Content-Type", "application/json")
	}
	if role != "" {
		req.Header.Set("Test-Caller", role)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := s.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	conform(t, s.api, method, path, res.StatusCode, res.Header, string(b))
	return &reply{t, res.StatusCode, res.Header, string(b)}
}

// want fails unless the status is as expected.
func (r *reply) want(status int) *reply {
	r.t.Helper()
	if r.Status != status {
		r.t.Fatalf("status %d, want %d\n%s", r.Status, status, r.Body)
	}
	return r
}

// problem fails unless the reply is a problem document with this status and code, and returns its fields' paths with codes.
func (r *reply) problem(status int, code string) map[string]string {
	r.t.Helper()
	r.want(status)
	if ct := r.Header.Get("Content-Type"); ct != "application/problem+json" {
		r.t.Errorf("content type %q, want application/problem+json", ct)
	}
	var p Problem
	if err := json.Unmarshal([]byte(r.Body), &p); err != nil {
		r.t.Fatalf("no problem document: %v\n%s", err, r.Body)
	}
	if p.Code != code || p.Status != status || p.Detail == "" || p.RequestID == "" {
		r.t.Errorf("problem %+v, want code %q with detail and request id", p, code)
	}
	out := map[string]string{}
	for _, f := range p.Errors {
		out[f.Path] = f.Code
	}
	return out
}

// json decodes the reply into a map.
func (r *reply) json() map[string]any {
	r.t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(r.Body), &m); err != nil {
		r.t.Fatalf("not a JSON object: %v\n%s", err, r.Body)
	}
	return m
}

func TestChain_UnknownRouteIsAProblem(t *testing.T) {
	s := newServer(t)
	do(t, s, "admin", "GET", "/api/nonexistent", "").problem(404, "no_such_route")
}

func TestChain_OwnCallIsRefused(t *testing.T) {
	s := newServer(t)
	do(t, s, "", "GET", "/health", "", "X-Leadloom-From", s.st.InstanceID()).problem(508, "self_loop")
	do(t, s, "", "GET", "/api/leads", "", "X-Leadloom-From", "other", "X-Leadloom-Hops", "4").problem(508, "self_loop")
}
