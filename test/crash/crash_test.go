// Package crash ends the real server with kill -9, at random moments and at each failpoint of internal/failpoint in
// turn, under writers of every kind, and then looks for everything that had been acknowledged, for effects that came
// twice, and for broken invariants. LEADLOOM_TEST_CRASH_SQLITE and LEADLOOM_TEST_CRASH_POSTGRES set the kills,
// LEADLOOM_TEST_SEED repeats the choices of a run, LEADLOOM_TEST_CRASH_TRACE=1 prints each kill.
package crash

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"leadloom/internal/failpoint"
	"leadloom/internal/testpg"
	"leadloom/test/live"
)

const password = "crash-test-password-1"

func TestKill_SQLite(t *testing.T) {
	n, long := kills(t, "LEADLOOM_TEST_CRASH_SQLITE", 8)
	run(t, n, long, "sqlite")
}

func TestKill_Postgres(t *testing.T) {
	n, long := kills(t, "LEADLOOM_TEST_CRASH_POSTGRES", 3)
	run(t, n, long, "postgres")
}

// kills is how many are asked for, and the short part otherwise.
func kills(t *testing.T, env string, short int) (n int, long bool) {
	v := os.Getenv(env)
	if v == "" {
		return short, false
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number of kills", env, v)
	}
	return n, true
}

func seed(t *testing.T) uint64 {
	if v := os.Getenv("LEADLOOM_TEST_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("LEADLOOM_TEST_SEED=%q: want a number", v)
		}
		return n
	}
	return rand.Uint64()
}

// trace prints each kill and what is waited for.
var trace = os.Getenv("LEADLOOM_TEST_CRASH_TRACE") != ""

// supervisor runs the epochs of one engine and counts.
type supervisor struct {
	t      *testing.T
	engine string
	seed   uint64
	random *rand.Rand
	order  []failpoint.Name // points in the order in which they are killed at, again and again
	reach  time.Duration    // within which an armed point is reached; else the server is killed from outside
	done   int
	table  map[string]int
	missed map[string]int // armed and not reached in time: killed from outside
	acked  int
	slow   int // refused as too slow
	checks []time.Duration
	starts []time.Duration
}

// epochKills is how many kills one installation gets: its data stay small, so that check stays quick.
const epochKills = 50

// ofFiles are the points of commands that run beside a server; the rest are hit in one.
func ofFiles(n failpoint.Name) bool {
	noun, _, _ := strings.Cut(string(n), ".")
	return noun == "migrate" || noun == "backup" || noun == "restore"
}

// onlySQLite are the points of the group commit.
func onlySQLite(n failpoint.Name) bool {
	return n == failpoint.BatchMember || n == failpoint.BatchAnswer
}

func run(t *testing.T, n int, long bool, engine string) {
	live.FailpointBinary(t)
	s := &supervisor{t: t, engine: engine, seed: seed(t), table: map[string]int{}, missed: map[string]int{}}
	s.random = rand.New(rand.NewPCG(s.seed, 1))
	if s.reach = 5 * time.Second; long {
		s.reach = 45 * time.Second // on PostgreSQL a killed node's drain, say, is taken up after 30 s
	}
	for _, p := range failpoint.All() {
		if engine == "sqlite" || !onlySQLite(p) {
			s.order = append(s.order, p)
		}
	}
	s.random.Shuffle(len(s.order), func(i, j int) { s.order[i], s.order[j] = s.order[j], s.order[i] })
	t.Logf("%s: %d kills, LEADLOOM_TEST_SEED=%d", engine, n, s.seed)
	began := time.Now()
	defer func() { s.report(n, time.Since(began)) }()
	for s.done < n && !t.Failed() {
		s.epoch(min(epochKills, n-s.done), engine == "sqlite" || long)
	}
}

// next chooses how the next kill comes: at the next point, or, each second time, at a random moment ("").
func (s *supervisor) next() failpoint.Name {
	if s.done%2 == 1 {
		return ""
	}
	return s.order[s.done/2%len(s.order)]
}

