package stress

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// target is the server to drive.
type target struct {
	addr string      // host:port
	host string      // of the Host header
	tls  *tls.Config // nil: plain
}

func parseTarget(raw string) (target, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Host == "" {
		return target{}, fmt.Errorf("no address of a server: %q", raw)
	}
	t := target{addr: u.Host, host: u.Host}
	port := "80"
	if u.Scheme == "https" {
		port, t.tls = "443", &tls.Config{ServerName: u.Hostname(), NextProtos: []string{"http/1.1"}}
	}
	if u.Port() == "" {
		t.addr = net.JoinHostPort(u.Hostname(), port)
	}
	return t, nil
}

const dialTimeout = 10 * time.Second

// conn is one connection that is kept between requests and made again when the server has closed it. A net/http client
// costs more per request than the server it is to measure; this one costs its system calls.
type conn struct {
	target target
	local  net.IP // to call from; nil: as the system chooses
	c      net.Conn
}

func (c *conn) open(ctx context.Context, within time.Duration) error {
	d := net.Dialer{Timeout: min(within, dialTimeout)}
	if c.local != nil {
		d.LocalAddr = &net.TCPAddr{IP: c.local}
	}
	raw, err := d.DialContext(ctx, "tcp", c.target.addr)
	if err != nil {
		return err
	}
	if c.target.tls != nil {
		raw = tls.Client(raw, c.target.tls)
	}
	c.c = raw
	return nil
}

func (c *conn) close() {
	if c.c != nil {
		_ = c.c.Close()
		c.c = nil
	}
}

// reply is what came back. body is valid until the buffer it came in is given back.
type reply struct {
	status     int
	body       []byte
	retryAfter bool
}

// exchange sends a request and reads the whole reply into b.
func (c *conn) exchange(request []byte, timeout time.Duration, b *buffer) (reply, error) {
	if c.c == nil {
		if err := c.open(context.Background(), timeout); err != nil {
			return reply{}, err
		}
	}
	_ = c.c.SetDeadline(time.Now().Add(timeout))
	if _, err := c.c.Write(request); err != nil {
		c.close()
		return reply{}, err
	}
	b.in.Reset(c.c)
	r, keep, err := b.read()
	if err != nil || !keep {
		c.close()
	}
	return r, err
}

// buffer holds one request and one reply; there are as many as requests under way, not as many as users.
type buffer struct {
	in   *bufio.Reader
	out  []byte
	body []byte
}

var buffers = sync.Pool{New: func() any { return &buffer{in: bufio.NewReaderSize(nil, 16<<10)} }}

// release gives the buffer back, without the connection and without what one huge reply has made of it.
func (b *buffer) release() {
	b.in.Reset(nil)
	if cap(b.body) > 1<<20 {
		b.body = nil
	}
	buffers.Put(b)
}

var errReply = errors.New("the reply is no HTTP/1.1")

// read takes one reply off the connection; keep says whether another may follow on it.
func (b *buffer) read() (r reply, keep bool, err error) {
	for {
		var h head
		if h, err = b.head(); err != nil {
			return r, false, err
		}
		if h.status >= 100 && h.status < 200 {
			continue
		}
		r.status, r.retryAfter = h.status, h.retryAfter
		b.body = b.body[:0]
		switch {
		case h.status == 204 || h.status == 304:
		case h.chunked:
			err = b.chunks()
		case h.length >= 0:
			err = b.take(h.length)
		default:
			h.close = true
			b.body, err = readAll(b.in, b.body)
		}
		r.body = b.body
		return r, !h.close && err == nil, err
	}
}

// head is what matters of a reply's first lines.
type head struct {
	status     int
	length     int // -1: not said
	chunked    bool
	close      bool
	retryAfter bool
}

func (b *buffer) head() (h head, err error) {
	line, err := b.line()
	if err != nil {
		return h, err
	}
	h.length = -1
	if len(line) < 12 || string(line[:7]) != "HTTP/1." {
		return h, errReply
	}
	if h.status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return h, errReply
	}
	h.close = line[7] == '0'
	for {
		if line, err = b.line(); err != nil || len(line) == 0 {
			return h, err
		}
		name, value, ok := bytes.Cut(line, []byte(":"))
		if !ok {
			return h, errReply
		}
		value = bytes.TrimSpace(value)
		switch {
		case is(name, "content-length"):
			if h.length, err = strconv.Atoi(string(value)); err != nil || h.length < 0 || h.length > replyLimit {
				return h, errReply
			}
		case is(name, "transfer-encoding"):
			h.chunked = is(value, "chunked")
		case is(name, "connection"):
			h.close = h.close || is(value, "close")
		case is(name, "retry-after"):
			h.retryAfter = true
		}
	}
}

func is(b []byte, lower string) bool {
	return len(b) == len(lower) && bytes.EqualFold(b, []byte(lower))
}

func (b *buffer) line() ([]byte, error) {
	line, err := b.in.ReadSlice('\n')
	if err != nil {
		return nil, err
	}
	return bytes.TrimRight(line, "\r\n"), nil
}

func (b *buffer) take(n int) error {
	at := len(b.body)
	if at+n > replyLimit {
		return errReply
	}
	b.body = append(b.body, make([]byte, n)...)
	_, err := io.ReadFull(b.in, b.body[at:])
	return err
}

func (b *buffer) chunks() error {
	for {
		line, err := b.line()
		if err != nil {
			return err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 31)
		if err != nil {
			return errReply
		}
		if n == 0 {
			for { // trailers
				if line, err = b.line(); err != nil || len(line) == 0 {
					return err
				}
			}
		}
		if err := b.take(int(n)); err != nil {
			return err
		}
		if line, err = b.line(); err != nil || len(line) > 0 {
			return errors.Join(err, errReply)
		}
	}
}

func readAll(r io.Reader, into []byte) ([]byte, error) {
	w := bytes.NewBuffer(into)
	_, err := io.Copy(w, io.LimitReader(r, replyLimit))
	return w.Bytes(), err
}

// reason shortens a network error to what can be counted.
func reason(err error) error {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return errors.New("no reply in time")
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("connection refused")
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return errors.New("connection reset")
	case errors.Is(err, syscall.EMFILE):
		return errors.New("no file descriptor left here: raise ulimit -n")
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return errors.New("no port left here")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("connection closed before the reply")
	}
	return err
}
