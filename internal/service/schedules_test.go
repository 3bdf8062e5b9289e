package service

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// every is a workflow that a schedule starts; its runs stay inside for as long as the wait takes.
func (h *flowHouse) every(schedule, wait string) workflow.ID {
	h.t.Helper()
	return h.chain(`"triggers":[{"id":"s","type":"schedule",`+schedule+`}],`, `{"type":"wait.duration","config":{"duration":"`+wait+`"}}`)
}

// finishRuns walks every run of the workflow that is ready.
func (h *flowHouse) finishRuns(w workflow.ID) (open int) {
	h.t.Helper()
	for _, r := range h.runsOf(w) {
		if r.Status == workflow.Running {
			r = h.advance(r.ID).Run
		}
		if !r.Status.Final() {
			open++
		}
	}
	return open
}

func TestSchedule_MissedTimesFollowThePolicy(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		once := h.every(`"every":"1h"`, "1m")
		all := h.every(`"every":"1h","missed":"all"`, "1m")
		skip := h.every(`"every":"1h","missed":"skip"`, "1m")
		h.fire(time.Hour) // on time
		for name, w := range map[string]workflow.ID{"once": once, "all": all, "skip": skip} {
			if n := len(h.runsOf(w)); n != 1 {
				t.Fatalf("%s: %d runs on time, want 1", name, n)
			}
			h.finishRuns(w)
		}
		h.fire(time.Minute)
		for _, w := range []workflow.ID{once, all, skip} {
			h.finishRuns(w)
		}
		h.fire(5*time.Hour + 28*time.Minute) // nothing ran for half a day: 2, 3, 4, 5 and 6 h have passed, the last 29 min ago
		for name, want := range map[workflow.ID]int{once: 2, all: 6, skip: 1} {
			if n := len(h.runsOf(name)); n != want {
				t.Errorf("after the downtime: %d runs, want %d", n, want)
			}
		}
		late := h.run(h.runsOf(once)[0].ID).Run.Context
		if late["late_seconds"] != json.Number("1740") || late["scheduled_at"] != "2026-03-02T15:00:00Z" {
			t.Errorf("a late run says %v", late)
		}
		for _, w := range []workflow.ID{once, all, skip} {
			h.finishRuns(w)
		}
		h.fire(31 * time.Minute) // the next regular time
		if n := len(h.runsOf(skip)); n != 2 {
			t.Errorf("the schedule did not go on after what it skipped: %d runs", n)
		}
	})
}

func TestSchedule_OverlapFollowsThePolicy(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		skip, allow := h.every(`"every":"1h"`, "90m"), h.every(`"every":"1h","overlap":"allow"`, "90m")
		for range 4 {
			h.fire(time.Hour)
			h.finishRuns(skip)
			h.finishRuns(allow)
		}
		if a, b := len(h.runsOf(skip)), len(h.runsOf(allow)); a != 2 || b != 4 {
			t.Errorf("%d and %d runs in four hours, want 2 and 4", a, b)
		}
	})
}

// TestSchedule_PublishingDoesNotPutItOff: an interval that is published more often than it is long still comes.
func TestSchedule_PublishingDoesNotPutItOff(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		w := h.every(`"every":"1h"`, "1m")
		change := func(from, to string) {
			t.Helper()
			_, err := h.Workflows.Update(t.Context(), h.sc, w, IfMatch{}, func(now json.RawMessage) (json.RawMessage, error) {
				out := strings.ReplaceAll(string(now), from, to)
				if out == string(now) {
					t.Fatalf("%s is not in %s", from, now)
				}
				return json.RawMessage(out), nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		h.fire(40 * time.Minute)
		change(`"name":"test"`, `"name":"test 2"`)
		if n := h.fire(20 * time.Minute); n != 1 {
			t.Fatalf("%d fired an hour after the start, want the schedule", n)
		}
		if v := h.run(h.runsOf(w)[0].ID); v.Run.Version != 2 {
			t.Errorf("a schedule started version %d, want the published one", v.Run.Version)
		}
		h.advance(h.runsOf(w)[0].ID)
		change(`"every":"1h"`, `"every":"3h"`)
		h.fire(time.Minute)
		h.finishRuns(w)
		if h.fire(2 * time.Hour); len(h.runsOf(w)) != 1 {
			t.Error("the old interval goes on after it was changed")
		}
		if h.fire(time.Hour); len(h.runsOf(w)) != 2 {
			t.Error("the new interval does not come")
		}
		h.finishRuns(w)
		if _, err := h.Workflows.Pause(t.Context(), h.sc, w); err != nil {
			t.Fatal(err)
		}
		h.fire(30 * time.Hour)
		if _, err := h.Workflows.Resume(t.Context(), h.sc, w); err != nil {
			t.Fatal(err)
		}
		h.fire(time.Hour)
		if n := len(h.runsOf(w)); n != 2 {
			t.Errorf("%d runs: what a pause left out is made up for", n)
		}
		if s, err := h.st.Read(t.Context()).Schedules(h.sc, w); err != nil || len(s) != 1 || s[0].LastRun != h.runsOf(w)[0].ID {
			t.Errorf("the schedule remembers %+v (%v)", s, err)
		}
		h.work()
		h.until("every run to end", func() bool { h.fire(time.Minute); return h.finishedAll(w) })
	})
}

func (h *flowHouse) finishedAll(w workflow.ID) bool {
	runs, _, err := h.Workflows.Runs(h.t.Context(), h.sc, store.RunFilter{Workflow: w, Limit: 500})
	for _, r := range runs {
		if !r.Status.Final() && r.Status != workflow.Held {
			return false
		}
	}
	return err == nil
}
