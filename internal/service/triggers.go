package service

import (
	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/lead"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// matchTriggers starts the runs that an event causes, in the event's own transaction. before is nil for a new lead.
func (c *core) matchTriggers(tx *store.Tx, sc account.Scope, ev event.Event, before, after *lead.Lead) error {
	return nil
}

// resumeStep wakes the run whose outside step is done.
func (c *core) resumeStep(tx *store.Tx, sc account.Scope, ref workflow.StepRef, o workflow.Outcome) error {
	return nil
}
