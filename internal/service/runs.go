package service

import (
	"context"
	"errors"

	"leadloom/internal/account"
	"leadloom/internal/condition"
	"leadloom/internal/event"
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/queue"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// advanceArgs asks for a run to go on. Turn fences it: a job of an earlier turn does nothing.
type advanceArgs struct {
	Tenant string `json:"tenant_id"`
	Run    string `json:"run_id"`
	Turn   int64  `json:"turn"`
}

// Kind implements river.JobArgs.
func (advanceArgs) Kind() string { return "run.advance" }

// advanceJob walks the run in the transaction that also completes the job.
func (s *Workflows) advanceJob(ctx context.Context, job queue.Job[advanceArgs]) error {
	sc := account.SystemScope(account.TenantID(job.Args.Tenant), "run.advance")
	err := s.st.Write(ctx, func(tx *store.Tx) error {
		if err := s.advance(tx, sc, workflow.RunID(job.Args.Run), job.Args.Turn); err != nil {
			return err
		}
		return job.Finish(tx)
	})
	if err == nil || !job.Last() || errors.Is(err, queue.ErrFenced) {
		return err
	}
	return errors.Join(err, s.parkLost(ctx, sc, workflow.RunID(job.Args.Run), atTurn(job.Args.Turn)))
}

// advance moves one run as far as it goes in this transaction.
func (c *core) advance(tx *store.Tx, sc account.Scope, id workflow.RunID, turn int64) error {
	run, status, err := tx.RunToAdvance(sc, id)
	if err != nil {
		return notFound(err, "run", string(id))
	}
	if run.Turn != turn || run.Status != workflow.Running {
		return nil // somebody else has moved it since this job was queued
	}
	switch status {
	case workflow.Active:
	case workflow.Paused:
		run.Status = workflow.Held
		return tx.UpdateRun(sc, run, workflow.Running, turn)
	default:
		return c.cancelRun(tx, sc, run, "workflow_deleted")
	}
	plan, err := c.plan(tx, sc, run.WorkflowID, run.Version)
	if err != nil {
		return err
	}
	w, err := c.newWorld(tx, sc, run, plan)
	if err != nil {
		return err
	}
	walked, err := workflow.Walk(plan, run, w, condition.Env{Now: tx.Now()})
	if err != nil {
		return err
	}
	failpoint.Hit(failpoint.RunWalked)
	if w.lead != nil {
		run.LeadID = w.lead.ID // a merged lead's runs go on with the survivor
	}
	return c.keepWalk(tx, w, walked, workflow.Running, turn)
}

// keepWalk stores what a walk came to, with the one job or timer that will move the run on.
func (c *core) keepWalk(tx *store.Tx, w *world, walked workflow.Walked, before workflow.RunStatus, turn int64) error {
	run, sc := w.run, w.sc
	if walked.Left != nil {
		if err := tx.FinishStep(sc, run.ID, walked.Left); err != nil {
			return err
		}
	}
	if err := tx.AddSteps(sc, run.ID, walked.Steps); err != nil {
		return err
	}
	switch walked.Halt {
	case workflow.HaltMore:
		run.Turn++
	case workflow.HaltTimer:
		if err := tx.SetTimer(sc, store.Timer{RunID: run.ID, Kind: store.TimerWait, DueAt: walked.Due, Turn: run.Turn}); err != nil {
			return err
		}
		tx.OnCommit(c.wakeTimers)
	case workflow.HaltOutside:
		if err := tx.InsertIntent(sc, w.intent); err != nil {
			return err
		}
	}
	if err := tx.UpdateRun(sc, run, before, turn); err != nil {
		return err
	}
	switch {
	case walked.Halt == workflow.HaltMore:
		return tx.Enqueue(advanceArgs{Tenant: string(sc.Tenant()), Run: string(run.ID), Turn: run.Turn}, nil)
	case walked.Halt == workflow.HaltOutside:
		return c.startEffect(tx, w)
	case run.Status == workflow.Parked:
		return c.tellRun(tx, sc, run, event.RunParked, map[string]any{"name": w.plan.Name, "code": run.Parked.Code, "message": run.Parked.Message, "node": run.Parked.Node})
	case run.Status == workflow.Finished:
		return c.tellRun(tx, sc, run, event.RunFinished, map[string]any{"name": w.plan.Name, "outcome": run.Outcome, "steps": run.Steps})
	}
	return c.tellRun(tx, sc, run, event.RunWaiting, map[string]any{"name": w.plan.Name, "node": run.Node, "until": walked.Due})
}

// startEffect hands a planned effect to the room that performs it. What that room refuses at once is the step's
// failure.
func (c *core) startEffect(tx *store.Tx, w *world) error {
	err := w.effect(w.intent.Ref)
	f := fault.As(err)
	if f == nil || f.Kind == fault.KindInternal || f.Kind == fault.KindUnavailable {
		return err
	}
	o := workflow.Outcome{State: workflow.Failed, Code: f.Code, Message: f.Message}
	if len(f.Fields) == 1 {
		o.Code = f.Fields[0].Code
	}
	return c.resumeStep(tx, w.sc, w.intent.Ref, o)
}

// cancelRun ends a run that was read in this transaction. An outside step that has started finishes and is recorded.
func (c *core) cancelRun(tx *store.Tx, sc account.Scope, run *workflow.Run, reason string) error {
	before, turn := run.Status, run.Turn
	if run.Phase != workflow.PhaseEnter {
		step := &workflow.Step{Seq: run.Steps, State: workflow.StepSkipped, FinishedAt: tx.Now(), Exit: "cancelled"}
		if run.Phase == workflow.PhaseOutside {
			started, err := c.suppressIntent(tx, sc, run)
			if err != nil {
				return err
			}
			if started {
				step = nil
			}
		}
		if step != nil {
			if err := tx.FinishStep(sc, run.ID, step); err != nil {
				return err
			}
		}
	}
	run.Status, run.Reason, run.Parked, run.Turn, run.FinishedAt = workflow.Cancelled, reason, nil, run.Turn+1, tx.Now()
	if err := tx.DeleteTimer(sc, run.ID); err != nil {
		return err
	}
	if err := tx.UpdateRun(sc, run, before, turn); err != nil {
		return err
	}
	return c.tellRun(tx, sc, run, event.RunCancelled, map[string]any{"reason": reason})
}

// suppressIntent takes back an intent that nobody has begun; true when it has begun.
func (c *core) suppressIntent(tx *store.Tx, sc account.Scope, run *workflow.Run) (started bool, err error) {
	intent, err := tx.Intent(sc, refOf(run))
	if err != nil {
		return false, err
	}
	if intent.State != workflow.IntentPlanned {
		return intent.State == workflow.IntentStarted, nil
	}
	intent.State = workflow.IntentSuppressed
	if err := tx.UpdateIntent(sc, intent); err != nil || intent.Effect != effectMail {
		return false, err
	}
	return false, c.takeBackMail(tx, sc, intent.Ref)
}

// refOf names the outside step that the run is in.
func refOf(run *workflow.Run) workflow.StepRef {
	return workflow.StepRef{RunID: run.ID, Node: run.Node, Visit: run.Visits[run.Node], Generation: run.Generation}
}

// RunView is a run with all its steps, as the inspector shows it.
type RunView struct {
	Run     *workflow.Run
	Name    string // of its workflow
	Steps   []workflow.Step
	Intents []*workflow.Intent
	More    bool // there are steps after these
}

// stepsShown bounds the steps of one view.
const stepsShown = 500

// Run reads a run with its steps after the given number.
func (s *Workflows) Run(ctx context.Context, sc account.Scope, id workflow.RunID, after int64) (*RunView, error) {
	return s.runView(s.st.Read(ctx), sc, id, after)
}

func (s *Workflows) runView(r *store.Reader, sc account.Scope, id workflow.RunID, after int64) (*RunView, error) {
	run, err := r.Run(sc, id)
	if err != nil {
		return nil, notFound(err, "run", string(id))
	}
	out := &RunView{Run: run}
	w, err := r.Workflow(sc, run.WorkflowID)
	if err != nil {
		return nil, err
	}
	out.Name = w.Name
	if out.Steps, err = r.Steps(sc, id, after, stepsShown+1); err != nil {
		return nil, err
	}
	if len(out.Steps) > stepsShown {
		out.Steps, out.More = out.Steps[:stepsShown], true
	}
	out.Intents, err = r.Intents(sc, id)
	return out, err
}

// Runs lists the runs of a workflow, newest first; more says that another page follows.
func (s *Workflows) Runs(ctx context.Context, sc account.Scope, f store.RunFilter) (runs []*workflow.Run, more bool, err error) {
	r := s.st.Read(ctx)
	if _, err := r.Workflow(sc, f.Workflow); err != nil {
		return nil, false, notFound(err, "workflow", string(f.Workflow))
	}
	limit := f.Limit
	f.Limit++
	if runs, err = r.Runs(sc, f); err != nil {
		return nil, false, err
	}
	if len(runs) > limit {
		return runs[:limit], true, nil
	}
	return runs, false, nil
}

// CancelRun ends a run for good.
func (s *Workflows) CancelRun(ctx context.Context, sc account.Scope, id workflow.RunID, reason string) (*workflow.Run, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*workflow.Run, error) {
		run, err := tx.Run(sc, id)
		if err != nil {
			return nil, notFound(err, "run", string(id))
		}
		if run.Status.Final() {
			return nil, fault.Conflict("run_over", "This run is "+string(run.Status)+" already.")
		}
		if reason == "" {
			reason = "cancelled by " + sc.Actor.Name
		}
		if reason, err = lead.CheckNote("reason", reason); err != nil {
			return nil, err
		}
		return run, s.cancelRun(tx, sc, run, reason)
	})
}

