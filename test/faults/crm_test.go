package faults

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"leadloom/internal/crm/connector/simulator"
	"leadloom/test/live"
)

// misreply is how a host answers a call wrongly: it writes on the bare connection what it likes. do lets the call be
// acted upon first, and returns the right reply.
type misreply struct {
	name string
	say  func(c net.Conn, do func() []byte)
}

func raw(text string) func(net.Conn, func() []byte) {
	return func(c net.Conn, _ func() []byte) { _, _ = io.WriteString(c, strings.ReplaceAll(text, "\n", "\r\n")) }
}

func ok(body string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\nContent-Type: application/json\nContent-Length: %d\nConnection: close\n\n%s", len(body), body)
}

func refusal(status, retryAfter string) func(net.Conn, func() []byte) {
	return raw("HTTP/1.1 " + status + "\nRetry-After: " + retryAfter + "\nContent-Length: 0\nConnection: close\n\n")
}

func redirect(to string) func(net.Conn, func() []byte) {
	return raw("HTTP/1.1 307 Temporary Redirect\nLocation: " + to + "\nContent-Length: 0\nConnection: close\n\n")
}

// endlessly writes until the other side has had enough.
func endlessly(w io.Writer) {
	block := bytes.Repeat([]byte(" "), 64<<10)
	for {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}

var (
	resetBefore = misreply{"resets before the reply", func(net.Conn, func() []byte) {}}
	resetAfter  = misreply{"resets after it has acted", func(_ net.Conn, do func() []byte) { do() }}
	failsAfter  = misreply{"answers 500 after it has acted", func(c net.Conn, do func() []byte) {
		do()
		refusal("500 Oops", "")(c, nil)
	}}
	halfReply = misreply{"breaks off in its reply", func(c net.Conn, do func() []byte) {
		b := do()
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(b), b[:len(b)/2])
	}}
	shortLength = misreply{"announces less than it sends", func(c net.Conn, do func() []byte) {
		b := do()
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%s", len(b)/2, b)
	}}
	notHTTP    = misreply{"speaks no HTTP", raw("SSH-2.0-OpenSSH_9.6\n")}
	page       = misreply{"answers with a web page", raw("HTTP/1.1 200 OK\nContent-Type: text/html\nConnection: close\n\n<!doctype html><title>Back soon</title>")}
	wrongTypes = misreply{"answers with other types", raw(ok(`{"results":{"id":7},"id":[],"status":{}}`))}
	endless    = misreply{"has an endless body", func(c net.Conn, _ func() []byte) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
		endlessly(c)
	}}
	bomb = misreply{"sends a gzip bomb", func(c net.Conn, _ func() []byte) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\n\r\n")
		endlessly(gzip.NewWriter(c))
	}}
	endlessHead = misreply{"has endless headers", func(c net.Conn, _ func() []byte) {
		_, _ = io.WriteString(c, "HTTP/1.1 200 OK\r\n")
		for i := 0; ; i++ {
			if _, err := fmt.Fprintf(c, "X-%d: %s\r\n", i, strings.Repeat("a", 1000)); err != nil {
				return
			}
		}
	}}
	hangs = misreply{"says nothing", func(c net.Conn, _ func() []byte) { _, _ = io.Copy(io.Discard, c) }}
	drips = misreply{"drips its reply", func(c net.Conn, do func() []byte) {
		b := do()
		fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n", len(b))
		say(c, string(b), time.Second)
	}}
)

// host is a server of another party: right, until it is told to misbehave.
type host struct {
	*httptest.Server
	right http.Handler

	mu    sync.Mutex
	bad   *misreply
	on    func(*http.Request) bool
	times int
	met   int
}

func newHost(t *testing.T, right http.Handler) *host {
	h := &host{right: right}
	h.Server = httptest.NewServer(h)
	t.Cleanup(func() { h.CloseClientConnections(); h.Close() })
	return h
}

func (h *host) addr() string { return h.Listener.Addr().String() }

