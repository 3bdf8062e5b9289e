package store

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"sort"
	"strconv"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// Migration is one step of the schema.
type Migration struct {
	Version   int64
	Name      string
	up, down  string
	Checksum  string
	AppliedAt time.Time // zero while it is pending
}

// migrations lists the steps of this binary in order, in the engine's own dialect.
func (s *Store) migrations() ([]Migration, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.up.sql")
	if err != nil {
		return nil, err
	}
	sort.Strings(names)
	var out []Migration
	for _, n := range names {
		base := strings.TrimSuffix(strings.TrimPrefix(n, "migrations/"), ".up.sql")
		number, name, _ := strings.Cut(base, "_")
		v, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return nil, fmt.Errorf("store: migration %s has no number", n)
		}
		up, err := migrationFiles.ReadFile(n)
		if err != nil {
			return nil, err
		}
		down, err := migrationFiles.ReadFile("migrations/" + base + ".down.sql")
		if err != nil {
			return nil, fmt.Errorf("store: migration %s has no way down: %w", n, err)
		}
		sum := sha256.Sum256(up)
		out = append(out, Migration{Version: v, Name: name, up: s.dialect.translate(string(up)), down: s.dialect.translate(string(down)), Checksum: hex.EncodeToString(sum[:8])})
	}
	return out, nil
}

// NewestSchema is the last step that this binary knows.
func NewestSchema() int64 {
	all, err := (&Store{dialect: sqliteDialect}).migrations()
	if err != nil {
		panic("store: the embedded migrations: " + err.Error()) // they are part of the program
	}
	return all[len(all)-1].Version
}

const migrationTable = `CREATE TABLE IF NOT EXISTS schema_migrations (version INTEGER PRIMARY KEY, name TEXT NOT NULL, checksum TEXT NOT NULL, applied_at INTEGER NOT NULL)`

// Migrations tells which steps are applied. It refuses a database that a newer binary made and one whose applied
// steps differ from this binary's. It only reads.
func (s *Store) Migrations(ctx context.Context, _ account.Instance) ([]Migration, error) {
	all, err := s.migrations()
	if err != nil {
		return nil, err
	}
	if there, err := s.Read(ctx).hasTable("schema_migrations"); err != nil || !there {
		return all, err
	}
	type applied struct {
		version, at    int64
		name, checksum string
	}
	rows, err := queryAll(s.Read(ctx), func(r row) (a applied, err error) {
		err = r.Scan(&a.version, &a.name, &a.checksum, &a.at)
		return
	}, `SELECT version, name, checksum, applied_at FROM schema_migrations ORDER BY version`)
	if err != nil {
		return nil, err
	}
	for _, a := range rows {
		i := sort.Search(len(all), func(i int) bool { return all[i].Version >= a.version })
		if i == len(all) || all[i].Version != a.version {
			return nil, fault.Conflict("schema_too_new", fmt.Sprintf("The database has schema step %d (%s), which this version of Leadloom does not know. Start the newer version, or restore a backup made before the upgrade.", a.version, a.name))
		}
		if all[i].Checksum != a.checksum {
			return nil, fault.Conflict("schema_changed", fmt.Sprintf("Schema step %d (%s) was applied from another text than this version holds. Use the version that created the database.", a.version, a.name))
		}
		all[i].AppliedAt = fromMicros(a.at)
	}
	return all, nil
}

// MigrateUp applies every pending step, each with its record in one transaction, then reads the instance row.
func (s *Store) MigrateUp(ctx context.Context, in account.Instance) error {
	unlock, err := s.migrationLock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	if err := s.Write(ctx, func(tx *Tx) error {
		_, err := tx.exec(s.dialect.translate(migrationTable))
		return err
	}); err != nil {
		return err
	}
	all, err := s.Migrations(ctx, in)
	if err != nil {
		return err
	}
	for _, m := range all {
		if !m.AppliedAt.IsZero() {
			continue
		}
		if err := s.Write(ctx, func(tx *Tx) error {
			if err := tx.script(m.up); err != nil {
				return fmt.Errorf("schema step %d (%s): %w", m.Version, m.Name, err)
			}
			if part := stepParts[m.Version]; part != nil {
				if err := part(tx); err != nil {
					return fmt.Errorf("schema step %d (%s): %w", m.Version, m.Name, err)
				}
			}
			_, err := tx.exec(`INSERT INTO schema_migrations (version, name, checksum, applied_at) VALUES ($1,$2,$3,$4)`, m.Version, m.Name, m.Checksum, micros(tx.Now()))
			return err
		}); err != nil {
			return err
		}
		failpoint.Hit(failpoint.MigrationStep)
	}
	return s.loadInstance(ctx)
}

