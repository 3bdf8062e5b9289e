package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/service"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// runs registers the routes of runs.
func (a *API) runs() {
	register(a, Route{Method: "GET", Path: "/api/workflows/{id}/runs", ID: "list-runs", Tag: tagWorkflows, Summary: "List a workflow's runs, newest first", Permission: account.WorkflowRead}, a.listRuns)
	register(a, Route{Method: "GET", Path: "/api/runs/{id}", ID: "get-run", Tag: tagWorkflows, Summary: "Get a run with the result of each step", Permission: account.WorkflowRead}, a.getRun)
	register(a, Route{Method: "POST", Path: "/api/runs/{id}/cancel", ID: "cancel-run", Tag: tagWorkflows, Summary: "End a run for good", Permission: account.WorkflowExecute}, a.cancelRun)
	register(a, Route{Method: "POST", Path: "/api/runs/{id}/retry", ID: "retry-run", Tag: tagWorkflows, Summary: "Let a parked run go on",
		Description: "What it has done before is not done again. skip goes on after the failed step; repeat confirms that an effect whose outcome is unknown may happen twice.", Permission: account.WorkflowExecute}, a.retryRun)
}

type RunView struct {
	ID         string         `json:"id"`
	WorkflowID string         `json:"workflow_id"`
	Version    int64          `json:"version"`
	LeadID     string         `json:"lead_id,omitempty"`
	Trigger    string         `json:"trigger"`
	EventID    string         `json:"event_id,omitempty"`
	Status     string         `json:"status"`
	Outcome    string         `json:"outcome,omitempty"`
	Node       string         `json:"node,omitempty"`
	Context    map[string]any `json:"context,omitzero" doc:"Its variables; lists leave them out."`
	Parked     *stepProblem   `json:"parked,omitempty"`
	Reason     string         `json:"reason,omitempty"`
	Depth      int            `json:"depth"`
	StartedAt  time.Time      `json:"started_at"`
	UpdatedAt  time.Time      `json:"updated_at"`
	FinishedAt *time.Time     `json:"finished_at"`
}

func viewRun(r *workflow.Run) RunView {
	return RunView{ID: string(r.ID), WorkflowID: string(r.WorkflowID), Version: r.Version, LeadID: string(r.LeadID), Trigger: r.TriggerID, EventID: r.EventID,
		Status: string(r.Status), Outcome: r.Outcome, Node: r.Node, Context: r.Context, Parked: viewStepProblem(r.Parked), Reason: r.Reason, Depth: r.Depth,
		StartedAt: r.StartedAt, UpdatedAt: r.UpdatedAt, FinishedAt: timeOrNil(r.FinishedAt)}
}

// stepProblem is why a run is parked or a step failed.
type stepProblem struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Node    string `json:"node,omitempty"`
}

func viewStepProblem(p *workflow.Problem) *stepProblem {
	if p == nil {
		return nil
	}
	return &stepProblem{p.Code, p.Message, p.Node}
}

type stepView struct {
	Number     int64        `json:"number"`
	Node       string       `json:"node"`
	Visit      int64        `json:"visit"`
	Type       string       `json:"type"`
	State      string       `json:"state"`
	Exit       string       `json:"exit,omitempty"`
	Decision   rawJSON      `json:"decision,omitzero"`
	Output     rawJSON      `json:"output,omitzero"`
	Error      *stepProblem `json:"error,omitempty"`
	StartedAt  time.Time    `json:"started_at"`
	FinishedAt *time.Time   `json:"finished_at"`
}

type intentView struct {
	Key      string             `json:"key"`
	Effect   string             `json:"effect"`
	State    string             `json:"state"`
	Request  rawJSON            `json:"request,omitzero" doc:"What was or will be sent."`
	Attempts []workflow.Attempt `json:"attempts"`
	RemoteID string             `json:"remote_id,omitempty"`
}

// shownRequest bounds how much of a request a run shows.
const shownRequest = 16 << 10

// cutJSON leaves a mark where a request is too large to be shown.
func cutJSON(raw json.RawMessage) rawJSON {
	if len(raw) <= shownRequest {
		return rawJSON{raw}
	}
	return rawJSON{json.RawMessage(fmt.Sprintf(`{"cut":true,"bytes":%d}`, len(raw)))}
}

