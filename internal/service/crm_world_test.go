package service

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/lead"
	"leadloom/internal/optional"
	"leadloom/internal/outbound"
	"leadloom/internal/queue"
	"leadloom/internal/secret"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// crmWorld is the services over a real store and queue, with a simulated CRM.
type crmWorld struct {
	t      testing.TB
	st     *store.Store
	svc    *Services
	out    *outbound.Client
	sim    *simulator.Simulator
	sc     account.Scope
	queue  *queue.Client
	mu     sync.Mutex
	signal chan struct{} // closed and renewed after each job
}

// worldOptions change how a crmWorld works; the zero one sweeps each second.
type worldOptions struct {
	sweep   time.Duration
	idle    bool          // no job is run by itself
	journal *bytes.Buffer // what is logged
}

func newCRMWorld(t testing.TB, st *store.Store, o simulator.Options) *crmWorld {
	t.Helper()
	sim, err := simulator.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	return openCRMWorld(t, st, sim, worldOptions{})
}

func openCRMWorld(t testing.TB, st *store.Store, sim *simulator.Simulator, o worldOptions) *crmWorld {
	t.Helper()
	w := &crmWorld{t: t, st: st, sim: sim, signal: make(chan struct{}),
		sc: account.NewScope("t-one", account.Actor{Kind: account.ActorUser, ID: "u-1"}, "u-1", account.AllPermissions)}
	log := slog.New(slog.DiscardHandler)
	if o.journal != nil {
		log = slog.New(slog.NewTextHandler(&syncWriter{b: o.journal}, &slog.HandlerOptions{Level: slog.LevelDebug}))
	}
	w.out = outbound.New(outbound.Policy{Instance: st.InstanceID(), UserAgent: "Leadloom/test", Log: log})
	t.Cleanup(w.out.Close)
	w.out.AllowTarget(sim.Addr())
	w.svc = New(Deps{Store: st, Log: log, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32)), Outbound: w.out,
		Self: func() outbound.Self { return outbound.Self{Listen: []string{"127.0.0.1:8080"}} }})
	reg := queue.NewRegistry()
	clock := w.svc.CRM.jobs(reg)
	clock[0].Schedule = queue.Every(max(o.sweep, time.Second)) // instead of 15 s, so that a test about it is short
	qo := queue.Options{SQLite: st.SQLite(), Postgres: st.Postgres(), Registry: reg, Logger: log, TestOnly: true, InsertOnly: o.idle, Periodic: clock, Schedules: st, Observe: func(queue.Observation) { w.ring() }}
	if err := queue.MigrateUp(t.Context(), qo); err != nil {
		t.Fatal(err)
	}
	var err error
	if w.queue, err = queue.Open(t.Context(), qo); err != nil {
		t.Fatal(err)
	}
	st.SetInserter(w.queue)
	if o.idle {
		return w
	}
	if err := w.queue.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.queue.Stop(context.Background()) })
	return w
}

// syncWriter lets a buffer collect the log of concurrent jobs.
type syncWriter struct {
	mu sync.Mutex
	b  *bytes.Buffer
}

func (w *syncWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

// round runs one round of a connection's drain without a job.
func (w *crmWorld) round(ctx context.Context, id crm.ConnectionID) (more bool, err error) {
	d := &drain{CRM: w.svc.CRM, id: id, started: w.svc.CRM.now(), sc: account.SystemScope("t-one", "crm.drain").As(account.Actor{Kind: account.ActorConnection, ID: string(id)}, account.Cause{})}
	return d.round(ctx)
}

// markAll does what the marking of every lead does, without a job.
func (w *crmWorld) markAll(id crm.ConnectionID) {
	w.t.Helper()
	if err := w.st.Write(w.t.Context(), func(tx *store.Tx) error {
		if _, err := tx.MarkAllDirty(w.sc, id, "", "first_sync", 100_000); err != nil {
			return err
		}
		return tx.SetMarkedThrough(w.sc, id, nil)
	}); err != nil {
		w.t.Fatal(err)
	}
}

func (w *crmWorld) link(id crm.ConnectionID, l lead.ID) *crm.Link {
	w.t.Helper()
	links, err := w.st.Read(w.t.Context()).LinksOf(w.sc, id, []lead.ID{l})
	if err != nil {
		w.t.Fatal(err)
	}
	return links[l]
}

func (w *crmWorld) problems(id crm.ConnectionID, state crm.ProblemState) []*crm.Problem {
	w.t.Helper()
	list, err := w.svc.CRM.Problems(w.t.Context(), w.sc, id, state, "", 1000)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

func (w *crmWorld) ring() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.signal)
	w.signal = make(chan struct{})
}