// misbehave does m to the next calls that are meant.
func (h *host) misbehave(m misreply, times int, on func(*http.Request) bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.bad, h.times, h.met, h.on = &m, times, 0, on
}

func (h *host) heal() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.times = 0
	return h.met
}

func (h *host) hits() int { h.mu.Lock(); defer h.mu.Unlock(); return h.met }

// ServeHTTP implements http.Handler.
func (h *host) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h.mu.Lock()
	var m *misreply
	if h.times > 0 && h.on(r) {
		h.times--
		h.met++
		m = h.bad
	}
	h.mu.Unlock()
	if m == nil {
		h.right.ServeHTTP(w, r)
		return
	}
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	c, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer c.Close()
	if tcp, ok := c.(*net.TCPConn); ok && (m.name == resetBefore.name || m.name == resetAfter.name) {
		_ = tcp.SetLinger(0)
	}
	m.say(c, func() []byte {
		rec := httptest.NewRecorder()
		h.right.ServeHTTP(rec, r.WithContext(context.Background()))
		return rec.Body.Bytes()
	})
}

// crmCase is a misreply and how the connection then stands; "ok" as well when net/http has repeated the call by itself.
type crmCase struct {
	misreply
	states string // of the connection, one of these
	slow   bool   // takes the connection's time-out or a pause of many seconds
}

func crmCases() []crmCase {
	private := []string{"http://127.0.0.1:1/", "http://10.0.0.1/", "http://169.254.169.254/latest/meta-data/", "https://elsewhere.example/leads", "/leads/batch", "//[::1]/"}
	cases := []crmCase{
		{resetBefore, "ok degraded", false}, {resetAfter, "ok degraded", false}, {failsAfter, "degraded", false}, {halfReply, "degraded", false},
		{shortLength, "config_error degraded", false}, {notHTTP, "degraded", false}, {page, "config_error", false}, {wrongTypes, "config_error", false},
		{endless, "config_error", false}, {bomb, "config_error", false}, {endlessHead, "degraded", false}, {hangs, "degraded", true}, {drips, "degraded", true},
	}
	for _, after := range []string{"-5", "0", "1.5", "soon", "99999999999999999999", "Mon, 02 Jan 2006 15:04:05 GMT"} {
		cases = append(cases, crmCase{misreply{"429 with Retry-After " + after, refusal("429 Too Many Requests", after)}, "ok degraded", true},
			crmCase{misreply{"503 with Retry-After " + after, refusal("503 Service Unavailable", after)}, "degraded", false})
	}
	for _, to := range private {
		cases = append(cases, crmCase{misreply{"redirects to " + to, redirect(to)}, "config_error", false})
	}
	return cases
}

// demo is a server that may call the host, which serve never could on this machine.
func demo(t *testing.T, h *host) (*live.Server, string) {
	t.Helper()
	dir := t.TempDir() + "/demo"
	s := live.Start(t, "demo", "--addr", live.FreeAddr(t), "--data", dir, "--allow-targets", h.addr())
	s.Login("admin", "admin123")
	return s, dir
}

type standing struct{ ID, State, Code, Reason string }

func standingOf(s *live.Server, id string) (st standing) {
	var out struct{ Connections []standing }
	s.Must(&out, "GET", "/api/crm/status", nil)
	for _, c := range out.Connections {
		if c.ID == id {
			st = c
		}
	}
	return st
}

