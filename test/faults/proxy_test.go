package faults

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"
)

// proxy stands between the server and its PostgreSQL: it delays, stalls and cuts what passes.
type proxy struct {
	listener net.Listener
	to       string

	mu    sync.Mutex
	delay time.Duration
	trap  *trap
	conns map[*passage]bool
}

// passage is one connection through the proxy.
type passage struct {
	client, server net.Conn
	cutReply       bool // the next thing that the server says is lost with the connection
	inside         int  // packets of the client since its transaction began; 0 outside of one
	held           chan struct{}
}

// trap is where the next connection that comes by is cut.
type trap struct {
	after  int           // this many packets into a transaction
	commit bool          // or at its commit
	stored bool          // the commit passes, and its answer is lost
	hold   chan struct{} // the commit is not cut but held until this is closed
	left   int           // how many connections it cuts or holds
	sprung chan struct{}
}

func newProxy(t *testing.T, to string) *proxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{listener: l, to: to, conns: map[*passage]bool{}}
	t.Cleanup(func() { l.Close(); p.cut() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *proxy) addr() string { return p.listener.Addr().String() }

func (p *proxy) serve(client net.Conn) {
	server, err := net.Dial("tcp", p.to)
	if err != nil {
		client.Close()
		return
	}
	c := &passage{client: client, server: server}
	p.mu.Lock()
	p.conns[c] = true
	p.mu.Unlock()
	var both sync.WaitGroup
	both.Go(func() { p.pump(c, client, server, p.fromClient) })
	both.Go(func() { p.pump(c, server, client, p.fromServer) })
	both.Wait()
	p.mu.Lock()
	delete(p.conns, c)
	p.mu.Unlock()
}

type packet struct {
	bytes []byte
	due   time.Time
}

// pump carries one direction; each packet arrives after the delay, as over a long line.
func (p *proxy) pump(c *passage, from, to net.Conn, pass func(*passage, []byte) bool) {
	line := make(chan packet, 1024)
	var out sync.WaitGroup
	out.Go(func() {
		for k := range line {
			time.Sleep(time.Until(k.due))
			if _, err := to.Write(k.bytes); err != nil {
				break
			}
		}
		c.close()
		for range line { // the reader is not held up
		}
	})
	buffer := make([]byte, 64<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !pass(c, buffer[:n]) {
				c.close()
				break
			}
			p.mu.Lock()
			held := c.held
			p.mu.Unlock()
			if held != nil && from == c.client {
				<-held
			}
			p.mu.Lock()
			due := time.Now().Add(p.delay)
			p.mu.Unlock()
			line <- packet{bytes.Clone(buffer[:n]), due}
		}
		if err != nil {
			break
		}
	}
	close(line)
	out.Wait()
}

// close resets both sides, as a network that breaks does.
func (c *passage) close() {
	for _, s := range []net.Conn{c.client, c.server} {
		if tcp, ok := s.(*net.TCPConn); ok {
			_ = tcp.SetLinger(0)
		}
		s.Close()
	}
}

// fromClient reports whether the packet passes.
func (p *proxy) fromClient(c *passage, b []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	begins, commits := bytes.Contains(b, []byte("begin")), bytes.Contains(b, []byte("commit\x00"))
	switch {
	case begins:
		c.inside = 1
	case c.inside > 0:
		c.inside++
	}
	t := p.trap
	if t == nil || c.inside == 0 {
		return true
	}
	if commits {
		c.inside = 0
	}
	if t.commit != commits || !t.commit && c.inside <= t.after {
		return true
	}
	if t.stored {
		c.cutReply = true
	}
	if t.left--; t.left == 0 {
		p.trap = nil
		close(t.sprung)
	}
	c.held = t.hold
	return t.stored || t.hold != nil
}

func (p *proxy) fromServer(c *passage, _ []byte) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return !c.cutReply
}

// set traps the next connections that come by; the channel is closed when the last of them is cut.
func (p *proxy) set(t trap) <-chan struct{} {
	t.sprung = make(chan struct{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.trap = &t
	return t.sprung
}

func (p *proxy) slow(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.delay = by
}

// cut resets every connection that is open now.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		c.close()
	}
}
