package queue_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/queue"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

const patience = 2 * time.Minute // how long a test waits for what must happen; no measure of speed

// open connects a queue to a store of either engine; nothing runs before Start.
func open(t *testing.T, st *store.Store, reg *queue.Registry, change ...func(*queue.Options)) *queue.Client {
	t.Helper()
	o := queue.Options{SQLite: st.SQLite(), Postgres: st.Postgres(), Registry: reg, Schedules: st, TestOnly: true}
	if err := queue.MigrateUp(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(&o)
	}
	c, err := queue.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	st.SetInserter(c)
	return c
}

func start(t *testing.T, c *queue.Client) {
	t.Helper()
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop(context.Background()) })
}

func enqueue(t *testing.T, st *store.Store, opts *river.InsertOpts, args ...river.JobArgs) {
	t.Helper()
	if err := st.Write(t.Context(), func(tx *store.Tx) error {
		for _, a := range args {
			if err := tx.Enqueue(a, opts); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, st *store.Store, state string) (n int) {
	t.Helper()
	text := "SELECT count(*) FROM river_job WHERE state='" + state + "'"
	var err error
	if st.SQLite() != nil {
		err = st.SQLite().QueryRow(text).Scan(&n)
	} else {
		err = st.Postgres().QueryRow(t.Context(), text).Scan(&n)
	}
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func receive[T any](t *testing.T, ch <-chan T, what string) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("waited in vain for %s", what)
	}
	return v
}

// Twenty jobs whose first attempt fails after its transaction was built, or before it: each effect is there once.
func TestEngines_EffectHappensOnce(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sc := account.SystemScope("t-one", "test")
		done := make(chan int, 100)
		reg := queue.NewRegistry()
		queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: patience, Attempts: 5, Backoff: func(int) time.Duration { return 0 }},
			func(ctx context.Context, j queue.Job[effect]) error {
				err := st.Write(ctx, func(tx *store.Tx) error {
					if _, err := tx.AppendEvent(sc, event.Event{Type: event.LeadCreated, Subject: fmt.Sprint(j.Args.N)}); err != nil {
						return err
					}
					if err := j.Finish(tx); err != nil {
						return err
					}
					if j.Args.N%4 == 0 && j.Attempt == 1 {
						return errors.New("the transaction fails at its very end")
					}
					return nil
				})
				if err == nil {
					done <- j.Args.N
				}
				if j.Args.N%3 == 0 && j.Attempt == 1 && err == nil {
					return errors.New("after the commit an error changes nothing")
				}
				return err
			})
		c := open(t, st, reg)
		var args []river.JobArgs
		for n := range 20 {
			args = append(args, effect{n})
		}
		enqueue(t, st, nil, args...)
		start(t, c)
		for range 20 {
			receive(t, done, "20 effects")
		}
		if err := c.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		es, _, err := st.Read(t.Context()).Events(sc, store.EventFilter{Limit: 100})
		if err != nil || len(es) != 20 {
			t.Fatalf("%d effects of 20 jobs: %v", len(es), err)
		}
		if n := count(t, st, "completed"); n != 20 {
			t.Fatalf("%d jobs completed, want 20", n)
		}
	})
}

func TestEngines_UniqueWhileItWaitsOrRuns(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		running, release := make(chan int, 10), make(chan struct{})
		reg := queue.NewRegistry()
		queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: patience, Attempts: 1}, func(ctx context.Context, j queue.Job[effect]) error {
			running <- j.Args.N
			<-release
			return st.Write(ctx, func(tx *store.Tx) error { return j.Finish(tx) })
		})
		c := open(t, st, reg)
		enqueue(t, st, queue.Unique(), effect{1}, effect{1}, effect{2})
		enqueue(t, st, queue.Unique(), effect{1})
		if n := count(t, st, "available"); n != 2 {
			t.Fatalf("%d jobs wait, want 2", n)
		}
		start(t, c)
		receive(t, running, "the first")
		receive(t, running, "the second")
		enqueue(t, st, queue.Unique(), effect{1}) // one runs: left out
		close(release)
		if err := c.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := count(t, st, "completed"); n != 2 {
			t.Fatalf("%d completed, want 2", n)
		}
		enqueue(t, st, queue.Unique(), effect{1}) // a finished one blocks nothing
		if n := count(t, st, "available"); n != 1 {
			t.Fatalf("%d jobs wait after the first is over, want 1", n)
		}
	})
}

