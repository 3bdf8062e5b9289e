package service

import (
	"context"
	"slices"

	"leadloom/internal/account"
	"leadloom/internal/condition"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// matchTriggers starts the runs that an event causes, in the event's own transaction. before is nil for a new lead.
// Without a workflow that listens it costs one look at the cache version, and nothing for events that start none.
func (c *core) matchTriggers(tx *store.Tx, sc account.Scope, ev event.Event, before, after *lead.Lead) error {
	if !slices.Contains(triggering, ev.Type) {
		return nil
	}
	rules, err := c.flowRules(tx.Reader, sc)
	if err != nil {
		return err
	}
	for _, rule := range rules.hears[ev.Type] {
		if string(rule.ID) == sc.Starting {
			continue
		}
		own := sc.Actor.Kind == account.ActorWorkflow && sc.Actor.ID == string(rule.ID)
		trigger, ok := rule.plan.Match(workflow.Change{Event: ev, Before: before, After: after}, own, condition.Env{Now: tx.Now()})
		if !ok {
			continue
		}
		if _, _, err := c.enter(tx, sc, rule, entrance{lead: after, trigger: trigger, event: ev.ID}); err != nil {
			return err
		}
	}
	return nil
}

// entrance is one attempt to enter a workflow.
type entrance struct {
	lead    *lead.Lead // nil for a run without a lead
	trigger string
	event   string
	force   bool // skip the entry rule
	context map[string]any
}

// enter applies the entry rule and starts the run with its first job; the run is nil when the rule refused, and
// reason says why.
func (c *core) enter(tx *store.Tx, sc account.Scope, rule *flowRule, e entrance) (run *workflow.Run, reason string, err error) {
	id := lead.ID("")
	if e.lead != nil {
		id = e.lead.ID
	}
	if e.lead != nil && !e.force {
		if !rule.plan.Entry.Eval(&condition.LeadView{Lead: e.lead}, condition.Env{Now: tx.Now()}) {
			return nil, "entry_condition", nil
		}
		if rule.plan.Reentry.Mode != "always" {
			last, err := tx.LastRun(sc, rule.ID, id)
			if err != nil {
				return nil, "", err
			}
			if reason := rule.plan.Reentry.Admit(last, tx.Now().UnixMicro()); reason != "" {
				return nil, reason, nil
			}
		}
	}
	run = &workflow.Run{ID: workflow.RunID(tx.NewID()), WorkflowID: rule.ID, Version: rule.Version, LeadID: id, TriggerID: e.trigger, EventID: e.event,
		Status: workflow.Running, Node: rule.plan.Start, Turn: 1, Path: append(slices.Clone(sc.Cause.Path), string(rule.ID))}
	if err := run.Save(e.context); err != nil {
		return nil, "", err
	}
	if sc.Cause.RunID != "" {
		run.Depth = sc.Cause.Depth + 1
	}
	if p := workflow.Loop(rule.ID, run.Depth, sc.Cause.Path); p != nil {
		p.Node = run.Node
		run.Status, run.Parked = workflow.Parked, p
	}
	if err := tx.InsertRun(sc, run); err != nil {
		return nil, "", err
	}
	started := map[string]any{"name": rule.Name, "version": rule.Version, "trigger": e.trigger}
	if e.force {
		started["forced"] = true
	}
	if err := c.tellRun(tx, sc, run, event.RunStarted, started); err != nil {
		return nil, "", err
	}
	if run.Status == workflow.Parked {
		return run, "", c.tellRun(tx, sc, run, event.RunParked, map[string]any{"name": rule.Name, "code": run.Parked.Code, "message": run.Parked.Message})
	}
	return run, "", tx.Enqueue(advanceArgs{Tenant: string(sc.Tenant()), Run: string(run.ID), Turn: run.Turn}, nil)
}

// tellRun appends an event of a run; it shows on the lead's timeline.
func (c *core) tellRun(tx *store.Tx, sc account.Scope, run *workflow.Run, t event.Type, extra map[string]any) error {
	extra["workflow_id"], extra["run_id"] = run.WorkflowID, run.ID
	_, err := tx.AppendEvent(sc, event.Event{Type: t, LeadID: string(run.LeadID), Subject: string(run.ID), Data: data(extra)})
	return err
}

// TriggerInput asks for a run by hand or by API. LeadData upserts the lead first; with LeadID it updates that lead.
type TriggerInput struct {
	Workflow workflow.ID
	Lead     lead.ID
	LeadData *lead.Input
	Context  map[string]any
	Trigger  string // "api" or "manual"
	Force    bool   // skip the entry rule
}

// Triggered is a run that was started.
type Triggered struct {
	WorkflowID workflow.ID    `json:"workflow_id"`
	Name       string         `json:"name"`
	RunID      workflow.RunID `json:"run_id"`
	LeadID     lead.ID        `json:"lead_id"`
}

// Trigger starts a run; when it returns, lead, run and first job are durable. Errors: 404 for an unknown workflow or
// lead, 409 workflow_paused and entry_refused, 422 for a lead that is not valid or missing.
func (s *Workflows) Trigger(ctx context.Context, sc account.Scope, in TriggerInput) (Triggered, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (Triggered, error) {
		rules, err := s.flowRules(tx.Reader, sc)
		if err != nil {
			return Triggered{}, err
		}
		rule := rules.byID[in.Workflow]
		if rule == nil {
			return Triggered{}, fault.NotFound("workflow", string(in.Workflow))
		}
		if rule.Status != workflow.Active {
			return Triggered{}, fault.Conflict("workflow_paused", "This workflow is paused and starts no runs. Resume it first.")
		}
		change := sc
		change.Starting = string(rule.ID) // a lead that comes in by this request enters once, not by its creation as well
		l, err := s.triggerLead(tx, change, in)
		if err != nil {
			return Triggered{}, err
		}
		if l == nil && rule.plan.NeedsLead {
			return Triggered{}, fault.Invalid("lead_id", "required", "this workflow works on a lead; send lead_id or lead_data")
		}
		run, reason, err := s.enter(tx, sc, rule, entrance{lead: l, trigger: in.Trigger, force: in.Force, context: in.Context})
		if err != nil {
			return Triggered{}, err
		}
		if run == nil {
			return Triggered{}, entryRefused(reason)
		}
		return Triggered{WorkflowID: rule.ID, Name: rule.Name, RunID: run.ID, LeadID: run.LeadID}, nil
	})
}

