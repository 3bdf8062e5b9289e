package workflow

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"leadloom/internal/condition"
	"leadloom/internal/event"
	"leadloom/internal/lead"
)

type compiledTrigger struct {
	Trigger
	cond     *condition.Condition
	Schedule *Schedule // of a schedule trigger
}

func (c *compiler) trigger(i int, t Trigger) {
	path := fmt.Sprintf("triggers[%d]", i)
	ct := compiledTrigger{Trigger: t, cond: c.condition(t.Where, path+".where")}
	if t.Type == "schedule" {
		s, err := t.Schedule()
		if err != nil {
			c.bad(path+".cron", "bad_schedule", "%s", err.Error())
			return
		}
		ct.Schedule = s
		for _, id := range sortedKeys(c.plan.nodes) {
			if c.plan.nodes[id].Kind.NeedsLead {
				c.bad("nodes."+id, "needs_lead", "a schedule starts runs without a lead, and this node needs one")
			}
		}
		if c.plan.Entry != nil {
			c.bad("entry.condition", "needs_lead", "a schedule starts runs without a lead; an entry condition would refuse every one")
		}
	}
	c.plan.Triggers = append(c.plan.Triggers, ct)
}

// changeEvents are the events that carry every change of a lead's fields. The narrower ones beside them
// (lead.status_changed, lead.tagged …) tell of the same change again and start nothing.
var changeEvents = []event.Type{event.LeadUpdated, event.ScoreChanged}

func (t *compiledTrigger) hears(e event.Type) bool {
	switch t.Type {
	case "lead.created":
		return e == event.LeadCreated
	case "lead.updated", "lead.field_changed", "tag.added", "tag.removed":
		return slices.Contains(changeEvents, e)
	}
	return false
}

// listensTo reports whether a change of the field can fire the trigger.
func (t *compiledTrigger) listensTo(field string) bool {
	root, _, _ := strings.Cut(field, ".")
	switch t.Type {
	case "lead.updated":
		return contains(t.Fields, field) || contains(t.Fields, root) || contains(t.Fields, "*")
	case "lead.field_changed":
		return t.Field == field || t.Field == root
	case "tag.added", "tag.removed":
		return field == "tags"
	}
	return false
}

// Change is an event with the lead before and after it; Before is nil for a new lead.
type Change struct {
	Event         event.Event
	Before, After *lead.Lead
}

// Match finds the first trigger that the change fires. ownChange says that this workflow made the change itself.
func (p *Plan) Match(ch Change, ownChange bool, env condition.Env) (triggerID string, ok bool) {
	for i := range p.Triggers {
		t := &p.Triggers[i]
		if !t.hears(ch.Event.Type) || (ownChange && !t.Own) || !t.fires(ch) {
			continue
		}
		if t.cond.Eval(&condition.LeadView{Lead: ch.After}, env) {
			return t.ID, true
		}
	}
	return "", false
}

func (t *compiledTrigger) fires(ch Change) bool {
	switch t.Type {
	case "lead.created":
		return len(t.Sources) == 0 || slices.ContainsFunc(t.Sources, func(s string) bool { return condition.Fold(s) == condition.Fold(ch.After.Source) })
	case "lead.updated":
		if ch.Before == nil {
			return false
		}
		return slices.ContainsFunc(t.Fields, func(f string) bool {
			if f == "*" {
				return ch.Event.Type == event.LeadUpdated
			}
			return ch.touched(f)
		})
	case "lead.field_changed":
		if ch.Before == nil || !ch.touched(t.Field) {
			return false
		}
		return holds(t.From, value(ch.Before, t.Field)) && holds(t.To, value(ch.After, t.Field))
	case "tag.added":
		return ch.Before != nil && ch.touched("tags") && tagsIn(ch.After, ch.Before, t.Tag)
	case "tag.removed":
		return ch.Before != nil && ch.touched("tags") && tagsIn(ch.Before, ch.After, t.Tag)
	}
	return false
}

// touched compares the stored values before and after, and asks the event whether it is the one that says so: one
// change that makes two events fires once.
func (ch Change) touched(field string) bool {
	if len(ch.Event.Changes) > 0 {
		named := false
		root, _, _ := strings.Cut(field, ".")
		for k := range ch.Event.Changes {
			named = named || k == field || k == root
		}
		if !named {
			return false
		}
	}
	return !reflect.DeepEqual(value(ch.Before, field), value(ch.After, field))
}

func value(l *lead.Lead, field string) any {
	v := (&condition.LeadView{Lead: l}).Value(field)
	if list, ok := v.([]string); ok && len(list) == 0 {
		return nil
	}
	if v == "" {
		return nil
	}
	return v
}

// holds judges a from or to: nil and "any" accept everything, "set" and "empty" what they say, others equality.
func holds(want, seen any) bool {
	switch want {
	case nil, "any":
		return true
	case "set":
		return seen != nil
	case "empty":
		return seen == nil
	}
	if list, ok := seen.([]string); ok {
		s, isText := want.(string)
		return isText && slices.ContainsFunc(list, func(e string) bool { return condition.Fold(e) == condition.Fold(s) })
	}
	raw, err := json.Marshal(map[string]any{"field": "context.v", "op": "is", "value": want})
	if err != nil {
		return false
	}
	cond, problems := condition.Parse(raw, "", nil)
	return len(problems) == 0 && cond.Eval(condition.ViewFunc(func(string) any { return seen }), condition.Env{})
}

// tagsIn reports whether has holds a tag that lacks has not: the named one, or any.
func tagsIn(has, lacks *lead.Lead, tag string) bool {
	for _, t := range has.Tags {
		if tag != "" && condition.Fold(t) != condition.Fold(tag) {
			continue
		}
		if !slices.ContainsFunc(lacks.Tags, func(o string) bool { return condition.Fold(o) == condition.Fold(t) }) {
			return true
		}
	}
	return false
}

// Limits of chains across workflows.
const (
	MaxDepth  = 10
	MaxRepeat = 3 // the same workflow within one chain
)

// Loop says whether a run started by this chain would be one too many; path is that of the cause, without this
// workflow. It returns the problem to park the run with.
func Loop(id ID, depth int, path []string) *Problem {
	if depth > MaxDepth {
		return &Problem{Code: "loop_depth", Message: fmt.Sprintf("Workflows have started each other %d times in a row: %s.", depth, strings.Join(append(slices.Clone(path), string(id)), " → "))}
	}
	n := 0
	for _, p := range path {
		if p == string(id) {
			n++
		}
	}
	if n >= MaxRepeat {
		return &Problem{Code: "loop_repeat", Message: fmt.Sprintf("This chain has gone through the same workflow %d times: %s.", n+1, strings.Join(append(slices.Clone(path), string(id)), " → "))}
	}
	return nil
}

// Last is what the entry rule needs to know about a lead's runs of a workflow.
type Last struct {
	Any     bool  // it ever had one
	Inside  bool  // one is unfinished
	EndedAt int64 // µs of the last end; 0 without one
}

// Admit applies the entry rule; the reason is empty when the lead may enter.
func (r Reentry) Admit(last Last, nowMicros int64) (reason string) {
	switch {
	case r.Mode == "always":
		return ""
	case r.Mode == "once" && last.Any:
		return "entered_before"
	case last.Inside:
		return "inside"
	case r.Mode == "after" && last.EndedAt > 0 && nowMicros-last.EndedAt < r.After.Microseconds():
		return "too_soon"
	}
	return ""
}
