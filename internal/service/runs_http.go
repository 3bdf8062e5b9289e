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
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
	"leadloom/internal/outbound"
	"leadloom/internal/queue"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

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

// hostSlots are the calls under way by host, and how many were turned away since the last one ended.
type hostSlots struct {
	mu   sync.Mutex
	busy map[string]int
	away map[string]int
}

// take gets a slot, or says how long to stay away: the longer the more wait and the slower the host is.
func (h *hostSlots) take(host string) (wait time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.busy == nil {
		h.busy, h.away = map[string]int{}, map[string]int{}
	}
	if h.busy[host] >= callsPerHost {
		h.away[host]++
		return min(250*time.Millisecond*time.Duration(1+h.away[host]/16), 15*time.Second)
	}
	h.busy[host]++
	return 0
}

func (h *hostSlots) give(host string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.away, host)
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
	err := s.attempt(ctx, sc, job, ref)
	if err == nil || !job.Last() || errors.Is(err, queue.ErrFenced) || queue.IsSnooze(err) {
		return err
	}
	return errors.Join(err, s.parkLost(ctx, sc, ref.RunID, inStep(ref)))
}

func (s *Workflows) attempt(ctx context.Context, sc account.Scope, job queue.Job[httpArgs], ref workflow.StepRef) error {
	intent, err := s.st.Read(ctx).Intent(sc, ref)
	if err != nil {
		return err
	}
	var call workflow.Call
	if err := json.Unmarshal(intent.Request, &call); err != nil {
		return fmt.Errorf("the intent of %s cannot be read: %w", ref.Key(), err)
	}
	host := ""
	if u, err := url.Parse(call.URL); err == nil {
		host = u.Host
	}
	if wait := s.hosts.take(host); wait > 0 {
		return queue.Snooze(wait)
	}
	defer s.hosts.give(host)
	begin, err := s.beginCall(ctx, sc, job, ref, call)
	if err != nil || !begin {
		return err
	}
	failpoint.Hit(failpoint.CallBegun)
	started := time.Now()
	reply, callErr := s.perform(ctx, call, ref)
	failpoint.Hit(failpoint.CallDone)
	done := context.WithoutCancel(ctx) // what was done is recorded even when we are shutting down
	a := attempted{call: call, number: job.Args.Attempt, verdict: judge(call, reply, callErr, s.now()), took: time.Since(started)}
	if reply != nil {
		a.body = reply.Body
	}
	err = s.st.Write(done, func(tx *store.Tx) error {
		if err := s.recordCall(tx, sc, ref, a); err != nil {
			return err
		}
		return job.Finish(tx)
	})
	if errors.Is(err, queue.ErrFenced) { // another attempt has taken over: what came of this one is evidence and no more
		return errors.Join(err, s.st.Write(done, func(tx *store.Tx) error {
			intent, err := tx.Intent(sc, ref)
			if err != nil {
				return err
			}
			return s.addAttempt(tx, sc, intent, a)
		}))
	}
	return err
}

