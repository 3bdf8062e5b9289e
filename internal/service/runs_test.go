package service

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/queue"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

const waitHour = `{"type":"wait.duration","config":{"duration":"1h"}}`

func tagNode(tag string) string {
	return `{"type":"action.add_tag","config":{"tag":"` + tag + `"}}`
}

// TestRun_ParksAtAnActionThatThisServerLacks, as after a step back to an older release.
func TestRun_ParksAtAnActionThatThisServerLacks(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		w, l := h.chain(``, `{"type":"action.add_score","config":{"points":5}}`, tagNode("x")), h.person()
		h.exec("UPDATE workflow_versions SET definition=REPLACE(definition, 'action.add_tag', 'action.brew_tea')")
		h.build()
		id := h.trigger(w, l.ID)
		v := h.advance(id)
		if v.Run.Status != workflow.Parked || v.Run.Parked.Code != "unknown_action" || v.Run.Parked.Node != "n2" || h.now(l.ID).Score != 5 {
			t.Fatalf("%s %+v", v.Run.Status, v.Run.Parked)
		}
		h.exec("UPDATE workflow_versions SET definition=REPLACE(definition, 'action.brew_tea', 'action.add_tag')")
		h.build()
		if _, err := h.Workflows.RetryRun(t.Context(), h.sc, id, RetryInput{}); err != nil {
			t.Fatal(err)
		}
		if v := h.advance(id); v.Run.Status != workflow.Finished || h.now(l.ID).Score != 5 {
			t.Errorf("%s %v, score %d", v.Run.Status, states(v), h.now(l.ID).Score)
		}
	})
}

// TestRun_KeepsItsVersion: a publish while runs wait changes new runs only, on a server that starts anew too.
func TestRun_KeepsItsVersion(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		l := h.person()
		w := h.chain(`"entry":{"reentry":"always"},`, waitHour, tagNode("old"))
		before := h.trigger(w, l.ID)
		h.advance(before)
		v, err := h.Workflows.Update(t.Context(), h.sc, w, IfMatch{}, func(now json.RawMessage) (json.RawMessage, error) {
			return json.RawMessage(strings.ReplaceAll(string(now), `"old"`, `"new"`)), nil
		})
		if err != nil || v.Workflow.Version != 2 {
			t.Fatalf("publish: %v", err)
		}
		after := h.trigger(w, l.ID)
		h.advance(after)
		h.build() // nothing compiled is left
		h.fire(time.Hour)
		h.advance(before)
		if tags := h.now(l.ID).Tags; !slices.Equal(tags, []string{"old"}) {
			t.Errorf("the older run tagged %v, want old", tags)
		}
		h.advance(after)
		if tags := h.now(l.ID).Tags; !slices.Equal(tags, []string{"old", "new"}) {
			t.Errorf("both runs tagged %v, want old and new", tags)
		}
		if a, b := h.run(before).Run.Version, h.run(after).Run.Version; a != 1 || b != 2 {
			t.Errorf("versions %d and %d, want 1 and 2", a, b)
		}
	})
}

// TestPause_NothingActsUntilResume covers a run that becomes due, a message that is planned and a call that is planned.
func TestPause_NothingActsUntilResume(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		l := h.person()
		w := h.chain(`"entry":{"reentry":"always"},`, waitHour, tagNode("due"))
		m := h.chain(``, `{"type":"action.send_email","config":{"subject":"Hi","text":"Hello"}}`, tagNode("mailed"))
		c := h.chain(``, `{"type":"action.http","config":{"url":"`+h.recv.URL+`/x"}}`, tagNode("called"))
		due, mailed, called := h.trigger(w, l.ID), h.trigger(m, l.ID), h.trigger(c, l.ID)
		for _, id := range []workflow.RunID{due, mailed, called} {
			h.advance(id)
		}
		for _, id := range []workflow.ID{w, m, c} {
			if _, err := h.Workflows.Pause(t.Context(), h.sc, id); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Workflows.Trigger(t.Context(), h.sc, TriggerInput{Workflow: id, Lead: l.ID, Trigger: "api"}); !refusedWith(err, "workflow_paused") {
				t.Errorf("a paused workflow took a trigger: %v", err)
			}
		}
		h.fire(time.Hour)
		h.advance(due)
		h.sendMail(mailed)
		h.work() // the call's job
		h.becomes(called, workflow.Held)
		for _, id := range []workflow.RunID{due, mailed, called} {
			if s := h.run(id).Run.Status; s != workflow.Held {
				t.Errorf("run is %s while its workflow is paused, want held", s)
			}
		}
		if n, calls, tags := h.sink.Total(), h.recv.got(), h.now(l.ID).Tags; n != 0 || len(calls) != 0 || len(tags) != 0 {
			t.Errorf("while paused: %d messages, %d calls, tags %v", n, len(calls), tags)
		}
		h.mustHold()
		for _, id := range []workflow.ID{w, m, c} {
			if _, err := h.Workflows.Resume(t.Context(), h.sc, id); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range []workflow.RunID{due, mailed, called} {
			h.becomes(id, workflow.Finished)
		}
		if n, calls := h.sink.Total(), h.recv.got(); n != 1 || len(calls) != 1 {
			t.Errorf("after the resume: %d messages, %d calls, want one each", n, len(calls))
		}
	})
}

