package testpg

import (
	"net"
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
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(l.Addr().String())
	l.Close()
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
	c.must("pg_ctl", "-D", c.data, "-w", "-t", "180", "-l", filepath.Join(c.data, "server.log"), "-o",
		"-p "+c.port+" -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c shared_buffers=32MB", "start")
}

// Stop stops the server and cuts its connections.
func (c *Cluster) Stop() {
	c.t.Helper()
	c.must("pg_ctl", "-D", c.data, "-m", "fast", "-w", "-t", "180", "stop")
}

// Kill ends every process of the server at once, as kill -9 and a crash of its machine do; Start recovers its data.
func (c *Cluster) Kill() {
	c.t.Helper()
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
func alivePID(pid int) bool {
	b, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	_, rest, _ := strings.Cut(string(b), ") ")
	return err == nil && !strings.HasPrefix(rest, "Z") && !strings.HasPrefix(rest, "X")
}

// Freeze halts every process of the server: connections stay open and nothing answers.
func (c *Cluster) Freeze() { c.signal(syscall.SIGSTOP) }

// Thaw lets them go on.
func (c *Cluster) Thaw() { c.signal(syscall.SIGCONT) }

// signal reaches the postmaster and its children; a server that is down has none.
func (c *Cluster) signal(s syscall.Signal) (pids []int) {
	b, err := os.ReadFile(filepath.Join(c.data, "postmaster.pid"))
	if err != nil {
		return nil
	}
	first, _, _ := strings.Cut(string(b), "\n")
	pid, err := strconv.Atoi(first)
	if err != nil {
		return nil
	}
	pids = append(childrenOf(c.t, pid), pid)
	for _, p := range pids {
		_ = syscall.Kill(p, s) // one that has just ended needs no signal
	}
	return pids
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