// database is the flags of a fresh one.
func (s *supervisor) database() []string {
	out := []string{"--data", s.t.TempDir()}
	if s.engine == "postgres" {
		out = append(out, "--database-url", testpg.URL(s.t))
	}
	return out
}

// epoch kills one installation again and again and compares everything; before that it comes to rest, save in the
// short part on PostgreSQL, where that takes the lease of the node that was killed last.
func (s *supervisor) epoch(rounds int, toRest bool) {
	w := newWorld(s.t)
	defer w.close()
	data := s.database()
	how := live.How{Failpoints: true, Env: []string{w.env()}}
	if out, err := live.RunHow(s.t, how, password+"\n", append([]string{"user", "create", "--username", "crash", "--email", "crash@example.com", "--password-stdin"}, data...)...); err != nil {
		s.t.Fatalf("user create: %v\n%s", err, out)
	}
	h := &house{s: s, w: w, data: data, addr: live.FreeAddr(s.t)}
	h.start("")
	h.srv.Login("crash", password)
	h.token = h.srv.Token
	h.flows = setUp(h.srv, w)
	h.srv.Stop()
	for range rounds {
		point := s.next()
		if ofFiles(point) {
			s.fileRound(h, point)
		} else {
			h.round(point)
		}
		s.done++
		if trace {
			s.t.Logf("%s kill %d: %s (%d reached, %d not)", time.Now().Format(time.TimeOnly), s.done, point, s.table[string(point)], s.missed[string(point)])
		}
		if s.t.Failed() {
			s.t.Errorf("in kill %d (%s), LEADLOOM_TEST_SEED=%d", s.done, point, s.seed)
			return
		}
	}
	h.settle(toRest)
	s.acked, s.slow = s.acked+h.all.count, s.slow+h.all.refused
}

// house is one installation over all its lives.
type house struct {
	s      *supervisor
	w      *world
	data   []string
	addr   string
	token  string
	flows  flows
	srv    *live.Server
	all    acks
	rounds int
	over   map[string]bool // work that has ended, by id
}

func (h *house) start(arm string) {
	h.s.t.Helper()
	how := live.How{Failpoints: true, Env: []string{h.w.env()}}
	if arm != "" {
		how.Env = append(how.Env, failpoint.Variable+"="+arm)
	}
	srv, err := live.TryHow(h.s.t, how, append(append([]string{"serve", "--addr", h.addr, "--log-level", "error"}, h.w.flags()...), h.data...)...)
	if err != nil && !strings.Contains(err.Error(), failpoint.Killed) { // a point may be reached before it is ready
		h.s.t.Fatal(err)
	}
	if h.srv = srv; srv != nil {
		srv.Token = h.token
		h.s.starts = append(h.s.starts, srv.Took)
	}
}

// hits bounds which hit of a point ends the process: frequent ones at any of the first hundred.
func (s *supervisor) hits(p failpoint.Name) int {
	noun, _, _ := strings.Cut(string(p), ".")
	switch noun {
	case "store", "http", "queue", "run":
		if p == failpoint.PeriodicQueue {
			return 1
		}
		return 1 + s.random.IntN(100)
	case "step", "mail", "campaign", "timer":
		return 1 + s.random.IntN(3)
	}
	return 1
}

// round is one life: it ends at the point, or at a random moment without one, and is looked through after.
func (h *house) round(point failpoint.Name) {
	s, t := h.s, h.s.t
	arm, life := "", time.Duration(150+s.random.IntN(600))*time.Millisecond
	if point != "" {
		arm, life = fmt.Sprintf("%s=%d", point, s.hits(point)), s.reach
	}
	bulk := h.rounds%10 == 3 || point == failpoint.BulkRows || point == failpoint.BulkChunk
	h.rounds++
	h.start(arm)
	var got *acks
	if h.srv == nil {
		s.table[string(point)]++
		got = &acks{}
	} else {
		gone, cancel := context.WithCancel(context.Background())
		killed := make(chan bool)
		go func() {
			_, ended := h.srv.Exited(life)
			if !ended {
				_ = h.srv.Signal(os.Kill)
			}
			cancel()
			killed <- ended
		}()
		got = load(gone, h.srv, h.flows, fmt.Sprintf("r%d.%x", h.rounds, s.seed&0xffff), bulk)
		atPoint := <-killed
		h.srv.Close()
		h.count(point, atPoint)
	}
	h.check()
	h.all.add(got)
	h.start("")
	h.find(got)
	for _, d := range h.w.doubled() {
		t.Errorf("came twice: %s", d)
	}
	h.srv.Close() // itself a kill, of a server that has just taken up the work
}

