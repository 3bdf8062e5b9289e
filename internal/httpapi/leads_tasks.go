package httpapi

import (
	"context"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/optional"
	"leadloom/internal/service"
	"leadloom/internal/store"
)

// leadTasks registers the routes of tasks.
func (a *API) leadTasks() {
	const tag = "Tasks"
	register(a, Route{Method: "GET", Path: "/api/tasks", ID: "list-tasks", Tag: tag, Summary: "List tasks, newest first", Permission: account.LeadRead}, a.listTasks)
	register(a, Route{Method: "POST", Path: "/api/tasks", ID: "create-task", Tag: tag, Summary: "Create a task", Permission: account.LeadUpdate}, a.createTask)
	register(a, Route{Method: "GET", Path: "/api/tasks/{id}", ID: "get-task", Tag: tag, Summary: "Get a task", Permission: account.LeadRead}, a.getTask)
	register(a, Route{Method: "PATCH", Path: "/api/tasks/{id}", ID: "change-task", Tag: tag, Summary: "Change a task; status done ends it", Permission: account.LeadUpdate}, a.changeTask)
	register(a, Route{Method: "GET", Path: "/api/leads/{id}/tasks", ID: "list-lead-tasks", Tag: tag, Summary: "List a lead's tasks", Permission: account.LeadRead}, a.listLeadTasks)
	register(a, Route{Method: "POST", Path: "/api/leads/{id}/tasks", ID: "create-lead-task", Tag: tag, Summary: "Create a task for a lead", Permission: account.LeadUpdate}, a.createLeadTask)
}

type taskView struct {
	ID        string     `json:"id"`
	LeadID    lead.ID    `json:"lead_id,omitempty"`
	Title     string     `json:"title"`
	Body      string     `json:"body,omitempty"`
	OwnerID   string     `json:"owner_id"`
	Status    string     `json:"status" enum:"open,done,cancelled"`
	Due       *string    `json:"due" doc:"An instant (RFC 3339) or a day (2026-03-31)."`
	Overdue   bool       `json:"overdue"`
	DoneAt    *time.Time `json:"done_at"`
	Version   int64      `json:"version"`
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt time.Time  `json:"updated_at"`
}

func (a *API) viewTask(t *store.Task) taskView {
	v := taskView{ID: t.ID, LeadID: t.LeadID, Title: t.Title, Body: t.Body, OwnerID: t.OwnerID, Status: t.Status, Version: t.Version, CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt}
	if !t.DueAt.IsZero() {
		due, end := t.DueAt.Format(time.RFC3339), t.DueAt
		if t.AllDay {
			due, end = t.DueAt.Format(time.DateOnly), t.DueAt.AddDate(0, 0, 1)
		}
		v.Due, v.Overdue = &due, t.Status == "open" && a.Now().After(end)
	}
	if !t.DoneAt.IsZero() {
		v.DoneAt = &t.DoneAt
	}
	return v
}

// parseDue reads an instant or a day. Times before 1971 are mistakes: 0 is how a spreadsheet writes none.
func parseDue(s string) (at time.Time, allDay bool, problem *fault.Field) {
	at, err := time.Parse(time.DateOnly, s)
	if allDay = err == nil; !allDay {
		if at, err = time.Parse(time.RFC3339, s); err != nil {
			return time.Time{}, false, &fault.Field{Path: "due", Code: "not_a_time", Message: "Send a time like 2026-03-31T14:00:00Z or a day like 2026-03-31."}
		}
	}
	if at = at.UTC().Truncate(time.Microsecond); at.Year() < 1971 || at.Year() > 9999 {
		return time.Time{}, false, &fault.Field{Path: "due", Code: "out_of_range", Message: "Send a time from 1971 to 9999."}
	}
	return at, allDay, nil
}

type taskOutput struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     taskView
}

func (a *API) taskReply(t *store.Task, err error) (*taskOutput, error) {
	if err != nil {
		return nil, a.showCurrent(err)
	}
	return &taskOutput{ETag: etag(t.Version), Location: "/api/tasks/" + t.ID, Body: a.viewTask(t)}, nil
}

// TaskInput is a task without its lead; exported, because huma does not see unexported embedded structs.
type TaskInput struct {
	Title   string `json:"title"`
	Body    string `json:"body,omitempty"`
	OwnerID string `json:"owner_id,omitempty" doc:"The lead's owner when left out."`
	Due     string `json:"due,omitempty" doc:"An instant (RFC 3339) or a day (2026-03-31)."`
}

func (b TaskInput) task(id lead.ID) service.Task {
	t := service.Task{LeadID: id, Title: b.Title, Body: b.Body, OwnerID: b.OwnerID}
	if b.Due != "" {
		var problem *fault.Field
		if t.DueAt, t.AllDay, problem = parseDue(b.Due); problem != nil {
			t.Problems = []fault.Field{*problem}
		}
	}
	return t
}

