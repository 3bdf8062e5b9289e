package hostile

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	longest = 60 * time.Second // above every time-out of the server: what takes longer hangs
	findMax = 40               // findings that are printed
)

// actor is a caller: a role of a tenant, or nobody.
type actor struct {
	name, tenant, key string
}

// run is one session of the fuzzer against a server.
type run struct {
	t       *testing.T
	spec    *spec
	base    string
	pool    *pool
	actors  []actor
	markers map[string]string // tenant → a text that only its objects hold
	secrets []string          // that no reply may hold
	client  *http.Client

	mu       sync.Mutex
	findings map[string]string // by what and where, the first of each
	statuses map[int]int
	reached  map[string]bool // operations that succeeded
	slowest  time.Duration
	slowOne  string       // the operation that took it
	busy     atomic.Int64 // 503 with a reason and Retry-After
}

func replaceWord(g *generator, s string) string {
	for strings.Contains(s, "WORD") {
		s = strings.Replace(s, "WORD", g.word(), 1)
	}
	return s
}

// find notes a finding once for each kind and operation.
func (r *run) find(o *operation, kind, format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if key := o.String() + " " + kind; r.findings[key] == "" {
		r.findings[key] = fmt.Sprintf(format, args...)
	}
}

// loop sends n requests drawn from the seed, with several workers.
func (r *run) loop(seed uint64, n, workers int) {
	var wg sync.WaitGroup
	for w := range workers {
		wg.Go(func() {
			g := &generator{Rand: rand.New(rand.NewPCG(seed, uint64(w))), spec: r.spec, pool: r.pool}
			for i := w; i < n; i += workers {
				r.one(g)
			}
		})
	}
	wg.Wait()
}

// one draws a request, sends it and judges the answer.
func (r *run) one(g *generator) {
	o := pick(g, r.spec.operations...)
	if rare[o.String()] && g.IntN(20) > 0 {
		o = pick(g, r.spec.operations...)
		if rare[o.String()] {
			return
		}
	}
	a := pick(g, r.actors...)
	if g.IntN(3) > 0 { // mostly those who may do much
		a = r.actors[g.IntN(2)]
	}
	g.own = a.tenant
	hostile := g.IntN(3) > 0
	target := r.base + g.pathOf(o, hostile)
	if q := g.query(o, hostile); q != "" {
		target += "?" + q
	}
	body, kind := "", ""
	if o.body != nil {
		v, part := g.bodyFor(o), g.IntN(3)
		if part > 0 {
			v = g.unmistakable(g.bend(v), false)
		}
		text, err := json.Marshal(v)
		if err != nil { // one of the raw values is no JSON to the encoder either
			text = []byte(pick(g, raws...))
		}
		body, kind = string(text), "application/json"
		if part == 2 && g.IntN(3) == 0 {
			body = g.broken(body)
		}
	}
	method := o.method
	if hostile && g.IntN(60) == 0 {
		method = pick(g, "HEAD", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "DELETE", "POST", "PUT", "PATCH")
	}
	req, err := http.NewRequest(method, r.base, strings.NewReader(body))
	if err != nil {
		return
	}
	if u, err := url.Parse(target); err == nil {
		req.URL = u
	} else {
		return
	}
	if body == "" {
		req.Body, req.ContentLength = nil, 0
	}
	r.headers(g, req, o, a, kind, hostile)
	r.send(g, req, o, a, body)
}

