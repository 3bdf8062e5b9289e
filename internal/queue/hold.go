package queue

import (
	"context"
	"fmt"
)

// Hold pauses queues, also ones that nobody has worked yet, before any client starts: their jobs wait until a person
// resumes them on the jobs screen. It uses SQLite and Postgres of o.
func Hold(ctx context.Context, o Options, queues ...string) error {
	const text = `INSERT INTO river_queue (name, paused_at, updated_at) VALUES ($1, %[1]s, %[1]s) ON CONFLICT (name) DO UPDATE SET paused_at=%[1]s, updated_at=%[1]s`
	for _, q := range queues {
		var err error
		if o.SQLite != nil {
			_, err = o.SQLite.ExecContext(ctx, fmt.Sprintf(text, "datetime('now', 'subsec')"), q)
		} else {
			_, err = o.Postgres.Exec(ctx, fmt.Sprintf(text, "now()"), q)
		}
		if err != nil {
			return fmt.Errorf("queue: hold %s: %w", q, err)
		}
	}
	return nil
}
