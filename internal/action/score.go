package action

import (
	"leadloom/internal/fault"
	"leadloom/internal/workflow"
)

type addScore struct {
	Points int64  `json:"points" doc:"How many points; negative ones are taken away."`
	Reason string `json:"reason" doc:"Shown in the score ledger."`
}

func (c *addScore) check(path string) (problems []fault.Field) {
	if c.Points == 0 || c.Points > 1_000_000 || c.Points < -1_000_000 {
		problems = append(problems, fault.Field{Path: path + ".points", Code: "out_of_range", Message: "give or take 1 to 1,000,000 points"})
	}
	if len([]rune(c.Reason)) > 200 {
		problems = append(problems, fault.Field{Path: path + ".reason", Code: "too_long", Message: "a reason has at most 200 characters"})
	}
	return problems
}

// Writes names the field that it changes.
func (c *addScore) Writes() string { return "score" }

// Do implements workflow.Action.
func (c *addScore) Do(w workflow.World) (workflow.Result, error) {
	if err := w.AddScore(c.Points, c.Reason); err != nil {
		return workflow.Result{}, err
	}
	return workflow.Result{Output: map[string]any{"points": c.Points, "score": w.Lead().Score}}, nil
}
