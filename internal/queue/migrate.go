package queue

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivermigrate"
)

// MigrateUp brings River's own tables up to this version of the program. It uses SQLite, Postgres and Schema of o.
func MigrateUp(ctx context.Context, o Options) error {
	return migrate(ctx, o, rivermigrate.DirectionUp, nil)
}

// MigrateDown removes River's tables with every job in them.
func MigrateDown(ctx context.Context, o Options) error {
	return migrate(ctx, o, rivermigrate.DirectionDown, &rivermigrate.MigrateOpts{TargetVersion: -1})
}

// MigrationsPending lists the versions that MigrateUp would apply.
func MigrationsPending(ctx context.Context, o Options) ([]int, error) {
	if o.SQLite != nil {
		m, err := sqliteMigrator(o)
		if err != nil {
			return nil, err
		}
		return pending(ctx, m)
	}
	m, err := postgresMigrator(o)
	if err != nil {
		return nil, err
	}
	return pending(ctx, m)
}

func pending[T any](ctx context.Context, m *rivermigrate.Migrator[T]) ([]int, error) {
	have, err := m.ExistingVersions(ctx)
	if err != nil {
		return nil, fmt.Errorf("queue: read migrations: %w", err)
	}
	done := map[int]bool{}
	for _, v := range have {
		done[v.Version] = true
	}
	var out []int
	for _, v := range m.AllVersions() {
		if !done[v.Version] {
			out = append(out, v.Version)
		}
	}
	return out, nil
}

func migrate(ctx context.Context, o Options, d rivermigrate.Direction, opts *rivermigrate.MigrateOpts) error {
	var err error
	if o.SQLite != nil {
		var m *rivermigrate.Migrator[*sql.Tx]
		if m, err = sqliteMigrator(o); err == nil {
			_, err = m.Migrate(ctx, d, opts)
		}
	} else {
		var m *rivermigrate.Migrator[pgx.Tx]
		if m, err = postgresMigrator(o); err == nil {
			_, err = m.Migrate(ctx, d, opts)
		}
		if err == nil {
			err = nodes(ctx, o, d)
		}
	}
	if err != nil {
		return fmt.Errorf("queue: migrate %s: %w", d, err)
	}
	return nil
}

// nodes makes or removes the table of leases, which is no part of River.
func nodes(ctx context.Context, o Options, d rivermigrate.Direction) error {
	text := fmt.Sprintf(nodesTable, schemaPrefix(o.Schema))
	if d == rivermigrate.DirectionDown {
		text = "DROP TABLE IF EXISTS " + schemaPrefix(o.Schema) + "queue_nodes"
	}
	_, err := o.Postgres.Exec(ctx, text)
	return err
}

func sqliteMigrator(o Options) (*rivermigrate.Migrator[*sql.Tx], error) {
	return rivermigrate.New(riversqlite.New(o.SQLite), migrateConfig(o))
}

func postgresMigrator(o Options) (*rivermigrate.Migrator[pgx.Tx], error) {
	return rivermigrate.New(riverpgxv5.New(o.Postgres), migrateConfig(o))
}

func migrateConfig(o Options) *rivermigrate.Config {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &rivermigrate.Config{Logger: slog.New(quiet{log.Handler()}), Schema: o.Schema}
}
