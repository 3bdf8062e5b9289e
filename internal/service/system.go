package service

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"leadloom/internal/account"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// System is what the operator sees: health, metrics, audit, checks, alerts.
type System struct {
	*core
	instance account.Instance
	started  time.Time
	health   atomic.Pointer[Health]
	broken   atomic.Int64 // findings of the last nightly check
	stopping atomic.Bool

	probing sync.Mutex // one refresh at a time
	watched Watched
	facts   facts
	pending chan ping // a write that has not come back yet

	jobMu     sync.Mutex
	jobTotals map[JobTotalKey]*JobTotal
}

// Watched says what health looks at besides the database.
type Watched struct {
	DataDir string // whose disk must not fill up; empty: none
	Version string
}

func newSystem(c *core) *System {
	s := &System{core: c, instance: account.NewInstance("system"), started: time.Now(), jobTotals: map[JobTotalKey]*JobTotal{}}
	s.health.Store(&Health{Status: Starting, At: c.now()})
	return s
}

// facts are what one refresh found out; slow ones are kept for several.
type facts struct {
	at          time.Time // of the last refresh that reached the database
	databaseErr error
	latency     time.Duration
	jobs        []store.JobStat
	jobsErr     error
	jobsAt      time.Time     // when they were counted
	jobsTook    time.Duration // counting a long queue must not become its load
	held        []string      // queues that a person, or a restore, has paused
	free, total uint64
	skew        time.Duration
	migrations  int
	sealedAt    time.Time
	openEvents  int64
	work        store.WorkFacts
	slowAt      time.Time
}

type ping struct {
	err  error
	took time.Duration
}

const (
	refreshEvery = time.Second
	slowEvery    = 5 * time.Second
	pingLimit    = 1500 * time.Millisecond // three of them and a refreshEvery are less than healthLife
	jobsPause    = 20                      // times as long as the last count took, until the next one
)

// Watch refreshes the facts of health each second until ctx ends. Call it once, in a goroutine, after a Refresh.
func (s *System) Watch(ctx context.Context) {
	t := time.NewTicker(refreshEvery)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
			s.Refresh(ctx)
		}
	}
}

// Observe sets what the following refreshes look at.
func (s *System) Observe(w Watched) {
	s.probing.Lock()
	defer s.probing.Unlock()
	s.watched = w
}

// Refresh finds the facts out again and judges them. It returns within about 2 s even when the database hangs.
func (s *System) Refresh(ctx context.Context) {
	s.probing.Lock()
	defer s.probing.Unlock()
	s.probe(ctx)
	if s.facts.databaseErr == nil && time.Since(s.facts.slowAt) >= slowEvery {
		s.probeSlow(ctx)
	}
	if s.facts.databaseErr == nil && time.Since(s.facts.jobsAt) >= jobsPause*s.facts.jobsTook {
		s.countJobs(ctx)
	}
	if s.watched.DataDir != "" {
		var d unix.Statfs_t
		if unix.Statfs(s.watched.DataDir, &d) == nil {
			s.facts.free, s.facts.total = d.Bavail*uint64(d.Bsize), d.Blocks*uint64(d.Bsize)
		}
	}
	h := s.judgeAt(s.now())
	s.tell(s.health.Swap(h), h)
}

// countJobs counts them within a time; when that is over the last figures stand.
func (s *System) countJobs(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	began := time.Now()
	jobs, err := s.st.Read(ctx).JobStats(s.instance)
	s.facts.jobsAt, s.facts.jobsTook = time.Now(), time.Since(began)
	if ctx.Err() == nil {
		s.facts.jobs, s.facts.jobsErr = jobs, err
	}
}

// tell logs what has changed since the last judgement, once.
func (s *System) tell(before, now *Health) {
	states := map[string]State{}
	for _, c := range before.Components {
		states[c.Name] = c.State
	}
	for _, c := range now.Components {
		was, seen := states[c.Name]
		switch {
		case was == c.State, !seen && c.State == Healthy:
		case c.State == Healthy:
			s.Log.Info("component is healthy again", "component", c.Name)
		default:
			attrs := []any{"component", c.Name, "state", c.State, "reason", c.Reason, "action", c.Action}
			if c.Name == "database" && s.facts.databaseErr != nil {
				attrs = append(attrs, "error", s.facts.databaseErr.Error())
			}
			s.Log.Warn("component is not well", attrs...)
		}
	}
}

// probe commits an empty change. A write that does not come back is waited for by later probes instead of being
// followed by more.
func (s *System) probe(ctx context.Context) {
	if s.pending == nil {
		s.pending = make(chan ping, 1)
		go func(done chan<- ping) {
			start := time.Now()
			err := s.st.Ping(context.WithoutCancel(ctx))
			done <- ping{err, time.Since(start)}
		}(s.pending)
	}
	t := time.NewTimer(pingLimit)
	defer t.Stop()
	select {
	case p := <-s.pending:
		s.pending = nil
		s.facts.databaseErr, s.facts.latency = p.err, p.took
		if p.err == nil {
			s.facts.at = s.now()
		}
	case <-t.C:
		s.facts.databaseErr = fmt.Errorf("a write has not come back for %s", pingLimit)
	case <-ctx.Done():
	}
}

// probeSlow reads what changes slowly or costs more; a part that fails keeps its last value.
func (s *System) probeSlow(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, pingLimit)
	defer cancel()
	r := s.st.Read(ctx)
	if t, err := r.DatabaseClock(s.instance); err == nil {
		s.facts.skew = time.Since(t).Abs()
	}
	if n, err := s.st.PendingMigrations(ctx, s.instance); err == nil {
		s.facts.migrations = n
	}
	if at, open, err := r.SealAge(s.instance); err == nil {
		s.facts.openEvents = open
		s.facts.sealedAt = time.UnixMicro(at).UTC()
	}
	if held, err := r.HeldQueues(s.instance); err == nil {
		s.facts.held = held
	}
	if w, err := r.WorkFacts(s.instance, s.now()); err == nil {
		s.facts.work = w
	}
	s.facts.slowAt = time.Now()
}

// Stopping makes /health/ready say no, so that nobody sends new requests while the running ones end.
func (s *System) Stopping() { s.stopping.Store(true) }

// JobTotalKey names a series of finished attempts.
type JobTotalKey struct{ Kind, Outcome string }

// JobTotal sums up attempts since the start.
type JobTotal struct {
	Count        int64
	Waited, Took time.Duration
}

// ObserveJob counts one finished attempt; it is the queue's Observe.
func (s *System) ObserveJob(o queue.Observation) {
	s.jobMu.Lock()
	defer s.jobMu.Unlock()
	k := JobTotalKey{o.Kind, o.Outcome}
	t := s.jobTotals[k]
	if t == nil {
		t = &JobTotal{}
		s.jobTotals[k] = t
	}
	t.Count++
	t.Waited += o.Waited
	t.Took += o.Took
}

// JobTotals is a copy of the sums.
func (s *System) JobTotals() map[JobTotalKey]JobTotal {
	s.jobMu.Lock()
	defer s.jobMu.Unlock()
	out := make(map[JobTotalKey]JobTotal, len(s.jobTotals))
	for k, v := range s.jobTotals {
		out[k] = *v
	}
	return out
}

// Writer is what the group commit has done since the start; zero on PostgreSQL.
func (s *System) Writer() store.WriterStats { return s.st.WriterStats() }

// Uptime is the age of the process's services.
func (s *System) Uptime() time.Duration { return time.Since(s.started) }