// count files the kill under its point, or says that the server ended otherwise.
func (h *house) count(point failpoint.Name, ended bool) {
	s := h.s
	switch at := strings.Contains(h.srv.Log(), failpoint.Killed+string(point)+"\n"); {
	case point != "" && ended && at:
		s.table[string(point)]++
	case ended:
		s.t.Errorf("the server ended by itself:\n%s", h.srv.Log())
	case point == "":
		s.table["at random"]++
	default:
		s.missed[string(point)]++
		s.table["at random"]++
	}
	if log := h.srv.Log(); strings.Contains(log, "panic") {
		s.t.Errorf("the server panicked:\n%.4000s", log)
	}
}

// check verifies every invariant of the dead installation.
func (h *house) check() {
	h.s.t.Helper()
	began := time.Now()
	if out, err := live.RunHow(h.s.t, live.How{Failpoints: true}, "", append([]string{"check"}, h.data...)...); err != nil {
		h.s.t.Errorf("leadloom check: %v\n%s", err, out)
	}
	h.s.checks = append(h.s.checks, time.Since(began))
}

// report prints the kills by point and what came of it all.
func (s *supervisor) report(n int, took time.Duration) {
	var b strings.Builder
	fmt.Fprintf(&b, "\n%s, LEADLOOM_TEST_SEED=%d, %d of %d kills in %s\n", s.engine, s.seed, s.done, n, took.Round(time.Second))
	names := []string{"at random"}
	for _, p := range failpoint.All() {
		names = append(names, string(p))
	}
	for _, name := range names {
		switch {
		case s.missed[name] > 0:
			fmt.Fprintf(&b, "  %-24s %5d   (%d times not reached in %s)\n", name, s.table[name], s.missed[name], s.reach)
		case s.table[name] > 0 || s.engine == "sqlite" || !onlySQLite(failpoint.Name(name)):
			fmt.Fprintf(&b, "  %-24s %5d\n", name, s.table[name])
		}
	}
	verdict := "nothing lost, nothing doubled, every check clean"
	if s.t.Failed() {
		verdict = "FAILED"
	}
	fmt.Fprintf(&b, "  %d acknowledged changes, %d refused as too slow; %d checks, median %s, slowest %s; start median %s: %s", s.acked, s.slow, len(s.checks),
		quantile(s.checks, 0.5), quantile(s.checks, 1), quantile(s.starts, 0.5), verdict)
	s.t.Log(b.String())
	if n < 4*len(s.order) || s.t.Failed() {
		return
	}
	for _, p := range s.order { // a long run proves that each point lies where work passes
		if s.table[string(p)] == 0 {
			s.t.Errorf("no kill at %s", p)
		}
	}
}

func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[int(q*float64(len(sorted)-1))].Round(time.Millisecond)
}

// TestRelease_HoldsNoFailpoint: the program as it is released knows no point and no variable of the tests.
func TestRelease_HoldsNoFailpoint(t *testing.T) {
	has := func(path string) (found []string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range []string{failpoint.Variable, failpoint.TargetsVariable, failpoint.Killed, string(failpoint.BatchAnswer), string(failpoint.RowAccepted)} {
			if bytes.Contains(b, []byte(text)) {
				found = append(found, text)
			}
		}
		return found
	}
	if found := has(live.Binary(t)); len(found) > 0 {
		t.Errorf("the release holds %v", found)
	}
	if found := has(live.FailpointBinary(t)); len(found) != 5 {
		t.Errorf("the test build holds only %v: this test would find nothing", found)
	}
}
