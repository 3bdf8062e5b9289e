package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
)

type pgEngine struct {
	s    *Store
	pool *pgxpool.Pool
}

const pgAttempts = 6 // serialisation failures and deadlocks are tried again

func openPostgres(ctx context.Context, s *Store, o Options) (*pgEngine, error) {
	cfg, err := pgxpool.ParseConfig(o.PostgresURL)
	if err != nil {
		return nil, errors.New("store: the database URL cannot be read: send postgres://user:password@host:port/database")
	}
	cfg.MaxConns = 20
	if o.PoolSize > 0 {
		cfg.MaxConns = int32(o.PoolSize)
	}
	if cfg.ConnConfig.ConnectTimeout == 0 {
		cfg.ConnConfig.ConnectTimeout = 5 * time.Second
	}
	if cfg.ConnConfig.RuntimeParams["lock_timeout"] == "" {
		cfg.ConnConfig.RuntimeParams["lock_timeout"] = "10s"
	}
	cfg.PingTimeout = 2 * time.Second // an idle connection that does not answer is replaced
	cfg.ConnConfig.RuntimeParams["application_name"] = "leadloom"
	cfg.ConnConfig.StatementCacheCapacity = cachedStatements
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("store: open PostgreSQL: %w", mapError(err))
	}
	if err := pool.Ping(ctx); err != nil {
		pool.Close()
		return nil, fault.Unavailable("database_unavailable", "--database-url: PostgreSQL cannot be used: "+err.Error(), 0, err) // pgx leaves the password out
	}
	return &pgEngine{s: s, pool: pool}, nil
}

func (e *pgEngine) write(ctx context.Context, fn func(*Tx) error) error {
	for attempt := 1; ; attempt++ {
		tx, err := e.try(ctx, fn)
		if err == nil {
			failpoint.Hit(failpoint.AfterCommit)
			e.s.wake(tx.jobs)
			for _, f := range tx.onCommit {
				f()
			}
			return nil
		}
		var pe *pgconn.PgError
		if attempt >= pgAttempts || !errors.As(err, &pe) || (pe.Code != "40001" && pe.Code != "40P01") {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(time.Duration(attempt) * time.Duration(1+rand.IntN(5)) * time.Millisecond):
		}
	}
}

func (e *pgEngine) try(ctx context.Context, fn func(*Tx) error) (*Tx, error) {
	var out *Tx
	committing := false
	err := pgx.BeginFunc(ctx, e.pool, func(raw pgx.Tx) error {
		out = &Tx{Reader: &Reader{q: pgQuerier{ctx, raw}, s: e.s, tx: true}, now: e.s.now().UTC().Truncate(time.Microsecond), raw: raw}
		if err := call(fn, out); err != nil {
			return err
		}
		if err := out.flushCounts(); err != nil {
			return err
		}
		out.jobs = collapseUnique(out.jobs)
		err := mapError(e.s.insert(ctx, raw, out.jobs))
		committing = err == nil
		failpoint.Hit(failpoint.BeforeCommit)
		return err
	})
	if err = mapError(err); committing && fault.IsKind(err, fault.KindUnavailable) {
		err = unavailableAtCommit(err)
	}
	return out, err
}