// TestPause_RacesResume: no run stays held behind a resume, whoever wins.
func TestPause_RacesResume(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		w := h.chain(`"entry":{"reentry":"always"},`, tagNode("a"), tagNode("b"))
		l := h.person()
		h.work()
		var ids []workflow.RunID
		for range 8 {
			for range 4 {
				ids = append(ids, h.trigger(w, l.ID))
			}
			if _, err := h.Workflows.Pause(t.Context(), h.sc, w); err != nil {
				t.Fatal(err)
			}
			if _, err := h.Workflows.Resume(t.Context(), h.sc, w); err != nil {
				t.Fatal(err)
			}
		}
		for _, id := range ids {
			h.becomes(id, workflow.Finished)
		}
	})
}

// TestResume_AgainHelpsWhereTheFirstJobDied.
func TestResume_AgainHelpsWhereTheFirstJobDied(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		w, l := h.chain(``, tagNode("a")), h.person()
		id := h.trigger(w, l.ID)
		if _, err := h.Workflows.Pause(t.Context(), h.sc, w); err != nil {
			t.Fatal(err)
		}
		h.advance(id)
		if _, err := h.Workflows.Resume(t.Context(), h.sc, w); err != nil {
			t.Fatal(err)
		}
		h.exec("DELETE FROM river_job WHERE kind='workflow.release'")
		if _, err := h.Workflows.Resume(t.Context(), h.sc, w); err != nil {
			t.Fatal(err)
		}
		h.work()
		h.becomes(id, workflow.Finished)
	})
}

func TestDelete_EndsWhatIsInside(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		l := h.person()
		w := h.chain(`"entry":{"reentry":"always"},`, waitHour, tagNode("late"))
		c := h.chain(``, `{"type":"action.http","config":{"url":"`+h.recv.URL+`/x"}}`)
		m := h.chain(``, `{"type":"action.send_email","config":{"subject":"Hi","text":"Hello"}}`)
		waiting, calling, mailing := h.trigger(w, l.ID), h.trigger(c, l.ID), h.trigger(m, l.ID)
		for _, id := range []workflow.RunID{waiting, calling, mailing} {
			h.advance(id)
		}
		for _, id := range []workflow.ID{w, c, m} {
			if _, err := h.Workflows.Delete(t.Context(), h.sc, id, IfMatch{}); err != nil {
				t.Fatal(err)
			}
		}
		h.work()
		h.fire(time.Hour)
		for _, id := range []workflow.RunID{waiting, calling, mailing} {
			if v := h.becomes(id, workflow.Cancelled); v.Run.Reason != "workflow_deleted" {
				t.Errorf("cancelled because %q", v.Run.Reason)
			}
		}
		h.until("the message to be taken back", func() bool { return h.message(mailing) == "skipped run_over" })
		if n, calls := h.sink.Total(), h.recv.got(); n != 0 || len(calls) != 0 || len(h.now(l.ID).Tags) != 0 {
			t.Errorf("a deleted workflow acted: %d messages, %d calls", n, len(calls))
		}
	})
}

// message is the ledger's state and reason of the run's only message.
func (h *flowHouse) message(id workflow.RunID) string {
	h.t.Helper()
	for _, i := range h.run(id).Intents {
		if m, err := h.st.Read(context.Background()).MessageByStep(h.sc, i.Ref.Key()); err == nil {
			return string(m.State) + " " + m.Reason
		}
	}
	return ""
}

