// Package scale makes tenants of any size, as the product would have made them, and measures the real server on each.
package scale

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"leadloom/internal/app/stress"
)

// request builds the n-th request of a connection.
type request func(connection, n int) (method, path, body string)

// figures are what one kind of request came to.
type figures struct {
	Requests int64   `json:"requests"`
	PerS     float64 `json:"requests_per_s"`
	P50      float64 `json:"p50_ms"`
	P99      float64 `json:"p99_ms"`
	CPU      float64 `json:"cpu_ms_per_request"` // of the product's process; PostgreSQL's is not in it
	Failed   int64   `json:"failed"`
	First    string  `json:"first_failure,omitempty"`
}

// drive keeps one request in flight on each connection until the time is over. It speaks HTTP by hand: a client that
// costs little leaves the cores to the server.
func drive(addr, token string, pid, connections int, d time.Duration, next request) figures {
	var mu sync.Mutex
	var wg sync.WaitGroup
	var all stress.Histogram
	var out figures
	cpu, start := cpuOf(pid), time.Now()
	for c := range connections {
		wg.Go(func() {
			var own stress.Histogram
			failed, first := loop(addr, token, c, start.Add(d), next, &own)
			mu.Lock()
			defer mu.Unlock()
			all.Merge(&own)
			if out.Failed += failed; out.First == "" {
				out.First = first
			}
		})
	}
	wg.Wait()
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
	out.Requests, out.PerS = all.Count(), float64(all.Count())/time.Since(start).Seconds()
	out.P50, out.P99 = ms(all.Quantile(0.5)), ms(all.Quantile(0.99))
	out.CPU = ms(cpuOf(pid)-cpu) / float64(max(out.Requests, 1))
	return out
}

func loop(addr, token string, c int, until time.Time, next request, h *stress.Histogram) (failed int64, first string) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return 1, err.Error()
	}
	defer conn.Close()
	r := bufio.NewReaderSize(conn, 64<<10)
	var buf bytes.Buffer
	for n := 0; n == 0 || time.Now().Before(until); n++ {
		method, path, body := next(c, n)
		buf.Reset()
		fmt.Fprintf(&buf, "%s %s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nContent-Length: %d\r\n", method, path, addr, token, len(body))
		if body != "" {
			buf.WriteString("Content-Type: application/json\r\n")
		}
		buf.WriteString("\r\n" + body)
		from := time.Now()
		_, err := conn.Write(buf.Bytes())
		status, text := 0, []byte(nil)
		if err == nil {
			status, text, err = readReply(r)
		}
		if err != nil {
			return failed + 1, err.Error()
		}
		h.Add(time.Since(from))
		if status != 200 {
			if failed++; first == "" {
				first = fmt.Sprintf("%s %s: status %d: %.300s", method, path, status, text)
			}
		}
	}
	return failed, first
}

// readReply reads a reply with a length or in chunks.
func readReply(r *bufio.Reader) (status int, body []byte, err error) {
	line, err := r.ReadString('\n')
	if err != nil || len(line) < 12 {
		return 0, nil, fmt.Errorf("no status line: %q %w", line, err)
	}
	status, err = strconv.Atoi(line[9:12])
	length, chunked := 0, false
	for err == nil {
		var h string
		if h, err = r.ReadString('\n'); err != nil || strings.TrimSpace(h) == "" {
			break
		}
		k, v, _ := strings.Cut(strings.TrimSpace(h), ":")
		switch strings.ToLower(k) {
		case "content-length":
			length, err = strconv.Atoi(strings.TrimSpace(v))
		case "transfer-encoding":
			chunked = true
		}
	}
	for err == nil {
		if chunked {
			h, _ := r.ReadString('\n')
			n, perr := strconv.ParseInt(strings.TrimSpace(h), 16, 32)
			if perr != nil {
				return 0, nil, perr
			}
			length = int(n) + 2
		}
		piece := make([]byte, length)
		if _, err = io.ReadFull(r, piece); err != nil || !chunked || length == 2 {
			return status, append(body, piece...), err
		}
		body = append(body, piece[:length-2]...)
	}
	return status, body, err
}

// cpuOf is the processor time that a process has used, 0 when that cannot be read: proc_pid_stat(5), in clock ticks.
func cpuOf(pid int) time.Duration {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(rest)
	if len(f) < 13 {
		return 0
	}
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	return time.Duration(user+system) * 10 * time.Millisecond
}
