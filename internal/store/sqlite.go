package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"sync"

	"golang.org/x/sys/unix"
	"modernc.org/sqlite"

	"leadloom/internal/fault"
	_ "leadloom/internal/sqlitemem"
)

// sqliteEngine has one writing connection, shared with the queue, and a pool of query-only readers. A second writing
// connection brings no throughput and lets the worst wait grow to seconds.
type sqliteEngine struct {
	db      *sql.DB // the writer: one connection
	readers readers
	path    string
	lock    *os.File
	w       *writer
}

// ofdLocking keeps SQLite's file locks safe from other opens of the same file in this process.
var ofdLocking = sync.OnceValue(func() error {
	_, err := sqlite.OFDLocking(true)
	return err
})

func openSQLite(ctx context.Context, s *Store, o Options) (*sqliteEngine, error) {
	if err := ofdLocking(); err != nil {
		return nil, fmt.Errorf("store: OFD locks: %w", err)
	}
	lock, err := lockFile(o.Path + ".lock")
	if err != nil {
		return nil, err
	}
	file := sqliteURL(o.Path)
	// Only a stranger can hold the file: for him nobody waits long, else requests would pile up behind each other.
	e := &sqliteEngine{path: o.Path, lock: lock}
	e.db = sql.OpenDB(newCachingConnector(file + "?_txlock=immediate&_dqs=0&_pragma=busy_timeout(2000)&_pragma=journal_mode(WAL)" +
		"&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)&_pragma=temp_store(2)&_pragma=cache_size(-65536)&_pragma=journal_size_limit(67108864)"))
	e.db.SetMaxOpenConns(1)
	e.db.SetMaxIdleConns(1)
	if err := e.db.PingContext(ctx); err != nil {
		return nil, fmt.Errorf("store: open %s: %w", o.Path, mapError(err))
	}
	e.readers = openReaders(file)
	e.w = newWriter(s, e.db)
	return e, nil
}

func sqliteURL(path string) string {
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath()}).String()
}

// lockFile holds an exclusive lock for the life of the process, so that a second server on the same file refuses to
// start instead of slowing both down.
func lockFile(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: lock file: %w", err)
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return nil, fault.Conflict("database_in_use", "Another Leadloom process has "+path+" locked. Stop it, or give this one its own --data folder.")
	}
	return f, nil
}

func (e *sqliteEngine) write(ctx context.Context, fn func(*Tx) error) error {
	if e.w == nil {
		return errors.New("store: opened for reading only")
	}
	return e.w.do(ctx, fn)
}

func (e *sqliteEngine) close() error {
	if e.w == nil {
		return e.readers.db.Close()
	}
	e.w.close()
	_ = e.readers.db.Close()
	_, _ = e.db.Exec("PRAGMA optimize")
	_, err := e.db.Exec("PRAGMA wal_checkpoint(TRUNCATE)")
	if cerr := e.db.Close(); err == nil {
		err = cerr
	}
	_ = e.lock.Close()
	return err
}
