// Package faults lets the real server live through bad days: a full disk, a file that cannot be written, one that
// somebody else holds, a database that is stopped, started and frozen. Never a 500, red health within seconds, green
// again by itself, and nothing lost that was acknowledged.
package faults

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	_ "modernc.org/sqlite" // plays the stranger who holds the file

	"leadloom/internal/testpg"
	"leadloom/test/live"
)

const (
	password = "faults-test-password-1"
	patience = 2 * time.Minute // for what must come by itself on a busy machine
)

func serve(t *testing.T, data ...string) *live.Server {
	t.Helper()
	return serveWith(t, data)
}

// serveWith is serve with further settings of the server.
func serveWith(t *testing.T, data []string, more ...string) *live.Server {
	t.Helper()
	live.MustRun(t, password+"\n", append([]string{"user", "create", "--username", "ada", "--password-stdin"}, data...)...)
	s := live.Start(t, slices.Concat([]string{"serve", "--addr", live.FreeAddr(t), "--log-level", "warn"}, data, more)...)
	s.Login("ada", password)
	return s
}

// reply is a status with what a refusal must carry.
type reply struct {
	status     int
	code       string
	retryAfter string
	id         string
	took       time.Duration
}

func call(s *live.Server, method, path, body string) (reply, error) {
	req, err := http.NewRequest(method, s.URL+path, strings.NewReader(body))
	if err != nil {
		return reply{}, err
	}
	req.Header.Set("Authorization", "Bearer "+s.Token)
	req.Header.Set("Content-Type", "application/json")
	began := time.Now()
	res, err := s.Client.Do(req)
	if err != nil {
		return reply{}, err
	}
	defer res.Body.Close()
	var b struct{ Code, ID string }
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return reply{}, err
	}
	_ = json.Unmarshal(text, &b)
	return reply{res.StatusCode, b.Code, res.Header.Get("Retry-After"), b.ID, time.Since(began)}, nil
}

// ledger is what concurrent clients were told.
type ledger struct {
	mu      sync.Mutex
	acked   []string
	refused map[string]int // by code
	bad     []string
}

// write creates one lead and notes the answer: 200, or 503 with Retry-After; anything else is bad.
func (l *ledger) write(s *live.Server, email string) int {
	r, err := call(s, "POST", "/api/leads", `{"email":"`+email+`","last_name":"Fault"}`)
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.bad = append(l.bad, err.Error())
	case r.status == 200:
		l.acked = append(l.acked, r.id)
	case r.status == 503 && r.retryAfter != "":
		if l.refused == nil {
			l.refused = map[string]int{}
		}
		l.refused[r.code]++
	default:
		l.bad = append(l.bad, fmt.Sprintf("POST /api/leads: %+v", r))
	}
	return r.status
}

// load writes with several clients at once until the returned function is called.
func (l *ledger) load(s *live.Server, clients int) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				if l.write(s, fmt.Sprintf("c%d.%d.%d@example.com", c, i, time.Now().UnixNano())) != 200 {
					select { // as Retry-After says, if shorter
					case <-ctx.Done():
					case <-time.After(200 * time.Millisecond):
					}
				}
			}
		})
	}
	return func() { cancel(); wg.Wait() }
}

// settle fails for every answer that was neither success nor 503, and for every acknowledged lead that is not there.
func (l *ledger) settle(t *testing.T, s *live.Server) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, b := range l.bad {
		if i < 5 {
			t.Errorf("neither 200 nor 503 with Retry-After: %s", b)
		}
	}
	for _, id := range l.acked {
		if r, err := call(s, "GET", "/api/leads/"+id, ""); err != nil || r.status != 200 {
			t.Errorf("lead %s was acknowledged and is not there: %+v %v", id, r, err)
		}
	}
	t.Logf("%d acknowledged, all there; refused %v", len(l.acked), l.refused)
}

// until asks for a path until its status is as wanted, and returns how long that took.
func until(t *testing.T, s *live.Server, path string, want int) time.Duration {
	t.Helper()
	began := time.Now()
	var last reply
	for time.Since(began) < patience {
		var err error
		if last, err = call(s, "GET", path, ""); err == nil && last.status == want {
			return time.Since(began)
		}
		<-time.After(50 * time.Millisecond)
	}
	_, body, _ := s.Call(context.Background(), "GET", "/health/detailed", nil)
	t.Fatalf("%s is %+v after %s, want %d\n%s\n%s", path, last, patience, want, body, s.Log())
	return 0
}

// writes tries to write until the outcome is as wanted: 200, or 503 with one of the codes.
func (l *ledger) writes(t *testing.T, s *live.Server, want int, codes ...string) {
	t.Helper()
	for began := time.Now(); time.Since(began) < patience; {
		if st := l.write(s, fmt.Sprintf("t%d@example.com", time.Now().UnixNano())); st == want {
			l.mu.Lock()
			defer l.mu.Unlock()
			for code := range l.refused {
				if !slices.Contains(codes, code) && want == 503 {
					t.Errorf("refused with %s, want one of %v", code, codes)
				}
			}
			return
		}
		<-time.After(20 * time.Millisecond)
	}
	t.Fatalf("no write was answered with %d within %s: %v %v\n%s", want, patience, l.refused, l.bad, s.Log())
}