// A job that ignores the stop goes back to the queue and runs again in the next process, at once on SQLite.
func TestEngines_StopWhileRunning(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		started, finished := make(chan int, 10), make(chan struct{})
		reg := queue.NewRegistry()
		queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: patience, Attempts: 3}, func(ctx context.Context, j queue.Job[effect]) error {
			started <- j.Attempt
			<-finished
			return st.Write(ctx, func(tx *store.Tx) error { return j.Finish(tx) })
		})
		c := open(t, st, reg)
		enqueue(t, st, nil, effect{1})
		start(t, c)
		receive(t, started, "the job")
		stopped := make(chan error, 1)
		go func() { stopped <- c.Stop(context.Background()) }()
		enqueue(t, st, nil, effect{2}) // accepted while stopping, for the next process
		close(finished)
		if err := receive(t, stopped, "the end"); err != nil {
			t.Fatal(err)
		}
		if n := count(t, st, "completed"); n < 1 {
			t.Fatalf("the running job was not allowed to finish")
		}
		if n := count(t, st, "running"); n != 0 {
			t.Fatalf("%d jobs are left running", n)
		}
	})
}

func TestSQLite_JobsCutOffByAKillRunAtOnce(t *testing.T) {
	st := storetest.SQLite(t)
	attempts := make(chan int, 10)
	reg := queue.NewRegistry()
	queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: patience, Attempts: 3}, func(ctx context.Context, j queue.Job[effect]) error {
		attempts <- j.Attempt
		return st.Write(ctx, func(tx *store.Tx) error { return j.Finish(tx) })
	})
	c := open(t, st, reg)
	enqueue(t, st, nil, effect{1})
	if _, err := st.SQLite().Exec("UPDATE river_job SET state='running', attempt=1, attempted_at=CURRENT_TIMESTAMP"); err != nil {
		t.Fatal(err)
	}
	start(t, c)
	if n := receive(t, attempts, "the second attempt"); n != 2 {
		t.Fatalf("attempt %d, want 2", n)
	}
}

// A job that a kill cut off in its last attempt is dead at the next start, so that another one may take its place at once.
func TestSQLite_ALastAttemptCutOffByAKillIsDeadAtOnce(t *testing.T) {
	st := storetest.SQLite(t)
	ran := make(chan int64, 10)
	reg := queue.NewRegistry()
	queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: patience, Attempts: 1}, func(ctx context.Context, j queue.Job[effect]) error {
		ran <- j.ID
		return st.Write(ctx, func(tx *store.Tx) error { return j.Finish(tx) })
	})
	c := open(t, st, reg)
	enqueue(t, st, queue.Unique(), effect{1})
	if _, err := st.SQLite().Exec("UPDATE river_job SET state='running', attempt=1, attempted_at=CURRENT_TIMESTAMP"); err != nil {
		t.Fatal(err)
	}
	start(t, c)
	if n := count(t, st, "discarded"); n != 1 {
		t.Fatalf("%d dead jobs after the start, want the one that was cut off", n)
	}
	enqueue(t, st, queue.Unique(), effect{1})
	receive(t, ran, "the job in its place")
}

