package service

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/action"
	"leadloom/internal/campaign"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/lead"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// TestActions_AgainstRealParts runs each action of the registry once, against the real database, queue, SMTP server, HTTP
// receiver and CRM simulator, and looks at what it was to bring about. An action without a line here fails.
func TestActions_AgainstRealParts(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		sim, err := simulator.Start(simulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer sim.Close()
		h.out.AllowTarget(sim.Addr())
		url := sim.APIURL()
		if _, err := h.CRM.Configure(t.Context(), h.sc, ConnectionInput{Type: connector.Generic, Name: "default", APIURL: &url, Settings: &connector.Settings{RatePerSecond: 1000, TimeoutSeconds: 30}}); err != nil {
			t.Fatal(err)
		}
		owner := h.user()
		l := h.lead(`{"first_name":"Ada","email":"ada@example.com","tags":["old"]}`)
		h.work()
		var seen []string
		for _, c := range []struct {
			kind, config string
			check        func(v *RunView, now *lead.Lead) string
		}{
			{"action.set_field", `{"field":"company","value":"{{ lead.first_name | upcase }} Ltd"}`, func(_ *RunView, now *lead.Lead) string { return now.Company }},
			{"action.add_tag", `{"tags":["new","newer"]}`, func(_ *RunView, now *lead.Lead) string { return strings.Join(now.Tags, ",") }},
			{"action.remove_tag", `{"tag":"old"}`, func(_ *RunView, now *lead.Lead) string { return strings.Join(now.Tags, ",") }},
			{"action.add_score", `{"points":12,"reason":"test"}`, func(_ *RunView, now *lead.Lead) string { return fmt.Sprint(now.Score) }},
			{"action.assign_owner", `{"owner":"` + owner + `"}`, func(_ *RunView, now *lead.Lead) string { return now.OwnerID }},
			{"action.create_task", `{"title":"Call {{ lead.first_name }}","due":"2h"}`, func(*RunView, *lead.Lead) string {
				tasks, err := h.Leads.Tasks(t.Context(), h.sc, store.TaskFilter{LeadID: l.ID, Limit: 5})
				if err != nil || len(tasks) != 1 {
					return fmt.Sprint(err, len(tasks))
				}
				return tasks[0].Title + " " + tasks[0].OwnerID + " " + tasks[0].DueAt.Format(time.TimeOnly)
			}},
			{"action.http", `{"method":"PUT","url":"` + h.recv.URL + `/leads","body":{"tags":["{{ lead.tags }}"]},"headers":{"X-Lead":"{{ lead.id }}"}}`, func(*RunView, *lead.Lead) string {
				calls := h.recv.got()
				if len(calls) != 1 {
					return fmt.Sprintf("%d calls", len(calls))
				}
				return calls[0].Method + calls[0].Body
			}},
			{"action.send_email", `{"subject":"Hi {{ lead.first_name }}","text":"{{ context.greeting }} from {{ workflow.name }}"}`, func(v *RunView, _ *lead.Lead) string {
				e := h.sink.Entries()
				if len(e) != 1 {
					return fmt.Sprintf("%d messages", len(e))
				}
				raw, _, _ := h.sink.Raw(e[0].Name)
				return fmt.Sprintf("%s %s %v %v", e[0].To, e[0].Subject, strings.Contains(string(raw), "Good day from test"), strings.Contains(e[0].MessageID, "@") && v.Intents[0].RemoteID != "")
			}},
			{"action.sync_crm", `{}`, func(*RunView, *lead.Lead) string {
				r, ok := sim.Record(string(l.ID))
				return fmt.Sprint(ok, " ", r.Fields["first_name"])
			}},
		} {
			w := h.chain(`"entry":{"reentry":"always"},`, `{"type":"`+c.kind+`","config":`+c.config+`}`)
			out, err := h.Workflows.Trigger(t.Context(), h.sc, TriggerInput{Workflow: w, Lead: l.ID, Trigger: "api", Context: map[string]any{"greeting": "Good day"}})
			if err != nil {
				t.Fatal(err)
			}
			v := h.becomes(out.RunID, workflow.Finished, workflow.Parked)
			want := map[string]string{"action.set_field": "ADA Ltd", "action.add_tag": "old,new,newer", "action.remove_tag": "new,newer", "action.add_score": "12", "action.assign_owner": owner,
				"action.create_task": "Call Ada " + owner + " 11:00:00", "action.http": `PUT{"tags":["new, newer"]}`, "action.send_email": "ada@example.com Hi Ada true true", "action.sync_crm": "true Ada"}[c.kind]
			if got := c.check(v, h.now(l.ID)); v.Run.Status != workflow.Finished || got != want {
				t.Errorf("%s: %s (%+v): %q, want %q", c.kind, v.Run.Status, v.Run.Parked, got, want)
			}
			seen = append(seen, c.kind)
		}
		for _, kind := range action.NewRegistry().Types() {
			if !slices.Contains(seen, kind) {
				t.Errorf("%s is in the registry and has no line in this test", kind)
			}
		}
	})
}

