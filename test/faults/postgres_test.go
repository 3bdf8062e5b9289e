package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"leadloom/internal/testpg"
	"leadloom/test/live"
)

// keyed are clients that repeat a request whose reply was lost or that was refused, with the same Idempotency-Key,
// until it is acknowledged: each of their leads and runs must then be there once, however often it was sent.
type keyed struct {
	s        *live.Server
	workflow string

	mu      sync.Mutex
	leads   map[string]string // name to the id that was acknowledged
	runs    []string
	repeats int
	slowest time.Duration
	bad     []string
	refused map[string]int
}

func newKeyed(s *live.Server) *keyed {
	return &keyed{s: s, workflow: pureWorkflow(s), leads: map[string]string{}, refused: map[string]int{}}
}

func pureWorkflow(s *live.Server) string {
	var w struct{ ID string }
	s.Must(&w, "POST", "/api/workflows", json.RawMessage(`{"name":"Faults","triggers":[{"type":"api"}],"entry":{"reentry":"always"},"start":"score","nodes":{
		"score":{"type":"action.add_score","config":{"points":1,"reason":"fault test"},"next":"tag"},
		"tag":{"type":"action.add_tag","config":{"tag":"walked"},"next":"end"}}}`))
	return w.ID
}

// send repeats until 200 or the end of ctx, and notes every answer that is neither that, nor 503 or 409 with Retry-After.
func (k *keyed) send(ctx context.Context, path, key string, body any) (id string, ok bool) {
	for try := 0; ctx.Err() == nil; try++ {
		began := time.Now()
		res, err := k.post(path, key, body)
		took := time.Since(began)
		k.mu.Lock()
		k.slowest = max(k.slowest, took)
		if try > 0 {
			k.repeats++
		}
		switch {
		case err != nil:
			k.bad = append(k.bad, err.Error())
		case res.status == 200:
			k.mu.Unlock()
			return res.id, true
		case (res.status == 503 || res.status == 409) && res.retryAfter != "":
			k.refused[res.code]++
		default:
			k.bad = append(k.bad, fmt.Sprintf("POST %s: %+v", path, res))
		}
		k.mu.Unlock()
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
	return "", false
}

func (k *keyed) post(path, key string, body any) (reply, error) {
	status, b, header, err := send(k.s, "POST", path, body, "Idempotency-Key", key)
	if err != nil {
		return reply{}, err
	}
	var out struct {
		ID, Code  string
		Execution string `json:"execution_id"`
	}
	_ = json.Unmarshal(b, &out)
	if out.Execution != "" {
		out.ID = out.Execution
	}
	return reply{status: status, code: out.Code, id: out.ID, retryAfter: header.Get("Retry-After")}, nil
}

// load writes with several clients until the returned function is called; what they have begun they end.
func (k *keyed) load(clients int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for c := range clients {
		all.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				k.write(fmt.Sprintf("Keyed %d-%d-%d", c, i, time.Now().UnixNano()))
			}
		})
	}
	return func() { cancel(); all.Wait() }
}

// write creates a lead that nothing but its name identifies, so that a double would be a second row, and starts a run.
func (k *keyed) write(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	id, ok := k.send(ctx, "/api/leads", "lead "+name, map[string]any{"company": name, "last_name": "Fault"})
	if !ok {
		k.fail("%s was never taken", name)
		return
	}
	run, ok := k.send(ctx, "/api/workflows/trigger", "run "+name, map[string]any{"workflow_id": k.workflow, "lead_id": id})
	if !ok {
		k.fail("the run of %s was never taken", name)
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leads[name] = id
	k.runs = append(k.runs, run)
}

func (k *keyed) fail(format string, args ...any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.bad = append(k.bad, fmt.Sprintf(format, args...))
}

func (k *keyed) acknowledged() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.runs)
}

