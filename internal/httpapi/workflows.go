package httpapi

import (
	"context"
	"encoding/json"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/service"
	"leadloom/internal/workflow"
)

const tagWorkflows = "Workflows"

// workflows registers the routes of workflows; runs.go has those of their runs.
func (a *API) workflows() {
	register(a, Route{Method: "POST", Path: "/api/workflows/trigger", ID: "trigger-workflow", Tag: tagWorkflows, Summary: "Start a run",
		Description: "Answers once the run is durably queued. lead_data creates or updates the lead first.", Permission: account.WorkflowExecute, OwnChecks: true}, a.triggerWorkflow)
	register(a, Route{Method: "GET", Path: "/api/workflows", ID: "list-workflows", Tag: tagWorkflows, Summary: "List workflows in the order in which they hear of events", Permission: account.WorkflowRead}, a.listWorkflows)
	register(a, Route{Method: "POST", Path: "/api/workflows", ID: "create-workflow", Tag: tagWorkflows, Summary: "Create and publish a workflow",
		Description: "Send a definition, which needs workflow:create. Old clients send the body of a trigger here, which starts a run and needs workflow:execute.",
		Permission:  account.WorkflowExecute, Or: account.WorkflowCreate}, a.createWorkflow)
	register(a, Route{Method: "GET", Path: "/api/workflows/active", ID: "active-workflows", Tag: tagWorkflows, Summary: "List the active workflows", Permission: account.WorkflowRead}, a.activeWorkflows)
	register(a, Route{Method: "GET", Path: "/api/workflows/schema", ID: "workflow-schema", Tag: tagWorkflows, Summary: "The JSON Schema of a definition",
		Description: "Made from the actions, triggers and operators of this server. What it cannot say (unreachable nodes, unknown fields) creating and updating say.", Permission: account.WorkflowRead}, a.workflowSchema)
	register(a, Route{Method: "GET", Path: "/api/workflows/{id}", ID: "get-workflow", Tag: tagWorkflows, Summary: "Get a workflow with its definition", Permission: account.WorkflowRead}, a.getWorkflow)
	register(a, Route{Method: "PUT", Path: "/api/workflows/{id}", ID: "update-workflow", Tag: tagWorkflows, Summary: "Publish a new version",
		Description: "Partial by top-level key: absent and null keys keep what is published. Runs inside finish on their own version.", Permission: account.WorkflowUpdate}, a.updateWorkflow)
	register(a, Route{Method: "DELETE", Path: "/api/workflows/{id}", ID: "delete-workflow", Tag: tagWorkflows, Summary: "Delete a workflow; its unfinished runs end", Permission: account.WorkflowUpdate}, a.deleteWorkflow)
	register(a, Route{Method: "POST", Path: "/api/workflows/{id}/execute", ID: "execute-workflow", Tag: tagWorkflows, Summary: "Start a run by hand", Permission: account.WorkflowExecute, OwnChecks: true}, a.executeWorkflow)
	register(a, Route{Method: "POST", Path: "/api/workflows/pause", ID: "pause-workflow", Tag: tagWorkflows, Summary: "Start no more runs and hold those that become due", Permission: account.WorkflowUpdate},
		a.switchWorkflow("paused", a.Services.Workflows.Pause))
	register(a, Route{Method: "POST", Path: "/api/workflows/resume", ID: "resume-workflow", Tag: tagWorkflows, Summary: "Go on, held runs included", Permission: account.WorkflowUpdate},
		a.switchWorkflow("active", a.Services.Workflows.Resume))
	register(a, Route{Method: "GET", Path: "/api/workflows/{id}/status", ID: "workflow-status", Tag: tagWorkflows, Summary: "Where a workflow or one of its runs stands",
		Description: "The id may be a workflow's or an execution's.", Permission: account.WorkflowRead}, a.workflowStatus)
	register(a, Route{Method: "GET", Path: "/api/builder/templates", ID: "workflow-templates", Tag: tagWorkflows, Summary: "Definitions to start from", Permission: account.WorkflowRead}, a.workflowTemplates)
	a.runs()
}

// createWorkflowInput keeps the body as sent; the service parses and checks it whole.
type createWorkflowInput struct {
	Body rawJSON `doc:"A workflow definition, or the body of a trigger."`
}

// createWorkflow takes a definition; a body that names a workflow_id and no nodes is an old client's trigger.
func (a *API) createWorkflow(ctx context.Context, sc account.Scope, in *createWorkflowInput) (*startedOutput, error) {
	var probe map[string]json.RawMessage
	if err := json.Unmarshal(in.Body.RawMessage, &probe); err != nil {
		return nil, fault.Invalid("body", "wrong_type", "send a JSON object: a workflow definition")
	}
	if probe["workflow_id"] != nil && probe["nodes"] == nil {
		if err := sc.Require(account.WorkflowExecute); err != nil {
			return nil, err
		}
		var b triggerInput
		_ = b.Body.UnmarshalJSON(in.Body.RawMessage) // it keeps what is wrong for itself
		return a.triggerWorkflow(ctx, sc, &b)
	}
	if probe["nodes"] == nil {
		return nil, fault.Invalid("nodes", "required", "send a workflow definition with nodes, or workflow_id to start a run")
	}
	if err := sc.Require(account.WorkflowCreate); err != nil {
		return nil, err
	}
	v, err := a.Services.Workflows.Create(ctx, sc, "", in.Body.RawMessage)
	if err != nil {
		return nil, err
	}
	return &startedOutput{Location: "/api/workflows/" + string(v.Workflow.ID), ETag: etag(v.Workflow.Revision), Body: viewWorkflow(v)}, nil
}

