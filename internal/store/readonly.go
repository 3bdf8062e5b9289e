package store

import (
	"context"
	"fmt"
	"os"

	"leadloom/internal/account"
	"leadloom/internal/fault"
)

// openReadOnly opens a SQLite file that another process may be serving: query-only readers, no lock, no writer.
func openReadOnly(ctx context.Context, o Options) (*sqliteEngine, error) {
	if err := ofdLocking(); err != nil {
		return nil, fmt.Errorf("store: OFD locks: %w", err)
	}
	if _, err := os.Stat(o.Path); err != nil {
		return nil, fault.Conflict("no_database", "There is no database at "+o.Path+" yet: leadloom serve or migrate up makes it. Or name another --data folder.")
	}
	e := &sqliteEngine{path: o.Path, readers: openReaders(sqliteURL(o.Path))}
	if err := e.readers.db.PingContext(ctx); err != nil {
		return nil, fmt.Errorf("store: open %s: %w", o.Path, mapError(err))
	}
	return e, nil
}

// SchemaVersion is the newest applied step, 0 for a database without any. It only reads, and refuses a schema that
// this version does not know.
func (s *Store) SchemaVersion(ctx context.Context, _ account.Instance) (applied, newest int64, err error) {
	all, err := s.migrations()
	if err != nil {
		return 0, 0, err
	}
	newest = all[len(all)-1].Version
	r := s.Read(ctx)
	if there, err := r.hasTable("schema_migrations"); err != nil || !there {
		return 0, newest, err
	}
	applied, err = queryOne(r, scanInt, `SELECT COALESCE(MAX(version), 0) FROM schema_migrations`)
	if err == nil && applied > newest {
		err = fault.Conflict("schema_too_new", fmt.Sprintf("The database has schema step %d, which this version of Leadloom does not know. Use the newer version.", applied))
	}
	return applied, newest, err
}

// hasTable asks the engine's own catalogue.
func (r *Reader) hasTable(name string) (bool, error) {
	q := `SELECT count(*) FROM sqlite_master WHERE type='table' AND name=$1`
	if r.s.pg != nil {
		q = `SELECT count(*) FROM pg_class WHERE relkind='r' AND relname=$1 AND relnamespace = current_schema()::regnamespace`
	}
	n, err := queryOne(r, scanInt, q, name)
	return n > 0, err
}
