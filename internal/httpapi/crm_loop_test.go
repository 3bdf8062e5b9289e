package httpapi

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/outbound"
	"leadloom/internal/queue"
	"leadloom/internal/secret"
	"leadloom/internal/service"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// loopServer is a server with workers that knows where it listens.
type loopServer struct {
	*testServer
	out  *outbound.Client
	mu   sync.Mutex
	done chan struct{} // closed and renewed after each job
}

// publicURL is what the operator says that this server is called.
const publicURL = "https://leads.example.com"

func newLoopServer(t *testing.T, st *store.Store) *loopServer {
	t.Helper()
	s := &loopServer{done: make(chan struct{})}
	s.out = outbound.New(outbound.Policy{Instance: st.InstanceID(), UserAgent: "Leadloom/test"})
	t.Cleanup(s.out.Close)
	box := secret.NewBox(bytes.Repeat([]byte{7}, 32))
	var listen atomic.Pointer[string]
	svc := service.New(service.Deps{Store: st, Secrets: box, Outbound: s.out, Self: func() outbound.Self {
		return outbound.Self{Listen: []string{*listen.Load()}, PublicURL: publicURL}
	}})
	api := New(Deps{Services: svc, Secrets: box, Version: "test", Instance: st.InstanceID(), Authenticate: testCredentials})
	s.testServer = &testServer{httptest.NewServer(api.Handler()), api, svc, st}
	addr := s.Listener.Addr().String()
	listen.Store(&addr)
	t.Cleanup(s.Close)
	reg := queue.NewRegistry()
	clock := svc.Jobs(reg)
	o := queue.Options{SQLite: st.SQLite(), Postgres: st.Postgres(), Registry: reg, TestOnly: true, Periodic: clock, Schedules: st, Observe: func(queue.Observation) { s.ring() }}
	if err := queue.MigrateUp(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	st.SetInserter(q)
	if err := q.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = q.Stop(context.Background()) })
	return s
}

func (s *loopServer) ring() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.done)
	s.done = make(chan struct{})
}

// untilState waits for a state of the connection that was configured last.
func (s *loopServer) untilState(t *testing.T, want string) (m map[string]any) {
	t.Helper()
	until(t, "the state "+want, func() bool {
		m = do(t, s.testServer, "admin", "GET", "/api/crm/status", "").want(200).json()
		return m["state"] == want
	}, s, s)
	return m
}

// patience is how long a test waits for what must happen by itself; it is no measure of speed.
const patience = 2 * time.Minute

// until waits for a condition, looking again after each job of either server; a slow tick is the net.
func until(t *testing.T, what string, cond func() bool, a, b *loopServer) {
	t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		next := [2]chan struct{}{a.next(), b.next()}
		if cond() {
			return
		}
		select {
		case <-next[0]:
		case <-next[1]:
		case <-tick.C:
		case <-deadline:
			t.Fatalf("%s did not come: %s", what, do(t, a.testServer, "admin", "GET", "/api/crm/status", "").Body)
		}
	}
}

func (s *loopServer) next() chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.done
}

func (s *loopServer) port() string { u, _ := url.Parse(s.URL); return u.Port() }

func addrOf(t *testing.T, raw string) netip.AddrPort {
	t.Helper()
	u, err := url.Parse(raw)
	if err != nil {
		t.Fatal(err)
	}
	return netip.MustParseAddrPort(u.Host)
}

func eachLoop(t *testing.T, f func(t *testing.T, s *loopServer)) {
	storetest.Each(t, func(t *testing.T, st *store.Store) { f(t, newLoopServer(t, st)) })
}