// beginCall marks the attempt as started; false when there is nothing to call.
func (s *Workflows) beginCall(ctx context.Context, sc account.Scope, job queue.Job[httpArgs], ref workflow.StepRef, call workflow.Call) (begin bool, err error) {
	err = s.st.Write(ctx, func(tx *store.Tx) error {
		begin = false
		p, intent, err := s.mayAct(tx, sc, ref)
		if err != nil {
			return err
		}
		if p != act || intent.Attempt > job.Args.Attempt {
			return job.Finish(tx) // held, over, or overtaken by a later attempt
		}
		if intent.State == workflow.IntentStarted && intent.Attempt == job.Args.Attempt && !repeatable(call) {
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

// attempted is one finished attempt.
type attempted struct {
	call    workflow.Call
	number  int64
	verdict callVerdict
	body    []byte
	took    time.Duration
}

// addAttempt notes an attempt in its intent. Nothing moves by it.
func (s *Workflows) addAttempt(tx *store.Tx, sc account.Scope, intent *workflow.Intent, a attempted) error {
	intent.Attempts = append(intent.Attempts, workflow.Attempt{At: tx.Now(), Code: a.verdict.code, Millis: a.took.Milliseconds(), Detail: a.verdict.message})
	return tx.UpdateIntent(sc, intent)
}

// recordCall stores what came of an attempt: an outcome, or the timer of the next attempt.
func (s *Workflows) recordCall(tx *store.Tx, sc account.Scope, ref workflow.StepRef, a attempted) error {
	run, err := tx.Run(sc, ref.RunID)
	if err != nil {
		return err
	}
	intent, err := tx.Intent(sc, ref)
	if err != nil {
		return err
	}
	if err := s.addAttempt(tx, sc, intent, a); err != nil {
		return err
	}
	if !intent.State.Open() || intent.Attempt != a.number {
		return nil // fenced: a later attempt or a person has decided
	}
	v, inside := a.verdict, run.Phase == workflow.PhaseOutside && refOf(run) == ref && run.Status == workflow.Waiting
	if v.again && inside {
		again, err := s.retryLater(tx, sc, run, intent, v.after)
		if err != nil || again {
			return err
		}
	}
	o := workflow.Outcome{State: workflow.Failed, Code: v.code, Message: v.message}
	switch {
	case v.unknown:
		o = cutOff(a.call)
	case v.ok:
		saved := action.Pick(a.body, a.call.Save)
		o = workflow.Outcome{State: workflow.Done, Code: v.code, Output: map[string]any{"status": v.status, "ms": a.took.Milliseconds(), "saved": saved}}
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

// retryLater sets the timer of the next attempt; false when the one that failed was the last.
func (s *Workflows) retryLater(tx *store.Tx, sc account.Scope, run *workflow.Run, intent *workflow.Intent, after time.Duration) (bool, error) {
	plan, err := s.plan(tx, sc, run.WorkflowID, run.Version)
	if err != nil {
		return false, err
	}
	var policy *workflow.Retry
	if node := plan.Node(run.Node); node != nil {
		policy = node.OnError.Retry
	}
	delay, ok := policy.Delay(intent.Attempt, intent.CreatedAt, tx.Now(), after, intent.Ref.Key())
	if !ok {
		return false, nil
	}
	intent.State = workflow.IntentPlanned
	if err := tx.UpdateIntent(sc, intent); err != nil {
		return false, err
	}
	tx.OnCommit(s.wakeTimers)
	return true, tx.SetTimer(sc, store.Timer{RunID: run.ID, Kind: store.TimerRetry, DueAt: tx.Now().Add(delay), Turn: run.Turn})
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
	status             int
	code, message      string
	after              time.Duration
}

// judge tells what can succeed later (network, 408, 425, 429, 5xx) from what cannot.
func judge(call workflow.Call, reply *outbound.Response, err error, now time.Time) callVerdict {
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
	v := callVerdict{status: reply.Status, code: "http_" + strconv.Itoa(reply.Status), message: fmt.Sprintf("The receiver answered %d %s.", reply.Status, http.StatusText(reply.Status))}
	switch {
	case reply.Status >= 200 && reply.Status < 300:
		v.ok = true
	case reply.Status == 408 || reply.Status == 425 || reply.Status == 429 || reply.Status >= 500:
		v.again, v.after = true, retryAfter(reply.Header.Get("Retry-After"), now)
	case reply.Status >= 300 && reply.Status < 400:
		v.message += " Redirects are not followed: write the address that it leads to."
	}
	return v
}

func retryAfter(text string, now time.Time) time.Duration {
	if n, err := strconv.Atoi(text); err == nil && n > 0 {
		return min(time.Duration(n)*time.Second, workflow.RetryTotal)
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(at.Sub(now), 0), workflow.RetryTotal)
	}
	return 0
}
