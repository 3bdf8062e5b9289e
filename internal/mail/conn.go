package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// maxReply is how much a relay may say in answer to one command: the library below keeps all of it in memory, a line
// without an end too. Certificates and the longest greetings are far smaller.
const maxReply = 64 << 10

var errBabble = errors.New("the relay says far more than an answer may hold")

// relayConn is a connection to a relay that bounds what the other side may do with it: how much it says before it is
// asked again, and until when all of the connecting must be over.
type relayConn struct {
	net.Conn
	said atomic.Int64

	mu        sync.Mutex
	connected time.Time // no deadline is later while the connection is being made; zero afterwards
}

// Read implements net.Conn.
func (c *relayConn) Read(b []byte) (int, error) {
	if c.said.Load() >= maxReply {
		return 0, errBabble
	}
	n, err := c.Conn.Read(b)
	c.said.Add(int64(n))
	return n, err
}

// Write implements net.Conn.
func (c *relayConn) Write(b []byte) (int, error) {
	c.said.Store(0)
	return c.Conn.Write(b)
}

// SetDeadline implements net.Conn.
func (c *relayConn) SetDeadline(t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.connected.IsZero() && t.After(c.connected) {
		t = c.connected
	}
	return c.Conn.SetDeadline(t)
}

// ready ends the time of the connecting.
func (c *relayConn) ready() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.connected = time.Time{}
}

type dialKey struct{}

// dialer opens the TCP connection, with TLS from the first byte when implicit is given, and notes it in the context's
// holder: the library forgets one that fails in its greeting, its STARTTLS or its login.
func dialer(implicit *tls.Config) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		raw, err := (&net.Dialer{}).DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		c := &relayConn{Conn: raw}
		c.connected, _ = ctx.Deadline() // the library's, for the connecting
		if holder, ok := ctx.Value(dialKey{}).(**relayConn); ok {
			*holder = c
		}
		if implicit == nil {
			return c, nil
		}
		secure := tls.Client(c, implicit)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = raw.Close()
			return nil, err
		}
		return secure, nil
	}
}

// dial makes a connection that is ready for its first message.
func (s *Sender) dial(ctx context.Context) (*conn, bool, error) {
	var raw *relayConn
	sc, err := s.client.DialToSMTPClientWithContext(context.WithValue(ctx, dialKey{}, &raw))
	if err != nil {
		if raw != nil {
			_ = raw.Close()
		}
		return nil, true, err
	}
	raw.ready()
	return &conn{smtp: sc, used: s.now()}, true, nil
}
