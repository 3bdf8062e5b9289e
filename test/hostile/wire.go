package hostile

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"leadloom/test/live"
)

// peer is a connection that does not keep to the rules.
type peer struct {
	*net.TCPConn
	t  *testing.T
	in *bufio.Reader
}

func dial(t *testing.T, s *live.Server) *peer {
	t.Helper()
	c, err := net.DialTimeout("tcp", strings.TrimPrefix(s.URL, "http://"), 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &peer{c.(*net.TCPConn), t, bufio.NewReader(c)}
}

// send writes as much as the server takes; that it stops taking is no failure.
func (p *peer) send(text string) error {
	_ = p.SetWriteDeadline(time.Now().Add(20 * time.Second))
	_, err := io.WriteString(p, text)
	return err
}

// answers reads replies until the server closes, says nothing more or has given the most that are wanted, and whether it
// closed.
func (p *peer) answers(within time.Duration, most int) (statuses []int, closed bool) {
	_ = p.SetReadDeadline(time.Now().Add(within))
	for len(statuses) < most {
		res, err := http.ReadResponse(p.in, nil)
		if err != nil {
			var slow net.Error
			return statuses, !(errors.As(err, &slow) && slow.Timeout())
		}
		statuses = append(statuses, res.StatusCode)
		if _, err := io.Copy(io.Discard, res.Body); err != nil {
			return statuses, true
		}
		if res.Close {
			return statuses, true
		}
	}
	return statuses, false
}

// endsWithin fails when the server keeps a connection longer than its bound.
func (p *peer) endsWithin(most time.Duration, what string) {
	p.t.Helper()
	began := time.Now()
	if _, closed := p.answers(most, 1000); !closed {
		p.t.Errorf("%s: the connection is still open after %s", what, time.Since(began).Round(time.Second))
	}
}

// others are callers that behave well while something else happens: they must not notice.
type others struct {
	s      *live.Server
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	took   []time.Duration
	failed []string
}

func callAlong(s *live.Server) *others {
	ctx, cancel := context.WithCancel(context.Background())
	o := &others{s: s, cancel: cancel}
	for i := range 3 {
		o.wg.Go(func() {
			for n := 0; ctx.Err() == nil; n++ {
				began := time.Now()
				method, path, body := "GET", "/api/leads?limit=5&count=none", any(nil)
				if n%4 == 0 {
					method, path, body = "POST", "/api/leads", any(map[string]string{"email": fmt.Sprintf("along-%d-%d@example.invalid", i, n%50)})
				}
				status, text, err := s.Call(ctx, method, path, body)
				if ctx.Err() != nil {
					return
				}
				o.mu.Lock()
				o.took = append(o.took, time.Since(began))
				if err != nil || status != 200 {
					o.failed = append(o.failed, fmt.Sprintf("%s %s: %d %v %.200s", method, path, status, err, text))
				}
				o.mu.Unlock()
				select {
				case <-ctx.Done():
				case <-time.After(5 * time.Millisecond):
				}
			}
		})
	}
	return o
}

// end stops them and fails when one of their requests failed.
func (o *others) end(t *testing.T, during string) {
	t.Helper()
	o.cancel()
	o.wg.Wait()
	if len(o.failed) > 0 {
		t.Errorf("%s: %d of %d requests of others failed, the first: %s", during, len(o.failed), len(o.took), o.failed[0])
	}
	if len(o.took) == 0 {
		t.Errorf("%s: nobody else was answered", during)
		return
	}
	slices.Sort(o.took)
	t.Logf("%s: %d requests of others, p50 %s, p99 %s, most %s", during, len(o.took), o.took[len(o.took)/2].Round(time.Microsecond), o.took[len(o.took)*99/100].Round(time.Microsecond), o.took[len(o.took)-1].Round(time.Microsecond))
}
