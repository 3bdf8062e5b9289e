package action

import (
	"encoding/json"
	"slices"

	"leadloom/internal/fault"
	"leadloom/internal/workflow"
)

// config is a configuration struct: json tags name its keys, doc tags explain them. check reports what is wrong with
// the values and prepares texts; Do performs the step.
type config interface {
	workflow.Action
	check(path string) []fault.Field
}

// Definition is one entry of the list: what the action is, and a fresh configuration to decode into.
type Definition struct {
	workflow.Kind
	fresh func() config
}

// All is the list of actions of this binary.
var All = []Definition{
	{workflow.Kind{Type: "action.set_field", Summary: "Set or clear one field of the lead.", NeedsLead: true}, func() config { return &setField{} }},
	{workflow.Kind{Type: "action.add_tag", Summary: "Add tags to the lead.", NeedsLead: true}, func() config { return &addTag{} }},
	{workflow.Kind{Type: "action.remove_tag", Summary: "Remove tags from the lead.", NeedsLead: true}, func() config { return &removeTag{} }},
	{workflow.Kind{Type: "action.add_score", Summary: "Add points to the lead's score ledger, or take some away.", NeedsLead: true}, func() config { return &addScore{} }},
	{workflow.Kind{Type: "action.assign_owner", Summary: "Make a user the lead's owner.", NeedsLead: true}, func() config { return &assignOwner{} }},
	{workflow.Kind{Type: "action.create_task", Summary: "Give a user something to do.", NeedsLead: true}, func() config { return &createTask{} }},
	{workflow.Kind{Type: "action.http", Summary: "Call an address and use its reply.", Outside: true}, func() config { return &httpCall{} }},
	{workflow.Kind{Type: "action.send_email", Summary: "Send a message to the lead or to a fixed address.", Outside: true, Exits: []string{"skipped"}}, func() config { return &sendEmail{} }},
	{workflow.Kind{Type: "action.sync_crm", Summary: "Bring the lead to the connected CRMs now, and wait for the result.", Outside: true, NeedsLead: true, Exits: []string{"skipped"}}, func() config { return &syncCRM{} }},
}

// Registry implements workflow.Kinds over All.
type Registry struct{ byType map[string]Definition }

// NewRegistry reads the list; a type named twice is a bug and panics at start.
func NewRegistry() *Registry {
	r := &Registry{byType: map[string]Definition{}}
	for _, d := range All {
		if _, twice := r.byType[d.Type]; twice {
			panic("action: " + d.Type + " is listed twice")
		}
		d.Config = d.fresh()
		r.byType[d.Type] = d
	}
	return r
}

// Compile implements workflow.Kinds.
func (r *Registry) Compile(nodeType string, raw json.RawMessage, path string) (workflow.Action, []fault.Field, bool) {
	d, ok := r.byType[nodeType]
	if !ok {
		return nil, nil, false
	}
	c := d.fresh()
	problems := workflow.Strict(raw, path, c)
	if len(problems) == 0 {
		problems = c.check(path)
	}
	if len(problems) > 0 {
		return nil, problems, true
	}
	return c, nil, true
}

// Kind implements workflow.Kinds.
func (r *Registry) Kind(nodeType string) (workflow.Kind, bool) {
	d, ok := r.byType[nodeType]
	return d.Kind, ok
}

// Types implements workflow.Kinds.
func (r *Registry) Types() []string {
	out := make([]string, 0, len(All))
	for _, d := range All {
		out = append(out, d.Type)
	}
	slices.Sort(out)
	return out
}

// text parses a text with merge fields and notes what is wrong with it.
func text(source, path string, problems *[]fault.Field) *workflow.Text {
	t, err := workflow.ParseText(source)
	if err != nil {
		*problems = append(*problems, fault.Field{Path: path, Code: "bad_merge_field", Message: err.Error()})
	}
	return t
}

func missing(path, message string) fault.Field {
	return fault.Field{Path: path, Code: "required", Message: message}
}
