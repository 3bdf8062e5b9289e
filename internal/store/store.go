package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
)

// Options say where the database is and what the store needs from outside.
type Options struct {
	Path        string           // SQLite file; its folder must exist
	PostgresURL string           // when set, PostgreSQL is used instead of Path
	ReadOnly    bool             // SQLite: read beside a running server; every Write fails
	PoolSize    int              // PostgreSQL connections; 0 means 20
	Now         func() time.Time // the clock; nil means time.Now
	Logger      *slog.Logger
}

// Inserter puts a batch of jobs into the queue inside the raw transaction (*sql.Tx or pgx.Tx), before its commit.
type Inserter interface {
	InsertTx(ctx context.Context, rawTx any, jobs []river.InsertManyParams) error
	// Wake tells the workers of these queues, after the commit, that jobs are there.
	Wake(queues []string)
}

// Store is one open database. It is safe for concurrent use.
type Store struct {
	dialect  dialect
	now      func() time.Time
	log      *slog.Logger
	inserter atomic.Pointer[Inserter]
	sq       *sqliteEngine
	pg       *pgEngine
	epoch    int64
	instance string
	caches   sync.Map
	further  allowance // of pages of leads
}

// Open opens the database. Migrate must have brought its schema up before anything else is called.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Store{now: o.Now, log: o.Logger}
	var err error
	if o.PostgresURL != "" {
		s.dialect = postgresDialect
		s.pg, err = openPostgres(ctx, s, o)
	} else {
		s.dialect = sqliteDialect
		if o.ReadOnly {
			s.sq, err = openReadOnly(ctx, o)
		} else {
			s.sq, err = openSQLite(ctx, s, o)
		}
	}
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Close stops the writer after its current batch, then closes the database. On SQLite it checkpoints first.
func (s *Store) Close() error {
	if s.pg != nil {
		s.pg.pool.Close()
		return nil
	}
	return s.sq.close()
}

// Engine is "sqlite" or "postgres".
func (s *Store) Engine() string { return s.dialect.name }

// SQLite is the writer's handle, which the queue shares; a query-only one when opened for reading, nil on PostgreSQL.
func (s *Store) SQLite() *sql.DB {
	switch {
	case s.sq == nil:
		return nil
	case s.sq.db == nil:
		return s.sq.readers.db
	}
	return s.sq.db
}

// Postgres is the pool, which the queue shares; nil on SQLite.
func (s *Store) Postgres() *pgxpool.Pool {
	if s.pg == nil {
		return nil
	}
	return s.pg.pool
}

// SetInserter connects the queue. Without one, a transaction that enqueues a job fails.
func (s *Store) SetInserter(i Inserter) { s.inserter.Store(&i) }

// Now is the store's clock.
func (s *Store) Now() time.Time { return s.now() }

// Read gives a Reader on the read pool; ctx bounds its queries.
func (s *Store) Read(ctx context.Context) *Reader {
	if s.pg != nil {
		return &Reader{q: pgQuerier{ctx, s.pg.pool}, s: s}
	}
	return &Reader{q: sqlQuerier{ctx, s.sq.readers.db, s.sq.readers.turns}, s: s}
}

// ReadTogether runs reads that belong together on one connection of the read pool, which then is waited for once, and on
// SQLite in one snapshot. Once it is there they go on without the caller; they must be short.
func (s *Store) ReadTogether(ctx context.Context, fn func(*Reader) error) error {
	if s.pg != nil {
		conn, err := s.pg.pool.Acquire(ctx)
		if err != nil {
			return mapError(err)
		}
		defer conn.Release()
		return fn(&Reader{q: pgQuerier{ctx, conn}, s: s})
	}
	return s.sq.readers.together(ctx, func(q querier) error { return fn(&Reader{q: q, s: s}) })
}

// Write runs fn in one transaction together with what it enqueues, and returns after the commit is durable.
// fn may run more than once (a conflict, or a batch that failed because of another caller): it must have no effect
// outside its Tx. An error from fn rolls back everything that it did and is returned as it is.
func (s *Store) Write(ctx context.Context, fn func(*Tx) error) error {
	if s.pg != nil {
		return s.pg.write(ctx, fn)
	}
	return s.sq.write(ctx, fn)
}

// pingPatience is longer than any pause of a database that works, and ends the wait for one that will never answer.
const pingPatience = 15 * time.Second

// Ping says whether the database can be written now: it commits an empty change to the instance row.
func (s *Store) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, pingPatience)
	defer cancel()
	return s.Write(ctx, func(tx *Tx) error {
		_, err := tx.exec("UPDATE instance SET checked_at=$1 WHERE only_row=1", micros(tx.Now()))
		return err
	})
}

func (s *Store) insert(ctx context.Context, raw any, jobs []river.InsertManyParams) error {
	if len(jobs) == 0 {
		return nil
	}
	p := s.inserter.Load()
	if p == nil {
		return errors.New("store: a job was enqueued but no queue is connected")
	}
	return (*p).InsertTx(ctx, raw, jobs)
}

func (s *Store) wake(jobs []river.InsertManyParams) {
	if len(jobs) == 0 {
		return
	}
	if p := s.inserter.Load(); p != nil {
		(*p).Wake(queuesOf(jobs))
	}
}

// collapseUnique keeps one of the equal unique jobs of a batch: each of 32 changes of a batch asks for the same drain.
func collapseUnique(jobs []river.InsertManyParams) []river.InsertManyParams {
	if len(jobs) < 2 {
		return jobs
	}
	seen := map[string]bool{}
	out := jobs[:0]
	for _, j := range jobs {
		if isUnique(j) {
			b, err := json.Marshal(j.Args)
			key := j.Args.Kind() + string(b)
			if err == nil && seen[key] {
				continue
			}
			seen[key] = true
		}
		out = append(out, j)
	}
	return out
}

func isUnique(j river.InsertManyParams) bool {
	o := j.InsertOpts
	if o == nil {
		a, ok := j.Args.(river.JobArgsWithInsertOpts)
		if !ok {
			return false
		}
		v := a.InsertOpts()
		o = &v
	}
	return o.UniqueOpts.ByArgs || o.UniqueOpts.ByQueue || o.UniqueOpts.ByPeriod != 0 || o.UniqueOpts.ByState != nil
}

func queuesOf(jobs []river.InsertManyParams) []string {
	var out []string
	seen := map[string]bool{}
	for _, j := range jobs {
		q := river.QueueDefault
		if o, ok := j.Args.(river.JobArgsWithInsertOpts); ok && o.InsertOpts().Queue != "" {
			q = o.InsertOpts().Queue
		}
		if j.InsertOpts != nil && j.InsertOpts.Queue != "" {
			q = j.InsertOpts.Queue
		}
		if !seen[q] {
			seen[q] = true
			out = append(out, q)
		}
	}
	return out
}

// newID is a UUIDv7: ids sort by time of creation.
func newID() string {
	id, err := uuid.NewV7()
	if err != nil {
		panic(fmt.Sprintf("store: no randomness: %v", err)) // the operating system has none: nothing can go on
	}
	return id.String()
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
