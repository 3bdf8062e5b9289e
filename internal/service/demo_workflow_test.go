package service

import (
	"testing"

	"leadloom/internal/action"
	"leadloom/internal/workflow"
)

func TestDemoWorkflow_IsAcceptedLikeAnyOther(t *testing.T) {
	d, problems := workflow.Parse(DemoWorkflow)
	if len(problems) == 0 {
		_, problems = workflow.Compile(d, action.NewRegistry())
	}
	for _, p := range problems {
		t.Errorf("%s: %s: %s", p.Path, p.Code, p.Message)
	}
}
