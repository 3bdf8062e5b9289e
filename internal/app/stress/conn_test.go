package stress

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func TestBuffer_ReadsWhatServersSend(t *testing.T) {
	for _, c := range []struct {
		name, in, body string
		status         int
		keep, fails    bool
	}{
		{"length", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "hello", 200, true, false},
		{"chunks and a trailer", "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5;x=1\r\nhello\r\n1\r\n!\r\n0\r\nA: b\r\n\r\n", "hello!", 200, true, false},
		{"informational first", "HTTP/1.1 103 Early\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", "", 204, true, false},
		{"close", "HTTP/1.1 429 Too Many\r\nRetry-After: 1\r\nConnection: close\r\nContent-Length: 0\r\n\r\n", "", 429, false, false},
		{"until the end", "HTTP/1.0 200 OK\r\n\r\nall of it", "all of it", 200, false, false},
		{"cut off", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", "", 200, false, true},
		{"no HTTP", "SSH-2.0-OpenSSH_9.2\r\n", "", 0, false, true},
		{"a length below zero", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n", "", 0, false, true},
	} {
		b := &buffer{in: bufio.NewReaderSize(strings.NewReader(c.in), 4096)}
		r, keep, err := b.read()
		if (err != nil) != c.fails || keep != c.keep {
			t.Errorf("%s: keep %v, error %v", c.name, keep, err)
		} else if err == nil && (r.status != c.status || string(r.body) != c.body || r.retryAfter != (c.status == 429)) {
			t.Errorf("%s: status %d, body %q, Retry-After %v; want %d, %q", c.name, r.status, r.body, r.retryAfter, c.status, c.body)
		}
	}
}

func TestHistogram_CountsRequestsThatCouldNotBegin(t *testing.T) {
	var h Histogram
	h.AddExpected(10*time.Second, 2*time.Second)
	h.AddExpected(time.Second, 2*time.Second)
	if h.Count() != 6 { // 10, 8, 6, 4, 2 and 1 s
		t.Errorf("%d latencies; want 6: a request that took 10 s hid four others", h.Count())
	}
	if p := h.Quantile(0.5); p < 3900*time.Millisecond || p > 4100*time.Millisecond {
		t.Errorf("median %v, want 4 s", p)
	}
	curve := h.Curve()
	if last := curve[len(curve)-1]; last.Quantile != 1 || last.Latency != 10*time.Second {
		t.Errorf("the curve ends at %+v", last)
	}
}

// TestRun_OpenLoopCountsTheWaitForAUser: one connection, a server that stops at each request until it is let go.
func TestRun_OpenLoopCountsTheWaitForAUser(t *testing.T) {
	const stall = 30 * time.Millisecond
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/api/auth/login" {
			_, _ = io.WriteString(w, `{"access_token":"t"}`)
			return
		}
		if r.Header.Get("Authorization") != "" {
			<-time.After(stall)
		}
		if r.URL.Path == "/api/nonexistent" {
			w.WriteHeader(404)
		}
		_, _ = io.WriteString(w, `<# "execution_id" "leads" "status" "workflow_id" "id" "username" "campaigns" "email" [ "metrics" "campaign-1" "configured" "openapi" "updated" "code"`)
	}))
	defer srv.Close()
	r, err := Run(context.Background(), Options{URL: srv.URL, Users: 1, Rate: 100, For: 500 * time.Millisecond, Username: "a", Password: "b", Seed: 3})
	if err != nil {
		t.Fatal(err)
	}
	if r.Failures() > 0 || r.All.Count < 20 {
		t.Fatalf("%d requests, %d failed: %v", r.All.Count, r.Failures(), r.reasons())
	}
	if r.All.Response.P99 < 4*r.All.P50 {
		t.Errorf("response p99 %v beside service p50 %v: those that waited for the connection are missing", r.All.Response.P99, r.All.P50)
	}
}

func TestIdle_SaysWhatTheServerDropped(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var asked atomic.Int64
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/health/live" && asked.Add(1) == 2 {
			w.Header().Set("Connection", "close")
		}
	})}
	go func() { _ = srv.Serve(l) }()
	defer srv.Close()
	url := "http://" + l.Addr().String()
	h, err := HoldIdle(context.Background(), IdleOptions{URL: url, Open: 4})
	if err != nil {
		t.Fatal(err)
	}
	defer h.Close()
	if r := h.Report(); r.Open != 4 || r.Lost != 1 {
		t.Errorf("%d held, %d lost; want 4 and the one that the server closed", r.Open, r.Lost)
	}
	_ = srv.Close()
	if r := h.Report(); r.Lost != 4 {
		t.Errorf("%d lost after the server's end, want 4", r.Lost)
	}
}
