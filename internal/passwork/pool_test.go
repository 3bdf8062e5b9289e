package passwork

import (
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"testing"

	"leadloom/internal/account"
)

func TestMain(m *testing.M) {
	if IsWorker() {
		if err := Work(os.Stdin, os.Stdout); err != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

var cheap = account.HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1}

func newPool(t *testing.T) *Pool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := NewPool(self, slog.New(slog.DiscardHandler))
	t.Cleanup(p.Close)
	return p
}

func check(t *testing.T, p *Pool) {
	t.Helper()
	for _, password := range []string{"correct horse", "", "\xff\x00 bytes"} {
		stored, err := p.Hash(cheap, password)
		if err != nil {
			t.Fatal(err)
		}
		if ok, outdated := p.Verify(cheap, stored, password); !ok || outdated {
			t.Errorf("%q does not match its own hash", password)
		}
		if ok, _ := p.Verify(cheap, stored, password+"x"); ok {
			t.Errorf("another password matches %q", password)
		}
		if ok, _ := p.Verify(cheap, "", password); ok {
			t.Errorf("%q matches no hash at all", password)
		}
	}
}

func TestPool_WorksInAChildOfLowPriority(t *testing.T) {
	p := newPool(t)
	check(t, p)
	if len(p.idle) != 1 {
		t.Fatalf("%d children wait after tasks one after another, want 1", len(p.idle))
	}
	pid := p.idle[0].cmd.Process.Pid
	threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, th := range threads {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/stat", pid, th.Name()))
		if err != nil {
			continue // the thread has ended
		}
		after := strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+2:]))
		if nice := after[16]; nice != fmt.Sprint(niceness) { // field 19 of proc_pid_stat(5)
			t.Errorf("a thread of the child has niceness %s, want %d", nice, niceness)
		}
		if policy := after[38]; policy != "3" { // field 41: SCHED_BATCH
			t.Errorf("a thread of the child has scheduling policy %s, want 3", policy)
		}
	}
	env, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", pid))
	if err != nil || string(env) != strings.Join(workerEnv, "\x00")+"\x00" {
		t.Errorf("the child's environment is %q, %v", env, err)
	}
}

func TestPool_GoesOnWhenTheChildDies(t *testing.T) {
	p := newPool(t)
	check(t, p)
	if err := p.idle[0].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	check(t, p)
}

func TestPool_ManyAtOnceAndAfterClose(t *testing.T) {
	p := newPool(t)
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { check(t, p) })
	}
	wg.Wait()
	p.Close()
	if len(p.idle) != 0 {
		t.Error("children are kept after Close")
	}
	check(t, p)
}

func TestPool_WithoutChildrenTheServerWorksItself(t *testing.T) {
	check(t, NewPool("", slog.New(slog.DiscardHandler)))
	check(t, NewPool("/nowhere/leadloom", slog.New(slog.DiscardHandler)))
}