type createTaskInput struct {
	Body struct {
		LeadID lead.ID `json:"lead_id,omitempty"`
		TaskInput
	}
}

func (a *API) createTask(ctx context.Context, sc account.Scope, in *createTaskInput) (*taskOutput, error) {
	return a.taskReply(a.Services.Leads.CreateTask(ctx, sc, in.Body.task(in.Body.LeadID)))
}

type createLeadTaskInput struct {
	ID   string `path:"id" maxLength:"128"`
	Body TaskInput
}

func (a *API) createLeadTask(ctx context.Context, sc account.Scope, in *createLeadTaskInput) (*taskOutput, error) {
	return a.taskReply(a.Services.Leads.CreateTask(ctx, sc, in.Body.task(lead.ID(in.ID))))
}

type taskID struct {
	ID string `path:"id" maxLength:"128"`
}

func (a *API) getTask(ctx context.Context, sc account.Scope, in *taskID) (*taskOutput, error) {
	return a.taskReply(a.Services.Leads.Task(ctx, sc, in.ID))
}

type changeTaskInput struct {
	ID      string `path:"id" maxLength:"128"`
	IfMatch string `header:"If-Match"`
	Body    struct {
		Title   optional.Optional[string] `json:"title,omitzero" required:"false"`
		Body    optional.Optional[string] `json:"body,omitzero" required:"false"`
		OwnerID optional.Optional[string] `json:"owner_id,omitzero" required:"false"`
		Status  optional.Optional[string] `json:"status,omitzero" required:"false" doc:"open, done or cancelled"`
		Due     optional.Optional[string] `json:"due,omitzero" required:"false" doc:"null or an empty text takes the time away."`
	}
}

func (a *API) changeTask(ctx context.Context, sc account.Scope, in *changeTaskInput) (*taskOutput, error) {
	e := service.TaskEdit{ID: in.ID, IfMatch: ifMatch(in.IfMatch), Title: in.Body.Title, Body: in.Body.Body, OwnerID: in.Body.OwnerID, Status: in.Body.Status}
	switch due := in.Body.Due; {
	case due.Null, due.Set && due.V == "":
		e.DueAt = optional.Null[time.Time]()
	case due.Set:
		at, allDay, problem := parseDue(due.V)
		if problem != nil {
			e.Problems = []fault.Field{*problem}
			break
		}
		e.DueAt, e.AllDay = optional.Of(at), optional.Of(allDay)
	}
	return a.taskReply(a.Services.Leads.ChangeTask(ctx, sc, e))
}

type listTasksInput struct {
	Owner  string `query:"owner" maxLength:"128" doc:"A user's id; me for one's own."`
	Status string `query:"status" enum:"open,done,cancelled" doc:"With owner the default is open."`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor string `query:"cursor" maxLength:"1000"`
}

type listTasksOutput struct {
	Body struct {
		Tasks      []taskView `json:"tasks"`
		NextCursor *string    `json:"next_cursor"`
	}
}

func (a *API) listTasks(ctx context.Context, sc account.Scope, in *listTasksInput) (*listTasksOutput, error) {
	f := store.TaskFilter{Owner: in.Owner, Status: in.Status, Limit: in.Limit}
	if in.Owner == "me" {
		f.Owner = string(sc.UserID)
	}
	if f.Owner != "" && f.Status == "" {
		f.Status = "open"
	}
	return a.tasksPage(ctx, sc, f, in.Cursor)
}

func (a *API) listLeadTasks(ctx context.Context, sc account.Scope, in *leadPageInput) (*listTasksOutput, error) {
	return a.tasksPage(ctx, sc, store.TaskFilter{LeadID: lead.ID(in.ID), Limit: in.Limit}, in.Cursor)
}

func (a *API) tasksPage(ctx context.Context, sc account.Scope, f store.TaskFilter, cursor string) (*listTasksOutput, error) {
	list := "tasks\x00" + string(f.LeadID) + "\x00" + f.Owner + "\x00" + f.Status
	var err error
	if f.Before, err = a.idCursor(sc, list, cursor); err != nil {
		return nil, err
	}
	tasks, err := a.Services.Leads.Tasks(ctx, sc, f)
	if err != nil {
		return nil, err
	}
	out := &listTasksOutput{}
	out.Body.Tasks = make([]taskView, len(tasks))
	for i, t := range tasks {
		out.Body.Tasks[i] = a.viewTask(t)
	}
	out.Body.NextCursor = a.nextID(sc, list, len(tasks) == f.Limit, func() string { return tasks[len(tasks)-1].ID })
	return out, nil
}
