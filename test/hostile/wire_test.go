package hostile

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"leadloom/test/live"
)

// The bounds of the server, with room for a busy machine.
const (
	headersEnd = 5*time.Second + 20*time.Second
	bodyEnds   = 30*time.Second + 20*time.Second
	replyEnds  = 2*time.Minute + 30*time.Second
	idleEnds   = 2*time.Minute + 30*time.Second
)

func serveOne(t *testing.T) *live.Server {
	t.Helper()
	data := []string{"--data", t.TempDir()}
	live.MustRun(t, password+"\n", append([]string{"user", "create", "--username", "ada", "--password-stdin"}, data...)...)
	s := live.Start(t, append([]string{"serve", "--addr", live.FreeAddr(t), "--log-level", "error"}, data...)...)
	s.Login("ada", password)
	return s
}

// post is the head of a request that creates a lead.
func post(s *live.Server, path, more string) string {
	return "POST " + path + " HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.Token + "\r\nContent-Type: application/json\r\n" + more + "\r\n"
}

// TestWire_HostileConnections opens LEADLOOM_TEST_HOSTILE_CONNECTIONS connections (300 in a short run) that send their
// headers a byte at a time or not at all, and others with odd requests: each gets an answer or is closed within its
// bound, and everybody else is served meanwhile.
func TestWire_HostileConnections(t *testing.T) {
	together(t)
	s := serveOne(t)
	before := figures(t, s)
	peak, stop := watchMemory(s)
	n := int(number(t, "LEADLOOM_TEST_HOSTILE_CONNECTIONS", 300))
	long := number(t, "LEADLOOM_TEST_HOSTILE_REQUESTS", 0) > shortRun
	along := callAlong(s)
	began := time.Now()
	slow := make([]*peer, n)
	for i := range slow {
		slow[i] = dial(t, s)
		switch i % 4 {
		case 1:
			_ = slow[i].send("G")
		case 2:
			_ = slow[i].send("GET /api/leads HTTP/1.1\r\nHost: x\r\nX-A: ")
		case 3:
			_ = slow[i].send("GET /api/leads HTTP/1.1\r\n" + strings.Repeat("X-A: b\r\n", 200))
		}
	}
	t.Logf("%d half-open connections after %s, memory %d MiB", n, time.Since(began).Round(time.Millisecond), s.Memory()>>20)
	for name, c := range shapes(s) {
		p := dial(t, s)
		_ = p.send(c.text)
		most := 1000
		if c.stays {
			most = len(c.want[len(c.want)-1])
		}
		got, closed := p.answers(20*time.Second, most)
		if !slices.ContainsFunc(c.want, func(w []int) bool { return slices.Equal(w, got) }) || !closed && !c.stays {
			t.Errorf("%s: answered %v, closed %v; want one of %v", name, got, closed, c.want)
		}
		p.Close()
	}
	floods(t, s)
	for i, p := range slow { // a byte now and then does not help
		if i%4 == 2 {
			_ = p.send("x")
		}
	}
	for _, p := range slow {
		p.endsWithin(headersEnd, "slow headers")
	}
	along.end(t, fmt.Sprintf("%d half-open connections, odd requests and floods", n))
	if long {
		slowBodies(t, s)
		slowReaders(t, s)
		idle(t, s, n)
	}
	stop()
	t.Logf("memory at most %d MiB", *peak>>20)
	if *peak > mostMemory {
		t.Errorf("the process took %d MiB", *peak>>20)
	}
	s.Until(2*time.Minute, "goroutines and files come back to what they were", "/metrics", func(b []byte) bool {
		after := read(b)
		return after["go_goroutines"] <= before["go_goroutines"]+mostGrowth && after["process_open_fds"] <= before["process_open_fds"]+mostGrowth
	})
	s.Stop()
}

// shape is what one connection sends, and the statuses that may come, in order. stays says that the connection may live on.
type shape struct {
	text  string
	want  [][]int
	stays bool
}

