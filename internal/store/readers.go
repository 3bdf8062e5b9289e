package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"runtime"
)

// readers are SQLite's connections for reading. Each keeps few pages of its own: what a page of leads reads of a large file it
// seldom reads again, and a copy in memory that the processor has at hand is soon made (ADR 004).
type readers struct {
	db    *sql.DB
	turns turns
}

func openReaders(file string) readers {
	db := sql.OpenDB(newCachingConnector(file + "?_dqs=0&_pragma=busy_timeout(10000)&_pragma=query_only(1)&_pragma=temp_store(2)" +
		"&_pragma=cache_size(-4096)&_pragma=mmap_size(268435456)"))
	n := runtime.GOMAXPROCS(0) + 2
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return readers{db, make(turns, n)}
}

// together runs reads in one transaction: each statement by itself takes and gives back the WAL's lock.
func (r readers) together(ctx context.Context, fn func(querier) error) error {
	if err := r.turns.take(ctx); err != nil {
		return mapError(err)
	}
	defer r.turns.give()
	conn, err := r.db.Conn(ctx)
	if err != nil {
		return mapError(err)
	}
	defer conn.Close()
	q := sqlQuerier{ctx: context.WithoutCancel(ctx), db: conn}
	if _, err := q.exec("BEGIN", nil); err != nil {
		return mapError(err)
	}
	defer func() {
		if _, err := q.exec("COMMIT", nil); err != nil { // a snapshot that is kept would keep the WAL from being reset
			_ = conn.Raw(func(any) error { return driver.ErrBadConn })
		}
	}()
	return fn(q)
}

// turns let as many at once as a pool has connections, in the order in which they came. The pool of database/sql gives
// a connection that becomes free to any one of those who wait: when requests always wait, one of a hundred would wait
// five times as long as most.
type turns chan struct{}

// take waits for a turn, which give ends; those of a nil turns never wait.
func (t turns) take(ctx context.Context) error {
	if t == nil {
		return nil
	}
	select {
	case t <- struct{}{}: // a channel lets its senders in one by one, as they came
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (t turns) give() {
	if t != nil {
		<-t
	}
}
