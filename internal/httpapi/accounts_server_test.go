package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/secret"
	"leadloom/internal/service"
	"leadloom/internal/store"
)

// clock is a time that only the test moves.
type clock struct {
	mu sync.Mutex
	at time.Time
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// accountServer is a real server with real credentials: the tenants default and other, each with a user per role
// whose name is the role's, or the role's with "-other", and whose password is testPassword.
type accountServer struct {
	*testServer
	clock *clock
}

const testPassword = "correct horse"

var cheapHash = account.HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1}

func newAccountServer(t testing.TB, params account.HashParams) *accountServer {
	t.Helper()
	return withUsers(t, newEmptyAccountServer(t, params))
}

// withUsers fills a server with the tenants and users of newAccountServer.
func withUsers(t testing.TB, s *accountServer) *accountServer {
	t.Helper()
	in, ctx := account.NewInstance("test"), context.Background()
	for tenant, suffix := range map[account.TenantID]string{account.FirstTenant: "", "other": "-other"} {
		if err := s.svc.Accounts.BootstrapTenant(ctx, in, account.Tenant{ID: tenant, Name: string(tenant), Plan: account.PlanPro}); err != nil {
			t.Fatal(err)
		}
		for _, role := range account.Roles {
			if _, err := s.svc.Accounts.BootstrapUser(ctx, in, tenant, "", account.NewUser{Username: string(role) + suffix, Email: string(role) + suffix + "@example.org", Password: testPassword, Role: string(role)}); err != nil {
				t.Fatal(err)
			}
		}
	}
	return s
}

func newEmptyAccountServer(t testing.TB, params account.HashParams) *accountServer {
	t.Helper()
	return newAccountServerOn(t, params, store.Options{Path: filepath.Join(t.TempDir(), "leadloom.db")})
}

// newAccountServerOn is an empty server on either engine.
func newAccountServerOn(t testing.TB, params account.HashParams, o store.Options) *accountServer {
	t.Helper()
	ctx := context.Background()
	c := &clock{at: time.Now().UTC()}
	o.Now = c.now
	st, err := store.Open(ctx, o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	if err := st.MigrateUp(ctx, account.NewInstance("test")); err != nil {
		t.Fatal(err)
	}
	st.SetInserter(noQueue{})
	box := secret.NewBox(bytes.Repeat([]byte{7}, 32))
	svc := service.New(service.Deps{Store: st, Secrets: box, Passwords: params})
	api := New(Deps{Services: svc, Secrets: box, Version: "test", Instance: st.InstanceID(), Now: c.now, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	s := &testServer{httptest.NewServer(api.Handler()), api, svc, st}
	s.Client().CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Cleanup(s.Close)
	document(api)
	return &accountServer{s, c}
}

// as sends a request with a token or key.
func (s *accountServer) as(t testing.TB, token, method, path, body string, header ...string) *reply {
	t.Helper()
	if token != "" {
		header = append(header, "Authorization", "Bearer "+token)
	}
	return do(t, s.testServer, "", method, path, body, header...)
}

// login gives the access token of a user.
func (s *accountServer) login(t testing.TB, name string) string {
	t.Helper()
	return s.as(t, "", "POST", "/api/auth/login", `{"username":"`+name+`","password":"`+testPassword+`"}`).want(200).json()["access_token"].(string)
}

// key makes an API key of a user; extra is further JSON such as `,"scopes":["lead:read"]`.
func (s *accountServer) key(t testing.TB, token, extra string) (id, key string) {
	t.Helper()
	m := s.as(t, token, "POST", "/api/auth/keys", `{"name":"test"`+extra+`}`).want(200).json()
	return m["key_id"].(string), m["api_key"].(string)
}

// userID finds a user of the caller's tenant by name.
func (s *accountServer) userID(t testing.TB, token, name string) string {
	t.Helper()
	for _, u := range s.as(t, token, "GET", "/api/users", "").want(200).json()["users"].([]any) {
		if m := u.(map[string]any); m["username"] == name {
			return m["id"].(string)
		}
	}
	t.Fatalf("there is no user %q", name)
	return ""
}
