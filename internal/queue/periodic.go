package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/robfig/cron/v3"
)

// Missed says what happens to runs that were due while nobody was there to start them.
type Missed string

// The policies. All starts at most 100 of them, the latest.
const (
	MissedOnce Missed = "once" // one run makes up for all of them; the default
	MissedAll  Missed = "all"
	MissedSkip Missed = "skip" // wait for the next one
)

// missedAfter is how late a run may start and still count as on time.
const missedAfter = time.Minute

// missedLimit bounds the runs that MissedAll makes up for.
const missedLimit = 100

// Schedule gives the first due time after t. Due times depend on the calendar alone, never on when a process started.
type Schedule interface{ Next(t time.Time) time.Time }

type every time.Duration

// Next implements Schedule: multiples of the interval since 1970.
func (e every) Next(t time.Time) time.Time {
	return time.UnixMicro((t.UnixMicro()/time.Duration(e).Microseconds() + 1) * time.Duration(e).Microseconds()).UTC()
}

// Every is due at each multiple of d since 1970; d is a second at least.
func Every(d time.Duration) Schedule { return every(max(d, time.Second)) }

// Cron parses five fields or an @descriptor, in UTC unless the text begins with CRON_TZ=zone.
func Cron(text string) (Schedule, error) {
	s, err := cron.ParseStandard(text)
	if err != nil {
		return nil, fmt.Errorf("queue: cron %q: %w", text, err)
	}
	return s, nil
}

// Periodic is work by the clock. Its job should be unique (Unique), so that a run is left out while the one before is
// still going.
type Periodic struct {
	ID       string // names its row: keep it for ever
	Schedule Schedule
	Missed   Missed // empty means MissedOnce
	Job      func(due time.Time) (river.JobArgs, *river.InsertOpts)
}

// PeriodicStore remembers when each piece of periodic work last ran. RunPeriodic calls plan with the latest due time
// that was dealt with (zero when none ever was) inside one transaction that no other node is in for the same id, and
// commits what plan returns: the new such time (zero changes nothing), the next due time, the jobs to enqueue. plan
// may be called twice.
type PeriodicStore interface {
	RunPeriodic(ctx context.Context, id string, plan func(last time.Time) (dealt, next time.Time, jobs []river.InsertManyParams)) error
}

// periodicPlan is what to start now and what to remember.
type periodicPlan struct {
	Last time.Time // the latest due time that has been dealt with
	Next time.Time
	Runs int           // how many were started
	Late time.Duration // how late the latest of them is
	Jobs []river.InsertManyParams
}

// plan decides what is due at now when the last dealt-with due time was last. The first call ever only sets the clock.
func (p Periodic) plan(now, last time.Time) periodicPlan {
	if last.IsZero() || p.clockWentBack(now, last) {
		return periodicPlan{Last: now, Next: p.Schedule.Next(now)}
	}
	var due []time.Time
	for t := p.Schedule.Next(last); !t.IsZero() && !t.After(now); t = p.Schedule.Next(t) {
		due = append(due, t)
		if len(due) > 2*missedLimit { // after a long downtime only the latest ones matter
			due = append(due[:0], due[missedLimit:]...)
		}
	}
	if len(due) == 0 {
		return periodicPlan{Next: p.Schedule.Next(last)}
	}
	latest := due[len(due)-1]
	out := periodicPlan{Last: latest, Next: p.Schedule.Next(latest), Late: now.Sub(latest)}
	switch p.Missed {
	case MissedAll:
		due = due[max(0, len(due)-missedLimit):]
	case MissedSkip:
		due = due[len(due)-1:]
		if now.Sub(latest) > missedAfter {
			due = nil
		}
	default:
		due = due[len(due)-1:]
	}
	for _, t := range due {
		args, opts := p.Job(t)
		out.Jobs = append(out.Jobs, river.InsertManyParams{Args: args, InsertOpts: opts})
	}
	out.Runs = len(due)
	return out
}

