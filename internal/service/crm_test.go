package service

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
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

func newCRMWorld(t testing.TB, st *store.Store, o simulator.Options) *crmWorld {
	t.Helper()
	sim, err := simulator.Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = sim.Close() })
	w := &crmWorld{t: t, st: st, sim: sim, signal: make(chan struct{}),
		sc: account.NewScope("t-one", account.Actor{Kind: account.ActorUser, ID: "u-1"}, "u-1", account.AllPermissions)}
	w.out = outbound.New(outbound.Policy{Instance: st.InstanceID(), UserAgent: "Leadloom/test"})
	t.Cleanup(w.out.Close)
	w.out.AllowTarget(sim.Addr())
	w.svc = New(Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32)), Outbound: w.out,
		Self: func() outbound.Self { return outbound.Self{Listen: []string{"127.0.0.1:8080"}} }})
	reg := queue.NewRegistry()
	clock := w.svc.CRM.jobs(reg)
	clock[0].Schedule = queue.Every(time.Second) // instead of 15 s, so that a test about it is short
	qo := queue.Options{SQLite: st.SQLite(), Postgres: st.Postgres(), Registry: reg, TestOnly: true, Periodic: clock, Schedules: st, Observe: func(queue.Observation) { w.ring() }}
	if err := queue.MigrateUp(t.Context(), qo); err != nil {
		t.Fatal(err)
	}
	if w.queue, err = queue.Open(t.Context(), qo); err != nil {
		t.Fatal(err)
	}
	st.SetInserter(w.queue)
	if err := w.queue.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.queue.Stop(context.Background()) })
	return w
}

func (w *crmWorld) ring() {
	w.mu.Lock()
	defer w.mu.Unlock()
	close(w.signal)
	w.signal = make(chan struct{})
}

