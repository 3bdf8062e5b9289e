package service

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/optional"
	"leadloom/internal/secret"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// rounds runs the drain until it says that there is no more, ten rounds at most.
func (w *crmWorld) rounds(id crm.ConnectionID) {
	w.t.Helper()
	for range 10 {
		more, err := w.round(w.t.Context(), id)
		if err != nil {
			w.t.Fatal(err)
		}
		if !more {
			return
		}
	}
	w.t.Fatal("the drain finds no end")
}

// connected is an idle world's connection that has sent what there was.
func (w *crmWorld) connected(change ...func(*ConnectionInput)) *ConnectionView {
	w.t.Helper()
	c := w.connect(w.sim.APIURL(), change...)
	w.markAll(c.ID)
	w.rounds(c.ID)
	return c
}

func TestConfigure_ANewMappingReachesLeadsThatHadNotChanged(t *testing.T) {
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		l := w.addLead("m@example.com")
		c := w.connected()
		w.connect(w.sim.APIURL(), func(in *ConnectionInput) { in.Mapping = []crm.FieldMap{{Ours: "email", Theirs: "mail_address"}} })
		if v := w.connection(c.ID); v.MarkedThrough == nil || v.MappingVersion != 2 {
			t.Fatalf("marking %v, mapping version %d; want every lead marked for version 2", v.MarkedThrough, v.MappingVersion)
		}
		w.markAll(c.ID)
		w.rounds(c.ID)
		if r, _ := w.sim.Record(string(l.ID)); r.Fields["mail_address"] != "m@example.com" {
			t.Errorf("fields %v", r.Fields)
		}
		w.invariant6()
	})
}

func TestConfigure_AnotherAddressGetsEveryLeadAnew(t *testing.T) {
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		l := w.addLead("m@example.com")
		c := w.connected(func(in *ConnectionInput) { in.Secrets = map[string]secret.Masked{"api_key": "for the first host"} })
		other, err := simulator.Start(simulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = other.Close() })
		w.out.AllowTarget(other.Addr())
		if v := w.connect(other.APIURL()); v.Credentials != nil || v.CredentialsHint != "" || v.SchemaHash != "" {
			t.Errorf("the new address has the old one's credentials or schema: %+v", v.Connection)
		}
		w.markAll(c.ID)
		w.rounds(c.ID)
		if r, ok := other.Record(string(l.ID)); !ok || r.Fields["email"] != "m@example.com" {
			t.Errorf("the new CRM has %v: its leads count as in step although it never got them", r.Fields)
		}
		for _, call := range other.Calls("") {
			if h := call.Header.Get("Authorization"); h != "" {
				t.Errorf("the new host got %q", h)
			}
		}
	})
}

func TestConfigure_AnotherTokenAddressTakesTheCredentialsAlong(t *testing.T) {
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		oauth := func(tokenURL string) func(*ConnectionInput) {
			return func(in *ConnectionInput) { in.Settings.Auth, in.Settings.TokenURL = "oauth2", tokenURL }
		}
		w.connect(w.sim.APIURL(), oauth("https://auth.example.com/token"), func(in *ConnectionInput) {
			in.Secrets = map[string]secret.Masked{"client_id": "us", "client_secret": "planted"}
		})
		v := w.connect(w.sim.APIURL(), oauth("https://elsewhere.example.com/token"))
		if v.Credentials != nil || len(v.Warnings) == 0 {
			t.Errorf("credentials stay (warnings %v): they would be sent to the new token address", v.Warnings)
		}
	})
}

