package queue

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

const holdText = `INSERT INTO river_queue (name, paused_at, updated_at) VALUES ($1, %[1]s, %[1]s) ON CONFLICT (name) DO UPDATE SET paused_at=%[1]s, updated_at=%[1]s`

// Hold pauses queues of a SQLite database, also ones that nobody has worked yet, before any client starts: their jobs
// wait until a person resumes them on the jobs screen.
func Hold(ctx context.Context, o Options, queues ...string) error {
	for _, q := range queues {
		if _, err := o.SQLite.ExecContext(ctx, fmt.Sprintf(holdText, "datetime('now', 'subsec')"), q); err != nil {
			return fmt.Errorf("queue: hold %s: %w", q, err)
		}
	}
	return nil
}

// HoldTx is Hold in the caller's transaction on PostgreSQL (a pgx.Tx).
func HoldTx(ctx context.Context, raw any, queues ...string) error {
	tx, ok := raw.(pgx.Tx)
	if !ok {
		return fmt.Errorf("queue: no transaction of PostgreSQL: %T", raw)
	}
	for _, q := range queues {
		if _, err := tx.Exec(ctx, fmt.Sprintf(holdText, "now()"), q); err != nil {
			return fmt.Errorf("queue: hold %s: %w", q, err)
		}
	}
	return nil
}