// until waits for a condition, looking again after each finished job; the sweeper's due work is woken as it would be.
func (w *crmWorld) until(what string, cond func() bool) {
	w.t.Helper()
	deadline := time.After(30 * time.Second)
	for {
		w.mu.Lock()
		s := w.signal
		w.mu.Unlock()
		if cond() {
			return
		}
		select {
		case <-s:
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

func (w *crmWorld) connect(url string, change ...func(*ConnectionInput)) *ConnectionView {
	w.t.Helper()
	in := ConnectionInput{Type: connector.Generic, Name: "default", APIURL: &url, Settings: &connector.Settings{RatePerSecond: 1000, TimeoutSeconds: 1}, Refusal: StoreDisabled}
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

func TestDrain_LeadsArriveOnceWithTheirLinks(t *testing.T) {
	each(t, simulator.Options{APIKey: "k-123"}, func(t *testing.T, w *crmWorld) {
		early := w.addLead("early@example.com") // before there is a connection
		c := w.connect(w.sim.APIURL(), func(in *ConnectionInput) { in.Secrets = map[string]secret.Masked{"api_key": "k-123"} })
		w.until("the first sync", func() bool { return w.connection(c.ID).State == crm.StateOK && w.sim.Count() == 1 })
		late := w.addLead("late@example.com")
		w.until("the second lead", func() bool { return w.sim.Count() == 2 })
		w.until("everything in step", w.inStep(c.ID))
		for _, l := range []*lead.Lead{early, late} {
			rec, _ := w.sim.Record(string(l.ID))
			links, err := w.st.Read(t.Context()).LinksOf(w.sc, c.ID, []lead.ID{l.ID})
			if err != nil || links[l.ID] == nil {
				t.Fatalf("no link of %s: %v", l.ID, err)
			}
			if link := links[l.ID]; link.RemoteID != rec.ID || link.SyncedVersion != l.Version || !strings.HasSuffix(link.RemoteURL, "/records/"+rec.ID) {
				t.Errorf("link %+v; want record %s at version %d", link, rec.ID, l.Version)
			}
			if rec.Fields["email"] != l.Email || rec.Writes != 1 {
				t.Errorf("record %+v; want e-mail %s written once", rec, l.Email)
			}
		}
	})
}

func TestDrain_SendsChangedFieldsOnlyAndClears(t *testing.T) {
	each(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		l := w.addLead("a@example.com")
		c := w.connect(w.sim.APIURL())
		w.until("the first sync", func() bool { return w.sim.Count() == 1 })
		w.until("everything in step", w.inStep(c.ID))
		w.sim.Edit(string(l.ID), func(r *simulator.Record) { r.Fields["company"] = "Typed there" })
		changed := w.changeLead(l.ID, lead.Input{FirstName: optional.Of("")})
		w.until("the change", func() bool { r, _ := w.sim.Record(string(l.ID)); return r.Fields["first_name"] == nil })
		w.until("everything in step", w.inStep(c.ID))
		r, _ := w.sim.Record(string(l.ID))
		if r.Fields["company"] != "Typed there" {
			t.Errorf("company is %v: a field that had not changed here was sent", r.Fields["company"])
		}
		if changed.Version < 2 {
			t.Fatalf("version %d: the change did not happen", changed.Version)
		}
	})
}

func TestDrain_PoisonedRecordBecomesAProblemAndIsRetried(t *testing.T) {
	each(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		var leads []*lead.Lead
		for i := range 20 {
			leads = append(leads, w.addLead(fmt.Sprintf("p%d@example.com", i)))
		}
		bad := leads[7]
		w.sim.Inject(simulator.Fault{Op: "*", First: 1, Last: -1, Kind: simulator.RejectWhole, Key: string(bad.ID)})
		c := w.connect(w.sim.APIURL())
		w.until("the others", func() bool { return w.sim.Count() == 19 })
		w.until("everything in step or a problem", w.inStep(c.ID))
		problems, err := w.svc.CRM.Problems(t.Context(), w.sc, c.ID, crm.ProblemOpen, "", 10)
		if err != nil || len(problems) != 1 || problems[0].LeadID != bad.ID || problems[0].Message == "" {
			t.Fatalf("problems %+v, %v; want one for %s", problems, err, bad.ID)
		}
		w.sim.Heal()
		n, err := w.svc.CRM.RetryProblems(t.Context(), w.sc, c.ID, nil)
		if err != nil || n != 1 {
			t.Fatalf("RetryProblems = %d, %v", n, err)
		}
		w.until("the bad one", func() bool { return w.sim.Count() == 20 })
		w.until("everything in step", w.inStep(c.ID))
		if v := w.connection(c.ID); v.Problems != 0 {
			t.Errorf("%d problems are still open", v.Problems)
		}
	})
}

func TestDrain_DeadAndHangingHostsCostOneCallAndRecover(t *testing.T) {
	each(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		c := w.connect(w.sim.APIURL())
		w.until("the test", func() bool { return w.connection(c.ID).State == crm.StateOK })
		w.sim.Inject(simulator.Fault{Op: "*", First: 1, Last: -1, Kind: simulator.Hang})
		l := w.addLead("h@example.com")
		w.until("the timeout", func() bool { return w.connection(c.ID).State == crm.StateDegraded })
		if v := w.connection(c.ID); v.StateCode != "timeout" || v.Backlog.Count != 1 {
			t.Fatalf("state %s/%s, %d waiting; want a timeout and the lead kept", v.State, v.StateCode, v.Backlog.Count)
		}
		w.sim.Heal()
		w.until("recovery by itself", func() bool { _, ok := w.sim.Record(string(l.ID)); return ok })
		w.until("the state", func() bool { return w.connection(c.ID).State == crm.StateOK })

		dead, err := simulator.Start(simulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		w.out.AllowTarget(dead.Addr())
		url := dead.APIURL()
		_ = dead.Close()
		d := w.connect(url, func(in *ConnectionInput) { in.Name = "dead" })
		w.until("the refusal", func() bool { return w.connection(d.ID).StateCode == "network" })
	})
}

func TestConnection_PointingAtItselfSendsNothing(t *testing.T) {
	each(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		for _, url := range []string{"http://127.0.0.1:8080", "http://localhost:8080/api", "http://[::1]:8080", "http://0.0.0.0:8080"} {
			v := w.connect(url)
			if v.Enabled || v.State != crm.StateSelfLoop || len(v.Warnings) == 0 {
				t.Errorf("%s: enabled %v, state %s, warnings %v; want it stored switched off with a warning", url, v.Enabled, v.State, v.Warnings)
			}
			in := ConnectionInput{Type: connector.Generic, Name: "new route", APIURL: &url}
			if _, err := w.svc.CRM.Create(t.Context(), w.sc, in); err == nil || !strings.Contains(err.Error(), "self_loop") && !strings.Contains(err.Error(), "this server itself") {
				t.Errorf("%s on a new route: %v; want a refusal at api_url", url, err)
			}
		}
		if s, _ := w.svc.CRM.Status(t.Context(), w.sc); s.Primary == nil || s.Primary.State != crm.StateSelfLoop {
			t.Errorf("status %+v; want the refused connection", s.Primary)
		}
		l := w.addLead("loop@example.com")
		if _, err := w.st.Read(t.Context()).Dirty(w.sc, w.status().ID, l.ID); err != store.ErrNotFound {
			t.Errorf("a lead is marked for a refused connection: %v", err)
		}
	})
}

func (w *crmWorld) status() *crm.Connection {
	s, err := w.svc.CRM.Status(w.t.Context(), w.sc)
	if err != nil {
		w.t.Fatal(err)
	}
	return s.Primary
}

func TestConfigure_UnchangedWritesNothingAndSecretsStaySealed(t *testing.T) {
	each(t, simulator.Options{APIKey: "planted-secret-000011112222"}, func(t *testing.T, w *crmWorld) {
		withKey := func(in *ConnectionInput) {
			in.Secrets = map[string]secret.Masked{"api_key": "planted-secret-000011112222"}
		}
		c := w.connect(w.sim.APIURL(), withKey)
		if !c.Changed {
			t.Fatal("the first save changed nothing")
		}
		w.until("the test", func() bool { return w.connection(c.ID).State == crm.StateOK })
		before := w.connection(c.ID)
		for range 3 {
			if v := w.connect(w.sim.APIURL(), withKey); v.Changed {
				t.Fatal("the same configuration was written again")
			}
		}
		after := w.connection(c.ID)
		if after.Version != before.Version || after.State != crm.StateOK {
			t.Errorf("version %d → %d, state %s; want no change", before.Version, after.Version, after.State)
		}
		if bytes.Contains(after.Credentials, []byte("planted")) || after.CredentialsHint != "…2222" {
			t.Errorf("credentials show: hint %q", after.CredentialsHint)
		}
		if v := w.connect("https://other.example.com/api"); !v.Changed || v.Credentials != nil || len(v.Warnings) == 0 {
			t.Errorf("another address kept the credentials (changed %v, warnings %v): they would leak to that host", v.Changed, v.Warnings)
		}
	})
}

func TestDrain_SelfLoopByReplyStopsAndKeepsTheLeads(t *testing.T) {
	each(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		// A server that is this instance under an address it does not know of.
		loop := startLoop(t, w.st.InstanceID())
		w.out.AllowTarget(loop)
		l := w.addLead("x@example.com")
		c := w.connect("http://" + loop.String() + "/api")
		w.until("the refusal", func() bool { return w.connection(c.ID).State == crm.StateSelfLoop })
		w.until("the marking", func() bool { return w.connection(c.ID).MarkedThrough == nil })
		if _, err := w.st.Read(t.Context()).Dirty(w.sc, c.ID, l.ID); err != nil {
			t.Errorf("the lead's mark is gone: %v", err)
		}
	})
}