// clockWentBack reports a due time that lies more than five intervals ahead: it was dealt with while the clock was
// wrong, and the work would rest until the clock is there again. Nearer than that no run is repeated.
func (p Periodic) clockWentBack(now, last time.Time) bool {
	t := now
	for range 6 {
		t = p.Schedule.Next(t)
	}
	return last.After(t)
}

// scheduler starts what is due. Every node has one; the store's row decides which of them starts a run.
type scheduler struct {
	store  PeriodicStore
	all    []Periodic
	now    func() time.Time
	log    *slog.Logger
	next   []time.Time
	looked time.Time                                      // by the wall clock; zero at the start
	hurry  func(ctx context.Context, now time.Time) error // see hurryStranded; nil on PostgreSQL
	cancel context.CancelFunc
	done   sync.WaitGroup
}

func newScheduler(o Options) (*scheduler, error) {
	if o.Schedules == nil {
		return nil, errors.New("periodic work needs Schedules to remember its last runs")
	}
	seen := map[string]bool{}
	for _, p := range o.Periodic {
		if p.ID == "" || p.Schedule == nil || p.Job == nil || seen[p.ID] {
			return nil, fmt.Errorf("periodic work %q: an id of its own, a schedule and a job are required", p.ID)
		}
		seen[p.ID] = true
	}
	return &scheduler{store: o.Schedules, all: o.Periodic, now: o.Now, log: o.Logger, next: make([]time.Time, len(o.Periodic))}, nil
}

// tick starts everything that is due and returns when to come again.
func (s *scheduler) tick(ctx context.Context) time.Time {
	now := s.now()
	wake := now.Add(30 * time.Second)
	if s.wentBack(now) && s.hurry != nil {
		if err := s.hurry(ctx, now); err == nil {
			s.looked = now.Round(0)
		} else if ctx.Err() == nil {
			s.log.WarnContext(ctx, "jobs that a wrong clock has put off were not looked for; that is tried again", "error", err.Error())
		}
	} else {
		s.looked = now.Round(0)
	}
	for i, p := range s.all {
		if s.next[i].After(now) && !p.clockWentBack(now, s.next[i]) {
			wake = earlier(wake, s.next[i])
			continue
		}
		var plan periodicPlan
		err := s.store.RunPeriodic(ctx, p.ID, func(last time.Time) (time.Time, time.Time, []river.InsertManyParams) {
			plan = p.plan(now, last)
			return plan.Last, plan.Next, plan.Jobs
		})
		if err != nil {
			if ctx.Err() == nil {
				s.log.WarnContext(ctx, "periodic work was not started; it is tried again", "periodic", p.ID, "error", err.Error())
			}
			wake = earlier(wake, now.Add(5*time.Second))
			continue
		}
		if plan.Runs > 0 && plan.Late > missedAfter {
			s.log.InfoContext(ctx, "periodic work starts late", "periodic", p.ID, "late", plan.Late.String(), "runs", plan.Runs)
		}
		s.next[i] = plan.Next
		wake = earlier(wake, plan.Next)
	}
	return wake
}

// wentBack reports that the wall clock shows less than at the last look, or that this is the first one.
func (s *scheduler) wentBack(now time.Time) bool {
	return s.looked.IsZero() || s.looked.Sub(now.Round(0)) > backwards
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

func (s *scheduler) start() {
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.done.Go(func() {
		for ctx.Err() == nil {
			pause := min(max(s.tick(ctx).Sub(s.now()), 10*time.Millisecond), 30*time.Second) // the clock may have moved meanwhile
			t := time.NewTimer(pause)
			select {
			case <-ctx.Done():
			case <-t.C:
			}
			t.Stop()
		}
	})
}

func (s *scheduler) stop() {
	if s.cancel != nil {
		s.cancel()
		s.done.Wait()
	}
}
