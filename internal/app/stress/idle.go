package stress

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// IdleOptions say how many connections are held and how.
type IdleOptions struct {
	URL    string
	Open   int // kept open after one request each
	Silent int // never send a byte: the server closes each after its header time-out, and it is opened again
}

const (
	dialersAtOnce   = 128
	perSource       = 2000 // connections from one loopback address: the ports of each are some ten thousand
	idleDialTimeout = 20 * time.Second
	silentLook      = time.Second // how often a silent connection looks whether it is over
)

// Idle holds connections until Close.
type Idle struct {
	target   target
	cancel   context.CancelFunc
	done     sync.WaitGroup
	conns    []conn
	before   int64
	held     int64
	open     int
	reopened atomic.Int64
}

// IdleReport is what holding the connections came to.
type IdleReport struct {
	Open          int   `json:"open"`     // asked once when they were made, and once again at the end
	Lost          int   `json:"lost"`     // of these, closed or refused by the server meanwhile
	Silent        int   `json:"silent"`   // that never sent a byte
	Reopened      int64 `json:"reopened"` // times that the server closed a silent one
	MemoryBefore  int64 `json:"memory_before_bytes"`
	MemoryHeld    int64 `json:"memory_held_bytes"`
	PerConnection int64 `json:"per_connection_bytes"`
}

// HoldIdle opens the connections. On loopback they come from several addresses, since one has too few ports.
func HoldIdle(ctx context.Context, o IdleOptions) (*Idle, error) {
	t, err := parseTarget(o.URL)
	if err != nil {
		return nil, err
	}
	h := &Idle{target: t, open: o.Open, conns: make([]conn, o.Open+o.Silent)}
	h.before = int64(scrape(t, "process_resident_memory_bytes")[0])
	ctx, h.cancel = context.WithCancel(ctx)
	local := isLoopback(t.addr)
	var failed atomic.Pointer[error]
	places := make(chan struct{}, dialersAtOnce)
	var opening sync.WaitGroup
	for i := range h.conns {
		c := &h.conns[i]
		c.target = t
		if local {
			c.local = source(i / perSource)
		}
		places <- struct{}{}
		opening.Go(func() {
			defer func() { <-places }()
			err := c.open(ctx, idleDialTimeout)
			if err == nil && i < o.Open {
				err = c.askOnce()
			}
			if err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	opening.Wait()
	if err := failed.Load(); err != nil {
		h.Close()
		return nil, fmt.Errorf("hold %d idle connections: %w", len(h.conns), reason(*err))
	}
	h.held = int64(scrape(t, "process_resident_memory_bytes")[0])
	for i := o.Open; i < len(h.conns); i++ {
		h.done.Go(func() { h.staySilent(ctx, &h.conns[i]) })
	}
	return h, nil
}

// source is the n-th of the loopback addresses that connections come from, beginning at 127.0.1.1.
func source(n int) net.IP { return net.IPv4(127, 0, byte(1+n/250), byte(1+n%250)) }

func isLoopback(addr string) bool {
	host, _, err := net.SplitHostPort(addr)
	ip := net.ParseIP(host)
	return err == nil && ip != nil && ip.To4() != nil && ip.IsLoopback()
}

// askOnce makes the connection one that has been used and waits for the next request.
func (c *conn) askOnce() error {
	b := buffers.Get().(*buffer)
	defer b.release()
	b.out = appendRequest(b.out[:0], c.target.host, "", call{method: http.MethodGet, path: "/health/live"})
	r, err := c.exchange(b.out, idleDialTimeout, b)
	if err == nil && r.status != http.StatusOK {
		err = fmt.Errorf("/health/live answered %d", r.status)
	}
	return err
}

// staySilent waits until the server has had enough, and comes back.
func (h *Idle) staySilent(ctx context.Context, c *conn) {
	var one [1]byte
	for ctx.Err() == nil {
		_ = c.c.SetReadDeadline(time.Now().Add(silentLook))
		if _, err := c.c.Read(one[:]); errors.Is(err, os.ErrDeadlineExceeded) {
			continue
		}
		h.reopened.Add(1)
		c.close()
		for c.open(ctx, idleDialTimeout) != nil {
			if !pause(ctx, silentLook) {
				return
			}
		}
	}
}

// Report says how things stand, asking each open connection once more: one that the server has dropped is lost.
func (h *Idle) Report() IdleReport {
	r := IdleReport{Open: h.open, Silent: len(h.conns) - h.open, MemoryBefore: h.before, MemoryHeld: h.held, Reopened: h.reopened.Load()}
	if len(h.conns) > 0 && r.MemoryBefore > 0 {
		r.PerConnection = max(0, r.MemoryHeld-r.MemoryBefore) / int64(len(h.conns))
	}
	var lost atomic.Int64
	places := make(chan struct{}, dialersAtOnce)
	var asking sync.WaitGroup
	for i := range h.open {
		c := &h.conns[i]
		places <- struct{}{}
		asking.Go(func() {
			defer func() { <-places }()
			if c.c == nil || c.askOnce() != nil {
				lost.Add(1)
			}
		})
	}
	asking.Wait()
	r.Lost = int(lost.Load())
	return r
}

// Close ends all connections.
func (h *Idle) Close() {
	h.cancel()
	h.done.Wait()
	for i := range h.conns {
		h.conns[i].close()
	}
}

// WriteTable prints the figures for a terminal.
func (r IdleReport) WriteTable(w io.Writer) error {
	p := &printer{w: w}
	p.line("%d idle connections held, %d of them lost; %d more that never sent a byte, closed by the server and opened again %d times", r.Open, r.Lost, r.Silent, r.Reopened)
	if r.MemoryBefore > 0 {
		p.line("server: %s MB before, %s with them, %.1f kB a connection", mb(r.MemoryBefore), mb(r.MemoryHeld), float64(r.PerConnection)/1e3)
	}
	return p.err
}
