package app

import (
	"context"
	"fmt"
	"log/slog"

	"leadloom/internal/config"
	"leadloom/internal/fault"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// withStore opens the database for one command and closes it after.
func withStore(ctx context.Context, d config.Data, readOnly bool, fn func(*store.Store) error) error {
	st, err := openStore(ctx, d, readOnly, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	err = fn(st)
	if cerr := st.Close(); err == nil {
		err = cerr
	}
	return err
}

// migrateStatus only reads, and so works beside a running server.
func migrateStatus(ctx context.Context, d config.Data, io Streams) error {
	return withStore(ctx, d, true, func(st *store.Store) error {
		all, err := st.Migrations(ctx, authority)
		if err != nil {
			return err
		}
		for _, m := range all {
			when := "pending"
			if !m.AppliedAt.IsZero() {
				when = m.AppliedAt.Format("2006-01-02 15:04:05 UTC")
			}
			fmt.Fprintf(io.Out, "%04d %-16s %s\n", m.Version, m.Name, when)
		}
		pending, err := queue.MigrationsPending(ctx, queueTables(st))
		if err != nil {
			return err
		}
		fmt.Fprintf(io.Out, "queue: %d pending\n", len(pending))
		return nil
	})
}

func migrateUp(ctx context.Context, d config.Data, io Streams) error {
	return withStore(ctx, d, false, func(st *store.Store) error {
		if err := migrated(ctx, st); err != nil {
			return err
		}
		_, err := fmt.Fprintln(io.Out, "The schema is up to date.")
		return err
	})
}

// migrateDown takes back the newest steps. Their tables go with their rows, so it wants --force.
func migrateDown(ctx context.Context, c config.MigrateDown, io Streams) error {
	return withStore(ctx, c.Data, false, func(st *store.Store) error {
		all, err := st.Migrations(ctx, authority)
		if err != nil {
			return err
		}
		applied := 0
		for applied < len(all) && !all[applied].AppliedAt.IsZero() {
			applied++
		}
		if applied == 0 {
			return fault.Conflict("nothing_applied", "No migration is applied.")
		}
		keep := max(applied-c.Steps, 0)
		var to int64
		if keep > 0 {
			to = all[keep-1].Version
		}
		if !c.Force {
			for _, m := range all[keep:applied] {
				fmt.Fprintf(io.Out, "would take back %04d %s with the rows of its tables\n", m.Version, m.Name)
			}
			return fault.Conflict("not_forced", "Nothing was changed. Make a backup, then say --force.")
		}
		if err := st.MigrateDown(ctx, authority, to); err != nil {
			return err
		}
		_, err = fmt.Fprintf(io.Out, "%d steps taken back.\n", applied-keep)
		return err
	})
}
