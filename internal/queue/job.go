package queue

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"
)

// Job is one attempt at a piece of work. Its arguments are ids: read the rows again and decide again.
type Job[A river.JobArgs] struct {
	ID          int64
	Args        A
	Attempt     int // 1 for the first
	MaxAttempts int
	CreatedAt   time.Time
	DueAt       time.Time
	ctx         context.Context
	row         *river.Job[A]
	finished    *atomic.Bool // the transaction that Finish marked it as done in is committed
}

func newJob[A river.JobArgs](ctx context.Context, j *river.Job[A]) Job[A] {
	return Job[A]{ID: j.ID, Args: j.Args, Attempt: j.Attempt, MaxAttempts: j.MaxAttempts,
		CreatedAt: j.CreatedAt, DueAt: j.ScheduledAt, ctx: ctx, row: j, finished: new(atomic.Bool)}
}

// Node is the client under whose lease this attempt runs: on PostgreSQL its row of queue_nodes. "" outside a worker.
func (j Job[A]) Node() string {
	if j.row == nil || len(j.row.AttemptedBy) == 0 {
		return ""
	}
	return j.row.AttemptedBy[len(j.row.AttemptedBy)-1]
}

// Last reports that the job is dead when this attempt fails: leave a row that a person sees.
func (j Job[A]) Last() bool { return j.Attempt >= j.MaxAttempts }

// RawTx is a transaction of the store: Raw is its *sql.Tx or pgx.Tx, OnCommit calls f once it is stored.
type RawTx interface {
	Raw() any
	OnCommit(f func())
}

// ErrFenced means that another attempt has taken the job over (this one was too slow, or its process was thought
// dead): everything in the transaction must be rolled back, which happens when the error is returned.
var ErrFenced = errors.New("queue: the job is no longer this attempt's")

// Finish marks the job as done in the transaction of its effect: both or neither are stored. Call it last.
func (j Job[A]) Finish(tx RawTx) error {
	if j.row == nil {
		return errors.New("queue: a job outside a worker cannot be finished")
	}
	ctx := context.WithoutCancel(j.ctx) // a cancelled statement would roll back other callers' work too
	var err error
	switch raw := tx.Raw().(type) {
	case *sql.Tx:
		var id int64
		err = raw.QueryRowContext(ctx, "SELECT id FROM river_job WHERE id=$1 AND state='running' AND attempt=$2", j.ID, j.Attempt).Scan(&id)
		if errors.Is(err, sql.ErrNoRows) {
			return ErrFenced
		}
		if err == nil {
			_, err = river.JobCompleteTx[*Driver](ctx, raw, j.row)
		}
	case pgx.Tx:
		var id int64
		err = raw.QueryRow(ctx, "SELECT id FROM river_job WHERE id=$1 AND state='running' AND attempt=$2 FOR UPDATE", j.ID, j.Attempt).Scan(&id)
		if errors.Is(err, pgx.ErrNoRows) {
			return ErrFenced
		}
		if err == nil {
			_, err = river.JobCompleteTx[*riverpgxv5.Driver](ctx, raw, j.row)
		}
	default:
		return fmt.Errorf("queue: no transaction of a known engine: %T", raw)
	}
	if err != nil {
		return fmt.Errorf("finishing job %d (%s): %w", j.ID, j.row.Kind, err)
	}
	tx.OnCommit(func() { j.finished.Store(true) })
	return nil
}

// Snooze is returned by a worker for "not yet": the job comes back after d without using up an attempt.
func Snooze(d time.Duration) error { return river.JobSnooze(d) }

// IsSnooze reports that err says "not yet": it is no failure.
func IsSnooze(err error) bool {
	var s *rivertype.JobSnoozeError
	return errors.As(err, &s)
}

// Cancel is returned by a worker for "never": the job ends as cancelled with err as its reason.
func Cancel(err error) error { return river.JobCancel(err) }

// Unique are options for a job of which only one may wait or run with the same arguments (all of them, or those
// marked with the tag river:"unique"). A finished one blocks nothing.
func Unique() *river.InsertOpts {
	return &river.InsertOpts{UniqueOpts: river.UniqueOpts{ByArgs: true, ByState: []rivertype.JobState{
		rivertype.JobStateAvailable, rivertype.JobStatePending, rivertype.JobStateRetryable,
		rivertype.JobStateRunning, rivertype.JobStateScheduled,
	}}}
}
