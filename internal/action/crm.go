package action

import (
	"leadloom/internal/fault"
	"leadloom/internal/workflow"
)

type syncCRM struct {
	Connection string `json:"connection" doc:"The connection's id; all of them when absent."`
}

func (c *syncCRM) check(string) []fault.Field { return nil }

// Do implements workflow.Action.
func (c *syncCRM) Do(w workflow.World) (workflow.Result, error) {
	return workflow.Result{Outside: true}, w.Sync(c.Connection)
}