func (h *flowHouse) cancel(id workflow.RunID) {
	h.t.Helper()
	if _, err := h.Workflows.CancelRun(context.Background(), h.sc, id, "no longer needed"); err != nil {
		h.t.Fatal(err)
	}
}

// TestCancel_BeforeAndDuringAnOutsideStep: what is planned never happens; what has begun ends and is recorded.
func TestCancel_BeforeAndDuringAnOutsideStep(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		l := h.person()
		m := h.chain(``, `{"type":"action.send_email","config":{"subject":"Hi","text":"Hello"}}`, tagNode("after"))
		planned := h.trigger(m, l.ID)
		h.advance(planned)
		m1, err := h.st.Read(t.Context()).MessageByStep(h.sc, refOf(h.run(planned).Run).Key())
		if err != nil {
			t.Fatal(err)
		}
		h.cancel(planned)
		if got := h.message(planned); got != "skipped run_over" {
			t.Errorf("the planned message is %q right after the cancel", got)
		}
		if err := h.Mail.sendJob(t.Context(), queue.Job[sendArgs]{ID: 1, Args: sendArgs{"t-one", m1.ID}}); err != nil {
			t.Fatal(err)
		}
		if got, v := h.message(planned), h.run(planned); got != "skipped run_over" || h.sink.Total() != 0 || v.Steps[0].State != workflow.StepSkipped {
			t.Errorf("the planned message is %q, %d were sent, its step is %s", got, h.sink.Total(), v.Steps[0].State)
		}

		called, release := make(chan struct{}), make(chan struct{})
		h.recv.say(func(int, http.ResponseWriter, *http.Request) { close(called); <-release })
		c := h.chain(``, `{"type":"action.http","config":{"url":"`+h.recv.URL+`/x"}}`, tagNode("after"))
		begun := h.trigger(c, l.ID)
		h.work()
		<-called
		h.cancel(begun)
		close(release)
		h.until("the call to be recorded", func() bool {
			v := h.run(begun)
			return v.Intents[0].State == workflow.IntentDone && v.Steps[0].State == workflow.StepDone
		})
		if v := h.run(begun); v.Run.Status != workflow.Cancelled || v.Run.Reason != "no longer needed" || len(v.Steps) != 1 || len(h.now(l.ID).Tags) != 0 {
			t.Errorf("a cancelled run went on: %+v %v", v.Run, states(v))
		}
		if _, err := h.Workflows.CancelRun(t.Context(), h.sc, begun, ""); !refusedWith(err, "run_over") {
			t.Errorf("cancelled twice: %v", err)
		}
	})
}

func TestRun_LeadGoneOrMerged(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		a, b := h.lead(`{"email":"a@example.com"}`), h.lead(`{"email":"b@example.com"}`)
		w := h.chain(``, waitHour, tagNode("after"))
		m := h.chain(``, `{"type":"action.send_email","config":{"subject":"Hi","text":"Hello"}}`)
		waits, mails, merged := h.trigger(w, a.ID), h.trigger(m, a.ID), h.trigger(w, b.ID)
		for _, id := range []workflow.RunID{waits, mails, merged} {
			h.advance(id)
		}
		survivor := h.lead(`{"email":"c@example.com"}`)
		if _, err := h.Leads.Delete(t.Context(), h.sc, LeadEdit{ID: a.ID}); err != nil {
			t.Fatal(err)
		}
		if err := h.st.Write(t.Context(), func(tx *store.Tx) error {
			l, err := tx.Lead(h.sc, b.ID)
			if err == nil {
				_, err = tx.DeleteLead(h.sc, l, survivor.ID)
			}
			return err
		}); err != nil {
			t.Fatal(err)
		}
		h.sendMail(mails)
		h.fire(time.Hour)
		h.work()
		for _, id := range []workflow.RunID{waits, mails} {
			if v := h.becomes(id, workflow.Finished); v.Run.Outcome != workflow.OutcomeLeadGone {
				t.Errorf("a deleted lead's run ended as %q: %v", v.Run.Outcome, states(v))
			}
		}
		if got := h.message(mails); got != "skipped run_over" || h.sink.Total() != 0 {
			t.Errorf("the deleted lead's message is %q; %d were sent", got, h.sink.Total())
		}
		v := h.becomes(merged, workflow.Finished)
		if v.Run.Outcome != workflow.OutcomeCompleted || v.Run.LeadID != survivor.ID || !slices.Equal(h.now(survivor.ID).Tags, []string{"after"}) {
			t.Errorf("a merged lead's run must go on with the survivor: %+v, tags %v", v.Run, h.now(survivor.ID).Tags)
		}
	})
}