// badDay breaks a server under load, wants it red and refusing, mends it, and wants it green with nothing lost.
func badDay(t *testing.T, s *live.Server, codes []string, damage, mend func()) {
	t.Helper()
	var l ledger
	stop := l.load(s, 4)
	l.writes(t, s, 200)
	damage()
	l.writes(t, s, 503, codes...)
	t.Logf("red after %s", until(t, s, "/health", 503))
	until(t, s, "/health/ready", 503)
	until(t, s, "/health/live", 200)
	mend()
	t.Logf("green after %s", until(t, s, "/health/ready", 200))
	l.writes(t, s, 200)
	stop()
	until(t, s, "/health", 200)
	l.settle(t, s)
}

// smallDisk is a disk of its own in memory; without the right to mount one it says so.
func smallDisk(t *testing.T, megabytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%dm", megabytes)); err != nil {
		t.Skipf("this test needs the right to mount a small disk (root): %v", err)
	}
	t.Cleanup(func() { _ = unix.Unmount(dir, unix.MNT_DETACH) })
	return dir
}

func TestDiskFull_RefusesWritesReadsOnAndRecovers(t *testing.T) {
	dir := smallDisk(t, 64)
	s := serve(t, "--data", dir)
	ballast := filepath.Join(dir, "ballast")
	var l ledger
	l.writes(t, s, 200)
	badDay(t, s, []string{"disk_full", "database_unavailable"}, func() {
		f, err := os.Create(ballast)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		for size := 1 << 20; size >= 512; size /= 2 { // to the last block
			for block := bytes.Repeat([]byte{1}, size); ; {
				if _, err := f.Write(block); err != nil {
					break
				}
			}
		}
		if r, err := call(s, "GET", "/api/leads?limit=1", ""); err != nil || r.status != 200 {
			t.Errorf("reads do not go on: %+v %v", r, err)
		}
	}, func() {
		if err := os.Remove(ballast); err != nil {
			t.Fatal(err)
		}
	})
	s.Stop()
	live.MustRun(t, "", "check", "--data", dir)
}

// A limit of the process's own does what a quota or a file system's error does: every write fails with EFBIG.
func TestFileThatCannotBeWritten_RefusesAndRecovers(t *testing.T) {
	long(t)
	dir := t.TempDir()
	s := serve(t, "--data", dir)
	limit := func(n uint64) func() {
		return func() {
			if err := unix.Prlimit(s.PID(), unix.RLIMIT_FSIZE, &unix.Rlimit{Cur: n, Max: unix.RLIM_INFINITY}, nil); err != nil {
				t.Fatal(err)
			}
		}
	}
	badDay(t, s, []string{"database_unavailable", "disk_full"}, limit(0), limit(unix.RLIM_INFINITY))
	s.Stop()
	live.MustRun(t, "", "check", "--data", dir)
}

func TestFileHeldBySomebodyElse_RefusesAndRecovers(t *testing.T) {
	long(t)
	dir := t.TempDir()
	s := serve(t, "--data", dir)
	db, err := sql.Open("sqlite", "file:"+filepath.Join(dir, "leadloom.db")+"?_pragma=busy_timeout(10000)&_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	var stranger *sql.Tx
	badDay(t, s, []string{"database_unavailable"}, func() {
		if stranger, err = db.Begin(); err != nil {
			t.Fatal(err)
		}
	}, func() {
		if err := stranger.Rollback(); err != nil {
			t.Fatal(err)
		}
	})
	s.Stop()
}

// TestPostgresFrozen: connections stay open and nothing answers. Health keeps answering at once, requests are given up
// in time, and everything goes on when the database does.
func TestPostgresFrozen_HealthAnswersAtOnceAndRequestsEnd(t *testing.T) {
	long(t)
	pg := testpg.NewCluster(t)
	s := serve(t, "--data", t.TempDir(), "--database-url", pg.URL())
	pg.Freeze()
	t.Logf("red after %s", until(t, s, "/health", 503))
	given := make(chan reply, 1)
	go func() {
		r, err := call(s, "GET", "/api/leads?limit=1", "")
		if err != nil {
			r.code = err.Error()
		}
		given <- r
	}()
	var took []time.Duration
	var r reply
	for waiting := true; waiting; {
		h, err := call(s, "GET", "/health", "")
		if err != nil || h.status != 503 || h.retryAfter == "" {
			t.Fatalf("/health while the database hangs: %+v %v", h, err)
		}
		took = append(took, h.took)
		select {
		case r = <-given:
			waiting = false
		case <-time.After(10 * time.Millisecond):
		}
	}
	if r.status != 503 || r.retryAfter == "" || r.took > 40*time.Second {
		t.Errorf("a request to a database that hangs: %+v, want 503 with Retry-After in time", r)
	}
	slices.Sort(took)
	t.Logf("%d times /health while it hung: p99 %s; the request was given up after %s", len(took), took[len(took)*99/100], r.took)
	pg.Thaw()
	t.Logf("green after %s", until(t, s, "/health", 200))
	until(t, s, "/api/leads?limit=1", 200)
	s.Stop()
}

func TestReadOnlyFolder_StopsTheStartInOneLine(t *testing.T) {
	dir := smallDisk(t, 8)
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Fatal(err)
	}
	out, err := live.Run(t, "", "serve", "--addr", live.FreeAddr(t), "--data", dir)
	if code := exitCode(err); code != 1 || strings.Count(strings.TrimSpace(out), "\n") != 0 || !strings.Contains(out, "read-only") {
		t.Errorf("exit code %d and\n%s\nwant one line that says read-only", code, out)
	}
}

func exitCode(err error) int {
	var e *exec.ExitError
	if err == nil {
		return 0
	}
	if errors.As(err, &e) {
		return e.ExitCode()
	}
	return -1
}