// A CRM that breaks, lies or babbles: its state and the reason are shown, requests are served, the rest goes on when it
// is well again, and every lead is there once.
func TestCRM_StateIsShownAndEachLeadArrivesOnce(t *testing.T) {
	var sims sync.Map
	h := newHost(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		name, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		sim, ok := sims.Load(name)
		if !ok {
			http.NotFound(w, r)
			return
		}
		forward(w, r, sim.(*simulator.Simulator).URL()+"/"+rest)
	}))
	s, dir := demo(t, h)
	var leads struct{ Total int }
	s.Must(&leads, "GET", "/api/leads?limit=1", nil)
	before := s.Memory()
	cases := crmCases()
	if !everything() {
		cases = some(t, 3, fast(cases))
	}
	for i, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			sim, err := simulator.Start(simulator.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer sim.Close()
			name := fmt.Sprintf("case%d", i)
			sims.Store(name, sim)
			times := 1
			if !strings.Contains(c.states, "ok") { // else the test of a new connection, which is well, may come last
				times = 1000
			}
			h.misbehave(c.misreply, times, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/batch") })
			var con struct {
				ID string `json:"connection_id"`
			}
			s.Must(&con, "POST", "/api/crm/config", map[string]any{"crm_type": "generic", "name": name, "api_url": h.URL + "/" + name + "/api", "api_key": "k",
				"authentication": map[string]any{"rate_per_second": 1000, "timeout_seconds": 2}})
			var seen standing
			for began := time.Now(); ; <-time.After(10 * time.Millisecond) {
				seen = standingOf(s, con.ID)
				if h.hits() > 0 && seen.Code != "not_tested" && strings.Contains(c.states, seen.State) && (seen.State == "ok" || seen.Reason != "") {
					break
				}
				if time.Since(began) > patience {
					t.Fatalf("after %d such replies the connection is %+v, want one of %s with a reason\n%s", h.hits(), seen, c.states, s.Log())
				}
			}
			if r, err := call(s, "GET", "/api/leads?limit=1", ""); err != nil || r.status != 200 {
				t.Errorf("other requests: %+v %v", r, err)
			}
			h.heal()
			if strings.Contains(c.name, "999") {
				return // an hour at most is what it may ask for; nobody waits for that here
			}
			for began := time.Now(); ; <-time.After(50 * time.Millisecond) {
				now := standingOf(s, con.ID)
				if now.State == "ok" && sim.Count() >= leads.Total {
					break
				}
				if now.State == "config_error" { // waits for a person, who looks and finds it well
					s.Must(nil, "POST", "/api/connections/"+con.ID+"/test", nil)
				}
				if time.Since(began) > 2*patience {
					t.Fatalf("%d of %d leads have arrived; the connection is %+v", sim.Count(), leads.Total, now)
				}
			}
			if n := sim.Count(); n != leads.Total {
				t.Errorf("%d records for %d leads", n, leads.Total)
			}
			t.Logf("%s: %s %s", seen.State, seen.Code, seen.Reason)
		})
	}
	if grown := s.Memory() - before; grown > 120<<20 {
		t.Errorf("the server has grown by %d MB", grown>>20)
	}
	s.Stop()
	live.MustRun(t, "", "check", "--data", dir)
}

func fast(cases []crmCase) (out []crmCase) {
	for _, c := range cases {
		if !c.slow {
			out = append(out, c)
		}
	}
	return out
}

// forward passes a call on as it is. Both bodies are read whole first: a server may close the one while it answers, and
// half an answer must not look whole.
func forward(w http.ResponseWriter, r *http.Request, to string) {
	status, header, reply, err := func() (int, http.Header, []byte, error) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return 0, nil, nil, err
		}
		req, err := http.NewRequest(r.Method, to, bytes.NewReader(body))
		if err != nil {
			return 0, nil, nil, err
		}
		req.Header = r.Header.Clone()
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			return 0, nil, nil, err
		}
		defer res.Body.Close()
		reply, err := io.ReadAll(res.Body)
		return res.StatusCode, res.Header, reply, err
	}()
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	maps.Copy(w.Header(), header)
	w.WriteHeader(status)
	_, _ = w.Write(reply)
}

// callCase is a misreply to a workflow's HTTP step and how the run ends.
type callCase struct {
	misreply
	ends string // "finished": tried again with the same key; else the code with which it is parked
}

