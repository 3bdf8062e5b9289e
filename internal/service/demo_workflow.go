package service

import (
	"context"
	"encoding/json"
	"fmt"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

const demoWorkflowID workflow.ID = "workflow-1"

// SeedDemoWorkflow gives a fresh tenant workflow-1; one that is there stays as it is.
func (s *Services) SeedDemoWorkflow(ctx context.Context, sc account.Scope) error {
	_, err := s.Workflows.Get(ctx, sc, demoWorkflowID)
	if fault.IsKind(err, fault.KindNotFound) {
		_, err = s.Workflows.Create(ctx, sc, demoWorkflowID, DemoWorkflow)
	}
	return err
}

// SeedDemoRuns sends lead-1 to lead-3 through workflow-1, each once, so that there is a story to read from the start.
func (s *Services) SeedDemoRuns(ctx context.Context, sc account.Scope) error {
	for i := range demoLeadIDs {
		id := lead.ID(fmt.Sprintf("lead-%d", i+1))
		runs, _, err := s.Workflows.Runs(ctx, sc, store.RunFilter{Workflow: demoWorkflowID, Lead: id, Limit: 1})
		if err != nil {
			return err
		}
		if len(runs) > 0 {
			continue
		}
		if _, err := s.Workflows.Trigger(ctx, sc, TriggerInput{Workflow: demoWorkflowID, Lead: id, Trigger: "manual"}); err != nil {
			return fmt.Errorf("send %s through the workflow: %w", id, err)
		}
	}
	return nil
}

// DemoWorkflow is the demo's workflow-1, which existing clients trigger by that id.
var DemoWorkflow = json.RawMessage(`{
  "name": "Lead Processing",
  "description": "Scores a new lead by its budget, welcomes it, hands the promising ones to sales and brings the CRM up to date.",
  "triggers": [{"id": "website", "type": "lead.created", "sources": ["website"]}, {"id": "api", "type": "api"}, {"id": "manual", "type": "manual"}],
  "entry": {"reentry": "always"},
  "start": "received",
  "nodes": {
    "received": {"type": "action.add_score", "config": {"points": 5, "reason": "came in"}, "next": "budget"},
    "budget": {"type": "branch.if", "config": {"condition": {"field": "custom_fields.budget", "op": ">=", "value": 20000}}, "exits": {"yes": "promising", "no": "welcome"}},
    "promising": {"type": "action.add_score", "config": {"points": 20, "reason": "budget of 20,000 or more"}, "next": "hot"},
    "hot": {"type": "action.add_tag", "config": {"tag": "hot"}, "next": "call"},
    "call": {"type": "action.create_task", "config": {"title": "Call {{lead.first_name}} {{lead.last_name}}", "due": "4h"}, "next": "welcome"},
    "welcome": {"type": "action.send_email", "config": {"subject": "Thank you, {{ lead.first_name }}", "text": "Hello {{ lead.first_name }},\n\nthank you for your interest. Somebody who knows the matter answers you today.\n\nThe Leadloom demo team\n", "transactional": true}, "next": "crm", "exits": {"skipped": "crm"}},
    "crm": {"type": "action.sync_crm", "config": {}, "next": "end", "exits": {"skipped": "end"}}
  }
}`)
