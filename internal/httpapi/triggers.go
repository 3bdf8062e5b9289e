package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/service"
	"leadloom/internal/workflow"
)

// TriggerFields is the body of a trigger, old and new.
type TriggerFields struct {
	WorkflowID    string     `json:"workflow_id,omitempty"`
	LeadID        *string    `json:"lead_id,omitempty" nullable:"true"`
	LeadData      *leadBody  `json:"lead_data,omitempty" doc:"Creates or updates the lead first."`
	CustomContext runContext `json:"custom_context,omitempty" doc:"Variables of the run, 256 KiB at most."`
	Force         bool       `json:"force,omitempty" doc:"Start although the entry rule says no."`
}

func (f TriggerFields) input(id, trigger string) (service.TriggerInput, error) {
	in := service.TriggerInput{Workflow: workflow.ID(id), Context: f.CustomContext, Force: f.Force, Trigger: trigger}
	if f.LeadID != nil {
		in.Lead = lead.ID(*f.LeadID)
	}
	if f.LeadData != nil {
		if f.LeadData.err != nil {
			return in, fault.Under("lead_data", f.LeadData.err)
		}
		in.LeadData = f.LeadData.Input
	}
	if id == "" {
		return in, fault.Invalid("workflow_id", "required", "send the workflow's id")
	}
	return in, nil
}

// renamed gives a field of a validation fault the name that the caller knows.
func renamed(err error, from, to string) error {
	f := fault.As(err)
	if f == nil || len(f.Fields) != 1 || f.Fields[0].Path != from {
		return err
	}
	return fault.Invalid(to, f.Fields[0].Code, f.Fields[0].Message)
}

// runContext keeps numbers as they were written.
type runContext map[string]any

// UnmarshalJSON reads an object; null is none.
func (c *runContext) UnmarshalJSON(raw []byte) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode((*map[string]any)(c))
}

// Schema implements huma.SchemaProvider.
func (runContext) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, Nullable: true, AdditionalProperties: true, Description: "Variables of the run, 256 KiB at most."}
}

type triggeredBody struct {
	ID          string    `json:"id"`
	WorkflowID  string    `json:"workflow_id"`
	ExecutionID string    `json:"execution_id"`
	LeadID      string    `json:"lead_id,omitempty"`
	Status      string    `json:"status"`
	Message     string    `json:"message"`
	Timestamp   time.Time `json:"timestamp"`
}

// startedOutput answers a trigger, or the creation of a workflow that old clients' triggers share a route with.
type startedOutput struct {
	Location string `header:"Location"`
	ETag     string `header:"ETag"`
	Body     any
}

func (a *API) trigger(ctx context.Context, sc account.Scope, in service.TriggerInput) (*startedOutput, error) {
	t, err := a.Services.Workflows.Trigger(ctx, sc, in)
	if err != nil {
		return nil, renamed(err, "context", "custom_context")
	}
	return &startedOutput{Location: "/api/runs/" + string(t.RunID), Body: triggeredBody{ID: string(t.RunID), WorkflowID: string(t.WorkflowID), ExecutionID: string(t.RunID),
		LeadID: string(t.LeadID), Status: "triggered", Message: "Workflow " + strconv.Quote(t.Name) + " triggered", Timestamp: a.Now().UTC()}}, nil
}

// triggerBody decodes itself, so that old clients' nulls pass and the lead's problems come all at once.
type triggerBody struct {
	TriggerFields
	err error
}

// UnmarshalJSON never fails: what is wrong is the handler's to report.
func (b *triggerBody) UnmarshalJSON(raw []byte) error {
	if err := json.Unmarshal(raw, &b.TriggerFields); err != nil {
		b.err = wrongType(err)
	}
	return nil
}

// triggerBodyDoc documents triggerBody; unknown keys are ignored, for old clients.
type triggerBodyDoc struct {
	_ struct{} `json:"-" additionalProperties:"true"`
	TriggerFields
}

// Schema implements huma.SchemaProvider.
func (triggerBody) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[triggerBodyDoc](), true, "TriggerInput")
}

// input is what the service is asked for; id is the workflow's.
func (b *triggerBody) input(id, trigger string) (service.TriggerInput, error) {
	if b.err != nil {
		return service.TriggerInput{}, b.err
	}
	return b.TriggerFields.input(id, trigger)
}

type triggerInput struct{ Body triggerBody }

func (a *API) triggerWorkflow(ctx context.Context, sc account.Scope, in *triggerInput) (*startedOutput, error) {
	t, err := in.Body.input(in.Body.WorkflowID, "api")
	if err != nil {
		return nil, err
	}
	return a.trigger(ctx, sc, t)
}

type executeInput struct {
	ID   string `path:"id"`
	Body *triggerBody
}

func (a *API) executeWorkflow(ctx context.Context, sc account.Scope, in *executeInput) (*startedOutput, error) {
	if in.Body == nil {
		in.Body = &triggerBody{}
	}
	t, err := in.Body.input(in.ID, "manual")
	if err != nil {
		return nil, err
	}
	return a.trigger(ctx, sc, t)
}

// wrongType names the field whose JSON type does not fit.
func wrongType(err error) error {
	var t *json.UnmarshalTypeError
	if errors.As(err, &t) {
		return fault.Invalid(cmp.Or(t.Field, "body"), "wrong_type", "send "+article(jsonType(t.Type))+", not "+article(t.Value))
	}
	return fault.Malformed("malformed", "The body is not valid JSON. Check it with a JSON validator and send it again.")
}

// jsonType is how JSON calls a Go type.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.String:
		return "string"
	case reflect.Slice:
		return "array"
	case reflect.Struct, reflect.Map:
		return "object"
	}
	return "number"
}
