package service

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

const addTagX = `{"type":"action.add_tag","config":{"tag":"x"}}`

// TestTrigger_ANewLeadEntersOnce: a request that brings a lead whose creation fires the same workflow starts one run,
// whatever the entry rule says.
func TestTrigger_ANewLeadEntersOnce(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		for i, reentry := range []string{"once", "always", "not_while_inside", "after:1d"} {
			w := h.chain(`"triggers":[{"type":"lead.created","sources":["`+reentry+`"]},{"type":"lead.updated","fields":["*"]}],"entry":{"reentry":"`+reentry+`"},`, addTagX)
			other := h.chain(`"triggers":[{"type":"lead.created","sources":["`+reentry+`"]}],`, addTagX)
			out, err := h.Workflows.Trigger(t.Context(), h.sc, TriggerInput{Workflow: w, Trigger: "api",
				LeadData: leadInput(t, fmt.Sprintf(`{"email":"n%d@example.com","source":"%s"}`, i, reentry))})
			if err != nil {
				t.Fatalf("%s: %v", reentry, err)
			}
			if runs := h.runsOf(w); len(runs) != 1 || runs[0].ID != out.RunID || runs[0].TriggerID != "api" {
				t.Errorf("%s: %d runs, want the one that was answered", reentry, len(runs))
			}
			if runs := h.runsOf(other); len(runs) != 1 {
				t.Errorf("%s: another workflow hears of the new lead %d times, want once", reentry, len(runs))
			}
			for _, id := range []workflow.ID{w, other} {
				if _, err := h.Workflows.Delete(t.Context(), h.sc, id, IfMatch{}); err != nil {
					t.Fatal(err)
				}
			}
		}
		h.work()
		h.until("all runs to end with their workflows", func() bool {
			n, err := h.st.Read(context.Background()).RunCounts(h.sc, "")
			var open int64
			for _, c := range n {
				open += c[workflow.Running] + c[workflow.Waiting]
			}
			return err == nil && open == 0
		})
	})
}

// TestEntry_AtOnceAdmitsOne races triggers and changes of one lead; the rule must hold on both engines.
func TestEntry_AtOnceAdmitsOne(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		for _, reentry := range []string{"once", "not_while_inside", "after:2h"} {
			w := h.chain(`"triggers":[{"type":"lead.updated","fields":["company"]}],"entry":{"reentry":"`+reentry+`"},`, `{"type":"wait.duration","config":{"duration":"1h"}}`)
			l := h.lead(`{"email":"` + strings.ReplaceAll(reentry, ":", "-") + `@example.com"}`)
			var wg sync.WaitGroup
			var mu sync.Mutex
			started := 0
			for i := range 12 {
				wg.Go(func() {
					var err error
					if i%3 == 0 {
						_, err = h.Leads.Update(context.Background(), h.sc, LeadEdit{ID: l.ID}, leadInput(t, fmt.Sprintf(`{"company":"c%d"}`, i)))
					} else {
						_, err = h.Workflows.Trigger(context.Background(), h.sc, TriggerInput{Workflow: w, Lead: l.ID, Trigger: "api"})
						mu.Lock()
						if err == nil {
							started++
						}
						mu.Unlock()
						if refusedWith(err, "entry_refused") {
							err = nil
						}
					}
					if err != nil {
						t.Errorf("%s: %v", reentry, err)
					}
				})
			}
			wg.Wait()
			if n := len(h.runsOf(w)); n != 1 || started > 1 {
				t.Errorf("%s: %d runs (%d by trigger) for one lead at once, want 1", reentry, n, started)
			}
		}
	})
}

func TestEntry_RulesOverTime(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		l := h.person()
		once := h.chain(`"entry":{"reentry":"once"},`, addTagX)
		after := h.chain(`"entry":{"reentry":"after:2h"},`, addTagX)
		inside := h.chain(``, addTagX)
		always := h.chain(`"entry":{"reentry":"always"},`, addTagX)
		picky := h.chain(`"entry":{"condition":{"field":"company","op":"is","value":"nobody"}},`, addTagX)
		try := func(w workflow.ID, want string) {
			t.Helper()
			out, err := h.Workflows.Trigger(t.Context(), h.sc, TriggerInput{Workflow: w, Lead: l.ID, Trigger: "api"})
			if want == "" && err != nil {
				t.Fatalf("refused: %v", err)
			}
			if want != "" {
				if f := fault.As(err); f == nil || f.Extra["reason"] != want {
					t.Fatalf("%v, want it refused as %s", err, want)
				}
				return
			}
			h.advance(out.RunID)
		}
		try(once, "")
		try(once, "entered_before")
		try(after, "")
		try(after, "too_soon")
		h.clock.add(2 * time.Hour)
		try(after, "")
		try(inside, "")
		try(inside, "")
		try(always, "")
		try(always, "")
		try(picky, "entry_condition")
		out, err := h.Workflows.Trigger(t.Context(), h.sc, TriggerInput{Workflow: picky, Lead: l.ID, Trigger: "api", Force: true})
		if err != nil {
			t.Fatalf("force: %v", err)
		}
		h.advance(out.RunID)
		events, err := h.st.Read(t.Context()).Timeline(h.sc, []lead.ID{l.ID}, []string{string(event.RunStarted)}, "", 1)
		if err != nil || len(events) != 1 || !strings.Contains(string(events[0].Data), `"forced":true`) {
			t.Errorf("a forced entry must say so on the timeline: %v %s", err, events[0].Data)
		}
	})
}