// Jobs of a node whose lease has run out go back to the queue at a start, in their last attempt they are dead; those of
// a node that keeps its lease stay, however long they take.
func TestPostgres_JobsOfADeadNodeAreTakenBack(t *testing.T) {
	st := storetest.Postgres(t)
	attempts := make(chan [2]int, 10)
	reg := queue.NewRegistry()
	queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: patience, Attempts: 3}, func(ctx context.Context, j queue.Job[effect]) error {
		err := st.Write(ctx, func(tx *store.Tx) error { return j.Finish(tx) })
		attempts <- [2]int{j.Args.N, j.Attempt}
		return err
	})
	c := open(t, st, reg)
	enqueue(t, st, nil, effect{1}, effect{2}, effect{3})
	for _, text := range []string{
		"INSERT INTO queue_nodes (id, seen_at) VALUES ('slow', now()), ('dead', now() - interval '31 seconds')",
		"UPDATE river_job SET state='running', attempt=1, attempted_at=now() - interval '50 seconds', attempted_by=ARRAY['slow','dead'] WHERE args->>'n'='1'",
		"UPDATE river_job SET state='running', attempt=1, attempted_at=now() - interval '50 seconds', attempted_by=ARRAY['dead','slow'] WHERE args->>'n'='2'",
		"UPDATE river_job SET state='running', attempt=3, attempted_at=now() - interval '50 seconds', attempted_by=ARRAY['gone long ago'] WHERE args->>'n'='3'",
	} {
		if _, err := st.Postgres().Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	start(t, c)
	if got := receive(t, attempts, "the second attempt"); got != [2]int{1, 2} {
		t.Fatalf("job and attempt %v, want the dead node's job in its second", got)
	}
	if running, dead := count(t, st, "running"), count(t, st, "discarded"); running != 1 || dead != 1 {
		t.Errorf("%d running and %d dead, want the slow node's job left alone and the last attempt dead", running, dead)
	}
	var nodes int
	if err := st.Postgres().QueryRow(t.Context(), "SELECT count(*) FROM queue_nodes WHERE seen_at > now() - interval '30 seconds'").Scan(&nodes); err != nil || nodes != 2 {
		t.Errorf("%d living nodes (%v), want the slow one and this one", nodes, err)
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := st.Postgres().QueryRow(t.Context(), "SELECT count(*) FROM queue_nodes WHERE seen_at > now() - interval '30 seconds'").Scan(&nodes); err != nil || nodes != 1 {
		t.Errorf("%d living nodes after this one's stop (%v), want the slow one", nodes, err)
	}
}

// The writer's signal, not a poll, starts a job: with polling every hour it runs all the same.
func TestSQLite_TheWriterWakesTheWorkers(t *testing.T) {
	st := storetest.SQLite(t)
	done := make(chan int, 100)
	reg := queue.NewRegistry()
	queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: patience, Attempts: 1}, func(ctx context.Context, j queue.Job[effect]) error {
		done <- j.Args.N
		return nil
	})
	c := open(t, st, reg, func(o *queue.Options) { o.PollInterval = time.Hour })
	start(t, c)
	var worst time.Duration
	for n := range 20 {
		began := time.Now()
		enqueue(t, st, nil, effect{n})
		receive(t, done, "a job that was signalled")
		worst = max(worst, time.Since(began))
	}
	t.Logf("enqueue to start, worst of 20: %s", worst)
}

// A late attempt whose job another one has taken over must not count, and its transaction is rolled back.
func TestEngines_LateAttemptIsFenced(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sc := account.SystemScope("t-one", "test")
		result := make(chan error, 1)
		reg := queue.NewRegistry()
		queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: patience, Attempts: 5}, func(ctx context.Context, j queue.Job[effect]) error {
			steal := fmt.Sprintf("UPDATE river_job SET attempt=attempt+1 WHERE id=%d", j.ID)
			var err error
			if st.SQLite() != nil {
				_, err = st.SQLite().Exec(steal)
			} else {
				_, err = st.Postgres().Exec(ctx, steal)
			}
			if err == nil {
				err = st.Write(ctx, func(tx *store.Tx) error {
					if _, err := tx.AppendEvent(sc, event.Event{Type: event.LeadCreated}); err != nil {
						return err
					}
					return j.Finish(tx)
				})
			}
			result <- err
			return nil
		})
		c := open(t, st, reg)
		start(t, c)
		enqueue(t, st, nil, effect{1})
		if err := receive(t, result, "the attempt"); !errors.Is(err, queue.ErrFenced) {
			t.Fatalf("%v, want ErrFenced", err)
		}
		if es, _, _ := st.Read(t.Context()).Events(sc, store.EventFilter{Limit: 5}); len(es) != 0 {
			t.Fatal("the late attempt's effect was stored")
		}
	})
}

