package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/jackc/pgx/v5"

	"leadloom/internal/account"
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
)

// DumpSQLite hands the pages of a SQLite database, which another process may be serving, to fn as a stream: a file of
// one moment, checked before, without a copy on disk. It uses a connection of its own: reading the file itself would
// drop the locks of a server in this process.
func DumpSQLite(ctx context.Context, _ account.Instance, path string, fn func(size int64, file io.Reader) error) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("store: no database at %s: %w", path, err)
	}
	db, err := openPlain(path)
	if err != nil {
		return err
	}
	defer db.Close()
	tx, err := db.BeginTx(ctx, nil) // deferred: the first read fixes the moment, and no writer waits for it
	if err != nil {
		return fmt.Errorf("store: read the database: %w", mapError(err))
	}
	defer tx.Rollback() //nolint:errcheck // nothing was written
	if err := checkPages(ctx, tx, path); err != nil {
		return err
	}
	var pages, size int64
	if err := tx.QueryRowContext(ctx, "SELECT page_count, page_size FROM pragma_page_count, pragma_page_size").Scan(&pages, &size); err != nil {
		return fmt.Errorf("store: measure the database: %w", mapError(err))
	}
	rows, err := tx.QueryContext(ctx, "SELECT data FROM sqlite_dbpage ORDER BY pgno")
	if err != nil {
		return fmt.Errorf("store: read the database: %w", mapError(err))
	}
	defer rows.Close()
	return fn(pages*size, &pageReader{rows: rows})
}

// pageReader strings the pages of a database together.
type pageReader struct {
	rows *sql.Rows
	page sql.RawBytes // what is left of the current one
}

// Read implements io.Reader.
func (p *pageReader) Read(b []byte) (int, error) {
	for len(p.page) == 0 {
		if !p.rows.Next() {
			if err := p.rows.Err(); err != nil {
				return 0, mapError(err)
			}
			return 0, io.EOF
		}
		if err := p.rows.Scan(&p.page); err != nil {
			return 0, mapError(err)
		}
	}
	failpoint.Hit(failpoint.BackupPart)
	n := copy(b, p.page)
	p.page = p.page[n:]
	return n, nil
}

// CheckSQLiteFile lets SQLite verify every page and index of a database file that nobody else uses.
func CheckSQLiteFile(ctx context.Context, path string) error {
	db, err := openPlain(path)
	if err != nil {
		return err
	}
	defer db.Close()
	return checkPages(ctx, db, path)
}

func checkPages(ctx context.Context, db interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}, path string) error {
	var verdict string
	if err := db.QueryRowContext(ctx, "PRAGMA integrity_check(1)").Scan(&verdict); err != nil {
		return fmt.Errorf("store: check %s: %w", path, mapError(err))
	}
	if verdict != "ok" {
		return fmt.Errorf("store: %s is damaged: %s", path, verdict)
	}
	return nil
}

func openPlain(path string) (*sql.DB, error) {
	if err := ofdLocking(); err != nil {
		return nil, fmt.Errorf("store: OFD locks: %w", err)
	}
	db, err := sql.Open("sqlite", sqliteURL(path)+"?_dqs=0&_pragma=busy_timeout(10000)")
	if err != nil {
		return nil, fmt.Errorf("store: open %s: %w", path, err)
	}
	db.SetMaxOpenConns(1)
	return db, nil
}

// Table is one table of a dump, in COPY's text format with these columns.
type Table struct {
	Name    string   `json:"name"`
	Columns []string `json:"columns"`
}

// transient tables hold the queue's own doings of running processes; a dump leaves them out.
const transientTables = `('river_leader','river_client','river_client_queue','river_notification','queue_nodes')`

// DumpPostgres hands every table of the database to fn as a stream, all of one moment. fn must read the stream to its
// end.
func (s *Store) DumpPostgres(ctx context.Context, _ account.Instance, fn func(t Table, rows io.Reader) error) error {
	if s.pg == nil {
		return errors.New("store: a dump by tables is for PostgreSQL")
	}
	conn, err := s.pg.pool.Acquire(ctx)
	if err != nil {
		return mapError(err)
	}
	defer conn.Release()
	tx, err := conn.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead, AccessMode: pgx.ReadOnly})
	if err != nil {
		return mapError(err)
	}
	defer tx.Rollback(context.WithoutCancel(ctx))
	tables, err := pgTables(ctx, tx)
	if err != nil {
		return err
	}
	for _, t := range tables {
		failpoint.Hit(failpoint.BackupPart)
		pr, pw := io.Pipe()
		copied := make(chan error, 1)
		go func() {
			_, err := tx.Conn().PgConn().CopyTo(ctx, pw, "COPY "+t.target()+" TO STDOUT")
			pw.CloseWithError(err)
			copied <- err
		}()
		ferr := fn(t, pr)
		pr.CloseWithError(ferr)
		if err := errors.Join(ferr, <-copied); err != nil {
			return fmt.Errorf("store: dump %s: %w", t.Name, err)
		}
	}
	return nil
}

