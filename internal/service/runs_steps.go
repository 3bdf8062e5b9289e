package service

import (
	"errors"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/queue"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// resumeStep tells a run, in the transaction that records it, what came of its outside step. A second outcome of the
// same step, and one of a run that is over or elsewhere, is recorded and moves nothing.
func (c *core) resumeStep(tx *store.Tx, sc account.Scope, ref workflow.StepRef, o workflow.Outcome) error {
	run, err := tx.Run(sc, ref.RunID)
	if err != nil {
		return notFound(err, "run", string(ref.RunID))
	}
	intent, err := tx.Intent(sc, ref)
	if err != nil {
		return notFound(err, "step", ref.Key())
	}
	if !intent.State.Open() {
		return nil
	}
	intent.State = map[workflow.OutcomeState]workflow.IntentState{workflow.Done: workflow.IntentDone, workflow.Skipped: workflow.IntentSuppressed,
		workflow.Unknown: workflow.IntentUnknown, workflow.Failed: workflow.IntentFailed}[o.State]
	intent.RemoteID = o.RemoteID
	if err := tx.UpdateIntent(sc, intent); err != nil {
		return err
	}
	if run.Phase != workflow.PhaseOutside || refOf(run) != ref {
		return nil
	}
	if o.Message == "" && o.State != workflow.Done {
		o.Message = "The step did not come to a good end."
	}
	if o.Code == "" && o.State == workflow.Unknown {
		o.Code = "outcome_unknown"
	}
	plan, err := c.plan(tx, sc, run.WorkflowID, run.Version)
	if err != nil {
		return err
	}
	before, turn := run.Status, run.Turn
	walked := workflow.Resume(plan, run, o, tx.Now())
	if before.Final() {
		return tx.FinishStep(sc, run.ID, walked.Left) // cancelled meanwhile: only its step is completed
	}
	if err := tx.DeleteTimer(sc, run.ID); err != nil {
		return err
	}
	if run.Status == workflow.Running {
		walked.Halt = workflow.HaltMore
	}
	w := &world{c: c, tx: tx, run: run, plan: plan, sc: sc.As(account.Actor{Kind: account.ActorWorkflow, ID: string(run.WorkflowID), Name: plan.Name},
		account.Cause{EventID: run.EventID, RunID: string(run.ID), Path: run.Path, Depth: run.Depth})}
	return c.keepWalk(tx, w, walked, before, turn)
}

// permit is what an outside step may do when its turn has come.
type permit uint8

const (
	act  permit = iota // go on
	hold               // the workflow is paused: come back when it is resumed
	drop               // the run is over or elsewhere
)

// mayAct is the last look before an outside step touches the outside, in the transaction that marks it as begun: since it
// was planned its run may have been cancelled, its workflow paused or deleted, its lead deleted. What it finds it also
// writes down. The intent is nil unless the step may act.
func (c *core) mayAct(tx *store.Tx, sc account.Scope, ref workflow.StepRef) (permit, *workflow.Intent, error) {
	run, status, err := tx.RunToAdvance(sc, ref.RunID)
	if errors.Is(err, store.ErrNotFound) {
		return drop, nil, nil
	}
	if err != nil {
		return drop, nil, err
	}
	intent, err := tx.Intent(sc, ref)
	if err != nil {
		return drop, nil, notFoundIsNil(err)
	}
	inside := run.Status == workflow.Waiting || run.Status == workflow.Held
	if !intent.State.Open() || !inside || run.Phase != workflow.PhaseOutside || refOf(run) != ref {
		return drop, nil, nil
	}
	switch status {
	case workflow.Active:
	case workflow.Paused:
		if run.Status == workflow.Held {
			return hold, nil, nil
		}
		run.Status = workflow.Held
		return hold, nil, tx.UpdateRun(sc, run, workflow.Waiting, run.Turn)
	default:
		return drop, nil, c.cancelRun(tx, sc, run, "workflow_deleted")
	}
	if run.Status == workflow.Held {
		return hold, nil, nil // its release is on the way
	}
	if run.LeadID != "" {
		_, err := c.liveLead(tx.Reader, sc, run.LeadID)
		if fault.IsKind(err, fault.KindNotFound) {
			return drop, nil, c.endGone(tx, sc, run, intent)
		}
		if err != nil {
			return drop, nil, err
		}
	}
	return act, intent, nil
}

// endGone ends a run whose lead was deleted before its outside step was begun.
func (c *core) endGone(tx *store.Tx, sc account.Scope, run *workflow.Run, intent *workflow.Intent) error {
	intent.State = workflow.IntentSuppressed
	if err := tx.UpdateIntent(sc, intent); err != nil {
		return err
	}
	step := &workflow.Step{Seq: run.Steps, State: workflow.StepSkipped, FinishedAt: tx.Now(), Exit: workflow.OutcomeLeadGone}
	if err := tx.FinishStep(sc, run.ID, step); err != nil {
		return err
	}
	before, turn := run.Status, run.Turn
	run.Status, run.Outcome, run.Phase, run.FinishedAt = workflow.Finished, workflow.OutcomeLeadGone, workflow.PhaseEnter, tx.Now()
	if err := tx.UpdateRun(sc, run, before, turn); err != nil {
		return err
	}
	return c.tellRun(tx, sc, run, event.RunFinished, map[string]any{"outcome": run.Outcome, "steps": run.Steps})
}

// mayMail is mayAct for a message of a workflow: a dropped one is skipped in the ledger, a held one waits there for its
// workflow. It reports whether the dialogue may begin; the step then counts as begun.
func (c *core) mayMail(tx *store.Tx, sc account.Scope, x *campaign.Message) (bool, error) {
	ref, ok := workflow.ParseStepRef(x.StepKey)
	if !ok {
		return true, nil
	}
	p, intent, err := c.mayAct(tx, sc, ref)
	if err != nil {
		return false, err
	}
	was := *x
	switch p {
	case act:
		intent.State, intent.Attempt = workflow.IntentStarted, intent.Attempt+1
		return true, tx.UpdateIntent(sc, intent)
	case hold:
		x.Stage, x.Claim, x.ClaimUntil, x.DueAt = campaign.StageWaiting, "", time.Time{}, tx.Now().Add(heldMail)
		x.Reason, x.Detail = "workflow_paused", "The workflow is paused. The message goes out when it is resumed."
		_, err := tx.SaveMessage(sc, was, x)
		return false, err
	}
	return false, c.skipMail(tx, sc, x)
}

func (c *core) skipMail(tx *store.Tx, sc account.Scope, x *campaign.Message) error {
	return c.finishMessage(tx, sc, *x, x, campaign.RowSkipped, "run_over", "The workflow's run ended before this message was sent.")
}

// takeBackMail skips the message of a step that was taken back. One that a worker has claimed already finds out itself.
func (c *core) takeBackMail(tx *store.Tx, sc account.Scope, ref workflow.StepRef) error {
	x, err := tx.MessageByStep(sc, ref.Key())
	if err != nil || x.State != campaign.RowPending || x.Stage != campaign.StageWaiting {
		return notFoundIsNil(err)
	}
	return c.skipMail(tx, sc, x)
}

// The effects whose steps are made to act by this room.
const (
	effectHTTP = "action.http"
	effectMail = "action.send_email"
)

// heldMail keeps a held message out of the way of the sweep; the release makes it due again.
const heldMail = 365 * 24 * time.Hour

// actAgain lets the outside step that the run is in act (again): after a pause, or when its retry is due. CRM syncs need
// nothing: their drain brings the outcome.
func (c *core) actAgain(tx *store.Tx, sc account.Scope, run *workflow.Run) error {
	intent, err := tx.Intent(sc, refOf(run))
	if err != nil || !intent.State.Open() {
		return err
	}
	switch intent.Effect {
	case effectHTTP:
		return tx.Enqueue(httpArgs{Tenant: string(sc.Tenant()), Run: string(run.ID), Step: intent.Ref.Key(), Attempt: intent.Attempt + 1}, nil)
	case effectMail:
		x, err := tx.MessageByStep(sc, intent.Ref.Key())
		if err != nil || x.State != campaign.RowPending || x.Stage != campaign.StageWaiting {
			return notFoundIsNil(err)
		}
		was := *x
		x.DueAt, x.Reason, x.Detail = tx.Now(), "", ""
		if _, err := tx.SaveMessage(sc, was, x); err != nil {
			return err
		}
		// Not unique: the job that found the pause may not have been put away yet, and would swallow this one.
		return tx.Enqueue(sendArgs{string(sc.Tenant()), x.ID}, &river.InsertOpts{Queue: queue.QueueMail, Priority: 1})
	}
	return nil
}