func TestSelfLoop_OwnAddressIsSeenWithoutACall(t *testing.T) {
	eachLoop(t, func(t *testing.T, s *loopServer) {
		var own atomic.Int64
		inner := s.Config.Handler
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(outbound.HeaderFrom) != "" {
				own.Add(1)
			}
			inner.ServeHTTP(w, r)
		})
		for name, raw := range map[string]string{"own name": "http://localhost:" + s.port() + "/api", "IP": s.URL, "0.0.0.0": "http://0.0.0.0:" + s.port(), "[::1]": "http://[::1]:" + s.port(),
			"mapped": "http://[::ffff:127.0.0.1]:" + s.port(), "public name": publicURL + "/api", "public name with a dot": "https://LEADS.example.com.:443"} {
			m := do(t, s.testServer, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","name":"`+name+`","api_url":"`+raw+`","api_key":"k"}`).want(200).json()
			if m["status"] != "configured" || len(m["warnings"].([]any)) == 0 || m["state"] != "refused_self_loop" {
				t.Errorf("%s: %v; want 200 configured with a warning", name, m)
			}
			if st := do(t, s.testServer, "admin", "GET", "/api/crm/status", "").want(200).json(); st["status"] != "error" || !strings.Contains(st["message"].(string), "this server itself") {
				t.Errorf("%s: status %v; want the error and its reason", name, st)
			}
			if f := do(t, s.testServer, "admin", "POST", "/api/connections", `{"crm_type":"generic","name":"new `+name+`","api_url":"`+raw+`"}`).problem(422, "validation_failed"); f["api_url"] != "self_loop" {
				t.Errorf("%s on a new route: %v", name, f)
			}
		}
		do(t, s.testServer, "admin", "POST", "/api/leads", `{"email":"a@example.com"}`).want(200)
		if own.Load() != 0 {
			t.Errorf("%d calls came back to this server", own.Load())
		}
	})
}

func TestSelfLoop_ByReverseProxyStopsAtOnce(t *testing.T) {
	eachLoop(t, func(t *testing.T, s *loopServer) {
		target, _ := url.Parse(s.URL)
		var calls atomic.Int64
		proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) }}
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { calls.Add(1); proxy.ServeHTTP(w, r) }))
		defer front.Close()
		s.out.AllowTarget(addrOf(t, front.URL))
		id := do(t, s.testServer, "admin", "POST", "/api/leads", `{"email":"a@example.com"}`).want(200).json()["id"].(string)
		do(t, s.testServer, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","api_url":"`+front.URL+`/api"}`).want(200)
		m := s.untilState(t, "refused_self_loop")
		if m["status"] != "error" || m["message"] == "" {
			t.Errorf("status %v", m)
		}
		for range 10 {
			do(t, s.testServer, "admin", "POST", "/api/crm/generic/sync", `{"lead_id":"`+id+`"}`).want(200)
		}
		if c := do(t, s.testServer, "admin", "GET", "/api/connections/"+m["connection_id"].(string), "").want(200).json(); c["waiting"] != 1.0 {
			t.Errorf("%v leads wait; want the mark kept until the address is changed", c["waiting"])
		}
		if n := calls.Load(); n > 4 { // the test's and, at most, those of a drain and a test that were under way
			t.Errorf("%d calls in spite of the refusal; want an end at once", n)
		}
	})
}

func TestSelfLoop_ByRedirectIsNotFollowed(t *testing.T) {
	eachLoop(t, func(t *testing.T, s *loopServer) {
		front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, s.URL+r.URL.Path, http.StatusTemporaryRedirect)
		}))
		defer front.Close()
		s.out.AllowTarget(addrOf(t, front.URL))
		s.out.AllowTarget(addrOf(t, s.URL))
		var own atomic.Int64
		inner := s.Config.Handler
		s.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(outbound.HeaderFrom) != "" {
				own.Add(1)
			}
			inner.ServeHTTP(w, r)
		})
		do(t, s.testServer, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","api_url":"`+front.URL+`/api"}`).want(200)
		m := s.untilState(t, "config_error")
		if !strings.Contains(m["message"].(string), "redirect") || own.Load() != 0 {
			t.Errorf("status %v, %d calls followed; want the redirect named and not followed", m, own.Load())
		}
	})
}

