package service

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/lead"
	"leadloom/internal/optional"
	"leadloom/internal/secret"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// eachIdle runs f on both engines in a world without workers: the test is the drain.
func eachIdle(t *testing.T, o simulator.Options, f func(t *testing.T, w *crmWorld)) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sim, err := simulator.Start(o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sim.Close() })
		f(t, openCRMWorld(t, st, sim, worldOptions{idle: true}))
	})
}

// invariant6 holds at every moment: each lead is in step, dirty or a problem.
func (w *crmWorld) invariant6() {
	w.t.Helper()
	for _, name := range []string{"leads_in_step_with_crms", "links_are_not_ahead"} {
		if broken, err := w.st.Read(context.Background()).Check(account.NewInstance("test"), name); err != nil || len(broken) > 0 {
			w.t.Fatalf("%s: %v, %v", name, broken, err)
		}
	}
}

// TestDrain_CutAtAnyStepLosesAndDoublesNothing ends a round at each of its steps as a crash would, then goes on.
func TestDrain_CutAtAnyStepLosesAndDoublesNothing(t *testing.T) {
	cuts := map[string]func(t *testing.T, w *crmWorld, id crm.ConnectionID){
		"at-first": func(t *testing.T, w *crmWorld, id crm.ConnectionID) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			if _, err := w.round(ctx, id); err == nil {
				t.Error("a cancelled round ended as if it had done its work")
			}
		},
		"in-the-call-before-the-write": func(t *testing.T, w *crmWorld, id crm.ConnectionID) {
			w.sim.Inject(simulator.Fault{Op: "*", Kind: simulator.Hang})
			w.cutInCall(id)
		},
		"in-the-call-after-the-write": func(t *testing.T, w *crmWorld, id crm.ConnectionID) { w.cutInCall(id) },
		"between-the-call-and-its-record": func(t *testing.T, w *crmWorld, id crm.ConnectionID) {
			w.sendWithoutRecord(id)
		},
		"in-the-transaction-of-the-record": func(t *testing.T, w *crmWorld, id crm.ConnectionID) {
			w.rawExec("ALTER TABLE crm_waiters RENAME TO crm_waiters_away")
			if _, err := w.round(t.Context(), id); err == nil {
				t.Error("a record that failed in the middle counts as done")
			}
			w.rawExec("ALTER TABLE crm_waiters_away RENAME TO crm_waiters")
		},
	}
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		c := w.connect(w.sim.APIURL())
		w.markAll(c.ID)
		for name, cut := range cuts {
			t.Run(name, func(t *testing.T) {
				before := w.sim.Count()
				leads := w.addLeads(name+"-a@example.com", name+"-b@example.com", name+"-c@example.com")
				cut(t, w, c.ID)
				w.sim.Heal()
				w.invariant6()
				for _, l := range leads {
					if w.link(c.ID, l.ID) != nil {
						t.Fatalf("%s has a link although its round was cut", l.ID)
					}
				}
				changed := w.changeLead(leads[2].ID, lead.Input{FirstName: optional.Of("Later")})
				w.rounds(c.ID)
				w.invariant6()
				if v := w.connection(c.ID); v.Backlog.Count != 0 || w.sim.Count() != before+3 {
					t.Errorf("%d waiting, %d records; want all three there", v.Backlog.Count, w.sim.Count()-before)
				}
				if l := w.link(c.ID, changed.ID); l == nil || l.SyncedVersion != changed.Version {
					t.Errorf("link %+v; want version %d", l, changed.Version)
				}
			})
		}
	})
}

// cutInCall cancels a round while its call is with the CRM.
func (w *crmWorld) cutInCall(id crm.ConnectionID) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	defer cancel()
	w.sim.OnCall(func(string) { cancel() })
	defer w.sim.OnCall(nil)
	if _, err := w.round(ctx, id); !errors.Is(err, context.Canceled) {
		w.t.Errorf("a cancelled call ended with %v", err)
	}
}