type workflowView struct {
	ID         string                       `json:"id"`
	Name       string                       `json:"name"`
	Status     workflow.Status              `json:"status"`
	Version    int64                        `json:"version"`
	Definition rawJSON                      `json:"definition,omitzero"`
	Layout     rawJSON                      `json:"layout,omitzero"`
	Counts     map[workflow.RunStatus]int64 `json:"counts"`
	Warnings   []string                     `json:"warnings,omitempty"`
	CreatedAt  time.Time                    `json:"created_at"`
	UpdatedAt  time.Time                    `json:"updated_at"`
}

func viewWorkflow(v *service.WorkflowView) workflowView {
	w := v.Workflow
	counts := v.Counts
	if counts == nil {
		counts = map[workflow.RunStatus]int64{}
	}
	layout := w.Layout
	if string(layout) == "null" { // what a nil one is after an Idempotency-Key has replayed it
		layout = nil
	}
	return workflowView{ID: string(w.ID), Name: w.Name, Status: w.Status, Version: w.Version, Definition: rawJSON{v.Definition}, Layout: rawJSON{layout},
		Counts: counts, Warnings: v.Warnings, CreatedAt: w.CreatedAt, UpdatedAt: w.UpdatedAt}
}

func viewWorkflows(vs []*service.WorkflowView) []workflowView {
	out := make([]workflowView, 0, len(vs))
	for _, v := range vs {
		out = append(out, viewWorkflow(v))
	}
	return out
}

type workflowOutput struct {
	ETag string `header:"ETag"`
	Body workflowView
}

type workflowInput struct {
	ID      string `path:"id"`
	IfMatch string `header:"If-Match"`
}

func (a *API) getWorkflow(ctx context.Context, sc account.Scope, in *workflowInput) (*workflowOutput, error) {
	v, err := a.Services.Workflows.Get(ctx, sc, workflow.ID(in.ID))
	if err != nil {
		return nil, err
	}
	return &workflowOutput{etag(v.Workflow.Revision), viewWorkflow(v)}, nil
}

type updateWorkflowInput struct {
	ID      string `path:"id"`
	IfMatch string `header:"If-Match"`
	Body    rawJSON
}

func (a *API) updateWorkflow(ctx context.Context, sc account.Scope, in *updateWorkflowInput) (*workflowOutput, error) {
	var patch map[string]json.RawMessage
	if err := json.Unmarshal(in.Body.RawMessage, &patch); err != nil {
		return nil, fault.Invalid("body", "wrong_type", "send a JSON object with the parts of the definition to change")
	}
	v, err := a.Services.Workflows.Update(ctx, sc, workflow.ID(in.ID), ifMatch(in.IfMatch), func(now json.RawMessage) (json.RawMessage, error) {
		var whole map[string]json.RawMessage
		if err := json.Unmarshal(now, &whole); err != nil {
			return nil, err
		}
		for k, part := range patch {
			if string(part) != "null" {
				whole[k] = part
			}
		}
		return json.Marshal(whole)
	})
	if err != nil {
		return nil, staleWorkflow(err)
	}
	return &workflowOutput{etag(v.Workflow.Revision), viewWorkflow(v)}, nil
}

// staleWorkflow shows the workflow as it is now beside the refusal, so that a client can merge.
func staleWorkflow(err error) error {
	f := fault.As(err)
	if f == nil || f.Kind != fault.KindStale {
		return err
	}
	if v, ok := f.Extra["current"].(*service.WorkflowView); ok {
		return fault.Stale(viewWorkflow(v))
	}
	return err
}

type deletedWorkflow struct {
	Body struct {
		Status     string `json:"status"`
		WorkflowID string `json:"workflow_id"`
	}
}

func (a *API) deleteWorkflow(ctx context.Context, sc account.Scope, in *workflowInput) (*deletedWorkflow, error) {
	if _, err := a.Services.Workflows.Delete(ctx, sc, workflow.ID(in.ID), ifMatch(in.IfMatch)); err != nil {
		return nil, err
	}
	out := &deletedWorkflow{}
	out.Body.Status, out.Body.WorkflowID = "deleted", in.ID
	return out, nil
}

type switchInput struct {
	Body struct {
		_          struct{} `json:"-" additionalProperties:"true"`
		WorkflowID string   `json:"workflow_id"`
	}
}

type switchOutput struct {
	Body struct {
		WorkflowID string    `json:"workflow_id"`
		Status     string    `json:"status"`
		Timestamp  time.Time `json:"timestamp"`
	}
}