func TestProblems_AreTriedAgainByTheirCauses(t *testing.T) {
	fields := []connector.FieldSpec{{Name: "external_id", Type: "text"}, {Name: "email", Type: "text", MaxLen: 20}}
	mapping := func(in *ConnectionInput) {
		in.Mapping = []crm.FieldMap{{Ours: "email", Theirs: "email"}}
		in.Settings.BatchSize = 100
	}
	eachIdle(t, simulator.Options{Schema: fields}, func(t *testing.T, w *crmWorld) {
		c := w.connect(w.sim.APIURL(), mapping)
		w.markAll(c.ID)
		long := func(i int) string { return fmt.Sprintf("a-very-long-address-%d@example.com", i) }
		leads := w.addLeads(long(0), long(1), long(2), long(3))
		w.rounds(c.ID)
		open := w.problems(c.ID, crm.ProblemOpen)
		if len(open) != 4 || open[0].Field != "email" || open[0].Code != "too_long" {
			t.Fatalf("problems %+v; want four", open)
		}
		w.invariant6()

		w.changeLead(leads[0].ID, lead.Input{Email: optional.Of("short@example.com")}) // lead_changed
		w.rounds(c.ID)
		if got := w.problems(c.ID, crm.ProblemResolved); len(got) != 1 || got[0].LeadID != leads[0].ID {
			t.Errorf("resolved %+v; want that of the changed lead", got)
		}
		last := w.problems(c.ID, crm.ProblemOpen)[2]
		if n, err := w.svc.CRM.RetryProblems(t.Context(), w.sc, c.ID, []crm.ProblemID{last.ID}); err != nil || n != 1 { // manual, by name
			t.Fatalf("RetryProblems = %d, %v", n, err)
		}
		w.rounds(c.ID)
		if got := w.problems(c.ID, crm.ProblemRetried); len(got) != 1 || got[0].ID != last.ID {
			t.Errorf("retried %+v; want the named one kept as history", got)
		}
		if got := w.problems(c.ID, crm.ProblemOpen); len(got) != 3 {
			t.Errorf("%d open; want the retried one refused and open again", len(got))
		}

		w.sim.SetSchema([]connector.FieldSpec{fields[0], {Name: "email", Type: "text", MaxLen: 60}}) // schema_changed
		w.learn(c.ID)
		w.rounds(c.ID)
		if got := w.problems(c.ID, crm.ProblemOpen); len(got) != 0 || w.sim.Count() != 4 {
			t.Errorf("%d open, %d records; want none and four after the CRM's schema has changed", len(got), w.sim.Count())
		}
		w.invariant6()
	})
}

// learn does what a test of the connection does, without its job.
func (w *crmWorld) learn(id crm.ConnectionID) {
	w.t.Helper()
	con := w.connection(id).Connection
	if con.SchemaHash == "" {
		con.SchemaHash = "of yesterday"
	}
	found := w.svc.CRM.probe(w.t.Context(), w.sc, con)
	if err := w.st.Write(w.t.Context(), func(tx *store.Tx) error { return w.svc.CRM.recordTest(tx, w.sc, con, found) }); err != nil {
		w.t.Fatal(err)
	}
}

