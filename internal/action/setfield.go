package action

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"leadloom/internal/condition"
	"leadloom/internal/fault"
	"leadloom/internal/workflow"
)

// settable are the fields a workflow may write besides custom_fields.<key>; tags, score and owner have actions of
// their own.
var settable = []string{"first_name", "last_name", "email", "phone", "company", "source", "status", "notes", "timezone", "language"}

type setField struct {
	Field string          `json:"field" doc:"A field of the lead, or custom_fields.<key>."`
	Value json.RawMessage `json:"value" doc:"The new value; texts may hold merge fields."`
	Clear bool            `json:"clear" doc:"Empty the field instead of setting it."`
	value any
	text  *workflow.Text
}

func (c *setField) check(path string) (problems []fault.Field) {
	key, custom := strings.CutPrefix(c.Field, "custom_fields.")
	switch {
	case c.Field == "":
		problems = append(problems, missing(path+".field", "name the field to set"))
	case custom && key != "":
	default:
		known := false
		for _, f := range settable {
			known = known || f == c.Field
		}
		if !known {
			problems = append(problems, fault.Field{Path: path + ".field", Code: "unknown_field",
				Message: fmt.Sprintf("%q cannot be set here; did you mean %q?", c.Field, condition.Nearest(c.Field, settable))})
		}
	}
	if len(c.Value) > 0 {
		d := json.NewDecoder(bytes.NewReader(c.Value))
		d.UseNumber() // large numbers stay exact
		_ = d.Decode(&c.value)
	}
	switch v := c.value.(type) {
	case nil:
		if !c.Clear {
			problems = append(problems, missing(path+".value", "say what to set it to, or clear it"))
		}
	case string:
		if c.Clear {
			problems = append(problems, fault.Field{Path: path + ".value", Code: "unexpected", Message: "either set a value or clear the field"})
		}
		c.text = text(v, path+".value", &problems)
	default:
		if !custom {
			problems = append(problems, fault.Field{Path: path + ".value", Code: "wrong_type", Message: "this field takes a text"})
		}
	}
	return problems
}

// Writes names the field that it changes.
func (c *setField) Writes() string { return c.Field }

// Do implements workflow.Action.
func (c *setField) Do(w workflow.World) (workflow.Result, error) {
	value := c.value
	if c.Clear {
		value = ""
		if strings.HasPrefix(c.Field, "custom_fields.") {
			value = nil
		}
	}
	if c.text != nil {
		s, err := w.Render(c.text, nil)
		if err != nil {
			return workflow.Result{}, err
		}
		value = s
	}
	changed, err := w.SetField(c.Field, value)
	if err != nil {
		return workflow.Result{}, err
	}
	return workflow.Result{Output: map[string]any{"field": c.Field, "value": value, "changed": changed}}, nil
}