func TestEngines_DeadJobsAreSeenAndRetriedAndStatsCountThem(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		var healed atomic.Bool
		tried := make(chan bool, 10)
		reg := queue.NewRegistry()
		queue.Register(reg, queue.Kind{Queue: queue.QueueMail, Timeout: patience, Attempts: 1}, func(ctx context.Context, j queue.Job[effect]) error {
			defer func() { tried <- j.Last() }()
			if !healed.Load() {
				return fault.Unavailable("down", "The server is away.", time.Minute, nil)
			}
			return nil
		})
		outcomes := make(chan queue.Observation, 10)
		c := open(t, st, reg, func(o *queue.Options) { o.Observe = func(ob queue.Observation) { outcomes <- ob } })
		enqueue(t, st, nil, effect{1})
		stats, err := st.Read(t.Context()).JobStats(account.NewInstance("test"))
		if err != nil || len(stats) != 1 || stats[0].Queue != queue.QueueMail || stats[0].State != "available" || time.Since(stats[0].Oldest) > time.Minute {
			t.Fatalf("%+v %v", stats, err)
		}
		start(t, c)
		if !receive(t, tried, "the attempt") {
			t.Fatal("the only attempt is the last one")
		}
		if ob := receive(t, outcomes, "its observation"); ob.Outcome != "failed" || ob.Kind != "test.effect" {
			t.Fatalf("%+v", ob)
		}
		if err := c.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		dead, err := c.Dead(t.Context(), 10)
		if err != nil || len(dead) != 1 {
			t.Fatalf("%v %v", dead, err)
		}
		healed.Store(true)
		c2 := open(t, st, reg)
		start(t, c2)
		if err := c2.Retry(t.Context(), dead[0].ID); err != nil {
			t.Fatal(err)
		}
		receive(t, tried, "the retry")
		enqueue(t, st, &river.InsertOpts{ScheduledAt: time.Now().Add(time.Hour)}, effect{2})
		if err := c2.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
	})
}

func TestEngines_UnknownKindIsRefusedAndNothingIsStored(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		reg := queue.NewRegistry()
		open(t, st, reg)
		sc := account.SystemScope("t-one", "test")
		err := st.Write(t.Context(), func(tx *store.Tx) error {
			if _, err := tx.AppendEvent(sc, event.Event{Type: event.LeadCreated}); err != nil {
				return err
			}
			return tx.Enqueue(effect{1}, nil)
		})
		if err == nil || !strings.Contains(err.Error(), "test.effect") {
			t.Fatalf("%v", err)
		}
		if es, _, _ := st.Read(t.Context()).Events(sc, store.EventFilter{Limit: 5}); len(es) != 0 {
			t.Fatal("the change was stored without its job")
		}
	})
}

func TestEngines_PeriodicWorkRunsOnceForManyNodes(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		ran := make(chan int, 100)
		reg := queue.NewRegistry()
		queue.Register(reg, queue.Kind{Queue: queue.QueueSystem, Timeout: patience, Attempts: 1}, func(ctx context.Context, j queue.Job[effect]) error {
			ran <- j.Args.N
			return nil
		})
		var shift atomic.Int64 // hours that the virtual clock is ahead
		now := func() time.Time { return time.Now().Add(time.Duration(shift.Load()) * time.Hour) }
		node := func() *queue.Client {
			return open(t, st, reg, func(o *queue.Options) {
				o.Now = now
				o.Periodic = []queue.Periodic{{ID: "test.hourly", Schedule: queue.Every(time.Hour),
					Job: func(due time.Time) (river.JobArgs, *river.InsertOpts) {
						return effect{int(due.Unix() / 3600)}, queue.Unique()
					}}}
			})
		}
		first := node()
		start(t, first)
		waitRow(t, st)
		if err := first.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		shift.Store(30) // a day of downtime: one run makes up for it
		nodes := []*queue.Client{node()}
		if st.Postgres() != nil {
			nodes = append(nodes, node(), node())
		}
		for _, n := range nodes {
			start(t, n)
		}
		if hour := receive(t, ran, "the missed run"); hour != int(now().Unix()/3600) {
			t.Errorf("made up for hour %d, want the latest, %d", hour, now().Unix()/3600)
		}
		for _, n := range nodes {
			if err := n.Stop(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if len(ran) != 0 {
			t.Errorf("%d runs too many", len(ran))
		}
		ps, err := st.Read(t.Context()).PeriodicRuns(account.NewInstance("test"))
		if err != nil || len(ps) != 1 || ps[0].Runs != 1 || ps[0].Next.Before(now()) {
			t.Errorf("%+v %v", ps, err)
		}
	})
}

// waitRow returns when the schedule's first look has been stored.
func waitRow(t *testing.T, st *store.Store) {
	t.Helper()
	for end := time.Now().Add(patience); time.Now().Before(end); {
		ps, err := st.Read(t.Context()).PeriodicRuns(account.NewInstance("test"))
		if err != nil {
			t.Fatal(err)
		}
		if len(ps) == 1 && !ps[0].Last.IsZero() {
			return
		}
		<-time.After(5 * time.Millisecond)
	}
	t.Fatal("the schedule never looked")
}