func TestProblems_AnyNamedOneIsRetriedHoweverManyThereAre(t *testing.T) {
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		c := w.connect(w.sim.APIURL())
		l := w.addLead("x@example.com")
		var last crm.ProblemID
		if err := w.st.Write(t.Context(), func(tx *store.Tx) error {
			for i := range maxRetried + 1 {
				p := &crm.Problem{ConnectionID: c.ID, LeadID: lead.ID(fmt.Sprintf("gone-%04d", i)), Class: connector.ClassRecord, RetryOn: crm.RetryCauses(connector.ClassRecord)}
				if i == maxRetried {
					p.LeadID = l.ID
				}
				if err := tx.SaveProblem(w.sc, p); err != nil {
					return err
				}
				last = p.ID
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		if n, err := w.svc.CRM.RetryProblems(t.Context(), w.sc, c.ID, []crm.ProblemID{last, "unknown"}); err != nil || n != 1 {
			t.Errorf("RetryProblems = %d, %v; want the one that was named", n, err)
		}
		if n, err := w.svc.CRM.RetryProblems(t.Context(), w.sc, c.ID, []crm.ProblemID{}); err != nil || n != 0 {
			t.Errorf("RetryProblems of none = %d, %v", n, err)
		}
	})
}

func TestSync_NamedAndFilteredLeadsGoEvenUnchanged(t *testing.T) {
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		leads := w.addLeads("a@example.com", "b@example.com", "c@example.com")
		w.changeLead(leads[2].ID, lead.Input{Source: optional.Of("fair")})
		c := w.connected()
		writes := func(l *lead.Lead) int { r, _ := w.sim.Record(string(l.ID)); return r.Writes }
		if res, err := w.svc.CRM.Sync(t.Context(), w.sc, SyncRequest{CRM: "generic", LeadIDs: []lead.ID{leads[0].ID}}); err != nil || res.Marked != 1 {
			t.Fatalf("Sync = %+v, %v", res, err)
		}
		if res, err := w.svc.CRM.Sync(t.Context(), w.sc, SyncRequest{CRM: string(c.ID), Filter: &store.LeadFilter{Source: "fair"}}); err != nil || res.Marked != 1 {
			t.Fatalf("Sync by filter = %+v, %v", res, err)
		}
		w.rounds(c.ID)
		if a, b, f := writes(leads[0]), writes(leads[1]), writes(leads[2]); a != 2 || b != 1 || f != 2 {
			t.Errorf("written %d, %d, %d times; want 2 (named), 1 and 2 (found)", a, b, f)
		}
		if _, err := w.svc.CRM.Sync(t.Context(), w.sc, SyncRequest{CRM: "generic", All: true}); err != nil {
			t.Fatal(err)
		}
		w.markAll(c.ID)
		before := len(w.sim.Calls(""))
		w.rounds(c.ID)
		if n := len(w.sim.Calls("")) - before; n != 0 || w.connection(c.ID).Backlog.Count != 0 {
			t.Errorf("%d calls for leads that do not differ; want none, and nothing left waiting", n)
		}
	})
}

func TestDrain_DeletedThereFollowsThePolicy(t *testing.T) {
	// Each check says what is wrong with the lead's open problems.
	checks := map[string]func(open []*crm.Problem) string{
		"ask": func(open []*crm.Problem) string {
			if len(open) != 1 || open[0].Class != connector.ClassGone || fmt.Sprint(open[0].RetryOn) != "[manual]" {
				return "one that a person decides"
			}
			return ""
		},
		"stop": func(open []*crm.Problem) string {
			if len(open) != 0 {
				return "it left alone"
			}
			return ""
		},
		"recreate": func(open []*crm.Problem) string {
			if len(open) != 1 { // this CRM keeps the tombstone: the second refusal is final, not the start of an endless row of calls
				return "one problem after one more try"
			}
			return ""
		},
	}
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		c := w.connect(w.sim.APIURL())
		w.markAll(c.ID)
		edit := func(policy, email string, change func(*simulator.Record)) *lead.Lead {
			w.connect(w.sim.APIURL(), func(in *ConnectionInput) { in.Settings.OnGone = policy })
			l := w.addLead(email)
			w.rounds(c.ID)
			w.sim.Edit(string(l.ID), change)
			w.changeLead(l.ID, lead.Input{FirstName: optional.Of("Later")})
			return l
		}
		for policy, check := range checks {
			l := edit(policy, policy+"@example.com", func(r *simulator.Record) { r.Deleted = true })
			before := len(w.sim.Calls(""))
			w.rounds(c.ID)
			open := slices.DeleteFunc(w.problems(c.ID, crm.ProblemOpen), func(p *crm.Problem) bool { return p.LeadID != l.ID })
			if why := check(open); why != "" || w.connection(c.ID).Backlog.Count != 0 {
				t.Errorf("%s: problems %+v, %d waiting; want %s", policy, open, w.connection(c.ID).Backlog.Count, why)
			}
			if n := len(w.sim.Calls("")) - before; n > 2 {
				t.Errorf("%s: %d calls", policy, n)
			}
			w.invariant6()
		}
		l := edit("recreate", "purged@example.com", func(r *simulator.Record) { r.Deleted, r.Fields = true, nil })
		w.rounds(c.ID)
		if r, _ := w.sim.Record(string(l.ID)); r.Deleted || r.Fields["first_name"] != "Later" || r.Fields["email"] != "purged@example.com" {
			t.Errorf("record %+v; want what was purged made anew and whole", r)
		}
		w.invariant6()
	})
}

