package store

import (
	"time"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

// Task is what a user must do by a time. DueAt is zero without one; with AllDay it is a day, kept as its midnight UTC.
type Task struct {
	ID                   string
	LeadID               lead.ID // "" when it is about no lead
	Title, Body          string
	OwnerID              string
	Status               string // open, done, cancelled
	DueAt                time.Time
	AllDay               bool
	DoneAt               time.Time
	Version              int64
	CreatedAt, UpdatedAt time.Time
}

const taskColumns = "id, lead_id, title, body, owner_id, status, due_at, all_day, done_at, version, created_at, updated_at"

func scanTask(r row) (*Task, error) {
	var t Task
	var leadID string
	var due, allDay, done, created, updated int64
	if err := r.Scan(&t.ID, &leadID, &t.Title, &t.Body, &t.OwnerID, &t.Status, &due, &allDay, &done, &t.Version, &created, &updated); err != nil {
		return nil, err
	}
	t.LeadID, t.AllDay = lead.ID(leadID), allDay == 1
	t.DueAt, t.DoneAt, t.CreatedAt, t.UpdatedAt = fromMicros(due), fromMicros(done), fromMicros(created), fromMicros(updated)
	return &t, nil
}

// Task reads one task.
func (r *Reader) Task(sc account.Scope, id string) (*Task, error) {
	return queryOne(r, scanTask, "SELECT "+taskColumns+" FROM tasks WHERE tenant_id=$1 AND id=$2"+r.lock(), string(sc.Tenant()), id)
}

// TaskFilter is a list of tasks, newest first; what is empty does not filter. Owner needs a Status.
type TaskFilter struct {
	LeadID lead.ID
	Owner  string
	Status string
	Before string // last id of the page before
	Limit  int
}

// Tasks lists tasks. Indexes: tasks_by_lead, tasks_by_owner, tasks_by_status, the key.
func (r *Reader) Tasks(sc account.Scope, f TaskFilter) ([]*Task, error) {
	p := LeadPlan{args: []any{string(sc.Tenant())}} // for its arguments only
	where := ""
	add := func(cond string, v any) { where += " AND " + cond + p.arg(v) }
	if f.LeadID != "" {
		add("lead_id=", string(f.LeadID))
	}
	if f.Owner != "" {
		add("owner_id=", f.Owner)
	}
	if f.Status != "" {
		add("status=", f.Status)
	}
	if f.Before != "" {
		add("id<", f.Before)
	}
	return queryAll(r, scanTask, "SELECT "+taskColumns+" FROM tasks WHERE tenant_id=$1"+where+" ORDER BY id DESC LIMIT "+p.arg(f.Limit), p.args...)
}

// InsertTask stores a new open task and fills its id, version and times.
func (tx *Tx) InsertTask(sc account.Scope, t *Task) error {
	t.ID, t.Status, t.Version, t.CreatedAt, t.UpdatedAt = tx.NewID(), "open", 1, tx.now, tx.now
	_, err := tx.exec("INSERT INTO tasks (tenant_id, "+taskColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13)",
		string(sc.Tenant()), t.ID, string(t.LeadID), t.Title, t.Body, t.OwnerID, t.Status, micros(t.DueAt), flag(t.AllDay), micros(t.DoneAt),
		t.Version, micros(t.CreatedAt), micros(t.UpdatedAt))
	return err
}

// UpdateTask stores a changed task that was read in this Tx.
func (tx *Tx) UpdateTask(sc account.Scope, t *Task) error {
	t.Version, t.UpdatedAt = t.Version+1, tx.now
	n, err := tx.exec(`UPDATE tasks SET title=$3, body=$4, owner_id=$5, status=$6, due_at=$7, all_day=$8, done_at=$9, version=$10, updated_at=$11
		WHERE tenant_id=$1 AND id=$2`, string(sc.Tenant()), t.ID, t.Title, t.Body, t.OwnerID, t.Status, micros(t.DueAt), flag(t.AllDay),
		micros(t.DoneAt), t.Version, micros(tx.now))
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}
