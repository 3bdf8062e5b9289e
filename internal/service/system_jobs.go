package service

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// sealArgs asks for the final events to be closed into the chain.
type sealArgs struct{}

// Kind implements river.JobArgs.
func (sealArgs) Kind() string { return "events.seal" }

// sweepArgs asks for what nobody needs any more to be deleted.
type sweepArgs struct{}

// Kind implements river.JobArgs.
func (sweepArgs) Kind() string { return "system.sweep" }

// checkArgs asks for every invariant to be checked.
type checkArgs struct{}

// Kind implements river.JobArgs.
func (checkArgs) Kind() string { return "system.check" }

const (
	sealEvery       = 3 * time.Second
	idempotencyKept = 24 * time.Hour
)

func (s *System) jobs(reg *queue.Registry) []queue.Periodic {
	queue.Register(reg, queue.Kind{Queue: queue.QueueSystem, Timeout: time.Minute, Attempts: 3}, s.sealJob)
	queue.Register(reg, queue.Kind{Queue: queue.QueueSystem, Timeout: 5 * time.Minute, Attempts: 3}, s.sweepJob)
	queue.Register(reg, queue.Kind{Queue: queue.QueueSystem, Timeout: time.Hour, Attempts: 1}, s.checkJob)
	nightly, err := queue.Cron("17 3 * * *")
	if err != nil {
		panic(err) // the text is a constant
	}
	one := func(args river.JobArgs) func(time.Time) (river.JobArgs, *river.InsertOpts) {
		return func(time.Time) (river.JobArgs, *river.InsertOpts) { return args, queue.Unique() }
	}
	return []queue.Periodic{
		{ID: "events.seal", Schedule: queue.Every(sealEvery), Job: one(sealArgs{})},
		{ID: "system.sweep", Schedule: queue.Every(10 * time.Minute), Job: one(sweepArgs{})},
		{ID: "system.check", Schedule: nightly, Missed: queue.MissedOnce, Job: one(checkArgs{})},
	}
}

// sealJob closes chunks until nothing final is open; a crash between two of them leaves a shorter chain, not a wrong one.
func (s *System) sealJob(ctx context.Context, _ queue.Job[sealArgs]) error {
	return sealAll(ctx, func() (more bool, err error) {
		_, more, err = s.st.SealEvents(ctx, s.instance)
		return more, err
	})
}

// sealAll comes back when its time is over and it has closed something: events that come in faster than that are no
// failure of the job.
func sealAll(ctx context.Context, seal func() (more bool, err error)) error {
	for closed := false; ; {
		more, err := seal()
		closed = closed || err == nil
		switch {
		case closed && (more || err != nil) && ctx.Err() != nil:
			return queue.Snooze(time.Second)
		case err != nil || !more:
			return err
		}
	}
}

// sweepJob deletes old Idempotency-Keys, some at a time so that no writer waits for it.
func (s *System) sweepJob(ctx context.Context, _ queue.Job[sweepArgs]) error {
	const chunk = 500
	for ctx.Err() == nil {
		var n int64
		err := s.st.Write(ctx, func(tx *store.Tx) (err error) {
			n, err = tx.DeleteIdempotencyKeys(s.instance, tx.Now().Add(-idempotencyKept), chunk)
			return err
		})
		if err != nil || n < chunk {
			return err
		}
	}
	return ctx.Err()
}

// checkJob runs every invariant by night and says what it found; health shows it until the next one.
func (s *System) checkJob(ctx context.Context, _ queue.Job[checkArgs]) error {
	found, err := s.Check(ctx, s.instance)
	if err != nil {
		return err
	}
	for _, f := range found {
		s.Log.ErrorContext(ctx, "invariant broken", "check", f.Check, "tenant", f.Tenant, "id", f.ID, "detail", f.Detail)
	}
	s.broken.Store(int64(len(found)))
	return nil
}
