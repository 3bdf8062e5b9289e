package queue

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivertype"

	"leadloom/internal/failpoint"
)

// Options say which database the queue lives in and what it runs. Exactly one of SQLite and Postgres is set.
type Options struct {
	SQLite   *sql.DB       // the writer's handle, shared with the store
	Postgres *pgxpool.Pool // the store's pool

	Registry   *Registry      // nil: any kind may be inserted, none is run
	InsertOnly bool           // for commands and tests: insert what the registry knows, run nothing
	Workers    map[string]int // queue to jobs at once; nil means DefaultWorkers
	Periodic   []Periodic     // work by the clock
	Schedules  PeriodicStore  // remembers the last run of each; required with Periodic
	PollOnly   bool           // PostgreSQL behind a transaction pooler: no LISTEN

	PollInterval time.Duration // the net below the wake-ups; 0 means 1 s on SQLite, 200 ms on PostgreSQL

	Logger   *slog.Logger
	Now      func() time.Time  // clock of the periodic work; nil means time.Now
	Observe  func(Observation) // called after each attempt; must not block
	Schema   string            // PostgreSQL schema of River's tables; empty means the search path's
	TestOnly bool              // starts without River's random pauses
}

// Client is the queue of one process.
type Client struct {
	eng       engine
	reg       *Registry
	workers   bool
	scheduler *scheduler
	log       *slog.Logger
}

// engine hides which kind of transaction River is typed with.
type engine interface {
	insertTx(ctx context.Context, raw any, jobs []river.InsertManyParams) error
	wake(queues []string)
	start(ctx context.Context) error
	stop(ctx context.Context) error
	cancel(ctx context.Context, id int64) (*rivertype.JobRow, error)
	retry(ctx context.Context, id int64) (*rivertype.JobRow, error)
	dead(ctx context.Context, limit int) ([]*rivertype.JobRow, error)
	ui(log *slog.Logger) (UI, error)
}

