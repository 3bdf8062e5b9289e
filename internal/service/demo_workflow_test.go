package service

import (
	"testing"

	"leadloom/internal/action"
	"leadloom/internal/workflow"
)

// TestSeedDemoWorkflow_MayBeCutOff: a demo whose seeding ended early is seeded again.
func TestSeedDemoWorkflow_MayBeCutOff(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		for range 2 {
			if err := h.SeedDemoWorkflow(t.Context(), h.sc); err != nil {
				t.Fatal(err)
			}
		}
		if v, err := h.Workflows.Get(t.Context(), h.sc, "workflow-1"); err != nil || v.Workflow.Version != 1 {
			t.Errorf("%+v %v", v, err)
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