// user makes an active user of the tenant.
func (h *flowHouse) user() string {
	h.t.Helper()
	in := account.NewInstance("test")
	if err := h.Accounts.BootstrapTenant(h.t.Context(), in, account.Tenant{ID: h.sc.Tenant(), Name: "One", Plan: account.PlanPro}); err != nil {
		h.t.Fatal(err)
	}
	u, err := h.Accounts.BootstrapUser(h.t.Context(), in, h.sc.Tenant(), "", account.NewUser{Username: "una", Email: "una@example.com", Role: string(account.RoleSalesperson), Password: "correct horse"})
	if err != nil {
		h.t.Fatal(err)
	}
	return string(u.ID)
}

// TestMailStep_Outcomes: skipped is an exit, a refusal is a failure, a cut-off message asks a person.
func TestMailStep_Outcomes(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		mail := `"start":"m","nodes":{"m":{"type":"action.send_email","config":{"subject":"Hi","text":"Hello"%s},"next":"sent"%s},"sent":{"type":"action.add_tag","config":{"tag":"sent"},"next":"end"}%s}}`
		exits := h.workflow(`{"name":"a",` + fmt.Sprintf(mail, ``, `,"exits":{"skipped":"left"}`, `,"left":{"type":"action.add_tag","config":{"tag":"skipped"},"next":"end"}`))
		goesOn := h.workflow(`{"name":"b","entry":{"reentry":"always"},` + fmt.Sprintf(mail, ``, ``, ``))
		if _, err := h.Mail.Suppress(t.Context(), h.sc, "gone@example.com", "test"); err != nil {
			t.Fatal(err)
		}
		gone, ada, none := h.lead(`{"email":"gone@example.com"}`), h.person(), h.lead(`{"phone":"+4930123456"}`)
		left, on, noAddress, cut := h.trigger(exits, gone.ID), h.trigger(goesOn, gone.ID), h.trigger(goesOn, none.ID), h.trigger(goesOn, ada.ID)
		for _, id := range []workflow.RunID{left, on, cut} {
			h.advance(id)
		}
		h.sendMail(left)
		h.sendMail(on)
		h.advance(left)
		h.advance(on)
		if tags := h.now(gone.ID).Tags; !slices.Equal(tags, []string{"skipped", "sent"}) {
			t.Errorf("skipped mails left by %v, want the connected exit once and next once", tags)
		}
		if v := h.run(on); v.Steps[0].State != workflow.StepSkipped || v.Steps[0].Error == nil || !strings.HasPrefix(v.Steps[0].Error.Code, "suppressed") {
			t.Errorf("the step does not say why: %+v", v.Steps[0])
		}
		if v := h.advance(noAddress); v.Run.Status != workflow.Parked || v.Run.Parked.Code != "not_an_address" {
			t.Errorf("a lead without an address: %s %+v", v.Run.Status, v.Run.Parked)
		}
		ref := refOf(h.run(cut).Run)
		h.exec("UPDATE messages SET stage='open', claim='dead:m1', claim_until_at=1 WHERE step_key=$1", ref.Key())
		h.exec("UPDATE step_intents SET state='started' WHERE run_id=$1", string(cut))
		if _, err := h.core.Recover(t.Context(), ""); err != nil {
			t.Fatal(err)
		}
		if v := h.run(cut); v.Run.Status != workflow.Parked || h.message(cut) != "unknown "+campaign.ReasonCutOff || v.Steps[0].State != workflow.StepUnknown {
			t.Errorf("a message cut off in its dialogue: %s %+v %s", v.Run.Status, v.Run.Parked, h.message(cut))
		}
		if _, err := h.Workflows.RetryRun(t.Context(), h.sc, cut, RetryInput{}); !refusedWith(err, "outcome_unknown") {
			t.Errorf("a message that may have been sent is sent again silently: %v", err)
		}
		if h.sink.Total() != 0 {
			t.Errorf("%d messages were sent", h.sink.Total())
		}
	})
}