// Open prepares the queue; its tables must be there (Migrate). It reports every mistake of the registry.
func Open(_ context.Context, o Options) (*Client, error) {
	if (o.SQLite == nil) == (o.Postgres == nil) {
		return nil, errors.New("queue: exactly one of SQLite and Postgres must be set")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Observe == nil {
		o.Observe = func(Observation) {}
	}
	rt := &runtime{observe: o.Observe, now: time.Now}
	if failpoint.Shifts {
		rt.now = o.Now
	}
	cfg, err := config(o, rt)
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	c := &Client{reg: o.Registry, workers: len(cfg.Queues) > 0, log: o.Logger}
	if o.SQLite != nil {
		c.eng, err = newSQLite(o.SQLite, cfg, rt)
	} else {
		c.eng, err = newPostgres(o, cfg, rt)
	}
	if err != nil {
		return nil, fmt.Errorf("queue: %w", err)
	}
	if len(o.Periodic) > 0 && c.workers {
		if c.scheduler, err = newScheduler(o); err != nil {
			return nil, fmt.Errorf("queue: %w", err)
		}
		if o.SQLite != nil {
			c.scheduler.hurry = func(ctx context.Context, now time.Time) error { return hurryStranded(ctx, o.SQLite, now) }
		}
	}
	return c, nil
}

func config(o Options, rt *runtime) (*river.Config, error) {
	cfg := &river.Config{
		Logger:                      slog.New(quiet{o.Logger.Handler()}),
		ErrorHandler:                errorLog{o.Logger},
		RetryPolicy:                 retryPolicy{},
		MaxAttempts:                 12,
		JobTimeout:                  time.Minute,
		RescueStuckJobsAfter:        2 * time.Minute,
		SoftStopTimeout:             10 * time.Second,
		FetchPollInterval:           time.Second, // SQLite's writer sees and signals every job; polling for none costs 3 % of a core
		FetchCooldown:               5 * time.Millisecond,
		FetchOnlyKnownKinds:         true,
		CompletedJobRetentionPeriod: 10 * time.Minute,
		CancelledJobRetentionPeriod: 24 * time.Hour,
		DiscardedJobRetentionPeriod: 14 * 24 * time.Hour,
		PollOnly:                    o.PollOnly,
		Schema:                      o.Schema,
		TestOnly:                    o.TestOnly,
	}
	if o.Postgres != nil { // a notification within the cooldown of another is not sent: the poll is the worst case
		cfg.FetchCooldown, cfg.FetchPollInterval = 10*time.Millisecond, 200*time.Millisecond
	}
	if o.PollInterval > 0 {
		cfg.FetchPollInterval = o.PollInterval
	}
	if failpoint.Shifts && o.SQLite != nil { // River reads the machine's clock: in a test that moves ours, ours
		cfg.Test.Time = clock{o.Now}
	}
	if o.Registry == nil {
		return cfg, nil
	}
	if err := errors.Join(o.Registry.errs...); err != nil {
		return nil, err
	}
	cfg.Workers = river.NewWorkers()
	for _, add := range o.Registry.add {
		if err := add(cfg.Workers, rt); err != nil {
			return nil, err
		}
	}
	if o.InsertOnly || len(o.Registry.kinds) == 0 {
		return cfg, nil
	}
	return cfg, addQueues(cfg, o)
}

func addQueues(cfg *river.Config, o Options) error {
	workers := o.Workers
	if workers == nil {
		workers = DefaultWorkers()
	}
	cfg.Queues = map[string]river.QueueConfig{}
	for name, n := range workers {
		cfg.Queues[name] = river.QueueConfig{MaxWorkers: n}
	}
	for name, k := range o.Registry.kinds {
		if _, ok := cfg.Queues[k.Queue]; !ok {
			return fmt.Errorf("kind %q: nobody works the queue %q", name, k.Queue)
		}
	}
	return nil
}

// InsertTx stores jobs in the caller's transaction (*sql.Tx or pgx.Tx), with their kind's queue and attempts where the
// caller has said nothing else. The entries' options are filled in place, so that the caller sees the queues. Unique
// jobs that are there already are dropped silently. An empty list does nothing.
func (c *Client) InsertTx(ctx context.Context, raw any, jobs []river.InsertManyParams) error {
	if len(jobs) == 0 {
		return nil
	}
	for i := range jobs {
		if err := c.complete(&jobs[i]); err != nil {
			return err
		}
	}
	return c.eng.insertTx(ctx, raw, jobs)
}

func (c *Client) complete(p *river.InsertManyParams) error {
	k := Kind{Queue: QueueRun}
	if c.reg != nil {
		var ok bool
		if k, ok = c.reg.kinds[p.Args.Kind()]; !ok {
			return fmt.Errorf("queue: nobody does jobs of the kind %q", p.Args.Kind())
		}
	}
	var opts river.InsertOpts
	if a, ok := p.Args.(river.JobArgsWithInsertOpts); ok {
		opts = a.InsertOpts()
	}
	if p.InsertOpts != nil {
		own := opts
		opts = *p.InsertOpts
		if opts.Queue == "" {
			opts.Queue = own.Queue
		}
		if opts.MaxAttempts == 0 {
			opts.MaxAttempts = own.MaxAttempts
		}
	}
	if opts.Queue == "" {
		opts.Queue = k.Queue
	}
	if opts.MaxAttempts == 0 {
		opts.MaxAttempts = k.Attempts
	}
	p.InsertOpts = &opts
	return nil
}

// Wake tells this process's workers that these queues got jobs. Call it after the commit. On PostgreSQL the database
// has told every node already.
func (c *Client) Wake(queues []string) { c.eng.wake(queues) }

// Start begins to work. It does nothing for a client that only inserts.
func (c *Client) Start(ctx context.Context) error {
	if !c.workers {
		return nil
	}
	if err := c.eng.start(ctx); err != nil {
		return fmt.Errorf("queue: start: %w", err)
	}
	if c.scheduler != nil {
		c.scheduler.start()
	}
	return nil
}

// Stop takes no more jobs, gives the running ones 10 s, then ends their contexts; unfinished ones go back to the
// queue. It returns when all have ended, or with ctx's error.
func (c *Client) Stop(ctx context.Context) error {
	if !c.workers {
		return nil
	}
	if c.scheduler != nil {
		c.scheduler.stop()
	}
	if err := c.eng.stop(ctx); err != nil {
		return fmt.Errorf("queue: stop: %w", err)
	}
	return nil
}

// Cancel ends a job: at once when it waits, through its context when it runs.
func (c *Client) Cancel(ctx context.Context, id int64) error {
	_, err := c.eng.cancel(ctx, id)
	return err
}

// Retry makes a dead, cancelled or waiting job run now.
func (c *Client) Retry(ctx context.Context, id int64) error {
	_, err := c.eng.retry(ctx, id)
	return err
}

// Dead lists jobs that have used up their attempts, the latest first.
func (c *Client) Dead(ctx context.Context, limit int) ([]*rivertype.JobRow, error) {
	return c.eng.dead(ctx, limit)
}

type typed[T any] struct {
	*river.Client[T]
	before func(ctx context.Context) error
	after  func(ctx context.Context) // nil: nothing to do
	wakeFn func([]string)
	// fastUnique: the quick insert leaves out unique jobs that are there already. PostgreSQL's is a COPY, which fails.
	fastUnique bool
}

func newSQLite(db *sql.DB, cfg *river.Config, rt *runtime) (engine, error) {
	rt.done = newFinished()
	d := newDriver(db, rt.done)
	rc, err := river.NewClient[*sql.Tx](d, cfg)
	if err != nil {
		return nil, err
	}
	return &typed[*sql.Tx]{Client: rc, fastUnique: true, wakeFn: d.wake.add, before: func(ctx context.Context) error {
		// One process owns this file, so what is marked as running was cut off by the end of the last one.
		// In their last attempt they are dead now, not when River's rescuer looks minutes later: nothing could take
		// the place of a unique one until then.
		if _, err := db.ExecContext(ctx, `UPDATE river_job SET state = CASE WHEN attempt < max_attempts THEN 'available' ELSE 'discarded' END,
			finalized_at = CASE WHEN attempt < max_attempts THEN NULL ELSE datetime('now','subsec') END WHERE state='running'`); err != nil {
			return err
		}
		// Nor can anybody else lead: after a clock that went back, the dead leader's term would last as long as it went.
		_, err := db.ExecContext(ctx, "DELETE FROM river_leader")
		return err
	}}, nil
}

func newPostgres(o Options, cfg *river.Config, rt *runtime) (engine, error) {
	var d riverdriver.Driver[pgx.Tx] = riverpgxv5.New(o.Postgres)
	rc, err := river.NewClient(d, cfg)
	if err != nil {
		return nil, err
	}
	n := &node{pool: o.Postgres, id: rc.ID(), schema: schemaPrefix(o.Schema), rt: rt, log: o.Logger}
	return &typed[pgx.Tx]{Client: rc, wakeFn: func([]string) {}, before: n.start, after: n.stop}, nil
}

func (t *typed[T]) insertTx(ctx context.Context, raw any, jobs []river.InsertManyParams) error {
	tx, ok := raw.(T)
	if !ok {
		return fmt.Errorf("queue: this transaction is of another engine: %T", raw)
	}
	if t.fastUnique {
		_, err := t.InsertManyFastTx(ctx, tx, jobs)
		return enqueueError(err)
	}
	plain := make([]river.InsertManyParams, 0, len(jobs))
	var unique []river.InsertManyParams
	for _, j := range jobs {
		if isUnique(j.InsertOpts.UniqueOpts) {
			unique = append(unique, j)
		} else {
			plain = append(plain, j)
		}
	}
	if len(plain) > 0 {
		if _, err := t.InsertManyFastTx(ctx, tx, plain); err != nil {
			return enqueueError(err)
		}
	}
	sortJobs(unique) // two transactions that ask for the same jobs take their locks in one order
	for _, j := range unique {
		if _, err := t.InsertTx(ctx, tx, j.Args, j.InsertOpts); err != nil {
			return enqueueError(err)
		}
	}
	return nil
}

func enqueueError(err error) error {
	if err != nil {
		return fmt.Errorf("queue: enqueue: %w", err)
	}
	return nil
}

func isUnique(u river.UniqueOpts) bool {
	return u.ByArgs || u.ByQueue || u.ByPeriod != 0 || len(u.ByState) > 0
}

func sortJobs(jobs []river.InsertManyParams) {
	if len(jobs) < 2 {
		return
	}
	key := func(j river.InsertManyParams) string {
		b, err := json.Marshal(j.Args)
		if err != nil {
			return j.Args.Kind() // the insert itself will report it
		}
		return j.Args.Kind() + string(b)
	}
	slices.SortStableFunc(jobs, func(a, b river.InsertManyParams) int { return strings.Compare(key(a), key(b)) })
}

func (t *typed[T]) wake(queues []string) { t.wakeFn(queues) }

// start is bound to no context of the caller's: a cancelled one would end running jobs; Stop ends them.
func (t *typed[T]) start(ctx context.Context) error {
	if t.before != nil {
		if err := t.before(ctx); err != nil {
			return fmt.Errorf("take up interrupted jobs: %w", err)
		}
	}
	return t.Start(context.WithoutCancel(ctx))
}

func (t *typed[T]) stop(ctx context.Context) error {
	err := t.Stop(ctx)
	if t.after != nil && err == nil { // else jobs are still running under the lease
		t.after(ctx)
	}
	return err
}

func (t *typed[T]) cancel(ctx context.Context, id int64) (*rivertype.JobRow, error) {
	return t.JobCancel(ctx, id)
}

func (t *typed[T]) retry(ctx context.Context, id int64) (*rivertype.JobRow, error) {
	return t.JobRetry(ctx, id)
}

func (t *typed[T]) dead(ctx context.Context, limit int) ([]*rivertype.JobRow, error) {
	res, err := t.JobList(ctx, river.NewJobListParams().States(rivertype.JobStateDiscarded).
		OrderBy(river.JobListOrderByFinalizedAt, river.SortOrderDesc).First(limit))
	if err != nil {
		return nil, err
	}
	return res.Jobs, nil
}
