package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/action"
	"leadloom/internal/fault"
	"leadloom/internal/outbound"
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
	plan, err := c.plan(tx.Reader, sc, run.WorkflowID, run.Version)
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

// httpArgs asks for one attempt of a run's HTTP call.
type httpArgs struct {
	Tenant  string `json:"tenant_id"`
	Run     string `json:"run_id"`
	Step    string `json:"step"` // workflow.StepRef.Key()
	Attempt int64  `json:"attempt"`
}

// Kind implements river.JobArgs.
func (httpArgs) Kind() string { return "step.http" }

// callsPerHost bounds the calls to one host at a time, so that a slow one does not take every worker.
const callsPerHost = 4

// hostSlots are the calls under way by host.
type hostSlots struct {
	mu   sync.Mutex
	busy map[string]int
}

func (h *hostSlots) take(host string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy == nil {
		h.busy = map[string]int{}
	}
	if h.busy[host] >= callsPerHost {
		return false
	}
	h.busy[host]++
	return true
}

func (h *hostSlots) give(host string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy[host]--; h.busy[host] <= 0 {
		delete(h.busy, host)
	}
}

// httpJob makes one attempt: marks the intent as started, calls, records. A cut between the marks is seen by the next
// attempt and never repeated silently.
func (s *Workflows) httpJob(ctx context.Context, job queue.Job[httpArgs]) error {
	ref, ok := workflow.ParseStepRef(job.Args.Step)
	if !ok {
		return queue.Cancel(fmt.Errorf("%q names no step", job.Args.Step))
	}
	sc := account.SystemScope(account.TenantID(job.Args.Tenant), "step.http")
	intent, err := s.st.Read(ctx).Intent(sc, ref)
	if err != nil {
		return err
	}
	var call workflow.Call
	if err := json.Unmarshal(intent.Request, &call); err != nil {
		return queue.Cancel(err)
	}
	host := ""
	if u, err := url.Parse(call.URL); err == nil {
		host = u.Host
	}
	if !s.hosts.take(host) {
		return queue.Snooze(500 * time.Millisecond)
	}
	defer s.hosts.give(host)
	begin, err := s.beginCall(ctx, sc, job, ref, call)
	if err != nil || !begin {
		return s.orPark(ctx, sc, job, ref, err)
	}
	started := time.Now()
	reply, callErr := s.perform(ctx, call, ref)
	done := context.WithoutCancel(ctx) // what was done is recorded even when we are shutting down
	err = s.st.Write(done, func(tx *store.Tx) error {
		if err := s.recordCall(tx, sc, ref, call, job.Args.Attempt, reply, callErr, time.Since(started)); err != nil {
			return err
		}
		return job.Finish(tx)
	})
	return s.orPark(ctx, sc, job, ref, err)
}

func (s *Workflows) orPark(ctx context.Context, sc account.Scope, job queue.Job[httpArgs], ref workflow.StepRef, err error) error {
	if err == nil || !job.Last() {
		return err
	}
	run, readErr := s.st.Read(ctx).Run(sc, ref.RunID)
	if readErr != nil {
		return err
	}
	return s.parkDead(ctx, sc, ref.RunID, run.Turn, err)
}

// beginCall marks the attempt as started; false when there is nothing to call.
func (s *Workflows) beginCall(ctx context.Context, sc account.Scope, job queue.Job[httpArgs], ref workflow.StepRef, call workflow.Call) (begin bool, err error) {
	err = s.st.Write(ctx, func(tx *store.Tx) error {
		begin = false
		run, status, err := tx.RunToAdvance(sc, ref.RunID)
		if err != nil {
			return err
		}
		intent, err := tx.Intent(sc, ref)
		if err != nil {
			return err
		}
		switch {
		case !intent.State.Open() || intent.Attempt > job.Args.Attempt || run.Phase != workflow.PhaseOutside || refOf(run) != ref || run.Status != workflow.Waiting:
			return job.Finish(tx) // done, overtaken, or the run has moved on
		case status == workflow.Paused:
			before := run.Status
			run.Status = workflow.Held
			if err := tx.UpdateRun(sc, run, before, run.Turn); err != nil {
				return err
			}
			return job.Finish(tx)
		case intent.State == workflow.IntentStarted && intent.Attempt == job.Args.Attempt && !repeatable(call):
			if err := s.resumeStep(tx, sc, ref, cutOff(call)); err != nil {
				return err
			}
			return job.Finish(tx)
		}
		intent.State, intent.Attempt = workflow.IntentStarted, job.Args.Attempt
		begin = true
		return tx.UpdateIntent(sc, intent)
	})
	return begin, err
}

// repeatable calls may be made again after a cut: they change nothing, or the author says so.
func repeatable(call workflow.Call) bool {
	return call.Method == http.MethodGet || call.OnUnknown == "repeat"
}

// cutOff is the outcome of a call that nobody knows the end of.
func cutOff(call workflow.Call) workflow.Outcome {
	if call.OnUnknown == "assume_done" {
		return workflow.Outcome{State: workflow.Done, Code: "assumed_done", Output: map[string]any{"assumed": "The call was cut off; the node says to take it as done."}}
	}
	return workflow.Outcome{State: workflow.Unknown, Code: "outcome_unknown", Message: "The call was cut off before its reply came. The receiver may have acted on it."}
}

