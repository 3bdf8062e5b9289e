package service

import (
	"errors"
	"testing"

	"leadloom/internal/action"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// TestSeedDemo_MayBeCutOff: a demo whose seeding ended early is seeded again; each lead has one run of workflow-1.
func TestSeedDemo_MayBeCutOff(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		if err := h.SeedDemoLeads(t.Context(), h.sc); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if err := errors.Join(h.SeedDemoWorkflow(t.Context(), h.sc), h.SeedDemoRuns(t.Context(), h.sc)); err != nil {
				t.Fatal(err)
			}
		}
		if v, err := h.Workflows.Get(t.Context(), h.sc, "workflow-1"); err != nil || v.Workflow.Version != 1 {
			t.Errorf("%+v %v", v, err)
		}
		runs, _, err := h.Workflows.Runs(t.Context(), h.sc, store.RunFilter{Workflow: "workflow-1", Limit: 10})
		if err != nil || len(runs) != 3 || runs[0].LeadID != "lead-3" || runs[2].LeadID != "lead-1" {
			t.Errorf("%d runs, %v; want one of each of lead-1 to lead-3", len(runs), err)
		}
	})
}

func TestDemoWorkflow_IsAcceptedLikeAnyOther(t *testing.T) {
	d, problems := workflow.Parse(DemoWorkflow)
	if len(problems) == 0 {
		_, problems = workflow.Compile(d, action.NewRegistry())
	}
	for _, p := range problems {
		t.Errorf("%s: %s: %s", p.Path, p.Code, p.Message)
	}
}
