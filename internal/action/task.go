package action

import (
	"leadloom/internal/condition"
	"leadloom/internal/fault"
	"leadloom/internal/workflow"
)

type createTask struct {
	Title string `json:"title" doc:"What to do; may hold merge fields."`
	Due   string `json:"due" doc:"How long after the step it is due, such as 4h or 2d."`
	Owner string `json:"owner" doc:"The user's id; the lead's owner when absent."`
	title *workflow.Text
	due   condition.Span
}

func (c *createTask) check(path string) (problems []fault.Field) {
	if c.Title == "" {
		problems = append(problems, missing(path+".title", "say what is to be done"))
	}
	c.title = text(c.Title, path+".title", &problems)
	if c.Due != "" {
		var err error
		if c.due, err = condition.ParseSpan(c.Due); err != nil {
			problems = append(problems, fault.Field{Path: path + ".due", Code: "bad_duration", Message: err.Error()})
		}
	}
	return problems
}

// Do implements workflow.Action.
func (c *createTask) Do(w workflow.World) (workflow.Result, error) {
	title, err := w.Render(c.title, nil)
	if err != nil {
		return workflow.Result{}, err
	}
	if r := []rune(title); len(r) > 200 {
		title = string(r[:200])
	}
	t := workflow.Task{Title: title, OwnerID: c.Owner}
	if c.Due != "" {
		t.Due = w.Now().Add(c.due.Elapsed())
	}
	id, err := w.CreateTask(t)
	return workflow.Result{Output: map[string]any{"task_id": id, "title": title}}, err
}
