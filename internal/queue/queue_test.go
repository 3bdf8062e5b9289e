package queue_test

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/queue"

	_ "modernc.org/sqlite"
)

type effect struct {
	N int `json:"n"`
}

func (effect) Kind() string { return "test.effect" }

func openSQLite(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "q.db")+"?_txlock=immediate&_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	if err := queue.MigrateUp(t.Context(), queue.Options{SQLite: db}); err != nil {
		t.Fatal(err)
	}
	return db
}

type raw struct {
	tx    *sql.Tx
	after *[]func()
}

func (r raw) Raw() any          { return r.tx }
func (r raw) OnCommit(f func()) { *r.after = append(*r.after, f) }

func TestSQLite_EffectAndCompletionTogether(t *testing.T) {
	db := openSQLite(t)
	if _, err := db.Exec("CREATE TABLE effects (n INTEGER PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
	var seen atomic.Int64
	all := make(chan struct{})
	reg := queue.NewRegistry()
	queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: patience, Attempts: 3}, func(ctx context.Context, j queue.Job[effect]) error {
		tx, err := db.BeginTx(context.WithoutCancel(ctx), nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		if _, err := tx.Exec("INSERT INTO effects VALUES ($1)", j.Args.N); err != nil {
			return err
		}
		var after []func()
		if err := j.Finish(raw{tx, &after}); err != nil {
			return err
		}
		if err := tx.Commit(); err != nil {
			return err
		}
		if j.Args.N%2 == 0 { // a job whose commit nobody tells of is completed by River itself
			for _, f := range after {
				f()
			}
		}
		if seen.Add(1) == 20 {
			close(all)
		}
		return nil
	})
	c, err := queue.Open(t.Context(), queue.Options{SQLite: db, Registry: reg, TestOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	var jobs []river.InsertManyParams
	for n := range 20 {
		jobs = append(jobs, river.InsertManyParams{Args: effect{n}, InsertOpts: queue.Unique()})
	}
	jobs = append(jobs, jobs[3]) // a duplicate is dropped, it does not break the batch
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.InsertTx(t.Context(), tx, jobs); err != nil {
		t.Fatal(err)
	}
	if err := c.InsertTx(t.Context(), tx, nil); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	c.Wake([]string{queue.QueueRun})
	select {
	case <-all:
	case <-time.After(patience):
		t.Fatalf("%d of 20 jobs done", seen.Load())
	}
	if err := c.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	var effects, done int
	if err := db.QueryRow("SELECT (SELECT count(*) FROM effects), (SELECT count(*) FROM river_job WHERE state='completed')").Scan(&effects, &done); err != nil {
		t.Fatal(err)
	}
	if effects != 20 || done != 20 {
		t.Fatalf("%d effects, %d completed jobs; want 20 and 20", effects, done)
	}
}

func TestOpen_ReportsEveryMistake(t *testing.T) {
	reg := queue.NewRegistry()
	queue.Register(reg, queue.Kind{}, func(context.Context, queue.Job[effect]) error { return nil })
	queue.Register(reg, queue.Kind{Queue: "run", Timeout: 1, Attempts: 1}, func(context.Context, queue.Job[effect]) error { return nil })
	_, err := queue.Open(t.Context(), queue.Options{SQLite: openSQLite(t), Registry: reg})
	if err == nil {
		t.Fatal("accepted")
	}
	t.Log(err)
	if _, err := queue.Open(t.Context(), queue.Options{}); err == nil {
		t.Fatal("accepted without a database")
	}
}
