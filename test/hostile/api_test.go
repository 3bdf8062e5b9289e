package hostile

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"leadloom/internal/testpg"
	"leadloom/test/live"
)

const (
	password    = "hostile-test-password-1"
	shortRun    = 1000
	workers     = 4
	mostMemory  = 1 << 30 // bytes resident at any time; 64 MiB of it is each password being hashed
	mostGrowth  = 60      // goroutines and files that may be there more than before
	otherTenant = "tenant-two"
)

func TestAPI_SQLite(t *testing.T) {
	together(t)
	fuzzAPI(t, "--data", t.TempDir())
}

func TestAPI_PostgreSQL(t *testing.T) {
	together(t)
	fuzzAPI(t, "--data", t.TempDir(), "--database-url", testpg.URL(t))
}

// together lets the short tests run beside each other; long ones have the machine to themselves.
func together(t *testing.T) {
	t.Helper()
	if number(t, "LEADLOOM_TEST_HOSTILE_REQUESTS", shortRun) <= shortRun {
		t.Parallel()
	}
}

// number is a setting of a long run.
func number(t *testing.T, name string, otherwise uint64) uint64 {
	t.Helper()
	s := os.Getenv(name)
	if s == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

// fuzzAPI lets LEADLOOM_TEST_HOSTILE_REQUESTS requests loose on a new server, from LEADLOOM_TEST_SEED.
func fuzzAPI(t *testing.T, data ...string) {
	requests := int(number(t, "LEADLOOM_TEST_HOSTILE_REQUESTS", shortRun))
	choice := uint64(1) // the short run tries the same each time, so that it fails for a change and not by chance
	if requests > shortRun {
		choice = rand.Uint64() >> 1
	}
	seed := number(t, "LEADLOOM_TEST_SEED", choice)
	t.Logf("seed %d: LEADLOOM_TEST_SEED=%d LEADLOOM_TEST_HOSTILE_REQUESTS=%d repeats the choices", seed, seed, requests)
	live.MustRun(t, password+"\n", append([]string{"user", "create", "--username", "ada", "--password-stdin"}, data...)...)
	s := live.Start(t, append([]string{"serve", "--addr", live.FreeAddr(t), "--log-level", "error"}, data...)...)
	s.Login("ada", password)
	sp, err := readSpec([]byte(live.MustRun(t, "", "openapi")))
	if err != nil {
		t.Fatal(err)
	}
	if len(sp.operations) < 100 {
		t.Fatalf("the document has %d operations", len(sp.operations))
	}
	r := &run{t: t, spec: sp, base: s.URL, pool: newPool(), markers: map[string]string{}, findings: map[string]string{}, statuses: map[int]int{}, reached: map[string]bool{},
		client: &http.Client{Timeout: longest, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }, Transport: &http.Transport{MaxIdleConnsPerHost: 2 * workers}}}
	defer r.client.CloseIdleConnections()
	settle(t, s, r)
	before := figures(t, s)
	peak, stop := watchMemory(s)
	r.loop(seed, requests, workers)
	stop()
	r.report(requests)
	r.client.CloseIdleConnections()
	t.Logf("memory at most %d MiB; before %v", *peak>>20, before)
	if *peak > mostMemory {
		t.Errorf("the process took %d MiB", *peak>>20)
	}
	s.Until(2*time.Minute, "goroutines and files come back to what they were", "/metrics", func(b []byte) bool {
		after := read(b)
		return after["go_goroutines"] <= before["go_goroutines"]+mostGrowth && after["process_open_fds"] <= before["process_open_fds"]+mostGrowth
	})
	s.Stop()
	if t.Failed() { // why a request had no answer stands there alone
		t.Logf("the server said:\n%s", s.Log())
	}
	if out, err := live.Run(t, "", append([]string{"check"}, data...)...); err != nil {
		t.Errorf("check: %v\n%s", err, out)
	}
}

