package bench

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"leadloom/internal/app/stress"
)

// request builds the next request of a connection: method, path and body.
type request func(connection, n int) (method, path, body string)

// result is what a leg came to.
type result struct {
	rate     float64 // requests per second
	p50, p99 time.Duration
	errors   int64
	first    string // the first wrong reply
}

// drive keeps as many requests in flight as there are connections, for the given time. It speaks HTTP/1.1 by hand:
// a client that costs little leaves the cores to the server that is measured.
func drive(t testing.TB, addr, token string, connections int, d time.Duration, next request) result {
	t.Helper()
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all stress.Histogram
	var out result
	start := time.Now()
	for c := range connections {
		wg.Go(func() {
			var own stress.Histogram
			var failed int64
			first, err := loop(addr, token, c, start.Add(d), next, &own, &failed)
			if err != nil {
				failed++
				first = err.Error()
			}
			mu.Lock()
			defer mu.Unlock()
			all.Merge(&own)
			out.errors += failed
			if out.first == "" {
				out.first = first
			}
		})
	}
	wg.Wait()
	out.rate = float64(all.Count()) / time.Since(start).Seconds()
	out.p50, out.p99 = all.Quantile(0.5), all.Quantile(0.99)
	return out
}

func loop(addr, token string, c int, until time.Time, next request, h *stress.Histogram, failed *int64) (first string, err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 64<<10)
	var buf bytes.Buffer
	for n := 0; time.Now().Before(until); n++ {
		method, path, body := next(c, n)
		buf.Reset()
		fmt.Fprintf(&buf, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n", method, path, addr, token)
		if body != "" {
			fmt.Fprintf(&buf, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(body))
		}
		buf.WriteString("\r\n")
		buf.WriteString(body)
		from := time.Now()
		if _, err := conn.Write(buf.Bytes()); err != nil {
			return first, err
		}
		status, text, err := readReply(r)
		if err != nil {
			return first, err
		}
		h.Add(time.Since(from))
		if status != 200 {
			*failed++
			if first == "" {
				first = fmt.Sprintf("%s %s: status %d: %.300s", method, path, status, text)
			}
		}
	}
	return first, nil
}

// readReply reads a reply with a length or in chunks.
func readReply(r *bufio.Reader) (status int, body []byte, err error) {
	line, err := r.ReadString('\n')
	if err != nil {
		return 0, nil, err
	}
	if len(line) < 12 {
		return 0, nil, fmt.Errorf("no status line: %q", line)
	}
	if status, err = strconv.Atoi(line[9:12]); err != nil {
		return 0, nil, err
	}
	length, chunked := 0, false
	for {
		h, err := r.ReadString('\n')
		if err != nil {
			return 0, nil, err
		}
		if h = strings.TrimRight(h, "\r\n"); h == "" {
			break
		}
		k, v, _ := strings.Cut(h, ":")
		switch strings.ToLower(k) {
		case "content-length":
			if length, err = strconv.Atoi(strings.TrimSpace(v)); err != nil {
				return 0, nil, err
			}
		case "transfer-encoding":
			chunked = true
		}
	}
	if !chunked {
		body = make([]byte, length)
		_, err = io.ReadFull(r, body)
		return status, body, err
	}
	for {
		h, err := r.ReadString('\n')
		if err != nil {
			return 0, nil, err
		}
		n, err := strconv.ParseInt(strings.TrimSpace(h), 16, 32)
		if err != nil || n < 0 {
			return 0, nil, errors.Join(fmt.Errorf("no chunk size: %q", h), err)
		}
		at := len(body)
		body = append(body, make([]byte, n+2)...)
		if _, err := io.ReadFull(r, body[at:]); err != nil {
			return 0, nil, err
		}
		body = body[:at+int(n)]
		if n == 0 {
			return status, body, nil
		}
	}
}
