package workflow_test

import (
	"testing"

	"leadloom/internal/workflow"
)

func TestTemplates_PassTheStaticCheck(t *testing.T) {
	if n := len(workflow.Templates()); n != 4 {
		t.Errorf("%d templates, want the contract's four", n)
	}
	for _, tpl := range workflow.Templates() {
		if _, problems := compile(t, string(tpl.Definition)); len(problems) > 0 {
			t.Errorf("%s: %v", tpl.ID, problems)
		}
		if tpl.Name == "" || tpl.Description == "" {
			t.Errorf("%s has no name or description", tpl.ID)
		}
	}
}
