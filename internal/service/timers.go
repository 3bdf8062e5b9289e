package service

import (
	"context"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// timerChunk bounds the timers that one transaction fires, timerNap how long the loop sleeps at most: other nodes'
// timers are found by looking.
const (
	timerChunk = 200
	timerNap   = time.Second
)

// wakeTimers makes the loop look at once: a timer was set that may be earlier than the one it sleeps for.
func (c *core) wakeTimers() {
	select {
	case c.timerWake <- struct{}{}:
	default:
	}
}

// RunTimers fires timers and schedules when they are due, until ctx ends. Every node runs one; each timer is claimed
// once. It sleeps until the next due time.
func (s *Workflows) RunTimers(ctx context.Context) {
	authority := account.NewInstance("timer.fire")
	var looked time.Time
	for ctx.Err() == nil {
		// By the wall clock: at the start, and when it shows less than at the last look.
		if now := s.now().Round(0); looked.IsZero() || looked.Sub(now) > wentBackBy {
			if err := s.pullTimersIn(ctx, authority, now); err == nil {
				looked = now
			} else if ctx.Err() == nil {
				s.Log.WarnContext(ctx, "timers of a clock that went back were not looked for; that is tried again", "error", err.Error())
			}
		} else {
			looked = now
		}
		n, err := s.FireTimers(ctx, authority)
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "timers were not fired; they are tried again", "error", err.Error())
			s.nap(ctx, timerNap)
			continue
		}
		if n >= timerChunk {
			continue
		}
		next, err := s.st.Read(ctx).NextDue(authority)
		pause := timerNap
		if err == nil && !next.IsZero() {
			pause = min(pause, max(next.Sub(s.now()), time.Millisecond))
		}
		s.nap(ctx, pause)
	}
}

func (s *Workflows) nap(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	case <-s.timerWake:
	}
}

// FireTimers fires what is due now, at most a chunk of each, and returns how many timers and schedules that were.
func (s *Workflows) FireTimers(ctx context.Context, authority account.Instance) (int, error) {
	next, err := s.st.Read(ctx).NextDue(authority)
	if err != nil || next.IsZero() || next.After(s.now()) {
		return 0, err // nothing is due: no write
	}
	fired, err := s.fireDue(ctx, authority, func(_ *store.Tx, fire func() error, _ func(error) error) error { return fire() })
	if err == nil || fault.IsKind(err, fault.KindUnavailable) || ctx.Err() != nil {
		return fired, err
	}
	// One of them cannot be fired. Each now stands for itself, and the guilty one comes back later: it must not hold up
	// every other run of every tenant.
	return s.fireDue(ctx, authority, func(tx *store.Tx, fire func() error, later func(error) error) error {
		if err := tx.Nested(fire); err != nil {
			return later(err)
		}
		return nil
	})
}

// wentBackBy is how far in the future a timer may seem to have been set before the clock must have gone back since.
const wentBackBy = time.Minute

// pullTimersIn lets the timers that a clock ahead has set wait their own time from now: else they would be due when the
// clock is there again. Each is set for a duration, so that none comes before it is over.
func (s *Workflows) pullTimersIn(ctx context.Context, authority account.Instance, now time.Time) error {
	ahead := now.Add(wentBackBy)
	found, err := s.st.Read(ctx).TimersAhead(authority, ahead)
	if err != nil || !found {
		return err
	}
	return s.st.Write(ctx, func(tx *store.Tx) error {
		n, err := tx.PullTimersIn(authority, ahead)
		if err == nil && n > 0 {
			s.Log.WarnContext(ctx, "the clock went back: timers that were set before wait their own time from now", "timers", n)
		}
		return err
	})
}

// laterBy is how long a timer is put off that could not be fired.
const laterBy = time.Minute

