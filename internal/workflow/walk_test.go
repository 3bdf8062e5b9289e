package workflow_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"leadloom/internal/condition"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/workflow"
)

// world is a World in memory with a clock that the test turns.
type world struct {
	now     time.Time
	lead    *lead.Lead
	run     *workflow.Run
	planned []string
	refuse  error
}

func (w *world) Now() time.Time       { return w.now }
func (w *world) Lead() *lead.Lead     { return w.lead }
func (w *world) View() condition.View { return &condition.LeadView{Lead: w.lead} }
func (w *world) Render(t *workflow.Text, escape func(string) string) (string, error) {
	return t.Render(func(p string) any { return w.View().Value(strings.TrimPrefix(p, "lead.")) }, escape)
}
func (w *world) SetField(field string, value any) (bool, error) {
	if w.refuse != nil {
		return false, w.refuse
	}
	w.lead.Status = fmt.Sprint(value)
	return true, nil
}
func (w *world) ChangeTags(add, remove []string) (bool, error) {
	w.lead.Tags = append(w.lead.Tags, add...)
	return true, nil
}
func (w *world) AddScore(points int64, reason string) error { w.lead.Score += points; return nil }
func (w *world) AssignOwner(u string) (bool, error)         { w.lead.OwnerID = u; return true, nil }
func (w *world) CreateTask(t workflow.Task) (string, error) { return "task-1", nil }
func (w *world) Call(c workflow.Call) error {
	w.planned = append(w.planned, c.Method+" "+c.URL)
	return nil
}
func (w *world) Send(e workflow.Email) error {
	w.planned = append(w.planned, "mail "+e.Subject)
	return nil
}
func (w *world) Sync(c string) error { w.planned = append(w.planned, "sync"); return nil }