// settle makes the tenants, their users and keys, and objects that bear each tenant's mark.
func settle(t *testing.T, s *live.Server, r *run) {
	t.Helper()
	call := func(token, method, path string, body any) map[string]any {
		t.Helper()
		was := s.Token
		s.Token = token
		defer func() { s.Token = was }()
		var out map[string]any
		s.Must(&out, method, path, body)
		return out
	}
	system := s.Token
	call(system, "POST", "/api/tenants", map[string]any{"id": otherTenant, "name": "Two", "plan": "enterprise", "admin": map[string]string{"username": "bob", "password": password}})
	call(system, "PUT", "/api/tenants/default/plan", map[string]string{"plan": "enterprise"})
	r.pool.protect("default", otherTenant)
	s.Token = ""
	bob := call("", "POST", "/api/auth/login", map[string]string{"username": "bob", "password": password})["access_token"].(string)
	for i, admin := range []string{system, bob} {
		tenant := []string{"default", otherTenant}[i]
		mark := fmt.Sprintf("mark%d%x", i, rand.Uint64())
		r.markers[tenant] = mark
		secret := fmt.Sprintf("planted-secret-%d-%x", i, rand.Uint64())
		r.secrets = append(r.secrets, secret, password)
		key := func(token, name string) string {
			k := call(token, "POST", "/api/auth/keys", map[string]any{"name": name})
			r.pool.protect(k["key_id"].(string))
			return k["api_key"].(string)
		}
		me := call(admin, "GET", "/api/auth/me", nil)
		r.pool.protect(fmt.Sprint(me["id"]), fmt.Sprint(me["user_id"]))
		r.actors = append(r.actors, actor{tenant + " admin", tenant, key(admin, "a")})
		plant(func(path string, body any) map[string]any { return call(admin, "POST", path, body) }, mark, secret)
	}
	for i, admin := range []string{system, bob} {
		tenant := r.actors[i].tenant
		for _, role := range []string{"salesperson", "guest"} {
			name := role + strconv.Itoa(i)
			u := call(admin, "POST", "/api/users", map[string]any{"username": name, "password": password, "role": role})
			r.pool.protect(fmt.Sprint(u["id"]), fmt.Sprint(u["user_id"]))
			token := call("", "POST", "/api/auth/login", map[string]string{"username": name, "password": password})["access_token"].(string)
			k := call(token, "POST", "/api/auth/keys", map[string]any{"name": name})
			r.pool.protect(k["key_id"].(string))
			r.actors = append(r.actors, actor{tenant + " " + role, tenant, k["api_key"].(string)})
		}
	}
	r.actors = append(r.actors, actor{name: "nobody"})
	s.Token = ""
}

// plant makes an object of each noun with a tenant's mark, and a connection with a secret.
func plant(post func(path string, body any) map[string]any, mark, secret string) {
	lead := post("/api/leads", map[string]any{"email": mark + "@example.invalid", "first_name": mark, "last_name": mark, "company": mark, "notes": mark, "tags": []string{"vip"}})["id"].(string)
	post("/api/leads/"+lead+"/notes", map[string]any{"body": mark})
	post("/api/tasks", map[string]any{"title": mark, "lead_id": lead})
	post("/api/fields", map[string]any{"key": "budget", "type": "integer", "label": mark})
	post("/api/campaigns", map[string]any{"name": mark, "subject": mark, "html": "<p>" + mark + "</p>", "recipients": []string{mark + "@example.invalid"}})
	post("/api/templates", map[string]any{"name": mark, "subject": mark, "html": "<p>" + mark + "</p>"})
	post("/api/suppressions", map[string]any{"address": "gone-" + mark + "@example.invalid"})
	post("/api/crm/config", map[string]any{"crm_type": "generic", "name": mark, "api_url": "https://" + mark + ".invalid/", "api_key": secret, "authentication": map[string]any{"webhook_secret": secret}})
	wf := post("/api/workflows", map[string]any{"name": mark, "start": "a", "nodes": map[string]any{"a": map[string]any{"type": "action.add_tag", "config": map[string]any{"tag": mark}, "next": "end"}}})["id"].(string)
	post("/api/workflows/trigger", map[string]any{"workflow_id": wf, "lead_id": lead, "custom_context": map[string]any{"x": mark}})
}

var figure = regexp.MustCompile(`(?m)^(go_goroutines|process_open_fds) ([0-9.e+]+)$`)

func read(text []byte) map[string]float64 {
	out := map[string]float64{}
	for _, m := range figure.FindAllSubmatch(text, -1) {
		out[string(m[1])], _ = strconv.ParseFloat(string(m[2]), 64)
	}
	return out
}

func figures(t *testing.T, s *live.Server) map[string]float64 {
	t.Helper()
	_, b, err := s.Call(context.Background(), "GET", "/metrics", nil)
	out := read(b)
	if err != nil || out["go_goroutines"] == 0 || out["process_open_fds"] == 0 {
		t.Fatalf("/metrics without goroutines and files: %v", err)
	}
	return out
}

// watchMemory notes the most memory that the process had; read it after stop.
func watchMemory(s *live.Server) (peak *int64, stop func()) {
	peak = new(int64)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for {
			*peak = max(*peak, s.Memory())
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	}()
	return peak, func() { cancel(); <-done }
}