func TestDrain_MergedThereMovesTheLink(t *testing.T) {
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		leads := w.addLeads("a@example.com", "b@example.com")
		c := w.connected()
		w.sim.Inject(simulator.Fault{Op: "batch", Kind: simulator.Merged, Key: string(leads[0].ID), NewID: "rec-survivor"})
		for _, l := range leads {
			w.changeLead(l.ID, lead.Input{FirstName: optional.Of("Later")})
		}
		w.rounds(c.ID)
		if link := w.link(c.ID, leads[0].ID); link == nil || link.RemoteID != "rec-survivor" {
			t.Errorf("link %+v; want it to lead to the survivor", link)
		}
		w.invariant6()
	})
}

func TestConnection_SwitchedOffOrRemovedLetsStepsGo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sim, err := simulator.Start(simulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sim.Close() })
		w := openCRMWorld(t, st, sim, worldOptions{})
		l := w.addLead("a@example.com")
		wait := func(id crm.ConnectionID) {
			if err := st.Write(t.Context(), func(tx *store.Tx) error {
				return tx.AddWaiter(w.sc, crm.Waiter{ConnectionID: id, LeadID: l.ID, Step: "no-run:node:1:0"})
			}); err != nil {
				t.Fatal(err)
			}
		}
		c := w.connect(sim.APIURL())
		w.until("the first sync", func() bool { return w.connection(c.ID).State == crm.StateOK })
		w.until("everything in step", w.inStep(c.ID))
		if v := w.connect("http://127.0.0.1:8080"); v.Enabled {
			t.Fatal("a connection to ourselves is on")
		}
		wait(c.ID)
		w.until("the step of a connection that is off", func() bool { return w.count("crm_waiters") == 0 })
		wait(c.ID)
		if err := w.svc.CRM.Remove(t.Context(), w.sc, c.ID, IfMatch{Versions: []int64{99}}); err == nil {
			t.Error("a stale If-Match removed a connection")
		}
		if err := w.svc.CRM.Remove(t.Context(), w.sc, c.ID, IfMatch{}); err != nil {
			t.Fatal(err)
		}
		w.until("everything of it gone", func() bool {
			return w.count("crm_waiters")+w.count("crm_links")+w.count("crm_dirty")+w.count("crm_problems")+w.count("mappings") == 0
		})
		if sim.Count() != 1 {
			t.Errorf("%d records in the CRM; a removed connection leaves what it has sent", sim.Count())
		}
		w.addLead("later@example.com")
		if of, err := w.svc.Leads.CRM(t.Context(), w.sc, l); err != nil || len(of[l.ID]) != 0 {
			t.Errorf("the lead still shows %v, %v", of, err)
		}
	})
}