// triggerLead finds, changes or makes the lead that a run is for. Its data needs the caller's right to write leads: a key
// cut down to starting runs cannot.
func (s *Workflows) triggerLead(tx *store.Tx, sc account.Scope, in TriggerInput) (*lead.Lead, error) {
	switch {
	case in.Lead != "" && in.LeadData != nil && !in.LeadData.Empty():
		if err := sc.Require(account.LeadUpdate); err != nil {
			return nil, err
		}
		_, after, err := s.changeLead(tx, sc, in.Lead, *in.LeadData)
		return after, fault.Under("lead_data", err)
	case in.Lead != "":
		return s.liveLead(tx.Reader, sc, in.Lead)
	case in.LeadData != nil:
		if err := sc.Require(account.LeadCreate); err != nil {
			return nil, err
		}
		l, _, err := s.upsertLead(tx, sc, *in.LeadData)
		return l, fault.Under("lead_data", err)
	}
	return nil, nil
}

// refusals are the entry rule's answers in words.
var refusals = map[string]string{
	"entry_condition": "The lead does not meet the workflow's entry condition.",
	"inside":          "The lead is inside this workflow already, and its entry rule lets it in only once at a time.",
	"entered_before":  "The lead has been through this workflow, and its entry rule lets it in only once.",
	"too_soon":        "The lead has been through this workflow too recently for its entry rule.",
}

func entryRefused(reason string) error {
	err := fault.Conflict("entry_refused", refusals[reason]+" Send force to start a run all the same.")
	err.Extra = map[string]any{"reason": reason}
	return err
}
