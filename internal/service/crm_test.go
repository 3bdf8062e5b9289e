package service

import (
	"bytes"
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/lead"
	"leadloom/internal/optional"
	"leadloom/internal/secret"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

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
		c := w.connect(w.sim.APIURL(), func(in *ConnectionInput) { in.Settings.TimeoutSeconds = 2 })
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
