package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
)

const (
	maxBatch     = 128                    // requests and jobs that share one commit
	jobShare     = 16                     // places of a full batch that requests leave to jobs
	jobTurn      = 2 * time.Millisecond   // how long a batch's jobs may take while requests wait: a newcomer waits for that and a commit
	writeBacklog = 4096                   // requests that may wait for the writer, and as many jobs
	fullFor      = 250 * time.Millisecond // how long a request waits for a place in the backlog
)

// writer is the group commit: one goroutine runs the requests that queued while the previous batch was being synced,
// each in a savepoint of one transaction, and answers them after its one commit. Somebody waits for a request; a job
// has time: requests go first, and jobs get a turn of their own in every batch, which ends early when requests wait.
// See writer.loop.
type writer struct {
	s    *Store
	db   *sql.DB
	reqs chan *request
	jobs chan *request
	stop chan struct{}
	done chan struct{}
	once sync.Once
	buf  []*request
	held []*request // jobs whose turn ended before they ran: the first of the next one

	batches, requests atomic.Int64
	busyNanos         atomic.Int64
}

type request struct {
	ctx    context.Context
	job    bool
	fn     func(*Tx) error
	tx     *Tx
	err    error
	answer chan error
	state  atomic.Int32 // queued, then taken by the writer or left by its caller
}

const (
	queued int32 = iota
	taken
	left
)

func newWriter(s *Store, db *sql.DB) *writer {
	w := &writer{s: s, db: db, reqs: make(chan *request, writeBacklog), jobs: make(chan *request, writeBacklog), stop: make(chan struct{}), done: make(chan struct{}), buf: make([]*request, 0, maxBatch)}
	go w.loop()
	return w
}

func (w *writer) do(ctx context.Context, fn func(*Tx) error) error {
	return w.ask(&request{ctx: ctx, fn: fn, job: inJob(ctx), answer: make(chan error, 1)})
}

// ask queues the request and waits for its answer.
func (w *writer) ask(r *request) error {
	ctx := r.ctx
	select {
	case <-w.stop:
		return errClosing()
	default:
	}
	line := w.reqs
	if r.job {
		line = w.jobs
	}
	select {
	case line <- r:
	default:
		t := time.NewTimer(fullFor)
		defer t.Stop()
		select {
		case line <- r:
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
			return fault.Unavailable("overloaded", "More changes are waiting than the database can take. Nothing was changed; try again shortly.", time.Second, nil)
		}
	}
	select {
	case err := <-r.answer:
		return err
	case <-ctx.Done():
		if r.state.CompareAndSwap(queued, left) {
			return ctx.Err() // not begun, and never will be
		}
		return <-r.answer // its outcome is what counts, however long the disk takes
	case <-w.done:
		select {
		case err := <-r.answer:
			return err
		default:
			return errClosing()
		}
	}
}

func errClosing() error {
	return fault.Unavailable("shutting_down", "The server is stopping. Nothing was changed; try again shortly.", 2*time.Second, nil)
}

func (w *writer) close() {
	w.once.Do(func() { close(w.stop) })
	<-w.done
}

// inJob says whether a job writes: River puts its client into the context of each.
func inJob(ctx context.Context) bool {
	_, err := river.ClientFromContextSafely[*sql.Tx](ctx)
	return err == nil
}

// next gives the batch that has queued, requests before jobs, waiting for a first one only; nil after the stop, when
// nothing is left.
func (w *writer) next() []*request {
	for {
		batch := fill(w.buf[:0], w.reqs, maxBatch-jobShare)
		batch = append(batch, w.held...) // never more than what was left of one batch
		w.held = w.held[:0]
		batch = fill(batch, w.jobs, maxBatch)
		if len(batch) > 0 {
			return batch
		}
		var first *request
		select {
		case first = <-w.reqs:
		case first = <-w.jobs:
		case <-w.stop:
			if len(w.reqs)+len(w.jobs) > 0 { // what was queued before the stop is still done
				continue
			}
			return nil
		}
		batch = append(batch, first)
		if first.job {
			return fill(batch, w.jobs, maxBatch)
		}
		return fill(fill(batch, w.reqs, maxBatch), w.jobs, maxBatch)
	}
}