func (s *Workflows) perform(ctx context.Context, call workflow.Call, ref workflow.StepRef) (*outbound.Response, error) {
	if s.Outbound == nil {
		return nil, &outbound.Error{Code: outbound.CodeAddress, Message: "Outgoing calls are switched off here."}
	}
	h := http.Header{"Idempotency-Key": {ref.Key()}}
	for name, v := range call.Headers {
		h.Set(name, v)
	}
	if len(call.Body) > 0 && h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	return s.Outbound.Do(ctx, outbound.Request{Method: call.Method, URL: call.URL, Route: "workflow step", Header: h, Body: call.Body,
		Timeout: time.Duration(call.Timeout) * time.Second, MaxBody: 1 << 20})
}

// recordCall stores what came of an attempt: an outcome, or the timer of the next attempt.
func (s *Workflows) recordCall(tx *store.Tx, sc account.Scope, ref workflow.StepRef, call workflow.Call, attempt int64, reply *outbound.Response, callErr error, took time.Duration) error {
	run, err := tx.Run(sc, ref.RunID)
	if err != nil {
		return err
	}
	intent, err := tx.Intent(sc, ref)
	if err != nil {
		return err
	}
	v := judge(call, reply, callErr)
	intent.Attempts = append(intent.Attempts, workflow.Attempt{At: tx.Now(), Code: v.code, Millis: took.Milliseconds(), Detail: v.message})
	if err := tx.UpdateIntent(sc, intent); err != nil {
		return err
	}
	if !intent.State.Open() || intent.Attempt != attempt {
		return nil // fenced: a later attempt or a person has decided
	}
	if v.again && run.Phase == workflow.PhaseOutside && refOf(run) == ref && run.Status == workflow.Waiting {
		plan, err := s.plan(tx.Reader, sc, run.WorkflowID, run.Version)
		if err != nil {
			return err
		}
		node := plan.Node(ref.Node)
		if delay, ok := node.OnError.Retry.Delay(attempt, intent.CreatedAt, tx.Now(), v.after, ref.Key()); ok {
			intent.State = workflow.IntentPlanned
			if err := tx.UpdateIntent(sc, intent); err != nil {
				return err
			}
			tx.OnCommit(s.wakeTimers)
			return tx.SetTimer(sc, store.Timer{RunID: run.ID, Kind: store.TimerRetry, DueAt: tx.Now().Add(delay), Turn: run.Turn})
		}
	}
	o := workflow.Outcome{State: workflow.Failed, Code: v.code, Message: v.message}
	switch {
	case v.unknown:
		o = cutOff(call)
	case v.ok:
		saved := action.Pick(reply.Body, call.Save)
		o = workflow.Outcome{State: workflow.Done, Code: v.code, Output: map[string]any{"status": reply.Status, "ms": took.Milliseconds(), "saved": saved}}
		if err := s.saveVars(tx, sc, run, saved); err != nil {
			f := fault.As(err)
			if f == nil {
				return err
			}
			o = workflow.Outcome{State: workflow.Failed, Code: "context_too_large", Message: f.Message}
		}
	}
	return s.resumeStep(tx, sc, ref, o)
}

func (s *Workflows) saveVars(tx *store.Tx, sc account.Scope, run *workflow.Run, vars map[string]any) error {
	if len(vars) == 0 || run.Status.Final() {
		return nil
	}
	if err := run.Save(vars); err != nil {
		return err
	}
	return tx.UpdateRun(sc, run, run.Status, run.Turn)
}

// callVerdict is what an attempt means.
type callVerdict struct {
	ok, again, unknown bool
	code, message      string
	after              time.Duration
}

// judge tells what can succeed later (network, 408, 425, 429, 5xx) from what cannot.
func judge(call workflow.Call, reply *outbound.Response, err error) callVerdict {
	var e *outbound.Error
	if errors.As(err, &e) {
		v := callVerdict{code: e.Code, message: e.Message}
		switch e.Code {
		case outbound.CodeTimeout, outbound.CodeNetwork:
			v.again = true
		case outbound.CodeCanceled: // we are shutting down
			v.again, v.unknown = !e.Sent || repeatable(call), e.Sent && !repeatable(call)
		}
		return v
	}
	if err != nil {
		return callVerdict{code: "network", message: "The call failed.", again: true}
	}
	v := callVerdict{code: "http_" + strconv.Itoa(reply.Status), message: fmt.Sprintf("The receiver answered %d %s.", reply.Status, http.StatusText(reply.Status))}
	switch {
	case reply.Status >= 200 && reply.Status < 300:
		v.ok = true
	case reply.Status == 408 || reply.Status == 425 || reply.Status == 429 || reply.Status >= 500:
		v.again, v.after = true, retryAfter(reply.Header.Get("Retry-After"))
	}
	return v
}

func retryAfter(text string) time.Duration {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, workflow.RetryTotal)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(time.Until(at), 0), workflow.RetryTotal)
	}
	return 0
}

// callAgain queues the next attempt of the outside step that the run is in.
func (c *core) callAgain(tx *store.Tx, sc account.Scope, run *workflow.Run) error {
	intent, err := tx.Intent(sc, refOf(run))
	if err != nil {
		return err
	}
	if intent.Effect != "action.http" || !intent.State.Open() {
		return nil // mail and CRM bring their outcome themselves
	}
	return tx.Enqueue(httpArgs{Tenant: string(sc.Tenant()), Run: string(run.ID), Step: intent.Ref.Key(), Attempt: intent.Attempt + 1}, nil)
}
