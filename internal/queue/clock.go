package queue

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// clock is River's clock in tests that move ours.
type clock struct{ now func() time.Time }

// Now implements rivertype.TimeGenerator.
func (c clock) Now() time.Time { return c.now() }

// NowOrNil implements rivertype.TimeGenerator.
func (c clock) NowOrNil() *time.Time { t := c.now(); return &t }

// backwards is how far in the future a job may seem to have been begun or queued before the clock must have gone back.
const backwards = time.Minute

// hurryStranded lets jobs look again that were put off, or queued, by a clock which has gone back since: else they would
// rest until it is there again. Jobs look at their own due times, so that one that comes early puts itself off anew. On
// SQLite only: PostgreSQL's clock is its own machine's.
func hurryStranded(ctx context.Context, db *sql.DB, now time.Time) error {
	text := func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") } // as River's driver writes it
	_, err := db.ExecContext(ctx, `UPDATE river_job SET scheduled_at = $1 WHERE state IN ('available','retryable','scheduled')
		AND scheduled_at > $1 AND coalesce(attempted_at, created_at) > $2`, text(now), text(now.Add(backwards)))
	if err != nil {
		return fmt.Errorf("queue: jobs of a clock that went back: %w", err)
	}
	return nil
}