func (a *API) switchWorkflow(status string, do func(context.Context, account.Scope, workflow.ID) (*workflow.Workflow, error)) func(context.Context, account.Scope, *switchInput) (*switchOutput, error) {
	return func(ctx context.Context, sc account.Scope, in *switchInput) (*switchOutput, error) {
		if _, err := do(ctx, sc, workflow.ID(in.Body.WorkflowID)); err != nil {
			return nil, err
		}
		out := &switchOutput{}
		out.Body.WorkflowID, out.Body.Status, out.Body.Timestamp = in.Body.WorkflowID, status, a.Now().UTC()
		return out, nil
	}
}

type listWorkflowsInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor string `query:"cursor"`
}

type listWorkflowsOutput struct {
	Body struct {
		Total      int64          `json:"total"`
		Workflows  []workflowView `json:"workflows"`
		NextCursor string         `json:"next_cursor,omitempty"`
	}
}

func (a *API) listWorkflows(ctx context.Context, sc account.Scope, in *listWorkflowsInput) (*listWorkflowsOutput, error) {
	p, err := a.cursors.decode(sc, "workflows", a.Now(), in.Cursor)
	if err != nil {
		return nil, err
	}
	var position int64
	var id workflow.ID
	if len(p) == 2 {
		position, _ = strconv.ParseInt(p[0], 10, 64)
		id = workflow.ID(p[1])
	}
	page, err := a.Services.Workflows.List(ctx, sc, position, id, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &listWorkflowsOutput{}
	out.Body.Total, out.Body.Workflows = page.Total, viewWorkflows(page.Workflows)
	if page.More {
		last := page.Workflows[len(page.Workflows)-1].Workflow
		out.Body.NextCursor = a.cursors.encode(sc, "workflows", a.Now(), strconv.FormatInt(last.Position, 10), string(last.ID))
	}
	return out, nil
}

type activeWorkflowsOutput struct {
	Body struct {
		Total     int            `json:"total"`
		Workflows []workflowView `json:"workflows"`
	}
}

func (a *API) activeWorkflows(ctx context.Context, sc account.Scope, _ *struct{}) (*activeWorkflowsOutput, error) {
	vs, err := a.Services.Workflows.Active(ctx, sc)
	if err != nil {
		return nil, err
	}
	out := &activeWorkflowsOutput{}
	out.Body.Total, out.Body.Workflows = len(vs), viewWorkflows(vs)
	return out, nil
}

// lastRun is null until the workflow has run.
type lastRun struct{ run *RunView }

// MarshalJSON writes the run alone.
func (l lastRun) MarshalJSON() ([]byte, error) { return json.Marshal(l.run) }

// Schema says that there may be none.
func (lastRun) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{AnyOf: []*huma.Schema{r.Schema(reflect.TypeFor[RunView](), true, "RunView"), {Type: "null"}}}
}

type workflowStatusOutput struct {
	Body struct {
		WorkflowID  string                       `json:"workflow_id"`
		Name        string                       `json:"name"`
		Status      string                       `json:"status" doc:"Of the execution when its id was asked for, else of the workflow."`
		ExecutionID string                       `json:"execution_id,omitempty"`
		LastRun     lastRun                      `json:"last_run"`
		Counts      map[workflow.RunStatus]int64 `json:"counts"`
		Timestamp   time.Time                    `json:"timestamp"`
	}
}

func (a *API) workflowStatus(ctx context.Context, sc account.Scope, in *workflowInput) (*workflowStatusOutput, error) {
	s, err := a.Services.Workflows.Status(ctx, sc, in.ID)
	if err != nil {
		return nil, err
	}
	out := &workflowStatusOutput{}
	out.Body.WorkflowID, out.Body.Name, out.Body.Status, out.Body.Counts = string(s.Workflow.ID), s.Workflow.Name, string(s.Workflow.Status), s.Counts
	out.Body.Timestamp = a.Now().UTC()
	if s.Run != nil {
		v := viewRun(s.Run)
		out.Body.LastRun.run, out.Body.ExecutionID = &v, v.ID
		if s.AskedRun {
			out.Body.Status = v.Status
		}
	}
	return out, nil
}

type workflowSchemaOutput struct {
	Body map[string]any
}

func (a *API) workflowSchema(context.Context, account.Scope, *struct{}) (*workflowSchemaOutput, error) {
	return &workflowSchemaOutput{a.Services.Workflows.Schema()}, nil
}

type workflowTemplate struct {
	ID          string  `json:"id"`
	Name        string  `json:"name"`
	Description string  `json:"description"`
	Definition  rawJSON `json:"definition"`
}

type workflowTemplatesOutput struct {
	Body struct {
		Templates []workflowTemplate `json:"templates"`
	}
}

func (a *API) workflowTemplates(context.Context, account.Scope, *struct{}) (*workflowTemplatesOutput, error) {
	out := &workflowTemplatesOutput{}
	for _, t := range workflow.Templates() {
		out.Body.Templates = append(out.Body.Templates, workflowTemplate{t.ID, t.Name, t.Description, rawJSON{t.Definition}})
	}
	return out, nil
}
