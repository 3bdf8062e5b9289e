package action

import (
	"leadloom/internal/fault"
	"leadloom/internal/workflow"
)

type assignOwner struct {
	Owner       string `json:"owner" doc:"The user's id."`
	OnlyIfEmpty bool   `json:"only_if_empty" doc:"Leave a lead that has an owner alone."`
}

func (c *assignOwner) check(path string) []fault.Field {
	if c.Owner == "" {
		return []fault.Field{missing(path+".owner", "name the user who gets the lead")}
	}
	return nil
}

// Writes names the field that it changes.
func (c *assignOwner) Writes() string { return "owner_id" }

// Do implements workflow.Action.
func (c *assignOwner) Do(w workflow.World) (workflow.Result, error) {
	if c.OnlyIfEmpty && w.Lead().OwnerID != "" {
		return workflow.Result{Output: map[string]any{"owner": w.Lead().OwnerID, "changed": false}}, nil
	}
	changed, err := w.AssignOwner(c.Owner)
	return workflow.Result{Output: map[string]any{"owner": c.Owner, "changed": changed}}, err
}