// TestDrain_AStepWaitsForTheVersionItSaw: a lead that is changed while an older version is on its way is not in step, so
// that a step which began to wait then is neither done nor failed by that call's answer.
func TestDrain_AStepWaitsForTheVersionItSaw(t *testing.T) {
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		c := w.connected()
		l := w.addLead("a@example.com")
		changed := false // the simulator calls one after another
		w.sim.OnCall(func(string) {
			if changed {
				return
			}
			changed = true
			w.changeLead(l.ID, lead.Input{FirstName: optional.Of("Grace")})
			if err := w.st.Write(t.Context(), func(tx *store.Tx) error {
				return tx.AddWaiter(w.sc, crm.Waiter{ConnectionID: c.ID, LeadID: l.ID, Step: "no-run:node:1:0"})
			}); err != nil {
				t.Error(err)
			}
		})
		for round := range 2 {
			if _, err := w.round(t.Context(), c.ID); err != nil {
				t.Fatal(err)
			}
			if n := w.count("crm_waiters"); n != 1-round {
				t.Fatalf("%d steps wait after round %d, want %d", n, round, 1-round)
			}
		}
		if r, ok := w.sim.Record(string(l.ID)); !ok || r.Fields["first_name"] != "Grace" {
			t.Errorf("the CRM has %v", r.Fields)
		}
	})
}

// TestConnection_RemovedBetweenTwoStatements: whoever has read a connection and finds no mapping of it any more goes on as
// if it had not been there.
func TestConnection_RemovedBetweenTwoStatements(t *testing.T) {
	eachIdle(t, simulator.Options{}, func(t *testing.T, w *crmWorld) {
		c := w.connected()
		var err error
		const gone = "DELETE FROM mappings"
		if pg := w.st.Postgres(); pg != nil {
			_, err = pg.Exec(t.Context(), gone)
		} else {
			_, err = w.st.SQLite().ExecContext(t.Context(), gone)
		}
		if err != nil {
			t.Fatal(err)
		}
		w.svc.CRM.crm.put(w.sc.Tenant(), &tenantConnections{}) // nothing is remembered
		l := w.addLead("a@example.com")
		if _, err := w.svc.Leads.CRM(t.Context(), w.sc, l); err != nil {
			t.Errorf("the lead's CRMs: %v", err)
		}
		if list, err := w.svc.CRM.Connections(t.Context(), w.sc, "", 10); err != nil || len(list) != 0 {
			t.Errorf("%d connections, %v", len(list), err)
		}
		if _, err := w.svc.CRM.Connection(t.Context(), w.sc, c.ID); !fault.IsKind(err, fault.KindNotFound) {
			t.Errorf("the connection: %v, want 404", err)
		}
		w.markAll(c.ID)
		if more, err := w.round(t.Context(), c.ID); more || err != nil {
			t.Errorf("its drain: more %v, %v", more, err)
		}
	})
}

func TestLeadCRM_SaysWhereALeadStandsAndWhy(t *testing.T) {
	fields := []connector.FieldSpec{{Name: "external_id", Type: "text"}, {Name: "email", Type: "text", MaxLen: 20}, {Name: "first_name", Type: "text"}}
	eachIdle(t, simulator.Options{Schema: fields}, func(t *testing.T, w *crmWorld) {
		l := w.addLead("short@example.com")
		c := w.connect(w.sim.APIURL(), func(in *ConnectionInput) {
			in.Mapping = []crm.FieldMap{{Ours: "email", Theirs: "email"}, {Ours: "first_name", Theirs: "first_name"}}
		})
		now := func(l *lead.Lead) LeadCRM {
			t.Helper()
			of, err := w.svc.Leads.CRMDetail(t.Context(), w.sc, l)
			if err != nil {
				t.Fatal(err)
			}
			return of[l.ID][string(c.ID)]
		}
		if v := now(l); v.State != "pending" || fmt.Sprint(v.PendingFields) != "[email first_name]" {
			t.Errorf("before the first sync: %+v", v)
		}
		w.markAll(c.ID)
		w.rounds(c.ID)
		if v := now(l); v.State != "synced" || v.RemoteID == "" || v.URL == "" || v.SyncedVersion != l.Version || v.SyncedAt == nil || v.PendingFields != nil {
			t.Errorf("after it: %+v", v)
		}
		l = w.changeLead(l.ID, lead.Input{FirstName: optional.Of("Later")})
		if v := now(l); v.State != "pending" || fmt.Sprint(v.PendingFields) != "[first_name]" {
			t.Errorf("after a change: %+v", v)
		}
		l = w.changeLead(l.ID, lead.Input{Email: optional.Of("a-very-long-address@example.com")})
		w.rounds(c.ID)
		if v := now(l); v.State != "problem" || v.Problem == nil || v.Problem.Code != "too_long" || v.Problem.Field != "email" || v.Problem.Message == "" || v.Problem.Action == "" {
			t.Errorf("after a refusal: %+v, %+v", v, v.Problem)
		}
	})
}