// fill takes what waits in a line, up to a length of the batch.
func fill(batch []*request, line <-chan *request, upTo int) []*request {
	for len(batch) < upTo {
		select {
		case r := <-line:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// loop never waits to fill a batch: the batch is what queued while the last one was being synced.
func (w *writer) loop() {
	defer close(w.done)
	for {
		batch := w.next()
		if batch == nil {
			return
		}
		batch = slices.DeleteFunc(batch, func(r *request) bool { return !r.state.CompareAndSwap(queued, taken) })
		if len(batch) == 0 {
			continue
		}
		started := time.Now()
		ran, err := w.run(batch)
		if err != nil {
			w.refuseWaiting(err)
		}
		w.busyNanos.Add(int64(time.Since(started)))
		w.batches.Add(1)
		w.requests.Add(int64(ran))
	}
}

// errNotBegun marks that no transaction could be begun: no request is guilty, and none would fare better alone.
var errNotBegun = errors.New("store: no transaction could be begun")

// refuseWaiting answers everybody who queued while a transaction was waited for in vain: each of them would wait as
// long again.
func (w *writer) refuseWaiting(err error) {
	for range len(w.reqs) + len(w.jobs) {
		var r *request
		select {
		case r = <-w.reqs:
		case r = <-w.jobs:
		default:
			return
		}
		if r.state.CompareAndSwap(queued, taken) {
			r.answer <- err
		}
	}
}

// run tries the whole batch; when the batch itself fails nothing is stored, and each request runs again alone, so
// that only the guilty one fails. It returns how many of the batch have their answer (the jobs after those are held
// for the next one) and an error when no transaction could be begun.
func (w *writer) run(batch []*request) (ran int, notBegun error) {
	ran, err := w.try(batch)
	for _, r := range batch[ran:] {
		r.state.Store(queued)
		w.held = append(w.held, r)
	}
	batch = batch[:ran]
	if err != nil && len(batch) > 1 && !errors.Is(err, errNotBegun) {
		for i := range batch {
			if notBegun == nil {
				_, err = w.try(batch[i : i+1])
			}
			if err != nil {
				batch[i].err = err
			}
			if errors.Is(err, errNotBegun) {
				notBegun = err
			}
		}
	} else if err != nil {
		for _, r := range batch {
			r.err = err
		}
		if errors.Is(err, errNotBegun) {
			notBegun = err
		}
	}
	for i, r := range batch {
		if i > 0 {
			failpoint.Hit(failpoint.BatchAnswer)
		}
		if r.err == nil {
			for _, f := range r.tx.onCommit {
				f()
			}
		}
		r.answer <- r.err
		batch[i] = nil
	}
	return ran, notBegun
}

// try runs the batch in one transaction, up to the end of its jobs' turn, and commits it. It returns how many of the
// batch that were; with an error, all of them and nothing is stored.
func (w *writer) try(batch []*request) (ran int, err error) {
	all := len(batch)
	// A context that ends in mid-transaction would roll back every caller's rows with it: none is passed down.
	ctx := context.Background()
	conn, direct, err := w.connection(ctx)
	if err != nil {
		return all, fmt.Errorf("%w: %w", errNotBegun, mapError(err))
	}
	defer conn.Close()                //nolint:errcheck // gives it back
	tx, err := conn.BeginTx(ctx, nil) // BEGIN IMMEDIATE by _txlock
	if err != nil {
		return all, fmt.Errorf("%w: %w", errNotBegun, mapError(err))
	}
	defer tx.Rollback() //nolint:errcheck // after a commit it does nothing
	within := connQuerier{ctx, direct}
	now := w.s.now().UTC().Truncate(time.Microsecond)
	var jobs []river.InsertManyParams
	counts := &Tx{Reader: &Reader{q: within, s: w.s, tx: true}, now: now}
	alone := len(batch) == 1
	var turn time.Time // when the batch's jobs began
	for i, r := range batch {
		if r.job && turn.IsZero() {
			turn = time.Now()
		} else if r.job && len(w.reqs) > 0 && time.Since(turn) > jobTurn {
			batch = batch[:i]
			break
		}
		if i > 0 {
			failpoint.Hit(failpoint.BatchMember)
		}
		if r.err = r.ctx.Err(); r.err != nil {
			continue
		}
		if !alone {
			if _, err := within.exec("SAVEPOINT r", nil); err != nil {
				return all, mapError(err)
			}
		}
		r.tx = &Tx{Reader: &Reader{q: within, s: w.s, tx: true}, now: now, raw: tx}
		r.err = call(r.fn, r.tx)
		if alone {
			if r.err != nil {
				return all, r.err
			}
		} else if err := endSavepoint(within, r.err); err != nil {
			return all, err
		}
		if r.err == nil {
			jobs = append(jobs, r.tx.jobs...)
			counts.merge(r.tx.counts)
		}
	}
	if err := counts.flushCounts(); err != nil {
		return all, err
	}
	jobs = collapseUnique(jobs)
	if err := w.s.insert(ctx, tx, jobs); err != nil {
		return all, mapError(err)
	}
	failpoint.Hit(failpoint.BeforeCommit)
	if err := tx.Commit(); err != nil {
		return all, mapError(err)
	}
	failpoint.Hit(failpoint.AfterCommit)
	w.s.wake(jobs)
	return len(batch), nil
}

// connection takes the writer's connection, and the driver's own one under it.
func (w *writer) connection(ctx context.Context) (*sql.Conn, *cachingConn, error) {
	conn, err := w.db.Conn(ctx)
	if err != nil {
		return nil, nil, err
	}
	var direct *cachingConn
	if err := conn.Raw(func(c any) error { direct = c.(*cachingConn); return nil }); err != nil {
		_ = conn.Close()
		return nil, nil, err
	}
	return conn, direct, nil
}

func endSavepoint(q connQuerier, failed error) error {
	if failed != nil {
		if _, err := q.exec("ROLLBACK TO r", nil); err != nil {
			return fmt.Errorf("store: a request broke the batch: %w", mapError(err))
		}
	}
	if _, err := q.exec("RELEASE r", nil); err != nil {
		return fmt.Errorf("store: a request broke the batch: %w", mapError(err))
	}
	return nil
}

func (tx *Tx) merge(counts map[counterKey]int64) {
	for k, d := range counts {
		if tx.counts == nil {
			tx.counts = map[counterKey]int64{}
		}
		tx.counts[k] += d
	}
}

// call turns a panic of fn into an error, so that the other callers of the batch are not harmed.
func call(fn func(*Tx) error, tx *Tx) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.Internal("transaction", fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	return fn(tx)
}

// WriterStats are totals since the start, for metrics: commits, the requests in them, and the time spent.
type WriterStats struct {
	Batches, Requests, Waiting int64
	Busy                       time.Duration
}

// WriterStats of the SQLite writer; zero on PostgreSQL.
func (s *Store) WriterStats() WriterStats {
	if s.sq == nil {
		return WriterStats{}
	}
	w := s.sq.w
	return WriterStats{w.batches.Load(), w.requests.Load(), int64(len(w.reqs)), time.Duration(w.busyNanos.Load())}
}