func TestEngines_MigrationsGoDownAndUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		o := queue.Options{SQLite: st.SQLite(), Postgres: st.Postgres()}
		for range 2 {
			if err := queue.MigrateUp(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if p, err := queue.MigrationsPending(t.Context(), o); err != nil || len(p) != 0 {
				t.Fatalf("%v %v", p, err)
			}
			if err := queue.MigrateDown(t.Context(), o); err != nil {
				t.Fatal(err)
			}
			if p, err := queue.MigrationsPending(t.Context(), o); err != nil || len(p) == 0 {
				t.Fatalf("%v %v", p, err)
			}
		}
	})
}

func TestEngines_JobsScreen(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		reg := queue.NewRegistry()
		queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: patience, Attempts: 1}, func(context.Context, queue.Job[effect]) error { return nil })
		c := open(t, st, reg)
		enqueue(t, st, nil, effect{7})
		ui, err := c.UI()
		if err != nil {
			t.Fatal(err)
		}
		if err := ui.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{"/": "<html", "/api/jobs?limit=5&state=available": `"test.effect"`} {
			rec := httptest.NewRecorder()
			ui.ServeHTTP(rec, httptest.NewRequest("GET", queue.UIPrefix+path, nil))
			if rec.Code != http.StatusOK || !strings.Contains(rec.Body.String(), want) {
				t.Errorf("%s: %d %.200s", path, rec.Code, rec.Body)
			}
		}
	})
}

func TestEngines_CancelReachesARunningJobAndSnoozeUsesNoAttempt(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		started, ended := make(chan int64, 1), make(chan error, 1)
		attempts := make(chan int, 10)
		reg := queue.NewRegistry()
		queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: patience, Attempts: 3}, func(ctx context.Context, j queue.Job[effect]) error {
			if j.Args.N == 1 {
				started <- j.ID
				<-ctx.Done()
				ended <- ctx.Err()
				return ctx.Err()
			}
			attempts <- j.Attempt
			if len(attempts) == 1 {
				return queue.Snooze(time.Millisecond)
			}
			return queue.Cancel(errors.New("never"))
		})
		c := open(t, st, reg)
		start(t, c)
		enqueue(t, st, nil, effect{1})
		if err := c.Cancel(t.Context(), receive(t, started, "the job")); err != nil {
			t.Fatal(err)
		}
		receive(t, ended, "the end of its context")
		enqueue(t, st, nil, effect{2})
		for end := time.Now().Add(patience); len(attempts) < 2 && time.Now().Before(end); {
			<-time.After(5 * time.Millisecond)
		}
		if a, b := receive(t, attempts, "the first"), receive(t, attempts, "the snoozed one"); a != 1 || b != 1 {
			t.Errorf("attempts %d and %d: a snooze must use up none", a, b)
		}
		if err := c.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := count(t, st, "cancelled"); n != 2 {
			t.Errorf("%d cancelled, want 2", n)
		}
	})
}

// What a failed attempt asks for by RetryAfter is obeyed instead of the backoff.
func TestEngines_RetryAfterIsObeyed(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		tried := make(chan int, 10)
		reg := queue.NewRegistry()
		queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: patience, Attempts: 3, Backoff: func(int) time.Duration { return time.Second }},
			func(ctx context.Context, j queue.Job[effect]) error {
				tried <- j.Attempt
				return fault.TooMany("quota", "Later.", 20*time.Minute)
			})
		outcomes := make(chan queue.Observation, 10)
		c := open(t, st, reg, func(o *queue.Options) { o.Observe = func(ob queue.Observation) { outcomes <- ob } })
		start(t, c)
		enqueue(t, st, nil, effect{1})
		receive(t, tried, "the attempt")
		receive(t, outcomes, "its end")
		if err := c.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		stats, err := st.Read(t.Context()).JobStats(account.NewInstance("test"))
		if err != nil || len(stats) != 1 || stats[0].State != "retryable" {
			t.Fatalf("%+v %v", stats, err)
		}
		if wait := time.Until(stats[0].Oldest); wait < 15*time.Minute || wait > 25*time.Minute {
			t.Errorf("comes back in %s, want about 20 minutes", wait)
		}
	})
}
