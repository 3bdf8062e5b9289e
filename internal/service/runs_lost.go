package service

import (
	"context"
	"strconv"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/queue"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// A run whose job is dead must not stand still unseen: it is parked for a person. The worker itself parks it when its
// last attempt fails; the sweep finds those whose worker could not, because the process was killed in the middle of the
// last attempt or an operator cancelled the job.

// atTurn says that a run still is where a job of that turn was to move it on.
func atTurn(turn int64) func(*workflow.Run) bool {
	return func(run *workflow.Run) bool { return run.Turn == turn && run.Status == workflow.Running }
}

// inStep says that a run still is in that outside step.
func inStep(ref workflow.StepRef) func(*workflow.Run) bool {
	return func(run *workflow.Run) bool {
		return run.Phase == workflow.PhaseOutside && refOf(run) == ref && run.Status == workflow.Waiting
	}
}

// parkLost parks a run that still waits for a job which is dead.
func (c *core) parkLost(ctx context.Context, sc account.Scope, id workflow.RunID, still func(*workflow.Run) bool) error {
	return c.st.Write(context.WithoutCancel(ctx), func(tx *store.Tx) error { return c.parkIf(tx, sc, id, still) })
}

func (c *core) parkIf(tx *store.Tx, sc account.Scope, id workflow.RunID, still func(*workflow.Run) bool) error {
	run, err := tx.Run(sc, id)
	if err != nil || !still(run) {
		return notFoundIsNil(err)
	}
	before, turn := run.Status, run.Turn
	run.Parked = &workflow.Problem{Code: "job_failed", Message: "The step failed on our side again and again. The log names the cause; retry the run when it is gone.", Node: run.Node}
	if run.Phase == workflow.PhaseOutside {
		if err := c.giveUpStep(tx, sc, run); err != nil {
			return err
		}
	}
	run.Status, run.Turn = workflow.Parked, run.Turn+1
	if err := tx.UpdateRun(sc, run, before, turn); err != nil {
		return err
	}
	return c.tellRun(tx, sc, run, event.RunParked, map[string]any{"code": run.Parked.Code, "message": run.Parked.Message, "node": run.Node})
}

// giveUpStep settles the outside step of a run that is about to be parked: one whose effect was begun is unknown, so that
// a retry asks first.
func (c *core) giveUpStep(tx *store.Tx, sc account.Scope, run *workflow.Run) error {
	intent, err := tx.Intent(sc, refOf(run))
	if err != nil {
		return err
	}
	step := &workflow.Step{Seq: run.Steps, State: workflow.StepFailed, FinishedAt: tx.Now(), Exit: "error", Error: run.Parked}
	if intent.State.Open() {
		unknown := intent.State == workflow.IntentStarted
		intent.State = workflow.IntentFailed
		if unknown {
			intent.State, step.State = workflow.IntentUnknown, workflow.StepUnknown
			run.Parked.Code, run.Parked.Message = "outcome_unknown", "The step was begun and failed on our side before its outcome was recorded. The receiver may have acted on it."
		}
		if err := tx.UpdateIntent(sc, intent); err != nil {
			return err
		}
	}
	if err := tx.FinishStep(sc, run.ID, step); err != nil {
		return err
	}
	run.Phase = workflow.PhaseEnter
	return tx.DeleteTimer(sc, run.ID)
}

// runSweepArgs has no arguments: the sweep looks at every tenant.
type runSweepArgs struct{}

// Kind implements river.JobArgs.
func (runSweepArgs) Kind() string { return "run.sweep" }

// lostJobs bounds the dead jobs that one sweep looks at, newest first.
const lostJobs = 2000

// sweepJob parks the runs of jobs that ended without a word.
func (s *Workflows) sweepJob(ctx context.Context, _ queue.Job[runSweepArgs]) error {
	r := s.st.Read(ctx)
	lost, err := r.LostRunJobs(account.NewInstance("run.sweep"), lostJobs)
	if err != nil {
		return err
	}
	for _, j := range lost {
		sc := account.SystemScope(j.Tenant, "run.sweep")
		still := func(*workflow.Run) bool { return false }
		if ref, ok := workflow.ParseStepRef(j.Step); ok {
			still = inStep(ref)
		} else if turn, err := strconv.ParseInt(j.Turn, 10, 64); err == nil {
			still = atTurn(turn)
		}
		run, err := r.Run(sc, j.RunID)
		if err != nil || !still(run) {
			continue // gone, or moved on long ago
		}
		if err := s.parkLost(ctx, sc, j.RunID, still); err != nil {
			return err
		}
	}
	return nil
}

// jobs registers the workers of runs, and the sweep.
func (s *Workflows) jobs(reg *queue.Registry) []queue.Periodic {
	queue.Register(reg, queue.Kind{Queue: queue.QueueRun, Timeout: 30 * time.Second, Attempts: 10}, s.advanceJob)
	queue.Register(reg, queue.Kind{Queue: queue.QueueHTTP, Timeout: 45 * time.Second, Attempts: 10}, s.httpJob)
	queue.Register(reg, queue.Kind{Queue: queue.QueueBulk, Timeout: 5 * time.Minute, Attempts: 10}, s.releaseJob)
	queue.Register(reg, queue.Kind{Queue: queue.QueueSystem, Timeout: time.Minute, Attempts: 3}, s.sweepJob)
	return []queue.Periodic{{ID: "run.sweep", Schedule: queue.Every(time.Minute),
		Job: func(time.Time) (river.JobArgs, *river.InsertOpts) { return runSweepArgs{}, queue.Unique() }}}
}