// RetryInput says how a parked run goes on: Skip leaves the node by its next exit, otherwise the node is executed
// again. Repeat confirms that an effect whose outcome is unknown may happen twice.
type RetryInput struct {
	Skip   bool
	Repeat bool
}

// RetryRun lets a parked run go on. What it has done before is not done again.
func (s *Workflows) RetryRun(ctx context.Context, sc account.Scope, id workflow.RunID, in RetryInput) (*workflow.Run, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*workflow.Run, error) {
		run, err := tx.Run(sc, id)
		if err != nil {
			return nil, notFound(err, "run", string(id))
		}
		if run.Status != workflow.Parked {
			return nil, fault.Conflict("not_parked", "Only a parked run can be retried; this one is "+string(run.Status)+".")
		}
		intent, err := tx.Intent(sc, refOf(run))
		if err == nil && intent.State == workflow.IntentUnknown && !in.Skip && !in.Repeat {
			return nil, fault.Conflict("outcome_unknown", "The receiver may have this step's effect already. Send repeat to do it again, or skip to go on without.")
		}
		turn := run.Turn
		if in.Skip {
			plan, err := s.plan(tx, sc, run.WorkflowID, run.Version)
			if err != nil {
				return nil, err
			}
			n := plan.Node(run.Node)
			if n == nil || n.Next == "" {
				return nil, fault.Conflict("cannot_skip", "This node has no single way on. Cancel the run, or retry it.")
			}
			if run.Phase != workflow.PhaseDue { // one whose wait is over leaves that node by itself
				run.Node = n.Next
			}
		}
		run.Status, run.Parked, run.Turn, run.Generation = workflow.Running, nil, run.Turn+1, run.Generation+1
		if err := tx.UpdateRun(sc, run, workflow.Parked, turn); err != nil {
			return nil, err
		}
		return run, tx.Enqueue(advanceArgs{Tenant: string(sc.Tenant()), Run: string(run.ID), Turn: run.Turn}, nil)
	})
}

