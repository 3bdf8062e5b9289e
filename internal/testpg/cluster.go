package testpg

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Cluster is a PostgreSQL server of one test's own, to be stopped, started and frozen. Everybody else shares one.
type Cluster struct {
	t         testing.TB
	bin, data string
	port      string
	run       func(name string, args ...string) error
}

// NewCluster starts one; it is gone when the test ends.
func NewCluster(t testing.TB) *Cluster {
	t.Helper()
	bin, err := binaries()
	if err != nil {
		t.Fatalf("PostgreSQL's programs are needed for this test: %v\nInstall them (Debian: apt-get install postgresql).", err)
	}
	dir, err := os.MkdirTemp("", "leadloom-pg-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	port, err := freePort()
	if err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "data")
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatal(err)
	}
	c := &Cluster{t, bin, data, port, runner(data)}
	c.must("initdb", "-D", data, "-U", "leadloom", "--auth=trust", "--no-sync", "-E", "UTF8")
	t.Cleanup(func() {
		c.signal(syscall.SIGCONT)
		_ = c.run(filepath.Join(bin, "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")
	})
	c.Start()
	return c
}

func (c *Cluster) must(name string, args ...string) {
	c.t.Helper()
	if err := c.run(filepath.Join(c.bin, name), args...); err != nil {
		c.t.Fatal(err)
	}
}

// URL of its database.
func (c *Cluster) URL() string { return urlOf(c.port) }

// Start starts the server and waits until it answers.
func (c *Cluster) Start() {
	c.t.Helper()
	log := filepath.Join(c.data, "server.log")
	if err := c.run(filepath.Join(c.bin, "pg_ctl"), "-D", c.data, "-w", "-t", "180", "-l", log, "-o",
		"-p "+c.port+" -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c shared_buffers=32MB", "start"); err != nil {
		said, _ := os.ReadFile(log)
		c.t.Fatalf("%v\n%s", err, said[max(0, len(said)-4_000):])
	}
}

// Stop stops the server and cuts its connections.
func (c *Cluster) Stop() {
	c.t.Helper()
	c.must("pg_ctl", "-D", c.data, "-m", "fast", "-w", "-t", "180", "stop")
}

// Kill ends every process of the server at once, as kill -9 and a crash of its machine do; Start recovers its data.
func (c *Cluster) Kill() {
	c.t.Helper()
	c.halt() // else it sees its children die and starts new ones
	for _, pid := range c.signal(syscall.SIGKILL) {
		for began := time.Now(); alivePID(pid); <-time.After(5 * time.Millisecond) {
			if time.Since(began) > time.Minute {
				c.t.Fatalf("process %d survives SIGKILL", pid)
			}
		}
	}
	// Where nobody buries the dead (a container without an init), their number still looks taken to the next server.
	if err := os.Remove(filepath.Join(c.data, "postmaster.pid")); err != nil && !os.IsNotExist(err) {
		c.t.Fatal(err)
	}
}

// alivePID reports a process that still runs: one that is dead and not buried does not.
func alivePID(pid int) bool { return !strings.ContainsAny(stateOf(pid), "ZX") }

// stateOf is the letter of a process's state, X of one that is gone: proc_pid_stat(5).
func stateOf(pid int) string {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, _ := strings.Cut(string(b), ") ") // the name before may hold anything
	if err != nil || rest == "" {
		return "X"
	}
	return rest[:1]
}

// Freeze halts every process of the server: connections stay open and nothing answers.
func (c *Cluster) Freeze() { c.signal(syscall.SIGSTOP) }

// Thaw lets them go on.
func (c *Cluster) Thaw() { c.signal(syscall.SIGCONT) }

// signal reaches the postmaster and its children; a server that is down has none.
func (c *Cluster) signal(s syscall.Signal) (pids []int) {
	pid := c.postmaster()
	if pid == 0 {
		return nil
	}
	pids = append(childrenOf(c.t, pid), pid)
	for _, p := range pids {
		_ = syscall.Kill(p, s) // one that has just ended needs no signal
	}
	return pids
}

// postmaster is the process that all others are children of; 0 when the server is down.
func (c *Cluster) postmaster() int {
	b, err := os.ReadFile(filepath.Join(c.data, "postmaster.pid"))
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return 0
	}
	return pid
}

// halt stops the postmaster where it is, and waits until it has stopped.
func (c *Cluster) halt() {
	c.t.Helper()
	pid := c.postmaster()
	if pid == 0 {
		return
	}
	_ = syscall.Kill(pid, syscall.SIGSTOP)
	for began := time.Now(); !strings.ContainsAny(stateOf(pid), "TZX"); <-time.After(time.Millisecond) {
		if time.Since(began) > time.Minute {
			c.t.Fatalf("process %d goes on after SIGSTOP", pid)
		}
	}
}

// childrenOf reads a process's children from /proc: a small system has no ps.
func childrenOf(t testing.TB, parent int) (pids []int) {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil || len(stats) == 0 {
		t.Fatalf("/proc shows no process: %v", err)
	}
	for _, path := range stats {
		b, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		_, rest, _ := strings.Cut(string(b), ") ") // the name before may hold anything
		if fields := strings.Fields(rest); len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(filepath.Base(filepath.Dir(path))); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
