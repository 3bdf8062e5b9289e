package service

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// eachReopened runs f on both engines with a store that f may open as often as it likes, as processes one after the
// other or side by side; shift moves their clock.
func eachReopened(t *testing.T, f func(t *testing.T, open func() *store.Store, shift *atomic.Int64)) {
	run := func(name string, o func(*testing.T) store.Options) {
		t.Run(name, func(t *testing.T) {
			var shift atomic.Int64
			opts := o(t)
			opts.Now = func() time.Time { return time.Now().Add(time.Duration(shift.Load())) }
			f(t, func() *store.Store {
				st, err := store.Open(t.Context(), opts)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = st.Close() })
				if err := st.MigrateUp(t.Context(), account.NewInstance("test")); err != nil {
					t.Fatal(err)
				}
				return st
			}, &shift)
		})
	}
	run("sqlite", func(t *testing.T) store.Options {
		return store.Options{Path: filepath.Join(t.TempDir(), "leadloom.db")}
	})
	run("postgres", func(t *testing.T) store.Options {
		return store.Options{PostgresURL: storetest.PostgresURL(t), PoolSize: 8}
	})
}

func TestDrain_QuotaPauseSurvivesARestartAndEndsByItself(t *testing.T) {
	eachReopened(t, func(t *testing.T, open func() *store.Store, shift *atomic.Int64) {
		sim, err := simulator.Start(simulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sim.Close() })
		st := open()
		w := openCRMWorld(t, st, sim, worldOptions{})
		c := w.connect(sim.APIURL(), func(in *ConnectionInput) { in.Settings.DailyLimit, in.Settings.BatchSize = 8, 1 })
		w.until("the test", func() bool { return w.connection(c.ID).State == crm.StateOK })
		for i := range 6 {
			w.addLead(fmt.Sprintf("q%d@example.com", i))
		}
		w.until("the pause", func() bool { return w.connection(c.ID).State == crm.StateQuota })
		v := w.connection(c.ID)
		if sim.Count() != 5 || v.Backlog.Count != 1 || v.Budget.DailyUsed != 7 || !v.StateUntil.After(time.Now()) {
			t.Errorf("%d sent, %d waiting, %d calls, until %s; want 80 %% of 8 calls used (two by the test) and the rest kept", sim.Count(), v.Backlog.Count, v.Budget.DailyUsed, v.StateUntil)
		}
		if err := w.queue.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := st.Close(); err != nil {
			t.Fatal(err)
		}
		again := openCRMWorld(t, open(), sim, worldOptions{})
		late := again.addLead("late@example.com")
		if s := again.connection(c.ID).State; s != crm.StateQuota {
			t.Fatalf("state %s after a restart; want the pause kept", s)
		}
		if _, ok := sim.Record(string(late.ID)); ok {
			t.Error("a lead went out during the pause")
		}
		shift.Store(int64(25 * time.Hour))
		again.until("the end of the pause", func() bool { return sim.Count() == 7 })
		again.until("everything in step", again.inStep(c.ID))
		if s := again.connection(c.ID).State; s != crm.StateOK {
			t.Errorf("state %s; want ok once the quota is renewed", s)
		}
	})
}

func TestBudget_IsNeverExceededByParallelCallersOfTwoNodes(t *testing.T) {
	eachReopened(t, func(t *testing.T, open func() *store.Store, _ *atomic.Int64) {
		sim, err := simulator.Start(simulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sim.Close() })
		first := openCRMWorld(t, open(), sim, worldOptions{idle: true})
		nodes := []*crmWorld{first, first}
		if first.st.Postgres() != nil { // SQLite belongs to one process
			nodes[1] = openCRMWorld(t, open(), sim, worldOptions{idle: true})
		}
		con := &crm.Connection{QuotaKey: "shared", Settings: connector.Settings{RatePerSecond: 10_000, DailyLimit: 50}}
		var taken, refused atomic.Int64
		var wg sync.WaitGroup
		start := make(chan struct{})
		for i := range 8 {
			take := nodes[i%2].svc.CRM.takeBudget(first.sc, con)
			wg.Go(func() {
				<-start
				for range 10 {
					switch e := connector.AsError(take(t.Context())); {
					case e == nil:
						taken.Add(1)
					case e.Class == connector.ClassQuota:
						refused.Add(1)
					default:
						t.Error(e)
					}
				}
			})
		}
		close(start)
		wg.Wait()
		b, err := first.st.Read(t.Context()).Budget(first.sc, "shared")
		if err != nil || taken.Load() != 40 || refused.Load() != 40 || b.DailyUsed != 40 {
			t.Errorf("%d taken, %d refused, %d counted, %v; want 40 (80 %% of 50), 40 and 40", taken.Load(), refused.Load(), b.DailyUsed, err)
		}
	})
}

func TestSweep_TestsWhatFailedAndHasNothingToSend(t *testing.T) {
	each(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		w.sim.Inject(simulator.Fault{Op: "test", First: 1, Last: -1, Kind: simulator.Fail, Status: 503})
		c := w.connect(w.sim.APIURL())
		w.until("the failure", func() bool { return w.connection(c.ID).State == crm.StateDegraded && w.connection(c.ID).Failures > 0 })
		w.sim.Heal()
		w.until("recovery without any lead", func() bool { return w.connection(c.ID).State == crm.StateOK })
	})
}