// until waits for a condition, looking again after each finished job; a slow tick is the net.
func (w *crmWorld) until(what string, cond func() bool) {
	w.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		w.mu.Lock()
		s := w.signal
		w.mu.Unlock()
		if cond() {
			return
		}
		select {
		case <-s:
		case <-tick.C:
		case <-deadline:
			v := w.connections()
			w.t.Fatalf("%s did not happen; connections: %+v", what, v)
		}
	}
}

func (w *crmWorld) connections() (out []string) {
	list, err := w.st.Read(context.Background()).Connections(w.sc, "", 50)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, c := range list {
		out = append(out, fmt.Sprintf("%s %s/%s until %s: %s", c.Name, c.State, c.StateCode, c.StateUntil, c.StateReason))
	}
	return out
}

// connect saves a connection whose calls have all the time that a busy machine takes; a test about calls that hang
// shortens it.
func (w *crmWorld) connect(url string, change ...func(*ConnectionInput)) *ConnectionView {
	w.t.Helper()
	in := ConnectionInput{Type: connector.Generic, Name: "default", APIURL: &url, Settings: &connector.Settings{RatePerSecond: 1000, TimeoutSeconds: 30}, Refusal: StoreDisabled}
	for _, c := range change {
		c(&in)
	}
	v, err := w.svc.CRM.Configure(w.t.Context(), w.sc, in)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

func (w *crmWorld) addLead(email string) *lead.Lead {
	w.t.Helper()
	var out *lead.Lead
	err := w.st.Write(w.t.Context(), func(tx *store.Tx) (err error) {
		out, _, err = w.svc.core.upsertLead(tx, w.sc, lead.Input{FirstName: optional.Of("Anna"), LastName: optional.Of("Ng"), Email: optional.Of(email)})
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// addLeads makes leads in one transaction, so that one batch holds them all.
func (w *crmWorld) addLeads(emails ...string) (out []*lead.Lead) {
	w.t.Helper()
	err := w.st.Write(w.t.Context(), func(tx *store.Tx) error {
		out = nil
		for _, e := range emails {
			l, _, err := w.svc.core.upsertLead(tx, w.sc, lead.Input{FirstName: optional.Of("Anna"), Email: optional.Of(e)})
			if err != nil {
				return err
			}
			out = append(out, l)
		}
		return nil
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *crmWorld) changeLead(id lead.ID, in lead.Input) *lead.Lead {
	w.t.Helper()
	var out *lead.Lead
	err := w.st.Write(w.t.Context(), func(tx *store.Tx) (err error) {
		_, out, err = w.svc.core.changeLead(tx, w.sc, id, in)
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *crmWorld) connection(id crm.ConnectionID) *ConnectionView {
	w.t.Helper()
	v, err := w.svc.CRM.Connection(context.Background(), w.sc, id)
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// inStep reports invariant 6 for a connection whose marking has ended: nothing waits.
func (w *crmWorld) inStep(id crm.ConnectionID) func() bool {
	return func() bool {
		v := w.connection(id)
		if v.MarkedThrough != nil || v.Backlog.Count > 0 {
			return false
		}
		broken, err := w.st.Read(context.Background()).Check(account.NewInstance("test"), "leads_in_step_with_crms")
		if err != nil || len(broken) > 0 {
			w.t.Fatalf("not in step: %v, %v", broken, err)
		}
		return true
	}
}

func each(t *testing.T, o simulator.Options, f func(t *testing.T, w *crmWorld)) {
	storetest.Each(t, func(t *testing.T, st *store.Store) { f(t, newCRMWorld(t, st, o)) })
}

func (w *crmWorld) status() *crm.Connection {
	s, err := w.svc.CRM.Status(w.t.Context(), w.sc)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Primary
}