func walk(t *testing.T, p *workflow.Plan, r *workflow.Run, w *world) workflow.Walked {
	t.Helper()
	out, err := workflow.Walk(p, r, w, condition.Env{Now: w.now})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

const story = `{"name":"story","start":"score","nodes":{
 "score":{"type":"action.add_score","config":{"points":30},"next":"hot"},
 "hot":{"type":"branch.if","config":{"condition":{"field":"score","op":">=","value":50}},"exits":{"yes":"tag","no":"nap"}},
 "nap":{"type":"wait.duration","config":{"duration":"2d"},"next":"score"},
 "tag":{"type":"action.add_tag","config":{"tag":"hot"},"next":"call"},
 "call":{"type":"action.http","config":{"url":"https://x.example/{{ lead.id }}","body":{"n":"{{ lead.score }}"}},"next":"mail","on_error":{"then":"task"}},
 "mail":{"type":"action.send_email","config":{"subject":"Hi","body":"Hello"},"next":"end","exits":{"skipped":"task"}},
 "task":{"type":"action.create_task","config":{"title":"Call"},"next":"end"}},
 "exits":[{"condition":{"field":"status","op":"is","value":"lost"}}]}`

func TestWalk_StopsAtWaitsAndOutsideSteps(t *testing.T) {
	p := mustCompile(t, story)
	w := &world{now: at("2026-01-01T00:00:00Z"), lead: &lead.Lead{ID: "l1", Score: 10}}
	r := &workflow.Run{ID: "r1", LeadID: "l1", Node: p.Start}
	out := walk(t, p, r, w)
	if out.Halt != workflow.HaltTimer || !out.Due.Equal(at("2026-01-03T00:00:00Z")) || r.Status != workflow.Waiting || len(out.Steps) != 3 {
		t.Fatalf("first walk: %+v run %+v", out, r)
	}
	if !strings.Contains(string(out.Steps[1].Decision), `"seen":40`) || out.Steps[1].Exit != "no" {
		t.Errorf("the branch does not explain itself: %s", out.Steps[1].Decision)
	}
	w.now, r.Phase = out.Due, workflow.PhaseDue
	out = walk(t, p, r, w)
	if out.Left == nil || out.Left.Seq != 3 || out.Halt != workflow.HaltOutside || fmt.Sprint(w.planned) != "[POST https://x.example/l1]" || r.Steps != 7 {
		t.Fatalf("second walk: %+v %v run %+v", out, w.planned, r)
	}
	out = workflow.Resume(p, r, workflow.Outcome{State: workflow.Failed, Code: "http_404", Message: "not there"}, w.now)
	if r.Node != "task" || r.Status != workflow.Running || out.Left.State != workflow.StepFailed {
		t.Fatalf("a failure must take its error exit: %+v %+v", out, r)
	}
	if out = walk(t, p, r, w); out.Halt != workflow.HaltEnded || r.Status != workflow.Finished || r.Outcome != workflow.OutcomeCompleted {
		t.Fatalf("end: %+v %+v", out, r)
	}
}

func TestResume_Outcomes(t *testing.T) {
	p := mustCompile(t, story)
	for _, c := range []struct {
		node    string
		outcome workflow.OutcomeState
		status  workflow.RunStatus
		next    string
	}{
		{"call", workflow.Done, workflow.Running, "mail"},
		{"call", workflow.Failed, workflow.Running, "task"},
		{"call", workflow.Unknown, workflow.Parked, "call"},
		{"mail", workflow.Skipped, workflow.Running, "task"},
		{"call", workflow.Skipped, workflow.Running, "mail"},
		{"mail", workflow.Failed, workflow.Parked, "mail"},
	} {
		r := &workflow.Run{ID: "r", Node: c.node, Phase: workflow.PhaseOutside, Status: workflow.Waiting, Steps: 1}
		workflow.Resume(p, r, workflow.Outcome{State: c.outcome, Code: "x"}, at("2026-01-01T00:00:00Z"))
		if r.Status != c.status || r.Node != c.next {
			t.Errorf("%s %s: %s at %s, want %s at %s", c.node, c.outcome, r.Status, r.Node, c.status, c.next)
		}
	}
}

func TestWalk_Limits(t *testing.T) {
	loop := mustCompile(t, `{"name":"x","start":"a","nodes":{"a":{"type":"action.add_tag","config":{"tag":"x"},"next":"w"},"w":{"type":"wait.duration","config":{"duration":"1m"},"next":"a"}}}`)
	w := &world{now: at("2026-01-01T00:00:00Z"), lead: &lead.Lead{ID: "l1"}}
	for name, c := range map[string]struct {
		run  workflow.Run
		code string
	}{
		"visits":  {workflow.Run{Node: "a", Visits: map[string]int64{"a": 1000}}, "loop_node"},
		"steps":   {workflow.Run{Node: "a", Steps: 10_000}, "too_many_steps"},
		"removed": {workflow.Run{Node: "gone"}, "unknown_node"},
	} {
		walk(t, loop, &c.run, w)
		if c.run.Status != workflow.Parked || c.run.Parked.Code != c.code {
			t.Errorf("%s: %+v, want parked with %s", name, c.run, c.code)
		}
	}
	var b strings.Builder
	for i := range 120 {
		fmt.Fprintf(&b, `"n%d":{"type":"action.add_score","config":{"points":1},"next":"n%d"},`, i, i+1)
	}
	long := mustCompile(t, `{"name":"x","start":"n0","nodes":{`+b.String()+`"n120":{"type":"action.add_score","config":{"points":1},"next":"end"}}}`)
	r := &workflow.Run{Node: "n0", LeadID: "l1"}
	for i, want := range []workflow.Halt{workflow.HaltMore, workflow.HaltMore, workflow.HaltEnded} {
		if out := walk(t, long, r, w); out.Halt != want || len(out.Steps) > 50 {
			t.Fatalf("walk %d: %v with %d steps", i, out.Halt, len(out.Steps))
		}
	}
	if r.Steps != 121 || w.lead.Score != 121 {
		t.Errorf("%d steps, score %d, want 121 each", r.Steps, w.lead.Score)
	}
}

func TestWalk_EndsOnGoneLeadGoalAndExit(t *testing.T) {
	p := mustCompile(t, story)
	r := &workflow.Run{LeadID: "l1", Node: "score"}
	walk(t, p, r, &world{now: at("2026-01-01T00:00:00Z")})
	if r.Outcome != workflow.OutcomeLeadGone {
		t.Errorf("a deleted lead: %+v", r)
	}
	r = &workflow.Run{LeadID: "l1", Node: "score"}
	walk(t, p, r, &world{now: at("2026-01-01T00:00:00Z"), lead: &lead.Lead{ID: "l1", Status: "lost"}})
	if r.Outcome != workflow.OutcomeExited || r.Steps != 0 {
		t.Errorf("an exit: %+v", r)
	}
}

func TestWalk_FailurePolicies(t *testing.T) {
	refused := fault.Invalid("status", "not_a_status", "send one of new, working")
	for then, want := range map[string]string{"park": "parked s", "continue": "finished end", "end": "finished end", "t": "finished end"} {
		p := mustCompile(t, `{"name":"x","start":"s","nodes":{"s":{"type":"action.set_field","config":{"field":"status","value":"zz"},"next":"end","on_error":{"then":"`+then+`"}}`+
			map[bool]string{true: `,"t":{"type":"action.create_task","config":{"title":"Look: {{ error.message }}"},"next":"end"}`}[then == "t"]+`}}`)
		w := &world{now: at("2026-01-01T00:00:00Z"), lead: &lead.Lead{ID: "l1"}, refuse: refused}
		r := &workflow.Run{LeadID: "l1", Node: "s"}
		out := walk(t, p, r, w)
		if got := string(r.Status) + " " + r.Node; got != want || out.Steps[0].Error.Code != "not_a_status" {
			t.Errorf("%s: %s, want %s", then, got, want)
		}
	}
	p := mustCompile(t, one(`{"type":"action.set_field","config":{"field":"status","value":"zz"},"next":"end"}`))
	w := &world{lead: &lead.Lead{}, refuse: fault.Unavailable("database_unavailable", "gone", 0, nil)}
	if _, err := workflow.Walk(p, &workflow.Run{LeadID: "l1", Node: "n1"}, w, condition.Env{}); err == nil {
		t.Error("a lost database is no failure of the step: the job must be tried again")
	}
}

func TestMatch(t *testing.T) {
	base := func(triggers string) *workflow.Plan {
		return mustCompile(t, `{"name":"x","start":"a","triggers":[`+triggers+`],"nodes":{"a":{"type":"action.add_tag","config":{"tag":"x"},"next":"end"}}}`)
	}
	old := &lead.Lead{ID: "l", Status: "new", Source: "Web", Tags: []string{"a"}, CustomFields: json.RawMessage(`{"size":5}`)}
	changed := &lead.Lead{ID: "l", Status: "working", Source: "Web", Score: 60, Tags: []string{"a", "VIP"}, CustomFields: json.RawMessage(`{"size":9}`)}
	created, updated := event.Event{Type: event.LeadCreated}, event.Event{Type: event.LeadUpdated}
	for _, c := range []struct {
		trigger string
		ch      workflow.Change
		own     bool
		want    bool
	}{
		{`{"type":"lead.created"}`, workflow.Change{Event: created, After: changed}, false, true},
		{`{"type":"lead.created"}`, workflow.Change{Event: updated, Before: old, After: changed}, false, false},
		{`{"type":"lead.created","sources":["web"]}`, workflow.Change{Event: created, After: changed}, false, true},
		{`{"type":"lead.created","sources":["ads"]}`, workflow.Change{Event: created, After: changed}, false, false},
		{`{"type":"lead.created","where":{"field":"score","op":">","value":50}}`, workflow.Change{Event: created, After: changed}, false, true},
		{`{"type":"lead.created","where":{"field":"score","op":">","value":70}}`, workflow.Change{Event: created, After: changed}, false, false},
		{`{"type":"lead.updated","fields":["status"]}`, workflow.Change{Event: updated, Before: old, After: changed}, false, true},
		{`{"type":"lead.updated","fields":["source"]}`, workflow.Change{Event: updated, Before: old, After: changed}, false, false},
		{`{"type":"lead.updated","fields":["custom_fields.size"]}`, workflow.Change{Event: updated, Before: old, After: changed}, false, true},
		{`{"type":"lead.updated","fields":["*"]}`, workflow.Change{Event: updated, Before: old, After: changed}, false, true},
		{`{"type":"lead.updated","fields":["status"]}`, workflow.Change{Event: updated, Before: old, After: changed}, true, false},
		{`{"type":"lead.updated","fields":["status"],"own_changes":true}`, workflow.Change{Event: updated, Before: old, After: changed}, true, true},
		{`{"type":"lead.field_changed","field":"status","from":"new","to":"working"}`, workflow.Change{Event: updated, Before: old, After: changed}, false, true},
		{`{"type":"lead.field_changed","field":"status","to":"lost"}`, workflow.Change{Event: updated, Before: old, After: changed}, false, false},
		{`{"type":"lead.field_changed","field":"score","to":"set"}`, workflow.Change{Event: event.Event{Type: event.ScoreChanged}, Before: old, After: changed}, false, true},
		{`{"type":"lead.field_changed","field":"status"}`, workflow.Change{Event: event.Event{Type: event.LeadUpdated, Changes: map[string]event.Change{"tags": {}}}, Before: old, After: changed}, false, false},
		{`{"type":"tag.added","tag":"vip"}`, workflow.Change{Event: updated, Before: old, After: changed}, false, true},
		{`{"type":"tag.added","tag":"a"}`, workflow.Change{Event: updated, Before: old, After: changed}, false, false},
		{`{"type":"tag.removed"}`, workflow.Change{Event: updated, Before: changed, After: old}, false, true},
	} {
		if _, got := base(c.trigger).Match(c.ch, c.own, condition.Env{}); got != c.want {
			t.Errorf("%s on %s: %v, want %v", c.trigger, c.ch.Event.Type, got, c.want)
		}
	}
	two := base(`{"type":"lead.created"},{"type":"lead.created","sources":["web"]}`)
	if id, ok := two.Match(workflow.Change{Event: created, After: changed}, false, condition.Env{}); !ok || id != "t1" {
		t.Errorf("several triggers match once, by the first: %s", id)
	}
}

func TestReentryAndLoops(t *testing.T) {
	hour := int64(time.Hour / time.Microsecond)
	for _, c := range []struct {
		rule workflow.Reentry
		last workflow.Last
		want string
	}{
		{workflow.Reentry{Mode: "always"}, workflow.Last{Any: true, Inside: true}, ""},
		{workflow.Reentry{Mode: "once"}, workflow.Last{}, ""},
		{workflow.Reentry{Mode: "once"}, workflow.Last{Any: true, EndedAt: 1}, "entered_before"},
		{workflow.Reentry{Mode: "not_while_inside"}, workflow.Last{Any: true, Inside: true}, "inside"},
		{workflow.Reentry{Mode: "not_while_inside"}, workflow.Last{Any: true, EndedAt: 1}, ""},
		{workflow.Reentry{Mode: "after", After: time.Hour}, workflow.Last{Any: true, EndedAt: 1}, "too_soon"},
		{workflow.Reentry{Mode: "after", After: time.Hour}, workflow.Last{Any: true, EndedAt: 1 - hour}, ""},
	} {
		if got := c.rule.Admit(c.last, 2); got != c.want {
			t.Errorf("%+v %+v: %q, want %q", c.rule, c.last, got, c.want)
		}
	}
	if p := workflow.Loop("w", 11, []string{"a"}); p == nil || p.Code != "loop_depth" {
		t.Errorf("depth 11: %v", p)
	}
	if p := workflow.Loop("w", 4, []string{"w", "a", "w", "w"}); p == nil || p.Code != "loop_repeat" {
		t.Errorf("fourth time: %v", p)
	}
	if p := workflow.Loop("w", 1, []string{"a"}); p != nil {
		t.Errorf("a chain of two: %v", p)
	}
}

func BenchmarkWalk(b *testing.B) {
	p := mustCompile(b, `{"name":"x","start":"a","nodes":{"a":{"type":"action.add_score","config":{"points":1},"next":"b"},"b":{"type":"branch.if","config":{"condition":{"field":"score","op":">","value":5}},"exits":{"yes":"end","no":"end"}}}}`)
	w := &world{lead: &lead.Lead{ID: "l"}}
	for b.Loop() {
		r := &workflow.Run{LeadID: "l", Node: "a"}
		if _, err := workflow.Walk(p, r, w, condition.Env{}); err != nil {
			b.Fatal(err)
		}
	}
}
