package httpapi

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// raw sends bytes as they are and reads the reply.
func raw(t *testing.T, s *accountServer, text string) *reply {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return &reply{t, res.StatusCode, res.Header, string(b)}
}

// A body that breaks off, or whose chunks are none, is the caller's fault, with and without an Idempotency-Key.
func TestEdge_BrokenBodiesAreNotOurFailure(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	_, key := s.key(t, s.login(t, "admin"), "")
	for _, extra := range []string{"", "Idempotency-Key: k\r\n"} {
		head := "POST /api/leads HTTP/1.1\r\nHost: x\r\nX-API-Key: " + key + "\r\nContent-Type: application/json\r\n" + extra
		raw(t, s, head+"Content-Length: 100\r\n\r\n{\"email\":").problem(400, "unreadable_body")
		raw(t, s, head+"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n").problem(400, "unreadable_body")
	}
	s.as(t, key, "POST", "/api/auth/keys", strings.Repeat("x", 17<<10)).problem(413, "too_large")
	s.as(t, key, "POST", "/api/auth/keys", strings.Repeat("x", 17<<10), "Idempotency-Key", "k2").problem(413, "too_large")
	s.as(t, key, "POST", "/api/leads", "email=x", "Content-Type", "text/plain").problem(415, "unsupported_media_type")
	for _, extra := range []string{"", "Expect: 100-continue\r\n"} { // refused by what it claims, before any of it has come
		raw(t, s, "POST /api/leads HTTP/1.1\r\nHost: x\r\nX-API-Key: "+key+"\r\nContent-Type: multipart/form-data; boundary=b\r\n"+extra+"Content-Length: 1073741824\r\n\r\n").problem(413, "too_large")
	}
	s.as(t, key, "POST", "/api/leads", "\x1f\x8b", "Content-Encoding", "gzip").problem(415, "unsupported_encoding")
	s.as(t, key, "GET", "/health/live", "", "Content-Encoding", "gzip").want(200) // the coding of nothing
	s.as(t, key, "POST", "/api/leads", `{"email":"plain@example.org"}`, "Content-Encoding", "identity").want(200)
	if r := raw(t, s, "GET /health HTTP/1.1\r\nHost: x\r\nX-Large: "+strings.Repeat("x", 2<<20)+"\r\n\r\n"); r.Status != 431 {
		t.Errorf("2 MB of headers: %d, want 431", r.Status)
	}
}

func TestEdge_RequestIDs(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	const trace = "0af7651916cd43dd8448eb211c80319c"
	for _, c := range []struct{ id, traceparent, want string }{
		{"mine-1", "", "mine-1"}, {"mine-1", "00-" + trace + "-b7ad6b7169203331-01", "mine-1"}, {"", "00-" + trace + "-b7ad6b7169203331-01", trace},
		{"", "00-" + strings.Repeat("0", 32) + "-b7ad6b7169203331-01", ""}, {"two words", "", ""}, {strings.Repeat("x", 129), "", ""}, {"", "nonsense", ""},
	} {
		header := []string{}
		if c.id != "" {
			header = append(header, "X-Request-Id", c.id)
		}
		if c.traceparent != "" {
			header = append(header, "Traceparent", c.traceparent)
		}
		r := s.as(t, "", "GET", "/api/nothing", "", header...)
		got := r.Header.Get("X-Request-Id")
		if c.want != "" && got != c.want || c.want == "" && (len(got) != 36 || got == c.id) || !strings.Contains(r.Body, `"request_id":"`+got+`"`) {
			t.Errorf("%q with trace %q became %q, want %q\n%s", c.id, c.traceparent, got, c.want, r.Body)
		}
	}
}

// lockedBuffer is a log that a test reads while a server writes it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

// One line a request at info, with ids and the route; nothing of a person, and nothing for monitors.
func TestEdge_LogHasALineARequestWithoutPersonalData(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	_, key := s.key(t, s.login(t, "admin"), "")
	log := &lockedBuffer{}
	s.api.Log = slog.New(slog.NewJSONHandler(log, nil))
	s.as(t, key, "DELETE", "/api/suppressions/planted@example.org?reason=planted", "", "X-Request-Id", "the-id")
	s.as(t, key, "POST", "/api/leads", `{"email":"planted@example.org"}`).want(200)
	s.as(t, "", "GET", "/health/live", "")
	s.as(t, "", "GET", "/api/planted", "")
	s.Close() // every request has ended
	lines := strings.Split(strings.TrimSpace(log.b.String()), "\n")
	if len(lines) != 3 || strings.Contains(log.b.String(), "planted") || strings.Contains(log.b.String(), key) {
		t.Fatalf("want three lines without what was planted:\n%s", log.b.String())
	}
	var first map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	if first["request_id"] != "the-id" || first["tenant"] != "default" || first["actor"] == "" || first["status"] == nil || first["ms"] == nil || !strings.HasPrefix(fmt.Sprint(first["route"]), "DELETE /api/suppressions/{address}") {
		t.Errorf("the line says %v", first)
	}
}

// Prometheus's own parser reads the text; labels hold no tenant, and a histogram's count is never below its buckets.
func TestMetrics_AreValidAndNameNoTenant(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	_, key := s.key(t, s.login(t, "admin-other"), "")
	for range 20 {
		s.as(t, key, "GET", "/api/leads", "").want(200)
	}
	s.svc.System.Refresh(t.Context())
	text := s.as(t, "", "GET", "/metrics", "").want(200).Body
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if families["leadloom_http_requests_total"] == nil || families["leadloom_health"] == nil {
		t.Error("figures of ours are missing")
	}
	for name, f := range families {
		for _, m := range f.Metric {
			for _, l := range m.Label {
				if l.GetName() == "tenant" || strings.Contains(l.GetValue(), "other") {
					t.Errorf("%s has the label %s=%q", name, l.GetName(), l.GetValue())
				}
			}
			if h := m.Histogram; h != nil {
				for _, b := range h.Bucket {
					if b.GetCumulativeCount() > h.GetSampleCount() {
						t.Errorf("%s: a bucket of %d among %d", name, b.GetCumulativeCount(), h.GetSampleCount())
					}
				}
			}
		}
	}
}

// With an address of their own, metrics are there and nowhere else, and the address serves nothing else.
func TestMetrics_Elsewhere(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	d := s.api.Deps
	d.MetricsElsewhere, d.Authenticate = true, nil
	api := New(d)
	main, apart := httptest.NewServer(api.Handler()), httptest.NewServer(api.MetricsHandler())
	defer main.Close()
	defer apart.Close()
	for url, want := range map[string]int{main.URL + "/metrics": 404, apart.URL + "/metrics": 200, apart.URL + "/api/status": 404, main.URL + "/api/status": 200} {
		res, err := http.Get(url)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("%s answers %d, want %d", url, res.StatusCode, want)
		}
	}
}
