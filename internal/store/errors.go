package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"modernc.org/sqlite"

	"leadloom/internal/fault"
)

// ConflictError is a broken unique constraint. Where is PostgreSQL's constraint name, or SQLite's column list
// ("lead_identities.tenant_id, lead_identities.kind, …").
type ConflictError struct {
	Where string
	Cause error
}

func (e *ConflictError) Error() string { return "store: conflict on " + e.Where }

// Unwrap gives the engine's error.
func (e *ConflictError) Unwrap() error { return e.Cause }

// IsConflict reports a unique violation on the table (and, when given, on its index or column).
func IsConflict(err error, table string) bool {
	var c *ConflictError
	return errors.As(err, &c) && strings.Contains(c.Where, table)
}

// SQLite result codes, https://www.sqlite.org/rescode.html
const (
	sqliteBusy, sqliteLocked, sqliteReadonly, sqliteIOErr, sqliteCorrupt = 5, 6, 8, 10, 11
	sqliteFull, sqliteCantOpen, sqliteNotADB                             = 13, 14, 26
	sqlitePrimaryKey, sqliteUnique                                       = 1555, 2067
)

// mapError turns the engines' errors into ours: conflicts, and a database that cannot serve now.
func mapError(err error) error {
	if err == nil || fault.As(err) != nil {
		return err
	}
	var ce *pgconn.ConnectError // its own time-out is no deadline of the caller's
	if errors.As(err, &ce) {
		return unavailable(err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	var se *sqlite.Error
	if errors.As(err, &se) {
		return mapSQLite(se)
	}
	var pe *pgconn.PgError
	if errors.As(err, &pe) {
		return mapPostgres(pe)
	}
	var ne net.Error
	if errors.As(err, &ne) || pgconn.SafeToRetry(err) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, sql.ErrConnDone) || lostConnection(err.Error()) {
		return unavailable(err)
	}
	return err
}

// lockTimeout reports that PostgreSQL gave up waiting for another transaction.
func lockTimeout(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && pe.Code == "55P03"
}

// lostConnection knows the errors that have nothing but a text.
func lostConnection(text string) bool {
	for _, known := range []string{"conn closed", "unexpected EOF", "closed pool", "database is closed"} {
		if strings.Contains(text, known) {
			return true
		}
	}
	return false
}

func mapSQLite(e *sqlite.Error) error {
	switch code := e.Code(); {
	case code == sqlitePrimaryKey || code == sqliteUnique:
		_, where, _ := strings.Cut(e.Error(), "UNIQUE constraint failed: ")
		return &ConflictError{Where: where, Cause: e}
	default:
		switch code & 0xff {
		case sqliteFull:
			return fault.Unavailable("disk_full", "The disk that holds the database is full. Nothing was written; free some space and try again.", 10*time.Second, e)
		case sqliteBusy, sqliteLocked, sqliteReadonly, sqliteIOErr, sqliteCantOpen, sqliteCorrupt, sqliteNotADB:
			return unavailable(e)
		}
		return e
	}
}

func mapPostgres(e *pgconn.PgError) error {
	switch {
	case e.Code == "23505":
		return &ConflictError{Where: e.TableName + " " + e.ConstraintName, Cause: e}
	case e.Code == "22021", e.Code == "22P05": // text with a NUL or broken UTF-8, which SQLite stores and PostgreSQL cannot
		return fault.Malformed("bad_text", "A text of the request holds a NUL character or is not valid UTF-8. Remove it and send the request again.")
	case e.Code == "53100":
		return fault.Unavailable("disk_full", "The disk that holds the database is full. Nothing was written; free some space and try again.", 10*time.Second, e)
	case strings.HasPrefix(e.Code, "08"), strings.HasPrefix(e.Code, "53"), strings.HasPrefix(e.Code, "57P"), strings.HasPrefix(e.Code, "58"), e.Code == "55P03", e.Code == "25006":
		return unavailable(e)
	case e.Code == "40001", e.Code == "40P01": // tried again by the writer; this is what is left when that did not help
		return fault.Unavailable("contended", "Too many requests change the same things at once. Nothing was changed; try again shortly.", time.Second, e)
	}
	return e
}

// unavailableAtCommit is for a change that was lost sight of while it was being committed.
func unavailableAtCommit(cause error) error {
	return fault.Unavailable("database_unavailable", "The database went away while the change was being stored: perhaps it was. Read it again, or repeat the request with the same Idempotency-Key.", 2*time.Second, cause)
}

func unavailable(cause error) error {
	return fault.Unavailable("database_unavailable", "The database cannot be reached or written now. Nothing was changed; try again shortly.", 2*time.Second, cause)
}