// TestRetry_OfARefusedChange: the step fails as a whole (the lead keeps what it had), and a retry repeats nothing else.
func TestRetry_OfARefusedChange(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		other, l := h.lead(`{"email":"taken@example.com"}`), h.person()
		w := h.chain(`"entry":{"reentry":"always"},`, `{"type":"action.add_score","config":{"points":5}}`, `{"type":"action.set_field","config":{"field":"email","value":"taken@example.com"}}`, tagNode("after"))
		retried, skipped := h.trigger(w, l.ID), h.trigger(w, l.ID)
		h.advance(retried)
		h.advance(skipped)
		v := h.run(retried)
		if v.Run.Status != workflow.Parked || v.Run.Parked.Code != "taken" || v.Run.Parked.Node != "n2" {
			t.Fatalf("parked as %+v", v.Run.Parked)
		}
		out, err := h.Leads.Create(t.Context(), h.sc, leadInput(t, `{"email":"ada@example.com"}`), false)
		if err != nil || out.Lead.ID != l.ID {
			t.Fatalf("after the refused change the lead is no longer known by its address: %v %v", out, err)
		}
		if _, err := h.Leads.Delete(t.Context(), h.sc, LeadEdit{ID: other.ID}); err != nil {
			t.Fatal(err)
		}
		if _, err := h.Workflows.RetryRun(t.Context(), h.sc, skipped, RetryInput{Skip: true}); err != nil {
			t.Fatal(err)
		}
		h.advance(skipped)
		if got := h.now(l.ID); got.Email != "ada@example.com" || !slices.Equal(got.Tags, []string{"after"}) {
			t.Errorf("skip must go on without the change: %s %v", got.Email, got.Tags)
		}
		if _, err := h.Workflows.RetryRun(t.Context(), h.sc, retried, RetryInput{}); err != nil {
			t.Fatal(err)
		}
		if v = h.advance(retried); v.Run.Status != workflow.Finished {
			t.Fatalf("%s: %v", v.Run.Status, states(v))
		}
		if got := h.now(l.ID); got.Email != "taken@example.com" || got.Score != 10 {
			t.Errorf("%s with score %d, want the new address and each run's points once", got.Email, got.Score)
		}
		if _, err := h.Workflows.RetryRun(t.Context(), h.sc, retried, RetryInput{}); !refusedWith(err, "not_parked") {
			t.Errorf("a finished run was retried: %v", err)
		}
	})
}

// TestSweep_ParksRunsOfDeadJobs: jobs that ended without a word (cancelled by an operator, killed in their last attempt).
func TestSweep_ParksRunsOfDeadJobs(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		l := h.person()
		pure := h.chain(``, tagNode("a"))
		call := h.chain(`"entry":{"reentry":"always"},`, `{"type":"action.http","config":{"url":"`+h.recv.URL+`/x"}}`)
		plain, planned, begun := h.trigger(pure, l.ID), h.trigger(call, l.ID), h.trigger(call, l.ID)
		h.advance(planned)
		h.advance(begun)
		ref := refOf(h.run(begun).Run)
		begin, err := h.Workflows.beginCall(t.Context(), h.system(), queue.Job[httpArgs]{Args: httpArgs{"t-one", string(begun), ref.Key(), 1}}, ref, workflow.Call{Method: "POST"})
		if err != nil || !begin {
			t.Fatalf("begin: %v %v", begin, err)
		}
		h.exec("UPDATE river_job SET state='cancelled', finalized_at=CURRENT_TIMESTAMP")
		if err := h.Workflows.sweepJob(t.Context(), queue.Job[runSweepArgs]{}); err != nil {
			t.Fatal(err)
		}
		for id, code := range map[workflow.RunID]string{plain: "job_failed", planned: "job_failed", begun: "outcome_unknown"} {
			if v := h.run(id); v.Run.Status != workflow.Parked || v.Run.Parked.Code != code {
				t.Errorf("%s %+v, want parked with %s", v.Run.Status, v.Run.Parked, code)
			}
		}
		h.mustHold()
		if _, err := h.Workflows.RetryRun(t.Context(), h.sc, begun, RetryInput{}); !refusedWith(err, "outcome_unknown") {
			t.Errorf("a call that may have been made is repeated silently: %v", err)
		}
		for id, how := range map[workflow.RunID]RetryInput{plain: {}, planned: {}, begun: {Repeat: true}} {
			if _, err := h.Workflows.RetryRun(t.Context(), h.sc, id, how); err != nil {
				t.Fatal(err)
			}
		}
		if err := h.Workflows.sweepJob(t.Context(), queue.Job[runSweepArgs]{}); err != nil { // the dead jobs are still listed
			t.Fatal(err)
		}
		h.work()
		for _, id := range []workflow.RunID{plain, planned, begun} {
			h.becomes(id, workflow.Finished)
		}
	})
}