// shapes are requests that two servers may read in two ways, and what is too large.
func shapes(s *live.Server) map[string]shape {
	one := func(status ...int) (out [][]int) {
		for _, x := range status {
			out = append(out, []int{x})
		}
		return out
	}
	smuggled := "GET /api/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
	body := `{"email":"wire@example.invalid"}`
	zipped := bomb(64 << 20)
	return map[string]shape{
		"two lengths":               {post(s, "/api/leads", fmt.Sprintf("Content-Length: %d\r\nContent-Length: 0\r\n", len(body))) + body + smuggled, one(400), false},
		"length and chunks":         {post(s, "/api/leads", "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n" + smuggled, [][]int{{400}, {400, 404}}, true},
		"chunks twice":              {post(s, "/api/leads", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n" + smuggled, one(400, 501), false},
		"chunks, but not quite":     {post(s, "/api/leads", "Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n" + smuggled, one(400, 501), false},
		"a space before the colon":  {post(s, "/api/leads", "Transfer-Encoding : chunked\r\n") + "0\r\n\r\n" + smuggled, one(400), false},
		"a length with a sign":      {post(s, "/api/leads", "Content-Length: +5\r\n") + "12345" + smuggled, one(400), false},
		"a negative length":         {post(s, "/api/leads", "Content-Length: -1\r\n") + smuggled, one(400), false},
		"a length that overflows":   {post(s, "/api/leads", "Content-Length: 99999999999999999999\r\n") + smuggled, one(400), false},
		"a chunk that overflows":    {post(s, "/api/leads", "Transfer-Encoding: chunked\r\n") + "fffffffffffffffff\r\n" + smuggled, one(400), false},
		"no host":                   {"GET /api/leads HTTP/1.1\r\n\r\n", one(400), false},
		"two hosts":                 {"GET /api/leads HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", one(400), false},
		"NUL in a header":           {"GET /api/leads HTTP/1.1\r\nHost: x\r\nX-A: a\x00b\r\n\r\n", one(400), false},
		"no HTTP":                   {"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", one(400), false},
		"HTTP/2 without asking":     {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", one(400, 404, 405, 505), false},
		"a version that is none":    {"GET / HTTP/9.9\r\nHost: x\r\n\r\n", one(400, 505), false},
		"a long URL":                {"GET /api/leads?q=" + strings.Repeat("x", 200<<10) + " HTTP/1.1\r\nHost: x\r\n\r\n", one(431), false},
		"a large header":            {"GET /health HTTP/1.1\r\nHost: x\r\nX-A: " + strings.Repeat("x", 200<<10) + "\r\n\r\n", one(431), false},
		"many headers":              {"GET /health HTTP/1.1\r\nHost: x\r\n" + strings.Repeat("X-A: b\r\n", 30_000) + "\r\n", one(431), false},
		"a body in gzip":            {post(s, "/api/leads", fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n", len(zipped))) + zipped, one(415), true},
		"a bulk in gzip":            {post(s, "/api/leads/bulk", fmt.Sprintf("Content-Encoding: gzip\r\nContent-Length: %d\r\n", len(zipped))) + zipped, one(415), true},
		"gzip by another name":      {post(s, "/api/leads", fmt.Sprintf("Content-Encoding: identity, x-gzip\r\nContent-Length: %d\r\n", len(zipped))) + zipped, one(415), true},
		"a body that claims 1 GiB":  {post(s, "/api/leads", "Content-Length: 1073741824\r\n") + body, one(413), false},
		"chunks of 2 MiB":           {post(s, "/api/leads", "Transfer-Encoding: chunked\r\n") + strings.Repeat("1000\r\n"+strings.Repeat("x", 4096)+"\r\n", 512), one(413), false},
		"a multipart that is large": {"POST /api/leads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.Token + "\r\nContent-Type: multipart/form-data; boundary=b\r\nContent-Length: 1073741824\r\n\r\n--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n", one(413, 415), false},
		"a trailer":                 {post(s, "/api/leads", "Transfer-Encoding: chunked\r\nTrailer: X-API-Key\r\n") + fmt.Sprintf("%x\r\n%s\r\n0\r\nX-API-Key: x\r\n\r\n", len(body), body), one(200), true},
		"a hundred at once":         {strings.Repeat("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n", 100), [][]int{slices.Repeat([]int{200}, 100)}, true},
		"expects, and sends none":   {post(s, "/api/leads", "Expect: 100-continue\r\nContent-Length: 2000000\r\n"), one(413), false},
		"expects the impossible":    {post(s, "/api/leads", "Expect: 200-ok\r\nContent-Length: 2\r\n") + "{}", one(417), false},
		"an upgrade":                {"GET /api/leads HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n", one(401), true},
	}
}

// bomb is zeros in gzip.
func bomb(size int64) string {
	var b bytes.Buffer
	z, _ := gzip.NewWriterLevel(&b, gzip.BestCompression)
	_, _ = io.CopyN(z, zeros{}, size)
	_ = z.Close()
	return b.String()
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// floods sends bodies without an end until the server has enough.
func floods(t *testing.T, s *live.Server) {
	t.Helper()
	chunk := "10000\r\n" + strings.Repeat(" ", 1<<16) + "\r\n"
	for _, path := range []string{"/api/leads", "/api/workflows", "/api/auth/login"} {
		p := dial(t, s)
		if err := p.send(post(s, path, "Transfer-Encoding: chunked\r\n")); err != nil {
			t.Fatal(err)
		}
		sent, err := 0, error(nil)
		for err == nil && sent < 256<<20 {
			err = p.send(chunk)
			sent += len(chunk)
		}
		if err == nil {
			t.Errorf("%s: the server took %d MiB of a body without an end", path, sent>>20)
		}
	}
}

// slowBodies dribble a byte at a time: 408, or the connection ends, within the time for a body.
func slowBodies(t *testing.T, s *live.Server) {
	t.Helper()
	along := callAlong(s)
	peers := make([]*peer, 50)
	for i := range peers {
		peers[i] = dial(t, s)
		path := []string{"/api/leads", "/api/auth/login", "/api/workflows", "/login"}[i%4]
		_ = peers[i].send(post(s, path, "Content-Length: 1000\r\n") + `{"email":"`)
	}
	began, ended, done := time.Now(), make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second) // the attack is to be slow
		defer tick.Stop()
		for {
			for _, p := range peers {
				_, _ = io.WriteString(p.TCPConn, "x")
			}
			select {
			case <-tick.C:
			case <-ended:
				return
			}
		}
	}()
	for _, p := range peers {
		p.endsWithin(max(time.Until(began.Add(bodyEnds)), time.Second), "slow bodies")
	}
	close(ended)
	<-done
	along.end(t, "slow bodies")
}

// slowReaders ask for large replies and do not read them.
func slowReaders(t *testing.T, s *live.Server) {
	t.Helper()
	along := callAlong(s)
	peers := make([]*peer, 50)
	for i := range peers {
		peers[i] = dial(t, s)
		_ = peers[i].SetReadBuffer(4096)
		_ = peers[i].send(strings.Repeat("GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n", 60)) // some 30 MB
	}
	gone := time.After(replyEnds)
	open := func() (n int) {
		for _, p := range peers { // a write to what the server has closed fails, at the latest the second time
			if _, err := io.WriteString(p.TCPConn, "G"); err == nil {
				n++
			}
		}
		return n
	}
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for left := open(); left > 0; left = open() {
		select {
		case <-tick.C:
			continue
		case <-gone:
			t.Errorf("%d connections that do not read are still open after %s", left, replyEnds)
		}
		break
	}
	along.end(t, "readers that do not read")
}

// idle connections that once asked something are closed in the end.
func idle(t *testing.T, s *live.Server, n int) {
	t.Helper()
	along := callAlong(s)
	peers := make([]*peer, n)
	for i := range peers {
		peers[i] = dial(t, s)
		_ = peers[i].send("GET /health/live HTTP/1.1\r\nHost: x\r\n\r\n")
	}
	for _, p := range peers {
		p.endsWithin(idleEnds, "idle connections")
	}
	along.end(t, "idle connections")
}
