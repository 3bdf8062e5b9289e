package store

import (
	"container/list"
	"context"
	"database/sql/driver"

	"modernc.org/sqlite"
)

// cachingConnector opens SQLite connections that keep prepared statements by their text: planning a statement costs
// more than running it.
type cachingConnector struct {
	dsn    string
	driver *sqlite.Driver
}

func newCachingConnector(dsn string) *cachingConnector {
	return &cachingConnector{dsn: dsn, driver: &sqlite.Driver{}}
}

func (c *cachingConnector) Driver() driver.Driver { return c.driver }

func (c *cachingConnector) Connect(context.Context) (driver.Conn, error) {
	conn, err := c.driver.Open(c.dsn)
	if err != nil {
		return nil, err
	}
	return &cachingConn{inner: conn.(sqliteConn), byText: map[string]*list.Element{}, lru: list.New()}, nil
}

// sqliteConn is what database/sql uses of the driver's connection.
type sqliteConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

const (
	cachedStatements = 256
	longestCached    = 16 << 10
)

type cachingConn struct {
	inner  sqliteConn
	byText map[string]*list.Element
	lru    *list.List
}

type cachedStmt struct {
	text string
	stmt driver.Stmt
	busy bool // its rows are being read
}

func (c *cachingConn) Prepare(q string) (driver.Stmt, error) { return c.inner.Prepare(q) }

func (c *cachingConn) PrepareContext(ctx context.Context, q string) (driver.Stmt, error) {
	return c.inner.PrepareContext(ctx, q)
}

func (c *cachingConn) Begin() (driver.Tx, error) {
	return c.inner.BeginTx(context.Background(), driver.TxOptions{})
}

func (c *cachingConn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	return c.inner.BeginTx(ctx, o)
}

func (c *cachingConn) Ping(ctx context.Context) error         { return c.inner.Ping(ctx) }
func (c *cachingConn) ResetSession(ctx context.Context) error { return c.inner.ResetSession(ctx) }
func (c *cachingConn) IsValid() bool                          { return c.inner.IsValid() }

// Unwrap gives the driver's connection to whoever needs its own methods.
func (c *cachingConn) Unwrap() driver.Conn { return c.inner }

func (c *cachingConn) Close() error {
	for e := c.lru.Front(); e != nil; e = e.Next() {
		_ = e.Value.(*cachedStmt).stmt.Close()
	}
	return c.inner.Close()
}

// interruptible marks a context whose queries may take long.
type interruptible struct{}

// toTheEnd is what a statement runs under. For a context that may be cancelled the driver starts a goroutine with each
// statement and waits for it at its end, which costs more than most statements do. Those are short: only a context that
// is marked, or one that is over already, ends them.
func toTheEnd(ctx context.Context) (context.Context, error) {
	if ctx.Value(interruptible{}) != nil {
		return ctx, nil
	}
	return context.WithoutCancel(ctx), ctx.Err()
}

func (c *cachingConn) ExecContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Result, error) {
	ctx, err := toTheEnd(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.get(ctx, q)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.inner.ExecContext(ctx, q, args)
	}
	return s.stmt.(driver.StmtExecContext).ExecContext(ctx, args)
}

func (c *cachingConn) QueryContext(ctx context.Context, q string, args []driver.NamedValue) (driver.Rows, error) {
	ctx, err := toTheEnd(ctx)
	if err != nil {
		return nil, err
	}
	s, err := c.get(ctx, q)
	if err != nil {
		return nil, err
	}
	if s == nil {
		return c.inner.QueryContext(ctx, q, args)
	}
	rs, err := s.stmt.(driver.StmtQueryContext).QueryContext(ctx, args)
	if err != nil {
		return nil, err
	}
	s.busy = true
	return &cachedRows{Rows: rs, s: s}, nil
}

// get returns the statement to use, or nil when the text must pass by: too long, or being iterated right now.
func (c *cachingConn) get(ctx context.Context, q string) (*cachedStmt, error) {
	if len(q) > longestCached {
		return nil, nil
	}
	if e, ok := c.byText[q]; ok {
		s := e.Value.(*cachedStmt)
		if s.busy {
			return nil, nil
		}
		c.lru.MoveToFront(e)
		return s, nil
	}
	stmt, err := c.inner.PrepareContext(ctx, q)
	if err != nil {
		return nil, err
	}
	s := &cachedStmt{text: q, stmt: stmt}
	c.byText[q] = c.lru.PushFront(s)
	if c.lru.Len() > cachedStatements {
		c.evict()
	}
	return s, nil
}

func (c *cachingConn) evict() {
	for e := c.lru.Back(); e != nil; e = e.Prev() {
		if s := e.Value.(*cachedStmt); !s.busy {
			_ = s.stmt.Close()
			delete(c.byText, s.text)
			c.lru.Remove(e)
			return
		}
	}
}

type cachedRows struct {
	driver.Rows
	s *cachedStmt
}

func (r *cachedRows) Close() error {
	r.s.busy = false
	return r.Rows.Close()
}