func (t Table) target() string {
	cols := make([]string, len(t.Columns))
	for i, c := range t.Columns {
		cols[i] = pgx.Identifier{c}.Sanitize()
	}
	return pgx.Identifier{t.Name}.Sanitize() + " (" + strings.Join(cols, ", ") + ")"
}

// pgTables lists the tables of the current schema with their stored columns, in order of name.
func pgTables(ctx context.Context, tx pgx.Tx) ([]Table, error) {
	rows, err := tx.Query(ctx, `SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
		WHERE c.relkind IN ('r') AND c.relnamespace = current_schema()::regnamespace AND c.relname NOT IN `+transientTables+`
		GROUP BY c.relname ORDER BY c.relname`)
	if err != nil {
		return nil, mapError(err)
	}
	return pgx.CollectRows(rows, func(r pgx.CollectableRow) (t Table, err error) {
		err = r.Scan(&t.Name, &t.Columns)
		return
	})
}

// restoreMark is a table that is there from the beginning of a restore to its commit.
const restoreMark = "restore_unfinished"

// BeginRestore marks a PostgreSQL database that has no table at all, or one whose restore was cut off, as being
// restored; false when it holds anything else, so that a restore destroys nothing.
func (s *Store) BeginRestore(ctx context.Context, in account.Instance) (empty bool, err error) {
	if unfinished, err := s.RestoreUnfinished(ctx, in); err != nil || unfinished {
		return unfinished, err
	}
	n, err := queryOne(s.Read(ctx), scanInt, `SELECT count(*) FROM pg_class WHERE relkind IN ('r','p') AND relnamespace = current_schema()::regnamespace`)
	if err != nil || n > 0 {
		return false, err
	}
	_, err = s.pg.pool.Exec(ctx, "CREATE TABLE "+restoreMark+" (begun_at timestamptz NOT NULL DEFAULT now())")
	return err == nil, mapError(err)
}

// RestoreUnfinished reports a database whose restore was cut off: it holds nothing that may be served.
func (s *Store) RestoreUnfinished(ctx context.Context, _ account.Instance) (bool, error) {
	if s.pg == nil {
		return false, nil
	}
	return s.Read(ctx).hasTable(restoreMark)
}

// LoadPostgres fills freshly migrated tables from a dump: next gives each table and its rows, io.EOF at the end.
// Everything is one transaction, so that a broken dump leaves nothing behind; last runs in it at the end, with the
// pgx.Tx, and the mark of BeginRestore goes with it.
func (s *Store) LoadPostgres(ctx context.Context, _ account.Instance, last func(raw any) error, next func() (Table, io.Reader, error)) error {
	if s.pg == nil {
		return errors.New("store: a dump by tables is for PostgreSQL")
	}
	return pgx.BeginFunc(ctx, s.pg.pool, func(tx pgx.Tx) error {
		have, err := pgTables(ctx, tx)
		if err != nil {
			return err
		}
		known := map[string]bool{}
		for _, t := range have {
			known[t.Name] = true
			if _, err := tx.Exec(ctx, "TRUNCATE "+pgx.Identifier{t.Name}.Sanitize()); err != nil {
				return mapError(err)
			}
		}
		for {
			t, rows, err := next()
			if errors.Is(err, io.EOF) {
				if err := resetSequences(ctx, tx); err != nil {
					return err
				}
				if _, err := tx.Exec(ctx, "DROP TABLE IF EXISTS "+restoreMark); err != nil {
					return mapError(err)
				}
				return last(tx)
			}
			if err != nil {
				return err
			}
			if !known[t.Name] {
				return fault.Conflict("schema_differs", "The backup has a table "+t.Name+" that this version does not know. Restore it with the version that made it.")
			}
			if _, err := tx.Conn().PgConn().CopyFrom(ctx, rows, "COPY "+t.target()+" FROM STDIN"); err != nil {
				return fmt.Errorf("store: load %s: %w", t.Name, mapError(err))
			}
			failpoint.Hit(failpoint.RestorePart)
		}
	})
}

// resetSequences puts every sequence behind the highest value that its column holds.
func resetSequences(ctx context.Context, tx pgx.Tx) error {
	rows, err := tx.Query(ctx, `SELECT c.relname, a.attname, pg_get_serial_sequence(quote_ident(c.relname), a.attname)
		FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
		WHERE c.relkind = 'r' AND c.relnamespace = current_schema()::regnamespace AND pg_get_serial_sequence(quote_ident(c.relname), a.attname) IS NOT NULL`)
	if err != nil {
		return mapError(err)
	}
	type seq struct{ table, column, name string }
	all, err := pgx.CollectRows(rows, func(r pgx.CollectableRow) (s seq, err error) {
		err = r.Scan(&s.table, &s.column, &s.name)
		return
	})
	if err != nil {
		return mapError(err)
	}
	for _, s := range all {
		col, table := pgx.Identifier{s.column}.Sanitize(), pgx.Identifier{s.table}.Sanitize()
		if _, err := tx.Exec(ctx, "SELECT setval($1, (SELECT coalesce(max("+col+"), 0) + 1 FROM "+table+"), false)", s.name); err != nil {
			return mapError(err)
		}
	}
	return nil
}
