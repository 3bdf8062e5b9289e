package queue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"sync"
	"time"

	"github.com/riverqueue/river"
	"github.com/riverqueue/river/rivertype"

	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
)

// The queues: one per kind of resource, so that a slow one holds up no other.
const (
	QueueRun    = "run"    // workflow steps: many, short, bound by the database
	QueueMail   = "mail"   // SMTP dialogues
	QueueCRM    = "crm"    // calls of CRMs
	QueueHTTP   = "http"   // calls of workflows' HTTP steps: a host that hangs holds up no CRM
	QueueBulk   = "bulk"   // long work in chunks: imports, rebuilds
	QueueSystem = "system" // sealing, sweeping, checking
)

// Outgoing are the queues whose jobs reach other hosts: a restored copy holds them.
func Outgoing() []string { return []string{QueueCRM, QueueHTTP, QueueMail} }

// DefaultWorkers is how many jobs of each queue run at once in one process.
func DefaultWorkers() map[string]int {
	return map[string]int{QueueRun: 500, QueueMail: 64, QueueCRM: 16, QueueHTTP: 32, QueueBulk: 4, QueueSystem: 4}
}

// Kind states how one kind of job is run. All fields but Backoff are required.
type Kind struct {
	Queue    string
	Timeout  time.Duration                    // of one attempt; its context ends then
	Attempts int                              // including the first; then the job is dead and visible under /admin/jobs/
	Backoff  func(failures int) time.Duration // before the next attempt, without jitter; nil means Backoff
}

// Registry is the explicit list of the kinds of work that this binary can do. Fill it with Register before Open.
type Registry struct {
	kinds map[string]Kind
	add   []func(*river.Workers, *runtime) error
	errs  []error
}

// NewRegistry returns an empty one.
func NewRegistry() *Registry { return &Registry{kinds: map[string]Kind{}} }

// Kinds lists the registered names in order.
func (r *Registry) Kinds() []string { return slices.Sorted(maps.Keys(r.kinds)) }

// Kind finds the settings of a kind by its name.
func (r *Registry) Kind(name string) (Kind, bool) {
	k, ok := r.kinds[name]
	return k, ok
}

var kindName = regexp.MustCompile(`^[a-z]+(\.[a-z_]+)+$`)

// Register adds the worker of a kind; the name comes from A's Kind method. Mistakes (a name twice, no timeout) are
// reported together by Open. fn returns nil when the work is done, Snooze for "not yet", Cancel for "never", and any
// other error to be called again after a pause: the RetryAfter of a fault, else the kind's backoff.
func Register[A river.JobArgs](r *Registry, k Kind, fn func(ctx context.Context, job Job[A]) error) {
	var zero A
	name := zero.Kind()
	if !kindName.MatchString(name) {
		r.errs = append(r.errs, fmt.Errorf("kind %q: names are noun.verb in lower case", name))
	}
	if _, twice := r.kinds[name]; twice {
		r.errs = append(r.errs, fmt.Errorf("kind %q is registered twice", name))
		return
	}
	if k.Queue == "" || k.Timeout <= 0 || k.Attempts <= 0 || fn == nil {
		r.errs = append(r.errs, fmt.Errorf("kind %q: queue, timeout, attempts and function are all required", name))
	}
	r.kinds[name] = k
	r.add = append(r.add, func(ws *river.Workers, rt *runtime) error {
		return river.AddWorkerSafely(ws, &worker[A]{kind: k, name: name, fn: fn, rt: rt})
	})
}

// runtime is what the workers of one client share.
type runtime struct {
	now     func() time.Time
	observe func(Observation)
	delays  sync.Map  // job id -> time.Duration that the failed attempt asked for
	done    *finished // nil on PostgreSQL, where one statement completes a batch

	mu    sync.Mutex
	lease context.Context // ends when this node may no longer run its jobs; nil where it is alone
	end   context.CancelCauseFunc
}

// haveLease lets jobs run, after a loss also new ones.
func (rt *runtime) haveLease() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.lease == nil || rt.lease.Err() != nil {
		rt.lease, rt.end = context.WithCancelCause(context.Background())
	}
}

// loseLease ends the contexts of all running jobs.
func (rt *runtime) loseLease() {
	rt.mu.Lock()
	defer rt.mu.Unlock()
	if rt.end != nil {
		rt.end(errLeaseLost)
	}
}

var errLeaseLost = fmt.Errorf("%w: this node could not renew its lease", ErrFenced)

// underLease is ctx that ends with the node's lease too.
func (rt *runtime) underLease(ctx context.Context) (context.Context, func()) {
	rt.mu.Lock()
	lease := rt.lease
	rt.mu.Unlock()
	if lease == nil {
		return ctx, func() {}
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(lease, func() { cancel(context.Cause(lease)) })
	return ctx, func() { stop(); cancel(nil) }
}

// Observation is one finished attempt, for metrics.
type Observation struct {
	Kind    string
	Outcome string        // done, failed, snoozed, cancelled
	Waited  time.Duration // from the moment it was due to its start
	Took    time.Duration
}

type worker[A river.JobArgs] struct {
	river.WorkerDefaults[A]
	kind Kind
	name string
	fn   func(context.Context, Job[A]) error
	rt   *runtime
}

// Timeout bounds one attempt.
func (w *worker[A]) Timeout(*river.Job[A]) time.Duration { return w.kind.Timeout }

// NextRetry obeys what the failed attempt asked for, then the kind's backoff.
func (w *worker[A]) NextRetry(j *river.Job[A]) time.Time {
	if d, ok := w.rt.delays.LoadAndDelete(j.ID); ok {
		return w.rt.now().Add(jitter(d.(time.Duration)))
	}
	return nextRetry(j.JobRow, w.kind.Backoff, w.rt.now())
}

// Work runs one attempt and notes how it went.
func (w *worker[A]) Work(ctx context.Context, j *river.Job[A]) error {
	start := time.Now()
	outcome := "failed" // also when fn panics
	defer func() {
		w.rt.observe(Observation{Kind: w.name, Outcome: outcome, Waited: max(0, start.Sub(j.ScheduledAt)), Took: time.Since(start)})
	}()
	ctx, release := w.rt.underLease(ctx)
	defer release()
	job := newJob(ctx, j)
	err := w.fn(ctx, job)
	failpoint.Hit(failpoint.JobDone)
	if err == nil && w.rt.done != nil && job.finished.Load() {
		w.rt.done.add(j.ID)
	}
	outcome = outcomeOf(err)
	if f := fault.As(err); f != nil && f.RetryAfter > 0 && j.Attempt < j.MaxAttempts {
		w.rt.delays.Store(j.ID, min(f.RetryAfter, maxBackoff))
	}
	return err
}

func outcomeOf(err error) string {
	var snooze *rivertype.JobSnoozeError
	var cancel *rivertype.JobCancelError
	switch {
	case err == nil:
		return "done"
	case errors.As(err, &snooze):
		return "snoozed"
	case errors.As(err, &cancel):
		return "cancelled"
	}
	return "failed"
}
