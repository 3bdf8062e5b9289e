package bench

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"sync"
	"time"
)

// request is the next request of a connection; more is false when the connection has nothing more to do.
type request func(connection, n int) (method, path, body string, more bool)

// load says how a target is driven.
type load struct {
	connections int
	lasts       time.Duration // 0: until the connections have nothing more to do
	next        request
	check       func(connection, n int, body []byte) error // looks at a reply before the next request; nil: its status is enough
	checked     int                                        // first replies of each connection that are looked at; 0 means 1
}

// driven is what came of it.
type driven struct {
	count   int64
	took    time.Duration
	latency []int64 // µs
}

// drive keeps one request in flight per connection: closed loop, so that a latency is what a caller waits when that
// many wait with it. It speaks HTTP/1.1 by hand: a client that costs little leaves the cores to the server.
func drive(ctx context.Context, addr, token string, l load) (driven, error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var out driven
	var errs []error
	began := time.Now()
	for c := range l.connections {
		wg.Go(func() {
			own := make([]int64, 0, 1<<14)
			err := l.loop(ctx, addr, token, c, began, &own)
			mu.Lock()
			defer mu.Unlock()
			out.latency = append(out.latency, own...)
			if err != nil && len(errs) < 3 {
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	out.took, out.count = time.Since(began), int64(len(out.latency))
	if out.count == 0 && len(errs) == 0 {
		errs = append(errs, errors.New("nothing was asked"))
	}
	return out, errors.Join(errs...)
}

func (l load) loop(ctx context.Context, addr, token string, c int, began time.Time, latency *[]int64) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer stop()
	in := bufio.NewReaderSize(conn, 64<<10)
	tail := " HTTP/1.1\r\nHost: " + addr + "\r\nAuthorization: Bearer " + token + "\r\n"
	var out, body []byte
	for n := 0; n == 0 || l.lasts == 0 || time.Since(began) < l.lasts; n++ {
		method, path, text, more := l.next(c, n)
		if !more {
			break
		}
		out = append(append(append(append(out[:0], method...), ' '), path...), tail...)
		if text != "" {
			out = append(out, "Content-Type: application/json\r\nContent-Length: "...)
			out = append(strconv.AppendInt(out, int64(len(text)), 10), "\r\n"...)
		}
		out = append(append(out, "\r\n"...), text...)
		from := time.Now()
		if _, err := conn.Write(out); err != nil {
			return errors.Join(ctx.Err(), err)
		}
		var status int
		if status, body, err = readReply(in, body[:0]); err != nil {
			return errors.Join(ctx.Err(), err)
		}
		*latency = append(*latency, time.Since(from).Microseconds())
		if status != 200 {
			return fmt.Errorf("%s %s: status %d: %.300s", method, path, status, body)
		}
		if l.check != nil && n < max(l.checked, 1) {
			if err := l.check(c, n, body); err != nil {
				return fmt.Errorf("%s %s: %w: %.300s", method, path, err, body)
			}
		}
	}
	return nil
}

var (
	lengthHeader  = []byte("content-length:")
	chunkedHeader = []byte("transfer-encoding:")
)

// readReply reads one whole reply; its body is appended to buf.
func readReply(r *bufio.Reader, buf []byte) (status int, body []byte, err error) {
	line, err := r.ReadSlice('\n')
	if err != nil {
		return 0, buf, err
	}
	if len(line) < 12 {
		return 0, buf, fmt.Errorf("no status line: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, buf, fmt.Errorf("no status line: %q", line)
	}
	length, chunked := 0, false
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return 0, buf, err
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) == 0 {
			break
		}
		switch {
		case len(line) > len(lengthHeader) && bytes.EqualFold(line[:len(lengthHeader)], lengthHeader):
			if length, err = strconv.Atoi(string(bytes.TrimSpace(line[len(lengthHeader):]))); err != nil {
				return 0, buf, err
			}
		case len(line) > len(chunkedHeader) && bytes.EqualFold(line[:len(chunkedHeader)], chunkedHeader):
			chunked = true
		}
	}
	if !chunked {
		return readBytes(r, buf, length, status)
	}
	for {
		if line, err = r.ReadSlice('\n'); err != nil {
			return 0, buf, err
		}
		n, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 32)
		if err != nil || n < 0 {
			return 0, buf, errors.Join(fmt.Errorf("no chunk size: %q", line), err)
		}
		if _, buf, err = readBytes(r, buf, int(n)+2, status); err != nil {
			return 0, buf, err
		}
		buf = buf[:len(buf)-2]
		if n == 0 {
			return status, buf, nil
		}
	}
}

func readBytes(r *bufio.Reader, buf []byte, n, status int) (int, []byte, error) {
	at := len(buf)
	if cap(buf)-at < n {
		buf = append(make([]byte, 0, at+n), buf...)
	}
	buf = buf[:at+n]
	_, err := io.ReadFull(r, buf[at:])
	return status, buf, err
}
