package store

import (
	"context"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
	"leadloom/internal/failpoint"
)

// RunPeriodic calls plan with the latest due time of a piece of periodic work that was dealt with, zero when none ever
// was, and commits what plan returns: the new such time (zero changes nothing), the next due time, the jobs. No two
// nodes are in it for the same id at once. plan may be called twice.
func (s *Store) RunPeriodic(ctx context.Context, id string, plan func(last time.Time) (dealt, next time.Time, jobs []river.InsertManyParams)) error {
	return s.Write(ctx, func(tx *Tx) error {
		if _, err := tx.exec(`INSERT INTO periodic_runs (id, last_at, next_at, runs, started_at) VALUES ($1,0,0,0,0) ON CONFLICT (id) DO NOTHING`, id); err != nil {
			return err
		}
		last, err := queryOne(tx.Reader, scanInt, `SELECT last_at FROM periodic_runs WHERE id=$1`+tx.lock(), id)
		if err != nil {
			return err
		}
		dealt, next, jobs := plan(fromMicros(last))
		if dealt.IsZero() {
			return nil
		}
		failpoint.Hit(failpoint.PeriodicQueue)
		for _, j := range jobs {
			if err := tx.Enqueue(j.Args, j.InsertOpts); err != nil {
				return err
			}
		}
		started := int64(0)
		if len(jobs) > 0 {
			started = micros(tx.Now())
		}
		_, err = tx.exec(`UPDATE periodic_runs SET last_at=$1, next_at=$2, runs=runs+$3, started_at=CASE WHEN CAST($4 AS BIGINT)>0 THEN CAST($4 AS BIGINT) ELSE started_at END WHERE id=$5`,
			micros(dealt), micros(next), len(jobs), started, id)
		return err
	})
}

// PeriodicRun is what is known of a piece of periodic work.
type PeriodicRun struct {
	ID        string    `json:"id"`
	Last      time.Time `json:"last_due_at"` // latest due time that was dealt with
	Next      time.Time `json:"next_due_at"`
	Runs      int64     `json:"runs"`
	StartedAt time.Time `json:"started_at"` // of the last run; zero when none
}

// PeriodicRuns lists all of them by id.
func (r *Reader) PeriodicRuns(_ account.Instance) ([]PeriodicRun, error) {
	return queryAll(r, func(r row) (p PeriodicRun, err error) {
		var last, next, started int64
		err = r.Scan(&p.ID, &last, &next, &p.Runs, &started)
		p.Last, p.Next, p.StartedAt = fromMicros(last), fromMicros(next), fromMicros(started)
		return
	}, `SELECT id, last_at, next_at, runs, started_at FROM periodic_runs ORDER BY id`)
}