func TestDrain_AReplyWithoutResultsIsNoSuccess(t *testing.T) {
	each(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		c := w.connect(w.sim.APIURL())
		w.until("the test", func() bool { return w.connection(c.ID).State == crm.StateOK })
		for _, op := range []string{"batch", "upsert"} { // a test by the sweep that comes between finds it well
			w.sim.Inject(simulator.Fault{Op: op, First: 1, Last: -1, Kind: simulator.EmptyResults})
		}
		w.addLeads("a@example.com", "b@example.com")
		var v *ConnectionView
		w.until("the doubt", func() bool { v = w.connection(c.ID); return v.State == crm.StateDegraded })
		if v.StateCode != "no_verdict" || v.Backlog.Count == 0 {
			t.Errorf("state %s/%s, %d waiting; want a connection that says its CRM answers nothing, and the leads kept", v.State, v.StateCode, v.Backlog.Count)
		}
		w.sim.Heal()
		w.until("both", func() bool { return w.sim.Count() == 2 })
		w.until("everything in step", w.inStep(c.ID))
		if s := w.connection(c.ID).State; s != crm.StateOK {
			t.Errorf("state %s; want ok", s)
		}
	})
}

// TestDrain_SlowOneByOneKeepsWhatItHas: a CRM without batches, at a second a call, takes longer for one batch than a job
// may run. Without a record on the way the same leads would be sent for ever.
func TestDrain_SlowOneByOneKeepsWhatItHas(t *testing.T) {
	eachReopened(t, func(t *testing.T, open func() *store.Store, shift *atomic.Int64) {
		sim, err := simulator.Start(simulator.Options{NoBatch: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sim.Close() })
		w := openCRMWorld(t, open(), sim, worldOptions{idle: true})
		emails := make([]string, 120)
		for i := range emails {
			emails[i] = fmt.Sprintf("s%d@example.com", i)
		}
		w.addLeads(emails...)
		c := w.connect(sim.APIURL(), func(in *ConnectionInput) { in.Settings.BatchPath = "-" })
		w.markAll(c.ID)
		sim.OnCall(func(string) { shift.Add(int64(time.Second)) })
		before := int64(len(emails))
		for job := 0; before > 0; job++ {
			calls := len(sim.Calls("upsert"))
			if _, err := w.round(t.Context(), c.ID); err != nil {
				t.Fatal(err)
			}
			left := w.connection(c.ID).Backlog.Count
			if calls = len(sim.Calls("upsert")) - calls; before-left != int64(calls) || calls == 0 || calls > 32 {
				t.Fatalf("job %d: %d calls, %d leads recorded; want as many, and no more than half a minute of them", job, calls, before-left)
			}
			before = left
			w.invariant6()
		}
		if sim.Count() != len(emails) {
			t.Errorf("%d records; want %d", sim.Count(), len(emails))
		}
	})
}

// TestDrain_PoisonIsFoundByACRMOfFewCalls: with time for two calls a job, a search that began anew each time would never
// end, and the lead would block all that are older and younger.
func TestDrain_PoisonIsFoundByACRMOfFewCalls(t *testing.T) {
	eachReopened(t, func(t *testing.T, open func() *store.Store, shift *atomic.Int64) {
		sim, err := simulator.Start(simulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sim.Close() })
		w := openCRMWorld(t, open(), sim, worldOptions{idle: true})
		emails := make([]string, 64)
		for i := range emails {
			emails[i] = fmt.Sprintf("s%d@example.com", i)
		}
		leads := w.addLeads(emails...)
		c := w.connect(sim.APIURL())
		w.markAll(c.ID)
		sim.Inject(simulator.Fault{Op: "*", First: 1, Last: -1, Kind: simulator.RejectWhole, Key: string(leads[40].ID)})
		sim.OnCall(func(string) { shift.Add(int64(16 * time.Second)) })
		for job := 0; w.connection(c.ID).Backlog.Count > 0; job++ {
			if job > 16 {
				t.Fatalf("%d still wait after %d jobs", w.connection(c.ID).Backlog.Count, job)
			}
			if _, err := w.round(t.Context(), c.ID); err != nil {
				t.Fatal(err)
			}
			w.invariant6()
		}
		if p := w.problems(c.ID, crm.ProblemOpen); sim.Count() != 63 || len(p) != 1 || p[0].LeadID != leads[40].ID {
			t.Errorf("%d records, problems %+v; want 63 and the guilty one", sim.Count(), p)
		}
	})
}

// A step waits for a connection as long as an HTTP step is retried, then it fails with what is wrong there.
func TestSweep_AStepDoesNotWaitForAConnectionForEver(t *testing.T) {
	storetest.EachDB(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		clock := newFlowClock()
		sim, err := simulator.Start(simulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sim.Close() })
		w := openCRMWorld(t, open(clock.now), sim, worldOptions{idle: true})
		l, c := w.addLead("a@example.com"), w.connect(sim.APIURL())
		if err := w.st.Write(t.Context(), func(tx *store.Tx) error {
			return tx.AddWaiter(w.sc, crm.Waiter{ConnectionID: c.ID, LeadID: l.ID, Step: "no-run:node:1:0"})
		}); err != nil {
			t.Fatal(err)
		}
		for after, want := range []int{0, 1} {
			clock.add(syncPatience - time.Hour + time.Duration(after)*2*time.Hour)
			f, err := w.svc.CRM.findSwept(w.st.Read(t.Context()), w.svc.CRM.now())
			if err != nil || len(f.overdue) != want {
				t.Fatalf("look %d: %d overdue waits, %v; want %d", after, len(f.overdue), err, want)
			}
			if want == 0 {
				clock.add(time.Hour - syncPatience)
				continue
			}
			if err := w.st.Write(t.Context(), func(tx *store.Tx) error { return w.svc.CRM.freeOverdue(tx, f.overdue[0]) }); err != nil {
				t.Fatal(err)
			}
		}
		if n := w.count("crm_waiters"); n != 0 {
			t.Errorf("%d steps still wait", n)
		}
	})
}