// TestTriggers_OwnWritesAndLoops: a workflow's own change does not start it again; two that start each other end.
func TestTriggers_OwnWritesAndLoops(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		always := `"entry":{"reentry":"always"},`
		own := h.chain(`"triggers":[{"type":"lead.updated","fields":["company"]}],`+always, `{"type":"action.set_field","config":{"field":"company","value":"{{ lead.company }}!"}}`)
		ping := h.chain(`"triggers":[{"type":"tag.added","tag":"ping"}],`+always, `{"type":"action.remove_tag","config":{"tag":"ping"}}`, `{"type":"action.add_tag","config":{"tag":"pong"}}`)
		pong := h.chain(`"triggers":[{"type":"tag.added","tag":"pong"}],`+always, `{"type":"action.remove_tag","config":{"tag":"pong"}}`, `{"type":"action.add_tag","config":{"tag":"ping"}}`)
		l := h.person()
		h.work()
		h.becomes(h.trigger(own, l.ID), workflow.Finished)
		if n := len(h.runsOf(own)); n != 1 {
			t.Errorf("its own write started the workflow again: %d runs", n)
		}
		if _, err := h.Leads.Update(t.Context(), h.sc, LeadEdit{ID: l.ID}, leadInput(t, `{"tags_add":["ping"]}`)); err != nil {
			t.Fatal(err)
		}
		all := func() []*workflow.Run { return append(h.runsOf(ping), h.runsOf(pong)...) }
		h.until("the loop to be stopped", func() bool {
			for _, r := range all() {
				if r.Status == workflow.Parked {
					return true
				}
			}
			return false
		})
		for _, r := range all() {
			if r.Status == workflow.Parked && (r.Parked.Code != "loop_repeat" || !strings.Contains(r.Parked.Message, "→")) {
				t.Errorf("parked with %+v, want loop_repeat and the path", r.Parked)
			}
		}
		if n := len(all()); n != 7 {
			t.Errorf("%d runs before the loop was stopped, want 3 of each and the parked one", n)
		}
	})
}

// TestTriggers_StartWithTheChangeOrNotAtAll: the run commits with what caused it.
func TestTriggers_StartWithTheChangeOrNotAtAll(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		w := h.chain(`"triggers":[{"type":"lead.created"}],`, addTagX)
		err := h.st.Write(t.Context(), func(tx *store.Tx) error {
			if _, _, err := h.core.upsertLead(tx, h.sc, *leadInput(t, `{"email":"a@example.com"}`)); err != nil {
				return err
			}
			return errTest
		})
		if err != errTest || len(h.runsOf(w)) != 0 {
			t.Fatalf("%v: %d runs of a lead that was never committed", err, len(h.runsOf(w)))
		}
		if _, err := h.Leads.Create(t.Context(), h.sc, leadInput(t, `{"email":"b@example.com"}`), true); err != nil {
			t.Fatal(err)
		}
		if n := len(h.runsOf(w)); n != 0 {
			t.Fatalf("a dry run started %d runs", n)
		}
		if _, err := h.Workflows.Trigger(t.Context(), h.sc, TriggerInput{Workflow: w, Trigger: "api", LeadData: leadInput(t, `{"email":"no address"}`)}); fault.As(err) == nil {
			t.Fatalf("%v, want the lead's problems", err)
		}
		if n := len(h.runsOf(w)); n != 0 {
			t.Fatalf("a refused trigger started %d runs", n)
		}
		h.lead(`{"email":"c@example.com"}`)
		if n := len(h.runsOf(w)); n != 1 {
			t.Fatalf("%d runs, want 1", n)
		}
		h.work()
		h.becomes(h.runsOf(w)[0].ID, workflow.Finished)
	})
}

// TestTrigger_LeadDataNeedsTheRightToWriteLeads: a key cut down to starting runs changes no lead by it.
func TestTrigger_LeadDataNeedsTheRightToWriteLeads(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		w, l := h.chain(``, addTagX), h.person()
		key := account.NewScope(h.sc.Tenant(), account.Actor{Kind: account.ActorKey, ID: "k-1"}, "u-1", account.Set(account.WorkflowExecute))
		for _, in := range []TriggerInput{
			{Workflow: w, Trigger: "api", LeadData: leadInput(t, `{"email":"new@example.com"}`)},
			{Workflow: w, Trigger: "api", Lead: l.ID, LeadData: leadInput(t, `{"company":"Other"}`)},
		} {
			if _, err := h.Workflows.Trigger(t.Context(), key, in); !refusedWith(err, "forbidden") {
				t.Errorf("%v, want it forbidden", err)
			}
		}
		out, err := h.Workflows.Trigger(t.Context(), key, TriggerInput{Workflow: w, Trigger: "api", Lead: l.ID})
		if err != nil {
			t.Fatalf("without lead_data: %v", err)
		}
		h.advance(out.RunID)
	})
}