// sendWithoutRecord plans and sends as a round does, and stops there.
func (w *crmWorld) sendWithoutRecord(id crm.ConnectionID) {
	w.t.Helper()
	m, r := w.svc.CRM, w.st.Read(w.t.Context())
	d := &drain{CRM: m, id: id, sc: w.sc}
	con, err := r.Connection(w.sc, id)
	if err != nil {
		w.t.Fatal(err)
	}
	rows, err := r.DueDirty(w.sc, id, m.now(), drainBatch)
	if err != nil {
		w.t.Fatal(err)
	}
	plan, _, err := d.plan(r, con, rows)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := m.connector(w.sc, con, nil, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if v, stop := crm.Send(w.t.Context(), c, plan.Send); stop != nil || len(v) != len(plan.Send) {
		w.t.Fatalf("%d of %d sent, %v", len(v), len(plan.Send), stop)
	}
}

func (w *crmWorld) rawExec(text string) {
	w.t.Helper()
	var err error
	if pg := w.st.Postgres(); pg != nil {
		_, err = pg.Exec(w.t.Context(), text)
	} else {
		_, err = w.st.SQLite().ExecContext(w.t.Context(), text)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

func TestDrain_TheSameStateIsWrittenOnceAfterACrash(t *testing.T) {
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		c := w.connect(w.sim.APIURL())
		w.markAll(c.ID)
		leads := w.addLeads("a@example.com", "b@example.com")
		w.sendWithoutRecord(c.ID)
		if _, err := w.round(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		for _, l := range leads {
			if r, _ := w.sim.Record(string(l.ID)); r.Writes != 1 {
				t.Errorf("%s was written %d times: the key of a repeated call must be the same", l.ID, r.Writes)
			}
		}
	})
}

// TestDrain_ALeadMarkedWhileItRunsIsNotForgotten: the change's own job is dropped because one runs, and no sweep comes.
func TestDrain_ALeadMarkedWhileItRunsIsNotForgotten(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sim, err := simulator.Start(simulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sim.Close() })
		w := openCRMWorld(t, st, sim, worldOptions{sweep: 24 * time.Hour})
		c := w.connect(sim.APIURL())
		w.until("the test", func() bool { return w.connection(c.ID).State == crm.StateOK })
		entered, release := make(chan struct{}, 1), make(chan struct{})
		sim.OnCall(func(op string) {
			select {
			case entered <- struct{}{}:
				<-release
			default:
			}
		})
		first := w.addLead("first@example.com")
		<-entered
		second := w.addLead("second@example.com")
		third := w.changeLead(first.ID, lead.Input{FirstName: optional.Of("Changed meanwhile")})
		close(release)
		w.until("the lead that was marked meanwhile", func() bool { return w.link(c.ID, second.ID) != nil })
		w.until("the change that was made meanwhile", func() bool {
			l := w.link(c.ID, first.ID)
			return l != nil && l.SyncedVersion == third.Version
		})
		w.until("everything in step", w.inStep(c.ID))
		if r, _ := sim.Record(string(first.ID)); r.Fields["first_name"] != "Changed meanwhile" {
			t.Errorf("first name %v; want the later one", r.Fields["first_name"])
		}
	})
}

// TestDrain_MappingChangedDuringACallReachesEveryLead: the row that the call was about must not be taken off.
func TestDrain_MappingChangedDuringACallReachesEveryLead(t *testing.T) {
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		c := w.connect(w.sim.APIURL())
		w.markAll(c.ID)
		l := w.addLead("m@example.com")
		next := []crm.FieldMap{{Ours: "email", Theirs: "mail_address"}}
		w.sim.OnCall(func(string) {
			w.connect(w.sim.APIURL(), func(in *ConnectionInput) { in.Mapping = next })
			w.markAll(c.ID)
		})
		if _, err := w.round(t.Context(), c.ID); err != nil {
			t.Fatal(err)
		}
		w.sim.OnCall(nil)
		for range 2 {
			if _, err := w.round(t.Context(), c.ID); err != nil {
				t.Fatal(err)
			}
		}
		if r, _ := w.sim.Record(string(l.ID)); r.Fields["mail_address"] != "m@example.com" {
			t.Errorf("fields %v; want those of the new mapping", r.Fields)
		}
		w.invariant6()
	})
}

func TestConfigure_FiftyUsersAtOnceMakeOneConnection(t *testing.T) {
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		url := w.sim.APIURL()
		save := func() error {
			_, err := w.svc.CRM.Configure(t.Context(), w.sc, ConnectionInput{Type: "generic", Name: DefaultConnectionName, APIURL: &url,
				Secrets: map[string]secret.Masked{"api_key": "the same"}, Refusal: StoreDisabled})
			return err
		}
		errs := make(chan error, 200)
		for range 50 {
			go func() {
				for range 4 {
					errs <- save()
				}
			}()
		}
		for range 200 {
			if err := <-errs; err != nil {
				t.Error(err)
			}
		}
		v := w.connection(w.status().ID)
		if v.Version != 1 || v.MappingVersion != 1 {
			t.Errorf("version %d, mapping %d after 200 equal posts; want 1 and 1", v.Version, v.MappingVersion)
		}
		w.markAll(v.ID)
		w.addLead("x@example.com")
		if _, err := w.round(t.Context(), v.ID); err != nil {
			t.Fatal(err)
		}
		if err := save(); err != nil {
			t.Fatal(err)
		}
		if v = w.connection(v.ID); v.Backlog.Count != 0 || v.MarkedThrough != nil {
			t.Errorf("%d waiting, marking %v; want nothing to be sent again when nothing has changed", v.Backlog.Count, v.MarkedThrough)
		}
		for _, table := range []string{"connections", "mappings"} {
			if n := w.count(table); n != 1 {
				t.Errorf("%d rows in %s; want one", n, table)
			}
		}
	})
}

func (w *crmWorld) count(table string) (n int) {
	w.t.Helper()
	var err error
	if pg := w.st.Postgres(); pg != nil {
		err = pg.QueryRow(w.t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n)
	} else {
		err = w.st.SQLite().QueryRowContext(w.t.Context(), "SELECT COUNT(*) FROM "+table).Scan(&n)
	}
	if err != nil {
		w.t.Fatal(fmt.Errorf("count %s: %w", table, err))
	}
	return n
}
