package queue

import (
	"context"
	"database/sql"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// Stat counts the jobs of one queue, kind and state that are not over, and the dead ones.
type Stat struct {
	Queue  string    `json:"queue"`
	Kind   string    `json:"kind"`
	State  string    `json:"state"` // available, running, retryable, scheduled, pending, discarded
	Count  int64     `json:"count"`
	Oldest time.Time `json:"oldest"` // when the first of them was due
}

// Waiting reports whether the jobs could run now and nobody has taken them yet.
func (s Stat) Waiting() bool { return s.State == "available" }

func (t *typed[T]) stats(ctx context.Context) ([]Stat, error) {
	var out []Stat
	// river_job_prioritized_fetching_index leads with the state
	text := "SELECT queue, kind, state, count(*), min(" + t.now + ") FROM river_job" +
		" WHERE state IN ('available','running','retryable','scheduled','pending','discarded') GROUP BY queue, kind, state"
	err := t.query(ctx, text, func(scan func(...any) error) error {
		var s Stat
		var oldest float64
		if err := scan(&s.Queue, &s.Kind, &s.State, &s.Count, &oldest); err != nil {
			return err
		}
		s.Oldest = time.UnixMilli(int64(oldest * 1000)).UTC()
		out = append(out, s)
		return nil
	})
	return out, err
}

func sqlRows(db *sql.DB) func(context.Context, string, func(func(...any) error) error) error {
	return func(ctx context.Context, text string, each func(func(...any) error) error) error {
		rows, err := db.QueryContext(ctx, text)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := each(rows.Scan); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}

func pgxRows(pool *pgxpool.Pool) func(context.Context, string, func(func(...any) error) error) error {
	return func(ctx context.Context, text string, each func(func(...any) error) error) error {
		rows, err := pool.Query(ctx, text)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			if err := each(rows.Scan); err != nil {
				return err
			}
		}
		return rows.Err()
	}
}