// fireDue fires each due timer and schedule through one; later puts a failed one off.
func (s *Workflows) fireDue(ctx context.Context, authority account.Instance, one func(tx *store.Tx, fire func() error, later func(error) error) error) (fired int, err error) {
	err = s.st.Write(ctx, func(tx *store.Tx) error {
		timers, err := tx.ClaimTimers(authority, timerChunk)
		if err != nil {
			return err
		}
		for _, t := range timers {
			err := one(tx, func() error { return s.fire(tx, t) }, func(cause error) error {
				s.Log.ErrorContext(ctx, "a timer cannot be fired; it is tried again later", "tenant", t.Tenant, "run", t.RunID, "error", cause.Error())
				t.DueAt = tx.Now().Add(laterBy)
				return tx.SetTimer(account.SystemScope(t.Tenant, "timer.fire"), t)
			})
			if err != nil {
				return err
			}
			failpoint.Hit(failpoint.TimerFired)
		}
		due, err := tx.ClaimSchedules(authority, timerChunk)
		if err != nil {
			return err
		}
		for _, d := range due {
			err := one(tx, func() error { return s.fireSchedule(tx, d) }, func(cause error) error {
				s.Log.ErrorContext(ctx, "a schedule cannot be fired; it is tried again later", "tenant", d.Tenant, "workflow", d.WorkflowID, "error", cause.Error())
				return tx.SaveSchedule(account.SystemScope(d.Tenant, "schedule"), store.Schedule{WorkflowID: d.WorkflowID, TriggerID: d.TriggerID, Next: tx.Now().Add(laterBy)})
			})
			if err != nil {
				return err
			}
		}
		fired = len(timers) + len(due)
		return nil
	})
	return fired, err
}

// fire queues the job that a claimed timer stands for; a run that has moved on needs none.
func (c *core) fire(tx *store.Tx, t store.Timer) error {
	sc := account.SystemScope(t.Tenant, "timer.fire")
	if t.Kind == store.TimerRetry {
		run, err := tx.Run(sc, t.RunID)
		if err != nil || run.Turn != t.Turn || run.Phase != workflow.PhaseOutside || run.Status != workflow.Waiting {
			return notFoundIsNil(err)
		}
		return c.actAgain(tx, sc, run)
	}
	_, woken, err := tx.WakeRun(sc, t)
	if err != nil || !woken {
		return err
	}
	return tx.Enqueue(advanceArgs{Tenant: string(t.Tenant), Run: string(t.RunID), Turn: t.Turn + 1}, nil)
}

// fireSchedule starts the runs that a schedule owes now by its missed policy, and plans its next time.
func (c *core) fireSchedule(tx *store.Tx, d store.Schedule) error {
	sc := account.SystemScope(d.Tenant, "schedule")
	rules, err := c.flowRules(tx.Reader, sc)
	if err != nil {
		return err
	}
	rule := rules.byID[d.WorkflowID]
	if rule == nil || rule.Status != workflow.Active {
		return tx.StopSchedules(sc, d.WorkflowID)
	}
	var plan *workflow.Schedule
	for _, t := range rule.plan.Triggers {
		if t.ID == d.TriggerID {
			plan = t.Schedule
		}
	}
	if plan == nil {
		return tx.StopSchedules(sc, d.WorkflowID)
	}
	now := tx.Now()
	fires, next := plan.Due(d.Next, now)
	out := store.Schedule{WorkflowID: d.WorkflowID, TriggerID: d.TriggerID, Next: next}
	for _, at := range fires {
		if plan.Overlap == "skip" && d.LastRun != "" {
			last, err := tx.Run(sc, d.LastRun)
			if err != nil {
				return err
			}
			if !last.Status.Final() && last.Status != workflow.Parked {
				continue // the previous one still runs
			}
		}
		late := max(now.Sub(at), 0)
		run, _, err := c.enter(tx, sc, rule, entrance{trigger: d.TriggerID, context: map[string]any{"scheduled_at": at.Format(time.RFC3339), "late_seconds": int64(late / time.Second)}})
		if err != nil {
			return err
		}
		out.Last, out.LastRun, out.Late = at, run.ID, late
		if plan.Missed != workflow.MissedAll { // what is made up for may overlap: it was asked for
			d.LastRun = run.ID
		}
	}
	return tx.SaveSchedule(sc, out)
}
