package service

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/queue"
	"leadloom/internal/secret"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// The whole of it with a real queue: an event is sealed within seconds by itself, and health knows its age.
func TestSystem_SealsByItself(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		svc := New(Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
		reg := queue.NewRegistry()
		o := queue.Options{SQLite: st.SQLite(), Postgres: st.Postgres(), Registry: reg, Schedules: st, Periodic: svc.Jobs(reg), Observe: svc.System.ObserveJob, TestOnly: true}
		if err := queue.MigrateUp(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		c, err := queue.Open(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		st.SetInserter(c)
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		defer c.Stop(context.Background())
		sc := account.SystemScope("t-one", "test")
		var id string
		if err := st.Write(t.Context(), func(tx *store.Tx) error {
			e, err := tx.AppendEvent(sc, event.Event{Type: event.UserLogin})
			id = e.ID
			return err
		}); err != nil {
			t.Fatal(err)
		}
		sealed := false
		for end := time.Now().Add(patience); !sealed && time.Now().Before(end); {
			_, seal, err := svc.System.AuditEvent(t.Context(), sc, id)
			if err != nil {
				t.Fatal(err)
			}
			if sealed = seal != nil; !sealed {
				<-time.After(20 * time.Millisecond)
			}
		}
		if !sealed {
			t.Fatalf("the event was not sealed within %s", patience)
		}
		fs, err := svc.System.Check(t.Context(), account.NewInstance("test"))
		fs = slices.DeleteFunc(fs, func(f store.Finding) bool { return f.Check == "rows_have_a_tenant" }) // none is made here
		if err != nil || len(fs) != 0 {
			t.Fatalf("%v %v", fs, err)
		}
		svc.System.Refresh(t.Context())
		if h := svc.System.Health(); h.Status != Healthy {
			t.Fatalf("%+v", h.Components)
		}
	})
}

// A judgement that nobody renews is worth nothing: health turns red by itself.
func TestSystem_OldJudgementIsRed(t *testing.T) {
	st := storetest.SQLite(t)
	svc := New(Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
	if h := svc.System.Health(); h.Status != Starting || svc.System.Ready() {
		t.Fatalf("%+v before the first look", h)
	}
	svc.System.Refresh(t.Context())
	old := *svc.System.Health()
	old.Status, old.At = Healthy, old.At.Add(-time.Minute)
	svc.System.health.Store(&old)
	if h := svc.System.Health(); h.Status != Unhealthy {
		t.Fatalf("%+v a minute later", h)
	}
}

func TestHealth_Judgements(t *testing.T) {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	st := storetest.SQLite(t)
	for _, c := range []struct {
		name, component string
		want            State
		facts           facts
	}{
		{"nothing to say", "queue", Healthy, facts{}},
		{"an old interactive job", "queue", Unhealthy, facts{jobs: []store.JobStat{{Queue: "run", Kind: "run.advance", State: "available", Count: 1, Oldest: now.Add(-6 * time.Minute)}}}},
		{"an old bulk job", "queue", Healthy, facts{jobs: []store.JobStat{{Queue: "bulk", Kind: "leads.bulk", State: "available", Count: 1, Oldest: now.Add(-6 * time.Minute)}}}},
		{"a dead job", "queue", Degraded, facts{jobs: []store.JobStat{{Queue: "run", Kind: "run.advance", State: "discarded", Count: 1, Oldest: now}}}},
		{"the disk is nearly full", "disk", Unhealthy, facts{free: 1, total: 100}},
		{"the disk fills up", "disk", Degraded, facts{free: 9, total: 100}},
		{"a pending migration", "database", Unhealthy, facts{migrations: 1}},
		{"the clock is off", "database", Unhealthy, facts{skew: 6 * time.Second}},
		{"a timer is a minute late", "workflow_runner", Unhealthy, facts{work: store.WorkFacts{Timers: 1, OldestTimer: now.Add(-61 * time.Second)}}},
		{"a timer is to come", "workflow_runner", Healthy, facts{work: store.WorkFacts{Timers: 1, OldestTimer: now.Add(time.Hour)}}},
		{"a parked run", "workflow_runner", Degraded, facts{work: store.WorkFacts{ParkedRuns: 1}}},
		{"a failing connection", "crm_connector", Degraded, facts{work: store.WorkFacts{Connections: 2, FailingConnections: 1}}},
		{"the sealer stands still", "audit_chain", Degraded, facts{openEvents: 5, sealedAt: now.Add(-6 * time.Minute)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := New(Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))}).System
			s.facts = c.facts
			h := s.judgeAt(now)
			if h.Status != c.want {
				t.Errorf("all together %s, want %s: %+v", h.Status, c.want, h.Components)
			}
			for _, p := range h.Components {
				if p.Name == c.component && p.State != c.want {
					t.Errorf("%s is %s, want %s", p.Name, p.State, c.want)
				}
				if p.State != Healthy && (p.Reason == "" || p.Action == "") {
					t.Errorf("%s has no reason or nothing to do: %+v", p.Name, p)
				}
			}
		})
	}
}

