package workflow

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"leadloom/internal/lead"
)

// ID names a workflow within its tenant.
type ID string

// RunID names a run within its tenant.
type RunID string

// RunStatus is where a run stands.
type RunStatus string

// The states of a run. Running has a job, waiting has a timer or an outside step under way; parked waits for a
// person, held for its workflow to be resumed; finished and cancelled are final.
const (
	Running   RunStatus = "running"
	Waiting   RunStatus = "waiting"
	Parked    RunStatus = "parked"
	Held      RunStatus = "held"
	Finished  RunStatus = "finished"
	Cancelled RunStatus = "cancelled"
)

// Final reports whether a run in this state will never move again.
func (s RunStatus) Final() bool { return s == Finished || s == Cancelled }

// RunStatuses lists every state in the order in which a person reads them.
var RunStatuses = []RunStatus{Running, Waiting, Held, Parked, Finished, Cancelled}

// The outcomes of a finished run.
const (
	OutcomeCompleted = "completed"
	OutcomeGoal      = "goal"
	OutcomeExited    = "exited"
	OutcomeLeadGone  = "lead_gone"
	OutcomeLimit     = "limit"
)

// Phase is how far the run has got at its node.
type Phase string

// The phases: about to enter the node, in it with a timer, in it with an intent, or woken to leave it.
const (
	PhaseEnter   Phase = ""
	PhaseWait    Phase = "wait"
	PhaseOutside Phase = "outside"
	PhaseDue     Phase = "due"
)

// Run is one lead's (or one event's) way through one version of a workflow.
type Run struct {
	ID         RunID
	WorkflowID ID
	Version    int64
	LeadID     lead.ID // empty for a run without a lead
	TriggerID  string  // the trigger that started it; "api", "manual" or "test" when there was none
	EventID    string
	Status     RunStatus
	Outcome    string
	Node       string // the node it is at; "end" when it is through
	Phase      Phase
	Steps      int64            // steps recorded so far; the number of the last one
	Visits     map[string]int64 // how often each node was entered
	Generation int64            // grows when a person repeats an effect
	Turn       int64            // grows with each job; an older job of this run does nothing
	Context    map[string]any   // variables of the run, ≤ 256 KiB
	Parked     *Problem
	Reason     string   // why it was cancelled
	Depth      int      // chain length across workflows
	Path       []string // workflow ids from the first cause on
	StartedAt  time.Time
	UpdatedAt  time.Time
	FinishedAt time.Time
}

// Problem says why a run waits for a person.
type Problem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Node    string `json:"node,omitempty"`
}

// StepState is how an execution of a node stands.
type StepState string

// The states of a step.
const (
	StepOpen    StepState = "open"
	StepDone    StepState = "done"
	StepFailed  StepState = "failed"
	StepSkipped StepState = "skipped"
	StepUnknown StepState = "unknown"
)

// Step is one execution of one node.
type Step struct {
	Seq        int64
	Node       string
	Visit      int64
	Type       string
	State      StepState
	StartedAt  time.Time
	FinishedAt time.Time
	Exit       string
	Decision   json.RawMessage // the condition's tree with verdicts and values
	Output     json.RawMessage
	Error      *Problem
}

// StepRef names one execution of an outside step. Its Key is the idempotency key every retry shares.
type StepRef struct {
	RunID      RunID  `json:"run_id"`
	Node       string `json:"node"`
	Visit      int64  `json:"visit"`
	Generation int64  `json:"generation"`
}

// Key is "run:node:visit:generation", sent to receivers that know idempotency keys.
func (r StepRef) Key() string {
	return fmt.Sprintf("%s:%s:%d:%d", r.RunID, r.Node, r.Visit, r.Generation)
}

// ParseStepRef reads what Key wrote; false for anything else.
func ParseStepRef(key string) (StepRef, bool) {
	p := strings.Split(key, ":")
	if len(p) != 4 || p[0] == "" || p[1] == "" {
		return StepRef{}, false
	}
	visit, err1 := strconv.ParseInt(p[2], 10, 64)
	gen, err2 := strconv.ParseInt(p[3], 10, 64)
	if err1 != nil || err2 != nil {
		return StepRef{}, false
	}
	return StepRef{RunID: RunID(p[0]), Node: p[1], Visit: visit, Generation: gen}, true
}

// OutcomeState is what came of an outside step.
type OutcomeState string

// The outcomes of an outside step.
const (
	Done    OutcomeState = "done"
	Failed  OutcomeState = "failed"  // for good: retries are behind it
	Skipped OutcomeState = "skipped" // allowed not to happen: suppressed address, nothing to sync
	Unknown OutcomeState = "unknown" // cut off between acting and recording
)

// Outcome is the result of an outside step. Code is snake_case, Message a sentence for a person; Output is shown in
// the inspector and holds no secret.
type Outcome struct {
	State    OutcomeState
	Code     string
	Message  string
	RemoteID string
	Output   map[string]any
}

// IntentState is how far an outside effect has got.
type IntentState string

// The states of an intent; the last three are final.
const (
	IntentPlanned    IntentState = "planned"
	IntentStarted    IntentState = "started"
	IntentDone       IntentState = "done"
	IntentFailed     IntentState = "failed"
	IntentUnknown    IntentState = "unknown"
	IntentSuppressed IntentState = "suppressed"
)

// Open reports whether the effect may still happen.
func (s IntentState) Open() bool { return s == IntentPlanned || s == IntentStarted }

// Intent is what an outside step is about to do, written before it is done.
type Intent struct {
	Ref       StepRef
	Effect    string          // the node's type
	Request   json.RawMessage // what will be sent, secrets by reference
	Digest    string          // hex SHA-256 of Request
	State     IntentState
	Attempt   int64     // attempts started so far
	Attempts  []Attempt // what came of each, newest last, at most 20
	RemoteID  string
	CreatedAt time.Time
	UpdatedAt time.Time
}

// Attempt is one try of an outside step.
type Attempt struct {
	At     time.Time `json:"at"`
	Code   string    `json:"code"`
	Millis int64     `json:"ms"`
	Detail string    `json:"detail,omitempty"`
}

// Status is where a workflow stands.
type Status string

// The states of a workflow. A paused one starts nothing and holds its runs when they are due.
const (
	Active  Status = "active"
	Paused  Status = "paused"
	Deleted Status = "deleted"
)

// Workflow is an automation: its graph lives in immutable versions, of which Version is the published one.
type Workflow struct {
	ID        ID
	Name      string
	Status    Status
	Version   int64
	Revision  int64 // grows with every change of this row; the basis of ETag
	Position  int64 // several workflows hear of an event in this order
	Layout    json.RawMessage
	CreatedBy string
	CreatedAt time.Time
	UpdatedAt time.Time
	DeletedAt time.Time // zero while it is live
}
