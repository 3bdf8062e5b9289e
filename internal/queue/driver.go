package queue

import (
	"context"
	"database/sql"
	"fmt"
	"sync"

	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riversqlite"
)

// Driver is River's SQLite driver with a listener that the writer can wake in-process right after its commit. River's
// own table of notifications, which it polls, stays in use for everything else and as the net.
type Driver struct {
	*riversqlite.Driver
	wake *wakeups
}

func newDriver(db *sql.DB) *Driver {
	return &Driver{Driver: riversqlite.New(db), wake: newWakeups()}
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
