package bench

import (
	"context"
	"database/sql"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/queue"
)

// alone is River with the product's driver and settings and a worker that does nothing: a trigger is an HTTP request
// that inserts jobs in a group commit.
type alone struct {
	db     *sql.DB
	queue  *queue.Client
	writes chan *insertion

	mu      sync.Mutex
	done    int64
	latency []int64 // µs from the insertion, before its commit, to the start of the work
}

type insertion struct {
	jobs int
	done chan error
}

type emptyJob struct {
	At int64 `json:"at"` // µs
}

func (emptyJob) Kind() string { return "bench.empty" }

// aloneState is what GET /state tells since the last POST /reset.
type aloneState struct {
	Done    int64   `json:"done"`
	Latency []int64 `json:"latency"`
}

func newAlone(path string) (http.Handler, error) {
	ctx := context.Background()
	db, err := openWriter(path)
	if err != nil {
		return nil, err
	}
	a := &alone{db: db, writes: make(chan *insertion, 1024)}
	reg := queue.NewRegistry()
	queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: time.Minute, Attempts: 1}, a.work)
	o := queue.Options{SQLite: db, Registry: reg}
	if err := queue.MigrateUp(ctx, o); err != nil {
		return nil, err
	}
	if a.queue, err = queue.Open(ctx, o); err != nil {
		return nil, err
	}
	if err := a.queue.Start(ctx); err != nil {
		return nil, err
	}
	go a.commit()
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/workflows/trigger", a.trigger)
	mux.HandleFunc("GET /state", a.state)
	mux.HandleFunc("POST /reset", a.reset)
	return mux, nil
}

func (a *alone) work(_ context.Context, job queue.Job[emptyJob]) error {
	waited := time.Now().UnixMicro() - job.Args.At
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done++
	a.latency = append(a.latency, waited)
	return nil
}

func (a *alone) trigger(w http.ResponseWriter, r *http.Request) {
	n := 1
	if s := r.URL.Query().Get("jobs"); s != "" {
		n, _ = strconv.Atoi(s)
	}
	i := &insertion{n, make(chan error, 1)}
	a.writes <- i
	reply(w, map[string]any{"status": "triggered"}, <-i.done)
}

// commit inserts what has queued up in one transaction, as the product's writer does.
func (a *alone) commit() {
	for first := range a.writes {
		batch := []*insertion{first}
	fill:
		for len(batch) < 256 {
			select {
			case i := <-a.writes:
				batch = append(batch, i)
			default:
				break fill
			}
		}
		err := a.insert(batch)
		for _, i := range batch {
			i.done <- err
		}
	}
}

func (a *alone) insert(batch []*insertion) error {
	ctx := context.Background()
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }()
	var jobs []river.InsertManyParams
	now := time.Now().UnixMicro()
	for _, i := range batch {
		for range i.jobs {
			jobs = append(jobs, river.InsertManyParams{Args: emptyJob{now}})
		}
	}
	if err := a.queue.InsertTx(ctx, tx, jobs); err != nil {
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	a.queue.Wake([]string{queue.QueueRun})
	return nil
}

func (a *alone) state(w http.ResponseWriter, r *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	s := aloneState{Done: a.done}
	if r.URL.Query().Has("latency") {
		s.Latency = a.latency
	}
	answer(w, s, nil)
}

func (a *alone) reset(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.done, a.latency = 0, nil
	answer(w, "ok", nil)
}