type runDetail struct {
	RunView
	WorkflowName string       `json:"workflow_name"`
	Steps        []stepView   `json:"steps"`
	Intents      []intentView `json:"intents"`
	MoreSteps    bool         `json:"more_steps,omitempty" doc:"Ask again with after set to the last step's number."`
}

type getRunInput struct {
	ID    string `path:"id"`
	After int64  `query:"after" minimum:"0" doc:"Steps after this number."`
}

type getRunOutput struct{ Body runDetail }

func (a *API) getRun(ctx context.Context, sc account.Scope, in *getRunInput) (*getRunOutput, error) {
	v, err := a.Services.Workflows.Run(ctx, sc, workflow.RunID(in.ID), in.After)
	if err != nil {
		return nil, err
	}
	out := &getRunOutput{Body: runDetail{RunView: viewRun(v.Run), WorkflowName: v.Name, Steps: []stepView{}, Intents: []intentView{}, MoreSteps: v.More}}
	for _, s := range v.Steps {
		out.Body.Steps = append(out.Body.Steps, stepView{s.Seq, s.Node, s.Visit, s.Type, string(s.State), s.Exit, rawJSON{s.Decision}, rawJSON{s.Output}, viewStepProblem(s.Error), s.StartedAt, timeOrNil(s.FinishedAt)})
	}
	if out.Body.Context == nil {
		out.Body.Context = map[string]any{}
	}
	for _, i := range v.Intents {
		attempts := i.Attempts
		if attempts == nil {
			attempts = []workflow.Attempt{}
		}
		out.Body.Intents = append(out.Body.Intents, intentView{i.Ref.Key(), i.Effect, string(i.State), cutJSON(i.Request), attempts, i.RemoteID})
	}
	return out, nil
}

type listRunsInput struct {
	ID     string `path:"id"`
	Status string `query:"status" enum:"running,waiting,parked,held,finished,cancelled"`
	LeadID string `query:"lead_id"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor string `query:"cursor"`
}

type listRunsOutput struct {
	Body struct {
		Runs       []RunView `json:"runs"`
		NextCursor string    `json:"next_cursor,omitempty"`
	}
}

func (a *API) listRuns(ctx context.Context, sc account.Scope, in *listRunsInput) (*listRunsOutput, error) {
	list := "runs " + in.ID + " " + in.Status + " " + in.LeadID
	p, err := a.cursors.decode(sc, list, a.Now(), in.Cursor)
	if err != nil {
		return nil, err
	}
	f := store.RunFilter{Workflow: workflow.ID(in.ID), Status: workflow.RunStatus(in.Status), Lead: lead.ID(in.LeadID), Limit: in.Limit}
	if len(p) == 1 {
		f.Before = workflow.RunID(p[0])
	}
	runs, more, err := a.Services.Workflows.Runs(ctx, sc, f)
	if err != nil {
		return nil, err
	}
	out := &listRunsOutput{}
	out.Body.Runs = make([]RunView, 0, len(runs))
	for _, r := range runs {
		out.Body.Runs = append(out.Body.Runs, viewRun(r))
	}
	if more {
		out.Body.NextCursor = a.cursors.encode(sc, list, a.Now(), string(runs[len(runs)-1].ID))
	}
	return out, nil
}

type runOutput struct{ Body RunView }

type cancelRunInput struct {
	ID   string `path:"id"`
	Body *struct {
		Reason string `json:"reason,omitempty" maxLength:"500"`
	}
}

func (a *API) cancelRun(ctx context.Context, sc account.Scope, in *cancelRunInput) (*runOutput, error) {
	reason := ""
	if in.Body != nil {
		reason = in.Body.Reason
	}
	run, err := a.Services.Workflows.CancelRun(ctx, sc, workflow.RunID(in.ID), reason)
	if err != nil {
		return nil, err
	}
	return &runOutput{viewRun(run)}, nil
}

type retryRunInput struct {
	ID   string `path:"id"`
	Body *struct {
		Skip   bool `json:"skip,omitempty"`
		Repeat bool `json:"repeat,omitempty"`
	}
}

func (a *API) retryRun(ctx context.Context, sc account.Scope, in *retryRunInput) (*runOutput, error) {
	var how service.RetryInput
	if in.Body != nil {
		how = service.RetryInput{Skip: in.Body.Skip, Repeat: in.Body.Repeat}
	}
	run, err := a.Services.Workflows.RetryRun(ctx, sc, workflow.RunID(in.ID), how)
	if err != nil {
		return nil, err
	}
	return &runOutput{viewRun(run)}, nil
}
