package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// ErrNotFound means that no row matched in this tenant; services turn it into fault.NotFound.
var ErrNotFound = errors.New("store: not found")

// row is what a scan function reads.
type row interface{ Scan(dest ...any) error }

type rows interface {
	row
	Next() bool
	Err() error
	Close()
}

// querier is one connection, pool or transaction of either engine, with its context.
type querier interface {
	exec(sql string, args []any) (int64, error)
	query(sql string, args []any) (rows, error)
}

func (r *Reader) exec(text string, args ...any) (int64, error) {
	n, err := r.q.exec(text, args)
	return n, mapError(err)
}

// queryAll runs a list query.
func queryAll[T any](r *Reader, scan func(row) (T, error), text string, args ...any) ([]T, error) {
	rs, err := r.q.query(text, args)
	if err != nil {
		return nil, mapError(err)
	}
	defer rs.Close()
	var out []T
	for rs.Next() {
		v, err := scan(rs)
		if err != nil {
			return nil, mapError(err)
		}
		out = append(out, v)
	}
	return out, mapError(rs.Err())
}

// queryOne runs a query for one row; ErrNotFound when there is none.
func queryOne[T any](r *Reader, scan func(row) (T, error), text string, args ...any) (T, error) {
	var zero T
	rs, err := r.q.query(text, args)
	if err != nil {
		return zero, mapError(err)
	}
	defer rs.Close()
	if !rs.Next() {
		if err := rs.Err(); err != nil {
			return zero, mapError(err)
		}
		return zero, ErrNotFound
	}
	v, err := scan(rs)
	if err != nil {
		return zero, mapError(err)
	}
	return v, nil
}

func scanInt(r row) (v int64, err error) { err = r.Scan(&v); return }

func scanString(r row) (v string, err error) { err = r.Scan(&v); return }

// patient is r for queries that may take long: they end when the caller gives up.
func (r *Reader) patient() *Reader {
	if q, ok := r.q.(sqlQuerier); ok {
		c := *r
		q.ctx = context.WithValue(q.ctx, interruptible{}, true)
		c.q = q
		return &c
	}
	return r
}

// sqlRunner is *sql.DB or *sql.Tx.
type sqlRunner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

type sqlQuerier struct {
	ctx   context.Context
	db    sqlRunner
	turns turns // of db's connections; nil for one connection or transaction
}

func (q sqlQuerier) exec(text string, args []any) (int64, error) {
	if err := q.turns.take(q.ctx); err != nil {
		return 0, err
	}
	defer q.turns.give()
	res, err := q.db.ExecContext(q.ctx, text, args...)
	if err != nil {
		return 0, err
	}
	return res.RowsAffected()
}

func (q sqlQuerier) query(text string, args []any) (rows, error) {
	if err := q.turns.take(q.ctx); err != nil {
		return nil, err
	}
	rs, err := q.db.QueryContext(q.ctx, text, args...)
	if err != nil {
		q.turns.give()
		return nil, err
	}
	return sqlRows{rs, q.turns}, nil
}

// sqlRows hold their connection until Close, which is called once.
type sqlRows struct {
	*sql.Rows
	turns turns
}

func (r sqlRows) Close() {
	_ = r.Rows.Close()
	r.turns.give()
}

// pgRunner is *pgxpool.Pool or pgx.Tx.
type pgRunner interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

type pgQuerier struct {
	ctx context.Context
	db  pgRunner
}

func (q pgQuerier) exec(text string, args []any) (int64, error) {
	tag, err := q.db.Exec(q.ctx, text, args...)
	return tag.RowsAffected(), err
}

func (q pgQuerier) query(text string, args []any) (rows, error) {
	return q.db.Query(q.ctx, text, args...)
}