// A database that goes away and comes back turns health red and green without a restart.
func TestSystem_LostDatabaseOnPostgres(t *testing.T) {
	st := storetest.Postgres(t)
	svc := New(Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
	if err := queue.MigrateUp(t.Context(), queue.Options{Postgres: st.Postgres()}); err != nil {
		t.Fatal(err)
	}
	svc.System.Refresh(t.Context())
	if h := svc.System.Health(); h.Status != Healthy {
		t.Fatalf("%+v", h.Components)
	}
	cfg := st.Postgres().Config().ConnConfig.Copy()
	name := cfg.Database
	cfg.Database = "postgres"
	admin, err := pgx.ConnectConfig(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer admin.Close(context.Background())
	run := func(text string) {
		t.Helper()
		if _, err := admin.Exec(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	run("ALTER DATABASE " + name + " ALLOW_CONNECTIONS false")
	run("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname='" + name + "'")
	svc.System.Refresh(t.Context())
	if h := svc.System.Health(); h.Status != Unhealthy || svc.System.Ready() {
		t.Fatalf("the database is gone and health says %s", h.Status)
	}
	err = st.Write(t.Context(), func(*store.Tx) error { return nil })
	if f := fault.As(err); f == nil || f.Kind != fault.KindUnavailable || f.RetryAfter <= 0 {
		t.Errorf("a write without a database: %v, want unavailable with a time to come back", err)
	}
	run("ALTER DATABASE " + name + " ALLOW_CONNECTIONS true")
	// Connections that were cut are found one by one: a look may meet another one.
	for end := time.Now().Add(patience); ; <-time.After(20 * time.Millisecond) {
		svc.System.Refresh(t.Context())
		h := svc.System.Health()
		if h.Status == Healthy && svc.System.Ready() {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the database is back: %+v", h.Components)
		}
	}
}

// TestSealAll_ComesBackWhenEventsAreFaster: only a job that closes nothing in its time has failed.
func TestSealAll_ComesBackWhenEventsAreFaster(t *testing.T) {
	slow := errors.New("its time is over")
	for name, c := range map[string]struct {
		rounds  int // that close something before the time is over
		then    error
		snoozes bool
		want    error
	}{"more waits": {3, nil, true, nil}, "cut off after some": {2, slow, true, nil}, "cut off at once": {0, slow, false, slow}} {
		ctx, over := context.WithCancel(t.Context())
		n := 0
		err := sealAll(ctx, func() (bool, error) {
			if n++; n > c.rounds {
				over()
				return c.then == nil, c.then
			}
			return true, nil
		})
		if queue.IsSnooze(err) != c.snoozes || !c.snoozes && !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
		over()
	}
	if err := sealAll(t.Context(), func() (bool, error) { return false, nil }); err != nil {
		t.Errorf("nothing left: %v", err)
	}
}