// TestJob_ThatFailsForTheLastTimeParksItsRun: nothing of the failed attempts stays but what is known of the effect.
func TestJob_ThatFailsForTheLastTimeParksItsRun(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		l := h.person()
		plain := h.trigger(h.chain(``, tagNode("a")), l.ID)
		called := h.trigger(h.chain(``, `{"type":"action.http","config":{"url":"`+h.recv.URL+`/x"}}`), l.ID)
		h.advance(called)
		key := refOf(h.run(called).Run).Key()
		// Outside a worker a job cannot be finished, so that each attempt fails in its last statement.
		for attempt := 9; attempt <= 10; attempt++ {
			err := h.Workflows.advanceJob(t.Context(), queue.Job[advanceArgs]{Attempt: attempt, MaxAttempts: 10, Args: advanceArgs{"t-one", string(plain), 1}})
			if v := h.run(plain); err == nil || len(v.Steps) != 0 || len(h.now(l.ID).Tags) != 0 || (v.Run.Status == workflow.Parked) != (attempt == 10) {
				t.Errorf("attempt %d: %v, the run is %s with steps %v", attempt, err, v.Run.Status, states(v))
			}
		}
		if err := h.Workflows.httpJob(t.Context(), queue.Job[httpArgs]{Attempt: 10, MaxAttempts: 10, Args: httpArgs{"t-one", string(called), key, 1}}); err == nil {
			t.Error("a call that was not recorded is no success")
		}
		if v := h.run(called); v.Run.Status != workflow.Parked || v.Run.Parked.Code != "outcome_unknown" || v.Steps[0].State != workflow.StepUnknown || len(h.recv.got()) != 1 {
			t.Errorf("%s %+v %v", v.Run.Status, v.Run.Parked, states(v))
		}
		if v := h.run(plain); v.Run.Parked.Code != "job_failed" {
			t.Errorf("%+v", v.Run.Parked)
		}
		for id, how := range map[workflow.RunID]RetryInput{plain: {}, called: {Skip: true}} {
			if _, err := h.Workflows.RetryRun(t.Context(), h.sc, id, how); err != nil {
				t.Fatal(err)
			}
			if v := h.advance(id); v.Run.Status != workflow.Finished {
				t.Errorf("after the retry: %s %v", v.Run.Status, states(v))
			}
		}
	})
}

// TestParkLost_LeavesARunAloneThatHasMovedOn: the dead job of an earlier step says nothing about the run now.
func TestParkLost_LeavesARunAloneThatHasMovedOn(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		l := h.person()
		w := h.chain(``, `{"type":"action.http","config":{"url":"`+h.recv.URL+`/x"}}`, waitHour)
		id := h.trigger(w, l.ID)
		h.work()
		h.until("the wait", func() bool { return h.run(id).Run.Phase == workflow.PhaseWait })
		old := workflow.StepRef{RunID: id, Node: "n1", Visit: 1}
		if err := h.core.parkLost(t.Context(), h.system(), id, inStep(old)); err != nil {
			t.Fatal(err)
		}
		if v := h.run(id); v.Run.Status != workflow.Waiting {
			t.Errorf("a run that waits by now is %s", v.Run.Status)
		}
	})
}

