package queue

import (
	"context"
	"database/sql"
	"fmt"
	"sync"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
	"github.com/riverqueue/river/rivertype"
)

// Driver is River's SQLite driver with a listener that the writer can wake in-process right after its commit, and an
// executor that does not mark again what a transaction has stored as done. River's own table of notifications, which it
// polls, stays in use for everything else and as the net.
type Driver struct {
	*riversqlite.Driver
	wake *wakeups
	done *finished
}

func newDriver(db *sql.DB, done *finished) *Driver {
	return &Driver{Driver: riversqlite.New(db), wake: newWakeups(), done: done}
}

// GetExecutor overrides River's with ours around it.
func (d *Driver) GetExecutor() riverdriver.Executor {
	return &executor{Executor: d.Driver.GetExecutor(), done: d.done}
}

// executor leaves out of River's batches of completions the jobs that their own transaction has completed: two
// statements each, which would find nothing to do.
type executor struct {
	riverdriver.Executor
	done *finished
}

// JobSetStateIfRunningMany implements riverdriver.Executor.
func (e *executor) JobSetStateIfRunningMany(ctx context.Context, all *riverdriver.JobSetStateIfRunningManyParams) ([]*rivertype.JobRow, error) {
	rest := riverdriver.JobSetStateIfRunningManyParams{Now: all.Now, Schema: all.Schema}
	rows := make([]*rivertype.JobRow, 0, len(all.ID))
	for i, id := range all.ID {
		if e.done.take(id) && all.State[i] == rivertype.JobStateCompleted && !all.MetadataDoMerge[i] {
			rows = append(rows, &rivertype.JobRow{ID: id, State: rivertype.JobStateCompleted})
			continue
		}
		rest.ID = append(rest.ID, id)
		rest.Attempt = append(rest.Attempt, all.Attempt[i])
		rest.ErrData = append(rest.ErrData, all.ErrData[i])
		rest.FinalizedAt = append(rest.FinalizedAt, all.FinalizedAt[i])
		rest.MetadataDoMerge = append(rest.MetadataDoMerge, all.MetadataDoMerge[i])
		rest.MetadataUpdates = append(rest.MetadataUpdates, all.MetadataUpdates[i])
		rest.ScheduledAt = append(rest.ScheduledAt, all.ScheduledAt[i])
		rest.State = append(rest.State, all.State[i])
	}
	if len(rest.ID) == 0 {
		return rows, nil
	}
	set, err := e.Executor.JobSetStateIfRunningMany(ctx, &rest)
	return append(rows, set...), err
}

// finished are the jobs that are stored as done and whose worker ended well, until River reports them as complete.
type finished struct {
	mu  sync.Mutex
	ids map[int64]struct{}
}

func newFinished() *finished { return &finished{ids: map[int64]struct{}{}} }

func (f *finished) add(id int64) {
	f.mu.Lock()
	f.ids[id] = struct{}{}
	f.mu.Unlock()
}

func (f *finished) take(id int64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.ids[id]
	delete(f.ids, id)
	return ok
}

// GetListener overrides River's with ours around it.
func (d *Driver) GetListener(p *riverdriver.GetListenenerParams) riverdriver.Listener {
	return &listener{Listener: d.Driver.GetListener(p), wake: d.wake}
}

// wakeups are the queues that got jobs since somebody last looked.
type wakeups struct {
	mu     sync.Mutex
	queues map[string]struct{}
	signal chan struct{}
}

func newWakeups() *wakeups {
	return &wakeups{queues: map[string]struct{}{}, signal: make(chan struct{}, 1)}
}

func (w *wakeups) add(queues []string) {
	if len(queues) == 0 {
		return
	}
	w.mu.Lock()
	for _, q := range queues {
		w.queues[q] = struct{}{}
	}
	w.mu.Unlock()
	w.ring()
}

func (w *wakeups) ring() {
	select {
	case w.signal <- struct{}{}:
	default: // somebody has rung already
	}
}

// take removes one queue; when more remain it rings again.
func (w *wakeups) take() (string, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for q := range w.queues {
		delete(w.queues, q)
		if len(w.queues) > 0 {
			w.ring()
		}
		return q, true
	}
	return "", false
}

const insertTopic = "river_insert"

type arrival struct {
	n   *riverdriver.Notification
	err error
}

// listener merges River's notifications, which a goroutine pumps between Connect and Close, with the wake-ups.
type listener struct {
	riverdriver.Listener
	wake   *wakeups
	mu     sync.Mutex
	stop   context.CancelFunc
	done   chan struct{}
	pumped chan arrival
}

// Connect implements riverdriver.Listener.
func (l *listener) Connect(ctx context.Context) error {
	if err := l.Listener.Connect(ctx); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	pumpCtx, stop := context.WithCancel(context.Background())
	l.stop, l.done, l.pumped = stop, make(chan struct{}), make(chan arrival)
	go l.pump(pumpCtx, l.pumped, l.done)
	return nil
}

func (l *listener) pump(ctx context.Context, out chan<- arrival, done chan<- struct{}) {
	defer close(done)
	for {
		n, err := l.Listener.WaitForNotification(ctx)
		select {
		case out <- arrival{n, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// Close implements riverdriver.Listener.
func (l *listener) Close(ctx context.Context) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.stop != nil {
		l.stop()
		<-l.done
		l.stop = nil
	}
	return l.Listener.Close(ctx)
}

// WaitForNotification implements riverdriver.Listener.
func (l *listener) WaitForNotification(ctx context.Context) (*riverdriver.Notification, error) {
	l.mu.Lock()
	pumped := l.pumped
	l.mu.Unlock()
	for {
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case a := <-pumped:
			return a.n, a.err
		case <-l.wake.signal:
			if q, ok := l.wake.take(); ok {
				return &riverdriver.Notification{Topic: insertTopic, Payload: fmt.Sprintf(`{"queue":%q}`, q)}, nil
			}
		}
	}
}
