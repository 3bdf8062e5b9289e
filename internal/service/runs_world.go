package service

import (
	"encoding/json"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/condition"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/mail"
	"leadloom/internal/optional"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// world is what a run's steps may touch, inside one transaction. Pure steps act at once; an outside step only leaves
// its intent and effect here, which keepWalk stores and starts after the run.
type world struct {
	c      *core
	tx     *store.Tx
	sc     account.Scope // the workflow as the actor, the run as the cause
	run    *workflow.Run
	plan   *workflow.Plan
	lead   *lead.Lead
	intent *workflow.Intent
	effect func(workflow.StepRef) error
}

func (c *core) newWorld(tx *store.Tx, sc account.Scope, run *workflow.Run, plan *workflow.Plan) (*world, error) {
	w := &world{c: c, tx: tx, run: run, plan: plan}
	w.sc = sc.As(account.Actor{Kind: account.ActorWorkflow, ID: string(run.WorkflowID), Name: plan.Name},
		account.Cause{EventID: run.EventID, RunID: string(run.ID), Path: run.Path, Depth: run.Depth})
	return w, w.reload()
}

// reload reads the lead as it is now; a deleted one leaves the world without.
func (w *world) reload() error {
	w.lead = nil
	if w.run.LeadID == "" {
		return nil
	}
	l, err := w.c.liveLead(w.tx.Reader, w.sc, w.run.LeadID)
	if fault.IsKind(err, fault.KindNotFound) {
		return nil
	}
	w.lead = l
	return err
}

// Now implements workflow.World.
func (w *world) Now() time.Time { return w.tx.Now() }

// Lead implements workflow.World.
func (w *world) Lead() *lead.Lead { return w.lead }

// View implements workflow.World.
func (w *world) View() condition.View {
	return &condition.LeadView{Lead: w.lead, More: w.more}
}

// more answers for context.* with the run's variables and for trigger.* with what started it.
func (w *world) more(field string) any {
	root, rest, _ := strings.Cut(field, ".")
	switch root {
	case "context":
		return within(w.run.Context, rest)
	case "error":
		return within(w.run.Context, field)
	case "trigger":
		return map[string]any{"id": w.run.TriggerID, "event_id": w.run.EventID}[rest]
	case "run":
		return map[string]any{"id": string(w.run.ID), "started_at": w.run.StartedAt, "version": w.run.Version}[rest]
	case "workflow":
		return map[string]any{"id": string(w.run.WorkflowID), "name": w.plan.Name}[rest]
	}
	return nil
}

// within follows dots into nested objects.
func within(m map[string]any, path string) any {
	var v any = m
	for part := range strings.SplitSeq(path, ".") {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = object[part]
	}
	return v
}

// Render implements workflow.World.
func (w *world) Render(t *workflow.Text, escape func(string) string) (string, error) {
	view := w.View()
	s, err := t.Render(func(path string) any {
		if field, ok := strings.CutPrefix(path, "lead."); ok {
			return view.Value(field)
		}
		return w.more(path)
	}, escape)
	if err != nil {
		return "", fault.Invalid("text", "template_budget", err.Error())
	}
	return s, nil
}

// SetField implements workflow.World. It is refused as a whole: a value that another lead has is found out after the
// lead has given up its old one.
func (w *world) SetField(field string, value any) (changed bool, err error) {
	err = w.tx.Nested(func() error {
		changed, err = w.change(lead.SetField(field, value))
		return err
	})
	return changed, err
}

// ChangeTags implements workflow.World.
func (w *world) ChangeTags(add, remove []string) (bool, error) {
	in := &lead.Input{}
	if len(add) > 0 {
		in.TagsAdd = optional.Of(add)
	}
	if len(remove) > 0 {
		in.TagsRemove = optional.Of(remove)
	}
	return w.change(in)
}

// AssignOwner implements workflow.World.
func (w *world) AssignOwner(userID string) (bool, error) {
	return w.change(&lead.Input{OwnerID: optional.Of(userID)})
}

func (w *world) change(in *lead.Input) (bool, error) {
	before := w.lead
	out, err := w.c.change(w.tx, w.sc, before, in)
	if err != nil {
		return false, err
	}
	w.lead = out.Lead
	return out.Lead.Version != before.Version, nil
}

// AddScore implements workflow.World.
func (w *world) AddScore(points int64, reason string) error {
	if reason == "" {
		reason = "Workflow " + w.plan.Name
	}
	after, err := w.c.addScoreTo(w.tx, w.sc, w.lead, store.ScoreRow{Points: points, Reason: reason, SourceID: string(w.run.WorkflowID)})
	if err != nil {
		return err
	}
	w.lead = after
	return nil
}

// CreateTask implements workflow.World.
func (w *world) CreateTask(t workflow.Task) (string, error) {
	task := Task{Title: t.Title, OwnerID: t.OwnerID, DueAt: t.Due, LeadID: w.lead.ID}
	row, err := w.c.writeTask(w.tx, w.sc, task)
	if err != nil {
		return "", err
	}
	return row.ID, nil
}

// planEffect writes down an effect of the node that the run is at.
func (w *world) planEffect(request any, effect func(workflow.StepRef) error) error {
	raw, err := json.Marshal(request)
	if err != nil {
		return fault.Internal("write down an intent", err)
	}
	w.intent = &workflow.Intent{Ref: refOf(w.run), Effect: w.plan.Node(w.run.Node).Type, Request: raw, Digest: digest(raw), State: workflow.IntentPlanned}
	w.effect = effect
	return nil
}

// Call implements workflow.World: the call is made by a job of its own.
func (w *world) Call(call workflow.Call) error {
	return w.planEffect(call, func(ref workflow.StepRef) error {
		return w.tx.Enqueue(httpArgs{Tenant: string(w.sc.Tenant()), Run: string(w.run.ID), Step: ref.Key(), Attempt: 1}, nil)
	})
}

// Send implements workflow.World: the ledger row carries the step's key, and mail's own job sends it.
func (w *world) Send(e workflow.Email) error {
	return w.planEffect(e, func(ref workflow.StepRef) error {
		send := mail.Send{To: e.To, LeadID: string(w.run.LeadID), Subject: e.Subject, HTML: e.HTML, Text: e.Text, Template: e.Template,
			Kind: mail.KindWorkflow, Auto: true, Step: ref.Key(),
			Values: map[string]any{"context": w.run.Context, "workflow": map[string]any{"name": w.plan.Name}}}
		if e.Transactional {
			send.Kind = mail.KindTransactional
		}
		_, err := w.c.queueEmail(w.tx, w.sc, send)
		return err
	})
}

// Sync implements workflow.World: the drain of each connection answers.
func (w *world) Sync(connectionID string) error {
	return w.planEffect(map[string]any{"connection": connectionID, "lead_id": w.run.LeadID}, func(ref workflow.StepRef) error {
		return w.c.syncLeadNow(w.tx, w.sc, w.run.LeadID, connectionID, &ref)
	})
}
