package service

import (
	"slices"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/optional"
	"leadloom/internal/store"
)

// Task is a task to create: who must do what by when, about which lead.
type Task struct {
	LeadID  lead.ID
	Title   string
	Body    string
	OwnerID string
	DueAt   time.Time // zero: no time
	AllDay  bool

	Problems []fault.Field // found while decoding, reported with the others
}

// writeTask writes a task; without an owner the lead's owner gets it.
func (c *core) writeTask(tx *store.Tx, sc account.Scope, t Task) (*store.Task, error) {
	row := &store.Task{Title: t.Title, Body: t.Body, OwnerID: t.OwnerID, DueAt: t.DueAt, AllDay: t.AllDay}
	if t.LeadID != "" {
		l, err := c.liveLead(tx.Reader, sc, t.LeadID)
		if err != nil {
			return nil, err
		}
		row.LeadID = l.ID
		if row.OwnerID == "" {
			row.OwnerID = l.OwnerID
		}
	}
	if err := c.checkTask(tx, sc, row, "", t.Problems); err != nil {
		return nil, err
	}
	if err := tx.InsertTask(sc, row); err != nil {
		return nil, err
	}
	_, err := tx.AppendEvent(sc, event.Event{Type: event.TaskCreated, LeadID: string(row.LeadID), Subject: row.ID, Data: data(map[string]any{"task_id": row.ID, "title": row.Title, "owner_id": row.OwnerID})})
	return row, err
}

// checkTask normalises a task's texts and reports all that is wrong with it, after the problems that are known already.
func (c *core) checkTask(tx *store.Tx, sc account.Scope, t *store.Task, ownerBefore string, problems []fault.Field) error {
	keep := func(err error) {
		if f := fault.As(err); f != nil {
			problems = append(problems, f.Fields...)
		}
	}
	title, err := lead.CheckText("title", t.Title)
	keep(err)
	if t.Title = title; err == nil && title == "" {
		keep(fault.Invalid("title", "required", "Send what is to be done, in a few words."))
	}
	if t.Body != "" {
		body, err := lead.CheckNote("body", t.Body)
		keep(err)
		t.Body = body
	}
	if err := c.checkOwner(tx, sc, ownerBefore, t.OwnerID); fault.IsKind(err, fault.KindInvalid) {
		keep(err)
	} else if err != nil {
		return err
	}
	return fault.InvalidFields(problems).OrNil()
}

// CreateTask writes a task.
func (s *Leads) CreateTask(ctx ctxT, sc account.Scope, t Task) (*store.Task, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*store.Task, error) { return s.writeTask(tx, sc, t) })
}

// Task reads a task.
func (s *Leads) Task(ctx ctxT, sc account.Scope, id string) (*store.Task, error) {
	t, err := s.st.Read(ctx).Task(sc, id)
	return t, notFound(err, "task", id)
}

// Tasks lists tasks, newest first.
func (s *Leads) Tasks(ctx ctxT, sc account.Scope, f store.TaskFilter) ([]*store.Task, error) {
	r := s.st.Read(ctx)
	if f.LeadID != "" {
		l, err := s.liveLead(r, sc, f.LeadID)
		if err != nil {
			return nil, err
		}
		f.LeadID = l.ID
	}
	return r.Tasks(sc, f)
}

// taskStates are the states of a task; each may follow each.
var taskStates = []string{"open", "done", "cancelled"}

// TaskEdit is a partial change of a task; null clears what may be empty.
type TaskEdit struct {
	ID      string
	IfMatch IfMatch
	Title   optional.Optional[string]
	Body    optional.Optional[string]
	OwnerID optional.Optional[string]
	Status  optional.Optional[string]
	DueAt   optional.Optional[time.Time]
	AllDay  optional.Optional[bool]

	Problems []fault.Field // found while decoding, reported with the others
}

// ChangeTask changes a task; done and undone are its status.
func (s *Leads) ChangeTask(ctx ctxT, sc account.Scope, e TaskEdit) (*store.Task, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*store.Task, error) {
		t, err := tx.Task(sc, e.ID)
		if err != nil {
			return nil, notFound(err, "task", e.ID)
		}
		if !e.IfMatch.Holds(t.Version) {
			return nil, fault.Stale(t)
		}
		before := *t
		problems := e.apply(t, tx.Now())
		if *t == before && len(problems) == 0 {
			return t, nil
		}
		if err := s.checkTask(tx, sc, t, before.OwnerID, problems); err != nil {
			return nil, err
		}
		if err := tx.UpdateTask(sc, t); err != nil {
			return nil, err
		}
		typ := event.TaskChanged
		if t.Status == "done" && before.Status != "done" {
			typ = event.TaskDone
		}
		_, err = tx.AppendEvent(sc, event.Event{Type: typ, LeadID: string(t.LeadID), Subject: t.ID, Changes: taskChanges(&before, t)})
		return t, err
	})
}

func (e TaskEdit) apply(t *store.Task, now time.Time) []fault.Field {
	problems := slices.Clone(e.Problems)
	if e.Title.Set {
		t.Title = e.Title.V
	}
	if e.Body.Set {
		t.Body = e.Body.V
	}
	if e.OwnerID.Set {
		t.OwnerID = e.OwnerID.V
	}
	if e.DueAt.Set {
		t.DueAt = e.DueAt.V.UTC().Truncate(time.Microsecond)
		if e.DueAt.Null {
			t.DueAt, t.AllDay = time.Time{}, false
		}
	}
	if e.AllDay.Set {
		t.AllDay = e.AllDay.V
	}
	if !e.Status.Has() || e.Status.V == t.Status {
		return problems
	}
	if !slices.Contains(taskStates, e.Status.V) {
		return append(problems, fault.Field{Path: "status", Code: "unknown_status", Message: "Send one of " + strings.Join(taskStates, ", ") + "."})
	}
	t.Status, t.DoneAt = e.Status.V, time.Time{}
	if t.Status == "done" {
		t.DoneAt = now
	}
	return problems
}

func taskChanges(a, b *store.Task) map[string]event.Change {
	out := map[string]event.Change{}
	for _, f := range []struct {
		name     string
		from, to any
	}{{"title", a.Title, b.Title}, {"body", a.Body, b.Body}, {"owner_id", a.OwnerID, b.OwnerID}, {"status", a.Status, b.Status},
		{"due_at", a.DueAt, b.DueAt}, {"all_day", a.AllDay, b.AllDay}} {
		if f.from != f.to {
			out[f.name] = event.Change{From: f.from, To: f.to}
		}
	}
	return out
}