// TestSelfLoop_RingOfTwoEnds: two servers that change each other's lead for ever, were it not for the hops.
func TestSelfLoop_RingOfTwoEnds(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		a, b := newLoopServer(t, st), newLoopServer(t, storetest.SQLite(t))
		sc := account.NewScope("t-one", account.Actor{Kind: account.ActorUser, ID: "u-1"}, "u-1", account.AllPermissions)
		for _, s := range []*loopServer{a, b} {
			if err := s.st.Write(t.Context(), func(tx *store.Tx) error {
				return tx.InsertLead(sc, &lead.Lead{ID: "lead-1", FirstName: "Same", LastName: "Same", Status: "new"})
			}); err != nil {
				t.Fatal(err)
			}
		}
		connect := func(from, to *loopServer, mapping string) {
			from.out.AllowTarget(addrOf(t, to.URL))
			do(t, from.testServer, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","api_url":"`+to.URL+`","api_key":"admin","mapping":`+mapping+`,
				"authentication":{"auth":"header","auth_header":"Test-Caller","test_path":"/health","schema_path":"/no-schema","record_path":"/api/leads/{external_id}","batch_path":"-","rate_per_second":1000}}`).want(200)
			// A drain's success may bring the state before the test has said who is there.
			until(t, "another server of our kind to be shown as such", func() bool {
				m := do(t, from.testServer, "admin", "GET", "/api/crm/status", "").want(200).json()
				return m["state"] == "ok" && m["connections"].([]any)[0].(map[string]any)["peer_instance"] == to.st.InstanceID()
			}, from, to)
		}
		connect(a, b, `{"first_name":"last_name","last_name":"first_name"}`)
		connect(b, a, `{"first_name":"first_name","last_name":"last_name"}`)
		until(t, "the first exchange", func() bool {
			for _, s := range []*loopServer{a, b} {
				st := do(t, s.testServer, "admin", "GET", "/api/crm/status", "").want(200).json()
				c := do(t, s.testServer, "admin", "GET", "/api/connections/"+st["connection_id"].(string), "").want(200).json()
				l := do(t, s.testServer, "admin", "GET", "/api/leads/lead-1", "").want(200).json()
				if c["waiting"] != 0.0 || c["last_synced_at"] == nil || l["external_id"] != "lead-1" {
					return false
				}
			}
			return true
		}, a, b)
		do(t, a.testServer, "admin", "PUT", "/api/leads/lead-1", `{"first_name":"One","last_name":"Two"}`).want(200)
		until(t, "an end of the ring", func() bool {
			for _, s := range []*loopServer{a, b} {
				st := do(t, s.testServer, "admin", "GET", "/api/crm/status", "").want(200).json()
				if st["status"] != "connected" {
					t.Fatalf("a lead that goes round switched the connection off: %v", st)
				}
				if strings.Contains(do(t, s.testServer, "admin", "GET", "/api/connections/"+st["connection_id"].(string)+"/problems", "").want(200).Body, `"self_loop"`) {
					return true
				}
			}
			return false
		}, a, b)
		l := do(t, a.testServer, "admin", "GET", "/api/leads/lead-1", "").want(200).json()
		if v := l["version"].(float64); v > 8 {
			t.Errorf("the lead has version %v: it goes round and round", v)
		}
	})
}

func TestSelfLoop_OwnCallIsRefusedBeforeAnythingElse(t *testing.T) {
	s := newServer(t)
	id := s.st.InstanceID()
	for _, path := range []string{"/health", "/api/leads", "/api/nonexistent", "/"} {
		do(t, s, "", "GET", path, "", outbound.HeaderFrom, id, outbound.HeaderHops, "1").problem(508, "self_loop")
		do(t, s, "", "GET", path, "", outbound.HeaderFrom, "another", outbound.HeaderHops, "4").problem(508, "self_loop")
	}
	if r := do(t, s, "", "GET", "/health", "", outbound.HeaderFrom, "another", outbound.HeaderHops, "3"); r.Status == 508 {
		t.Error("a third hop is refused")
	}
	r := do(t, s, "", "GET", "/health", "")
	if r.Header.Get(outbound.HeaderInstance) != id || r.json()["instance"] != id {
		t.Errorf("instance header %q, body %v; want %s in both, so that others recognise us", r.Header.Get(outbound.HeaderInstance), r.json()["instance"], id)
	}
}