func TestDrain_QuotaPausesAndSurvives(t *testing.T) {
	each(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		c := w.connect(w.sim.APIURL(), func(in *ConnectionInput) { in.Settings.DailyLimit = 5; in.Settings.BatchSize = 1 })
		w.until("the test", func() bool { return w.connection(c.ID).State == crm.StateOK })
		for i := range 6 {
			w.addLead(fmt.Sprintf("q%d@example.com", i))
		}
		w.until("the pause", func() bool { return w.connection(c.ID).State == crm.StateQuota })
		v := w.connection(c.ID)
		if w.sim.Count() != 4 || v.Backlog.Count != 2 || !v.StateUntil.After(time.Now()) {
			t.Errorf("%d sent, %d waiting, until %s; want 80 %% of 5 calls used and the rest kept", w.sim.Count(), v.Backlog.Count, v.StateUntil)
		}
	})
}

func TestSimulator_RestartKeepsRecords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crm.jsonl")
	w := newCRMWorld(t, storetest.SQLite(t), simulator.Options{Journal: path})
	l := w.addLead("keep@example.com")
	w.connect(w.sim.APIURL())
	w.until("the sync", func() bool { return w.sim.Count() == 1 })
	_ = w.queue.Stop(context.Background())
	again, err := simulator.Start(simulator.Options{Journal: path})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if r, ok := again.Record(string(l.ID)); !ok || r.Fields["email"] != "keep@example.com" {
		t.Errorf("after a restart: %+v, %v", r, ok)
	}
}