// TestCRM_PlantedSecretsAndPeopleStayInside searches everything that is kept, shown or logged.
func TestCRM_PlantedSecretsAndPeopleStayInside(t *testing.T) {
	const key = "s3cret7" // short, so that no rule of length catches it
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sim, err := simulator.Start(simulator.Options{APIKey: key})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = sim.Close() })
		var journal bytes.Buffer
		w := openCRMWorld(t, st, sim, worldOptions{journal: &journal})
		c := w.connect(sim.APIURL(), func(in *ConnectionInput) { in.Secrets = map[string]secret.Masked{"api_key": key} })
		w.until("the test", func() bool { return w.connection(c.ID).State == crm.StateOK })
		sim.Inject(simulator.Fault{Op: "*", First: 1, Last: -1, Kind: simulator.Echo})
		l := w.addLead("planted.person@private.example")
		w.changeLead(l.ID, lead.Input{LastName: optional.Of("Plantedname"), Phone: optional.Of("+49 170 1234567")})
		w.until("the problem", func() bool {
			return len(w.problems(c.ID, crm.ProblemOpen)) == 1 && w.connection(c.ID).Backlog.Count == 0
		})
		sim.Heal()
		sim.SetAPIKey("another")
		w.changeLead(l.ID, lead.Input{FirstName: optional.Of("Again")})
		w.until("the refusal", func() bool { return w.connection(c.ID).State == crm.StateReauth })
		if err := w.queue.Stop(t.Context()); err != nil {
			t.Fatal(err)
		}
		shown := func(v any, err error) string {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(v)
			if err != nil {
				t.Fatal(err)
			}
			return string(b)
		}
		problem := w.problems(c.ID, crm.ProblemOpen)[0]
		con := w.connection(c.ID)
		for where, text := range map[string]string{"the problem": shown(problem, nil), "the connection": shown(con, nil), "the log": journal.String(), "the events of connection and CRM": w.crmEvents()} {
			for _, planted := range []string{key, "Plantedname", "planted.person", "private.example", "170 1234567"} {
				if strings.Contains(text, planted) {
					t.Errorf("%q is in %s: %s", planted, where, text)
				}
			}
		}
		if !strings.Contains(problem.Message, "cannot take") {
			t.Errorf("message %q: the CRM's words are gone too", problem.Message)
		}
	})
}

// crmEvents is what the events about CRMs hold.
func (w *crmWorld) crmEvents() string {
	w.t.Helper()
	const text = "SELECT COALESCE(data,'') FROM events WHERE type LIKE 'crm.%' OR type LIKE 'connection.%'"
	var all strings.Builder
	add := func(next func() bool, scan func(...any) error) {
		for next() {
			var s string
			if err := scan(&s); err != nil {
				w.t.Fatal(err)
			}
			all.WriteString(s)
		}
	}
	if pg := w.st.Postgres(); pg != nil {
		rows, err := pg.Query(w.t.Context(), text)
		if err != nil {
			w.t.Fatal(err)
		}
		defer rows.Close()
		add(rows.Next, rows.Scan)
	} else {
		rows, err := w.st.SQLite().QueryContext(w.t.Context(), text)
		if err != nil {
			w.t.Fatal(err)
		}
		defer rows.Close()
		add(rows.Next, rows.Scan)
	}
	if all.Len() == 0 {
		w.t.Fatal("there is no event about a CRM")
	}
	return all.String()
}