// headers gives a request its caller and, when it is hostile, much that does not belong there.
func (r *run) headers(g *generator, req *http.Request, o *operation, a actor, kind string, hostile bool) {
	h := req.Header
	if kind != "" {
		h.Set("Content-Type", kind)
	}
	if a.key != "" {
		h.Set("X-API-Key", a.key)
	}
	if strings.HasPrefix(o.method, "P") && g.IntN(8) == 0 {
		h.Set("Idempotency-Key", pick(g, g.word(), "k1", "k2"))
	}
	if g.IntN(6) == 0 {
		h.Set("If-Match", pick(g, `"1"`, `"2"`, "*", `W/"1"`, `"x"`, `"99999999999999999999"`, ","))
	}
	if !hostile || g.IntN(4) > 0 {
		return
	}
	plain := strings.Map(func(c rune) rune {
		if c < ' ' || c > '~' {
			return 'x'
		}
		return c
	}, clip(g.text(), 3000))
	switch g.IntN(12) {
	case 0:
		h.Set("Content-Type", pick(g, "text/plain", "application/xml", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16", "application/json;;", "", "x"))
	case 1:
		h.Set("Authorization", pick(g, "Bearer "+plain, "Basic YTpi", "Bearer", "bearer x", plain))
	case 2:
		h.Set("Idempotency-Key", pick(g, plain, strings.Repeat("k", 300), " "))
	case 3:
		h.Set("X-Request-Id", plain)
	case 4:
		h.Set("Content-Encoding", pick(g, "gzip", "deflate", "br", "identity", plain))
	case 5:
		h.Set("X-Forwarded-For", pick(g, "1.2.3.4", plain, "::1"))
	case 6:
		h.Set("Cookie", "leadloom_session="+plain+"; a=b")
	case 7:
		h.Set("If-None-Match", pick(g, "*", plain, `"x"`))
	case 8:
		h.Set("Accept", pick(g, "text/html", "application/xml", "*/*;q=0", plain))
	case 9:
		h.Set("X-Leadloom-Hops", pick(g, "1", "-1", "x", "99999999999999999999", "3"))
	case 10:
		h.Set("Origin", "https://evil.invalid")
	case 11:
		h.Set("Range", pick(g, "bytes=0-0", "bytes=-99999999999", plain))
	}
}

// send makes the call; how it may fail is judged too.
func (r *run) send(g *generator, req *http.Request, o *operation, a actor, body string) {
	ctx, cancel := context.WithTimeout(r.t.Context(), longest)
	defer cancel()
	began := time.Now()
	res, err := r.client.Do(req.WithContext(ctx))
	if err != nil {
		switch {
		case errors.Is(err, context.DeadlineExceeded):
			r.find(o, "hangs", "no answer within %s to %s", longest, shown(req, body))
		case strings.Contains(err.Error(), "net/http:") || strings.Contains(err.Error(), "invalid"):
			// our own client refuses to send it
		default:
			r.find(o, "cut off", "%v, to %s", err, shown(req, body))
		}
		return
	}
	defer res.Body.Close()
	reply, err := io.ReadAll(io.LimitReader(res.Body, 64<<20))
	took := time.Since(began)
	if err != nil {
		r.find(o, "cut off", "status %d, then %v, to %s", res.StatusCode, err, shown(req, body))
		return
	}
	r.mu.Lock()
	r.statuses[res.StatusCode]++
	if took > r.slowest {
		r.slowest, r.slowOne = took, o.String()
	}
	if res.StatusCode < 400 && req.Method == o.method {
		r.reached[o.String()] = true
	}
	r.mu.Unlock()
	r.judge(g, req, o, a, body, res, reply)
}

func shown(req *http.Request, body string) string {
	h := req.Header.Clone()
	h.Del("X-API-Key")
	return fmt.Sprintf("%s %s %v\n  %q", req.Method, clip(req.URL.RequestURI(), 600), h, clip(body, 1500))
}

// judge checks one reply for everything that must hold of all.
func (r *run) judge(g *generator, req *http.Request, o *operation, a actor, body string, res *http.Response, reply []byte) {
	what := func() string {
		return fmt.Sprintf("status %d for %s, to %s\n  answered %q", res.StatusCode, a.name, shown(req, body), clip(string(reply), 1500))
	}
	for tenant, marker := range r.markers {
		if tenant != a.tenant && bytes.Contains(reply, []byte(marker)) {
			r.find(o, "another tenant's data", "%s's data: %s", tenant, what())
		}
	}
	for _, s := range r.secrets {
		if bytes.Contains(reply, []byte(s)) || strings.Contains(fmt.Sprint(res.Header), s) {
			r.find(o, "a secret", "%s", what())
		}
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	own := res.StatusCode == 400 && kind == "text/plain" && res.Close // net/http's own, before any of ours
	if own || res.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
		return
	}
	health := strings.HasPrefix(o.path, "/health")
	if res.StatusCode >= 400 && req.Method != http.MethodHead && !(health && res.StatusCode == 503) {
		r.judgeRefusal(o, res, kind, reply, what)
	}
	if req.Method != o.method || !strings.HasPrefix(req.URL.EscapedPath(), prefixOf(o.path)) || !r.isTheRoute(o, req) {
		return
	}
	media, known := o.responses[strconv.Itoa(res.StatusCode)]
	if !known {
		r.find(o, "undocumented "+strconv.Itoa(res.StatusCode), "%s", what())
		return
	}
	sc, known := media[kind]
	if len(media) > 0 && !known && res.StatusCode != http.StatusNotModified {
		r.find(o, "undocumented type", "%q: %s", kind, what())
		return
	}
	if !strings.HasSuffix(kind, "json") {
		return
	}
	d := json.NewDecoder(bytes.NewReader(reply))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		r.find(o, "no JSON", "%v: %s", err, what())
		return
	}
	if why := r.spec.differs(sc, v, "reply"); sc != nil && why != "" {
		r.find(o, "not as documented", "%s: %s", why, what())
	}
	if res.StatusCode < 300 {
		r.pool.learn(g, o.path, v)
	}
}

// judgeRefusal wants a problem document with a code, fields where it is about fields, and a time with 503 and 429.
func (r *run) judgeRefusal(o *operation, res *http.Response, kind string, reply []byte, what func() string) {
	var p struct {
		Code, Detail, Title string
		Status              int
		RequestID           string `json:"request_id"`
		Errors              []struct{ Path, Code, Message string }
	}
	if err := json.Unmarshal(reply, &p); err != nil || kind != "application/problem+json" || p.Code == "" || p.Detail == "" || p.Title == "" || p.Status != res.StatusCode {
		r.find(o, "no problem document", "%v: %s", err, what())
		return
	}
	if p.Code == "validation_failed" && len(p.Errors) == 0 {
		r.find(o, "no fields", "%s", what())
	}
	for _, e := range p.Errors {
		if e.Code == "" || e.Message == "" {
			r.find(o, "a field without a reason", "%s", what())
		}
	}
	switch {
	case res.StatusCode == http.StatusServiceUnavailable && res.Header.Get("Retry-After") != "" && p.Code != "internal":
		r.busy.Add(1)
	case res.StatusCode >= 500 && res.StatusCode != http.StatusLoopDetected:
		r.find(o, "5xx", "%s", what())
	}
}

// prefixOf is an operation's path up to its first parameter.
func prefixOf(path string) string {
	before, _, _ := strings.Cut(path, "{")
	return before
}

// isTheRoute reports whether a request still goes to its operation: a hostile id can make another path of it.
func (r *run) isTheRoute(o *operation, req *http.Request) bool {
	have, want := strings.Split(req.URL.EscapedPath(), "/"), strings.Split(o.path, "/")
	if len(have) != len(want) {
		return false
	}
	for i := range want {
		if strings.HasPrefix(want[i], "{") {
			if have[i] == "" || have[i] == "." || have[i] == ".." || r.isFixed(o, want, i, have[i]) {
				return false
			}
		} else if have[i] != want[i] {
			return false
		}
	}
	return true
}

// isFixed reports whether a part that fills a parameter is the fixed part of another operation: /api/leads/rules.
func (r *run) isFixed(o *operation, want []string, at int, part string) bool {
	for _, other := range r.spec.operations {
		parts := strings.Split(other.path, "/")
		if other != o && len(parts) == len(want) && parts[at] == part {
			return true
		}
	}
	return false
}

// report prints what was found and counts.
func (r *run) report(requests int) {
	r.t.Helper()
	r.t.Logf("%d requests: by status %v; 503 with a reason %d; slowest %s (%s); %d of %d operations succeeded at least once", requests, r.statuses, r.busy.Load(), r.slowest.Round(time.Millisecond), r.slowOne, len(r.reached), len(r.spec.operations))
	if busy := r.busy.Load(); busy*100 > int64(requests) {
		r.t.Errorf("%d of %d requests got 503: the server was not able to answer", busy, requests)
	}
	n := 0
	for key, text := range r.findings {
		if n++; n <= findMax {
			r.t.Errorf("%s\n  %s", key, text)
		}
	}
	if n > findMax {
		r.t.Errorf("and %d more findings", n-findMax)
	}
}