// TestCRMStep_Outcomes: in step, refused, and nothing connected.
func TestCRMStep_Outcomes(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		sync := `"start":"s","nodes":{"s":{"type":"action.sync_crm","next":"in","exits":{"skipped":"out"}},"in":{"type":"action.add_tag","config":{"tag":"synced"},"next":"end"},"out":{"type":"action.add_tag","config":{"tag":"alone"},"next":"end"}}}`
		w := h.workflow(`{"name":"a","entry":{"reentry":"always"},` + sync)
		named := h.workflow(`{"name":"b","entry":{"reentry":"always"},` + strings.Replace(sync, `"action.sync_crm"`, `"action.sync_crm","config":{"connection":"no-such"}`, 1))
		l := h.person()
		h.work()
		h.becomes(h.trigger(w, l.ID), workflow.Finished)
		if v := h.becomes(h.trigger(named, l.ID), workflow.Parked); v.Run.Parked.Code != "no_connection" {
			t.Errorf("a connection that is not there: %+v", v.Run.Parked)
		}
		sim, err := simulator.Start(simulator.Options{})
		if err != nil {
			t.Fatal(err)
		}
		defer sim.Close()
		h.out.AllowTarget(sim.Addr())
		url := sim.APIURL()
		if _, err := h.CRM.Configure(t.Context(), h.sc, ConnectionInput{Type: connector.Generic, Name: "default", APIURL: &url, Settings: &connector.Settings{RatePerSecond: 1000, TimeoutSeconds: 30}}); err != nil {
			t.Fatal(err)
		}
		h.becomes(h.trigger(w, l.ID), workflow.Finished)
		if tags := h.now(l.ID).Tags; !slices.Equal(tags, []string{"alone", "synced"}) {
			t.Errorf("tags %v, want alone and then synced", tags)
		}
		schema := []connector.FieldSpec{{Name: "external_id"}}
		for _, f := range crm.DefaultMapping() {
			schema = append(schema, connector.FieldSpec{Name: f.Theirs, Type: map[bool]string{true: "number"}[f.Ours == "first_name"]})
		}
		sim.SetSchema(schema) // a text for a number: the record is refused, not the connection
		if _, err := h.Leads.Update(t.Context(), h.sc, LeadEdit{ID: l.ID}, leadInput(t, `{"first_name":"Grace"}`)); err != nil {
			t.Fatal(err)
		}
		if v := h.becomes(h.trigger(w, l.ID), workflow.Parked); v.Run.Parked.Code != "crm_problem" || v.Run.Parked.Message == "" {
			t.Errorf("a refused record: %+v", v.Run.Parked)
		}
	})
}