// settle wants every lead and run that was acknowledged, each once, and every run finished.
func (k *keyed) settle(t *testing.T) {
	t.Helper()
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, b := range k.bad[:min(len(k.bad), 5)] {
		t.Errorf("neither 200 nor 503 or 409 with Retry-After: %s", b)
	}
	var list struct{ Total int }
	k.s.Must(&list, "GET", "/api/leads?limit=1", nil)
	if list.Total != len(k.leads) {
		t.Errorf("%d leads are there, %d were acknowledged: each must be there once", list.Total, len(k.leads))
	}
	for name, id := range k.leads {
		var l struct {
			Company string
			Score   int
		}
		k.s.Must(&l, "GET", "/api/leads/"+url.PathEscape(id), nil)
		if l.Company != name {
			t.Errorf("lead %s is %q, acknowledged as %q", id, l.Company, name)
		}
	}
	k.finished(t)
	t.Logf("%d leads and runs, each once; %d requests repeated, refused %v, slowest %s", len(k.leads), k.repeats, k.refused, k.slowest.Round(time.Millisecond))
}

// finished waits for the runs. A job that was taken while the database went away runs again within about two and a half
// minutes: only the whole tables wait for that; leadloom check says in any case that each run has its job.
func (k *keyed) finished(t *testing.T) {
	t.Helper()
	open := slices.Clone(k.runs)
	if slices.Sort(open); len(slices.Compact(open)) != len(k.runs) {
		t.Errorf("%d runs were acknowledged for %d triggers", len(open), len(k.runs))
	}
	for began := time.Now(); len(open) > 0 && (everything() || time.Since(began) < time.Second); <-time.After(50 * time.Millisecond) {
		open = slices.DeleteFunc(open, func(id string) bool {
			var r struct{ Status string }
			status, b, err := k.s.Call(context.Background(), "GET", "/api/runs/"+id, nil)
			return err == nil && status == 200 && json.Unmarshal(b, &r) == nil && strings.HasPrefix(r.Status, "finished")
		})
		if time.Since(began) > 3*time.Minute {
			_, b, _ := k.s.Call(context.Background(), "GET", "/api/runs/"+open[0], nil)
			t.Fatalf("%d runs never finished, one of them\n%s", len(open), b)
		}
	}
}

// send is one request with its reply's headers.
func send(s *live.Server, method, path string, body any, header ...string) (int, []byte, http.Header, error) {
	var got http.Header
	client := *s.Client
	client.Transport = heard{s.Client.Transport, &got}
	one := *s
	one.Client = &client
	status, b, err := one.Call(context.Background(), method, path, body, header...)
	return status, b, got, err
}

// behind starts a server whose PostgreSQL is reached through a proxy.
func behind(t *testing.T, database string) (*live.Server, *proxy, []string) {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	p := newProxy(t, u.Host)
	data := []string{"--data", t.TempDir(), "--database-url", database}
	live.MustRun(t, password+"\n", append([]string{"user", "create", "--username", "ada", "--password-stdin"}, data...)...)
	u.Host = p.addr()
	s := live.Start(t, "serve", "--addr", live.FreeAddr(t), "--log-level", "warn", "--data", data[1], "--database-url", u.String())
	s.Login("ada", password)
	return s, p, data
}

// A connection that breaks in the middle of a transaction, at its commit or behind it costs nobody an answer that is
// wrong: what was acknowledged is there, what was not can be repeated with its key, and nothing is there twice.
func TestPostgresConnectionCut_LosesNothingDoublesNothing(t *testing.T) {
	cases := []struct {
		name string
		trap trap
	}{
		{"at the first statement", trap{after: 0}},
		{"after one statement", trap{after: 1}},
		{"after three statements", trap{after: 3}},
		{"after six statements", trap{after: 6}},
		{"before the commit arrives", trap{commit: true}},
		{"after the commit, before its answer", trap{commit: true, stored: true}},
	}
	s, p, data := behind(t, testpg.URL(t))
	k := newKeyed(s)
	stop := k.load(6)
	for _, c := range some(t, 2, cases) {
		c.trap.left = 3
		sprung := p.set(c.trap)
		select {
		case <-sprung:
		case <-time.After(patience):
			t.Fatalf("%s: no connection came by", c.name)
		}
		k.more(t, 5)
	}
	p.cut() // all of them, the one that listens too
	k.more(t, 20)
	stop()
	until(t, s, "/health", 200)
	k.settle(t)
	if k.repeats == 0 {
		t.Error("no request had to be repeated: the cuts have met nothing")
	}
	s.Stop()
	live.MustRun(t, "", append([]string{"check"}, data...)...)
}