// releaseChunk bounds the held runs that one transaction lets go on.
const releaseChunk = 200

// releaseJob lets the held runs of a resumed or deleted workflow go on, some at a time.
func (s *Workflows) releaseJob(ctx context.Context, job queue.Job[releaseArgs]) error {
	sc := account.SystemScope(account.TenantID(job.Args.Tenant), "workflow.release")
	for more := true; more; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.st.Write(ctx, func(tx *store.Tx) error {
			more = false
			w, err := tx.Workflow(sc, workflow.ID(job.Args.Workflow))
			if err != nil || (w.Status == workflow.Paused && w.DeletedAt.IsZero()) {
				return notFoundIsNil(err) // paused again meanwhile
			}
			held, err := tx.HeldRuns(sc, w.ID, releaseChunk)
			if err != nil {
				return err
			}
			more = len(held) == releaseChunk
			for _, run := range held {
				if err := s.release(tx, sc, run); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *core) release(tx *store.Tx, sc account.Scope, run *workflow.Run) error {
	turn := run.Turn
	run.Turn++
	if run.Phase == workflow.PhaseOutside {
		run.Status = workflow.Waiting
		if err := tx.UpdateRun(sc, run, workflow.Held, turn); err != nil {
			return notFoundIsNil(err)
		}
		return c.actAgain(tx, sc, run)
	}
	run.Status = workflow.Running
	if err := tx.UpdateRun(sc, run, workflow.Held, turn); err != nil {
		return notFoundIsNil(err)
	}
	return tx.Enqueue(advanceArgs{Tenant: string(sc.Tenant()), Run: string(run.ID), Turn: run.Turn}, nil)
}

// notFoundIsNil is for work on rows that somebody else may have moved meanwhile.
func notFoundIsNil(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}