// TestTimers_EachFiresOnceAndNeverEarly lets several nodes look at once.
func TestTimers_EachFiresOnceAndNeverEarly(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		w := h.chain(``, waitHour, `{"type":"action.add_score","config":{"points":1}}`)
		const runs = 60
		var ids []workflow.RunID
		var leads []lead.ID
		for i := range runs {
			l := h.lead(fmt.Sprintf(`{"email":"l%d@example.com"}`, i))
			leads = append(leads, l.ID)
			ids = append(ids, h.trigger(w, l.ID))
			h.advance(ids[i])
		}
		if n := h.fire(time.Hour - time.Microsecond); n != 0 {
			t.Fatalf("%d timers fired early", n)
		}
		h.clock.add(time.Microsecond)
		var wg sync.WaitGroup
		var mu sync.Mutex
		fired := 0
		for range 4 {
			wg.Go(func() {
				n, err := h.Workflows.FireTimers(context.Background(), account.NewInstance("test"))
				if err != nil {
					t.Error(err)
				}
				mu.Lock()
				fired += n
				mu.Unlock()
			})
		}
		wg.Wait()
		if fired != runs {
			t.Errorf("%d timers fired, want %d", fired, runs)
		}
		if n := h.fire(time.Hour); n != 0 {
			t.Errorf("%d timers fired again", n)
		}
		h.work()
		for i, id := range ids {
			h.becomes(id, workflow.Finished)
			if s := h.now(leads[i]).Score; s != 1 {
				t.Errorf("score %d, want 1", s)
			}
		}
	})
}

// TestTimers_OfAClockThatWentBackWaitTheirOwnTime: none comes early, none waits until the clock is there again.
func TestTimers_OfAClockThatWentBackWaitTheirOwnTime(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		a, b := h.lead(`{"email":"a@example.com"}`), h.lead(`{"email":"b@example.com"}`)
		w := h.chain(``, waitHour, tagNode("after"))
		right := h.trigger(w, a.ID)
		h.advance(right)
		h.clock.add(24 * time.Hour)
		ahead := h.trigger(w, b.ID)
		h.advance(ahead)
		h.clock.add(10*time.Minute - 24*time.Hour)
		for range 2 { // as at every start: the second look must change nothing
			if err := h.Workflows.pullTimersIn(t.Context(), account.NewInstance("test"), h.clock.now()); err != nil {
				t.Fatal(err)
			}
		}
		for _, c := range []struct {
			after time.Duration
			want  int
		}{{50*time.Minute - time.Microsecond, 0}, {time.Microsecond, 1}, {10*time.Minute - time.Microsecond, 0}, {time.Microsecond, 1}} {
			if n := h.fire(c.after); n != c.want {
				t.Errorf("%s later %d timers fired, want %d", c.after, n, c.want)
			}
		}
		h.work()
		h.becomes(right, workflow.Finished)
		h.becomes(ahead, workflow.Finished)
	})
}

// TestTimers_OneThatCannotBeFiredHoldsUpNobody breaks a run's row by hand.
func TestTimers_OneThatCannotBeFiredHoldsUpNobody(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		a, b := h.lead(`{"email":"a@example.com"}`), h.lead(`{"email":"b@example.com"}`)
		w := h.chain(``, waitHour, tagNode("after"))
		c := h.chain(``, `{"type":"action.http","config":{"url":"`+h.recv.URL+`/x"}}`)
		broken, good := h.trigger(c, a.ID), h.trigger(w, b.ID)
		h.advance(broken)
		h.advance(good)
		run := h.run(broken).Run
		h.exec("DELETE FROM river_job WHERE kind='step.http'") // its first attempt is taken as made
		if err := h.st.Write(t.Context(), func(tx *store.Tx) error {
			return tx.SetTimer(h.sc, store.Timer{RunID: broken, Kind: store.TimerRetry, DueAt: tx.Now(), Turn: run.Turn})
		}); err != nil {
			t.Fatal(err)
		}
		h.exec("UPDATE runs SET visits='{broken' WHERE id=$1", string(broken))
		if n := h.fire(time.Hour); n != 2 {
			t.Fatalf("%d looked at, want 2", n)
		}
		if v := h.advance(good); v.Run.Status != workflow.Finished {
			t.Errorf("the other run is %s", v.Run.Status)
		}
		h.exec("UPDATE runs SET visits='{\"n1\":1}' WHERE id=$1", string(broken))
		if n := h.fire(laterBy); n != 1 {
			t.Errorf("%d fired later, want the one that was put off", n)
		}
		h.work()
		h.becomes(broken, workflow.Finished)
	})
}