// A repeat that comes while the first request with its key still runs is told so, however long that takes.
func TestPostgresTwinOfARequestThatHangs_IsToldThatItStillRuns(t *testing.T) {
	s, p, data := behind(t, testpg.URL(t)+"&lock_timeout=300ms")
	k := newKeyed(s)
	release := make(chan struct{})
	hangs := p.set(trap{commit: true, hold: release, left: 1})
	body := map[string]any{"company": "Twin", "last_name": "Fault"}
	first := make(chan reply, 1)
	go func() {
		r, err := k.post("/api/leads", "twin", body)
		if err != nil {
			r.code = err.Error()
		}
		first <- r
	}()
	<-hangs
	if r, err := k.post("/api/leads", "twin", body); err != nil || r.status != 409 || r.code != "still_running" || r.retryAfter == "" {
		t.Errorf("the twin is answered with %+v %v, want 409 still_running with Retry-After", r, err)
	}
	close(release)
	done := <-first
	if again, err := k.post("/api/leads", "twin", body); err != nil || done.status != 200 || again.status != 200 || again.id != done.id {
		t.Errorf("the first ends with %+v, its repeat with %+v %v: want one lead", done, again, err)
	}
	s.Stop()
	live.MustRun(t, "", append([]string{"check"}, data...)...)
}

// more waits until so many more writes were acknowledged.
func (k *keyed) more(t *testing.T, n int) {
	t.Helper()
	want := k.acknowledged() + n
	for began := time.Now(); k.acknowledged() < want; <-time.After(10 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("not %d more writes within %s: refused %v, bad %v\n%s", n, patience, k.refused, k.bad, k.s.Log())
		}
	}
}

// A database at the end of a long line makes requests slow, not wrong.
func TestPostgresSlow_RequestsGetSlowNotWrong(t *testing.T) {
	long(t)
	s, p, data := behind(t, testpg.URL(t))
	k := newKeyed(s)
	for _, latency := range []time.Duration{50 * time.Millisecond, 150 * time.Millisecond, 300 * time.Millisecond} {
		p.slow(latency / 2) // each way
		stop := k.load(4)
		k.more(t, 8)
		if r, err := call(s, "GET", "/health/live", ""); err != nil || r.status != 200 {
			t.Errorf("%s: /health/live: %+v %v", latency, r, err)
		}
		p.slow(0)
		k.more(t, 10)
		stop()
		t.Logf("%s a round trip: slowest request %s", latency, k.slowest.Round(time.Millisecond))
	}
	if len(k.refused) > 0 {
		t.Errorf("refused although the database only was slow: %v", k.refused)
	}
	until(t, s, "/health", 200)
	k.settle(t)
	s.Stop()
	live.MustRun(t, "", append([]string{"check"}, data...)...)
}

// A database server that ends, in good order or by kill -9, and comes back: acknowledged writes survive its recovery,
// and nothing but 503 is answered meanwhile.
func TestPostgresEndsAndComesBack_LosesNothing(t *testing.T) {
	pg := testpg.NewCluster(t)
	data := []string{"--data", t.TempDir(), "--database-url", pg.URL()}
	s := serve(t, data...)
	k := newKeyed(s)
	stop := k.load(6)
	ends := []func(){pg.Kill}
	if everything() {
		ends = append(ends, pg.Stop, pg.Kill, pg.Kill, pg.Stop)
	}
	for _, end := range ends {
		k.more(t, 10)
		end()
		t.Logf("red after %s", until(t, s, "/health", 503))
		until(t, s, "/health/ready", 503)
		until(t, s, "/health/live", 200)
		pg.Start()
		t.Logf("green after %s", until(t, s, "/health/ready", 200))
		k.more(t, 10)
	}
	stop()
	until(t, s, "/health", 200)
	k.settle(t)
	s.Stop()
	live.MustRun(t, "", append([]string{"check"}, data...)...)
}

// heard keeps the headers of a reply.
type heard struct {
	http.RoundTripper
	header *http.Header
}

// RoundTrip implements http.RoundTripper.
func (h heard) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := h.RoundTripper.RoundTrip(r)
	if err == nil {
		*h.header = res.Header
	}
	return res, err
}