func callCases() []callCase {
	cases := []callCase{
		{resetBefore, "finished"}, {resetAfter, "finished"}, {failsAfter, "finished"}, {halfReply, "finished"}, {notHTTP, "finished"}, {endlessHead, "finished"},
		{hangs, "finished"}, {drips, "finished"}, {endless, "too_large"}, {bomb, "too_large"},
		{page, "finished"}, {wrongTypes, "finished"}, {shortLength, "finished"}, // 200 is yes, whatever is in it
	}
	for _, after := range []string{"-5", "0", "1.5", "soon", "Mon, 02 Jan 2006 15:04:05 GMT"} {
		cases = append(cases, callCase{misreply{"503 with Retry-After " + after, refusal("503 Service Unavailable", after)}, "finished"})
	}
	for _, to := range []string{"/again", "http://127.0.0.1:1/", "http://169.254.169.254/latest/meta-data/", "https://elsewhere.example/"} {
		cases = append(cases, callCase{misreply{"redirects to " + to, redirect(to)}, "http_307"})
	}
	return cases
}

// A receiver of a workflow's call that breaks, lies or babbles: the step is tried again with its key, or parked with a
// reason; other runs and requests go on.
func TestHTTPStep_IsRepeatedWithItsKeyOrParkedWithAReason(t *testing.T) {
	var mu sync.Mutex
	acted := map[string]map[string]int{} // by path: key to how often it was acted upon
	h := newHost(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if acted[r.URL.Path] == nil {
			acted[r.URL.Path] = map[string]int{}
		}
		acted[r.URL.Path][r.Header.Get("Idempotency-Key")]++
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"id":"call-1"}`)
	}))
	s, dir := demo(t, h)
	before := s.Memory()
	for i, c := range some(t, 3, callCases()) {
		t.Run(c.name, func(t *testing.T) {
			path := fmt.Sprintf("/case%d", i)
			h.misbehave(c.misreply, 1, func(r *http.Request) bool { return r.URL.Path == path })
			run, other := startCall(s, h.URL+path, "lead-1"), startCall(s, h.URL+path+"-other", "lead-1")
			s.Until(2*patience, "the other run", "/api/runs/"+other, func(b []byte) bool { return strings.Contains(string(b), `"status":"finished"`) })
			var got struct {
				Status string
				Parked *struct{ Code, Message string }
			}
			s.Until(2*patience, "the run", "/api/runs/"+run, func(b []byte) bool {
				return json.Unmarshal(b, &got) == nil && (got.Status == "finished" || got.Status == "parked")
			})
			if got.Status == "parked" && (got.Parked == nil || got.Parked.Code != c.ends || got.Parked.Message == "") || got.Status == "finished" && c.ends != "finished" {
				t.Errorf("the run is %s %+v, want %s", got.Status, got.Parked, c.ends)
			}
			mu.Lock()
			defer mu.Unlock()
			if len(acted[path]) > 1 {
				t.Errorf("one step came with %d keys: %v", len(acted[path]), acted[path])
			}
		})
	}
	if grown := s.Memory() - before; grown > 80<<20 {
		t.Errorf("the server has grown by %d MB", grown>>20)
	}
	s.Stop()
	live.MustRun(t, "", "check", "--data", dir)
}

// startCall starts a run of a lead whose one step calls the address.
func startCall(s *live.Server, address, lead string) (run string) {
	var w struct{ ID string }
	s.Must(&w, "POST", "/api/workflows", map[string]any{"name": address, "triggers": []any{map[string]any{"type": "api"}}, "start": "call", "nodes": map[string]any{
		"call": map[string]any{"type": "action.http", "config": map[string]any{"url": address, "body": map[string]any{"lead": "{{ lead.id }}"}, "timeout_seconds": 2},
			"on_error": map[string]any{"retry": map[string]any{"attempts": 4, "first": "1s", "max": "2s"}}, "next": "end"}}})
	var out struct {
		ID string `json:"execution_id"`
	}
	s.Must(&out, "POST", "/api/workflows/trigger", map[string]any{"workflow_id": w.ID, "lead_id": lead})
	return url.PathEscape(out.ID)
}