// MigrateDown takes back applied steps above version to, newest first.
func (s *Store) MigrateDown(ctx context.Context, in account.Instance, to int64) error {
	unlock, err := s.migrationLock(ctx)
	if err != nil {
		return err
	}
	defer unlock()
	all, err := s.Migrations(ctx, in)
	if err != nil {
		return err
	}
	for i := len(all) - 1; i >= 0 && all[i].Version > to; i-- {
		m := all[i]
		if m.AppliedAt.IsZero() {
			continue
		}
		if err := s.Write(ctx, func(tx *Tx) error {
			if err := tx.script(m.down); err != nil {
				return fmt.Errorf("schema step %d (%s) back: %w", m.Version, m.Name, err)
			}
			_, err := tx.exec(`DELETE FROM schema_migrations WHERE version=$1`, m.Version)
			return err
		}); err != nil {
			return err
		}
	}
	return nil
}

// migrationLock lets one node migrate at a time. SQLite's file is locked by its only process already.
func (s *Store) migrationLock(ctx context.Context) (func(), error) {
	if s.pg == nil {
		return func() {}, nil
	}
	conn, err := s.pg.pool.Acquire(ctx)
	if err != nil {
		return nil, mapError(err)
	}
	const key = 7_235_419_001 // any number that nobody else uses
	if _, err := conn.Exec(ctx, "SET lock_timeout = '60s'"); err != nil {
		conn.Release()
		return nil, mapError(err)
	}
	if _, err := conn.Exec(ctx, "SELECT pg_advisory_lock($1)", int64(key)); err != nil {
		conn.Release()
		return nil, mapError(err)
	}
	return func() {
		_, _ = conn.Exec(context.WithoutCancel(ctx), "SELECT pg_advisory_unlock($1)", int64(key))
		_, _ = conn.Exec(context.WithoutCancel(ctx), "SET lock_timeout = '10s'")
		conn.Release()
	}, nil
}

// script runs statements separated by semicolons at line ends.
func (tx *Tx) script(text string) error {
	for _, stmt := range strings.Split(text, ";\n") {
		lines := strings.Split(stmt, "\n")
		kept := lines[:0]
		for _, l := range lines {
			if !strings.HasPrefix(strings.TrimSpace(l), "--") {
				kept = append(kept, l)
			}
		}
		stmt = strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(strings.Join(kept, "\n")), ";"))
		if stmt == "" {
			continue
		}
		if _, err := tx.exec(stmt); err != nil {
			return fmt.Errorf("%.60s: %w", stmt, err)
		}
		failpoint.Hit(failpoint.MigrationPart)
	}
	return nil
}

// loadInstance reads, or makes, the row that names this database, and on PostgreSQL starts a new epoch of commit
// order when transaction ids went back, as they do after a restore into another cluster.
func (s *Store) loadInstance(ctx context.Context) error {
	return s.Write(ctx, func(tx *Tx) error {
		if _, err := tx.exec(`INSERT INTO instance (only_row, id, commit_epoch, created_at, checked_at) VALUES (1,$1,1,$2,$2) ON CONFLICT (only_row) DO NOTHING`, tx.NewID(), micros(tx.Now())); err != nil {
			return err
		}
		if s.pg != nil {
			if _, err := tx.exec(`UPDATE instance SET commit_epoch = commit_epoch + 1 WHERE only_row = 1 AND
				(SELECT max(commit_order) FROM events WHERE commit_epoch = instance.commit_epoch) >= CAST(CAST(pg_current_xact_id() AS text) AS bigint)`); err != nil {
				return err
			}
		}
		_, err := queryOne(tx.Reader, func(r row) (struct{}, error) { return struct{}{}, r.Scan(&s.instance, &s.epoch) }, `SELECT id, commit_epoch FROM instance WHERE only_row=1`)
		return err
	})
}

// InstanceID is random and fixed for one database; all nodes on it share it.
func (s *Store) InstanceID() string { return s.instance }
