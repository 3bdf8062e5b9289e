package store

import (
	"time"

	"leadloom/internal/account"
	"leadloom/internal/workflow"
)

// Schedule is a workflow's schedule trigger with what it has done. Next is zero while the workflow is not active.
type Schedule struct {
	Tenant     account.TenantID
	WorkflowID workflow.ID
	TriggerID  string
	Next       time.Time
	Last       time.Time
	LastRun    workflow.RunID
	Late       time.Duration // of the last run
}

func scanSchedule(r row) (s Schedule, err error) {
	var next, last, late int64
	err = r.Scan(&s.Tenant, &s.WorkflowID, &s.TriggerID, &next, &last, &s.LastRun, &late)
	s.Next, s.Last, s.Late = fromMicros(next), fromMicros(last), time.Duration(late)*time.Second
	return
}

const (
	scheduleColumns = "tenant_id, workflow_id, trigger_id, next_at, last_at, last_run_id, late_seconds"
	nextSchedule    = "SELECT next_at FROM schedules WHERE next_at > 0 ORDER BY next_at LIMIT 1"
	schedulesDue    = "SELECT " + scheduleColumns + " FROM schedules WHERE next_at > 0 AND next_at <= $1 ORDER BY next_at LIMIT $2"
)

// SaveSchedule stores a schedule; a new version of the workflow keeps what an earlier one did.
func (tx *Tx) SaveSchedule(sc account.Scope, s Schedule) error {
	_, err := tx.exec(`INSERT INTO schedules (`+scheduleColumns+`) VALUES ($1,$2,$3,$4,$5,$6,$7)
		ON CONFLICT (tenant_id, workflow_id, trigger_id) DO UPDATE SET next_at=excluded.next_at,
		last_at=CASE WHEN excluded.last_at>0 THEN excluded.last_at ELSE schedules.last_at END,
		last_run_id=CASE WHEN excluded.last_run_id<>'' THEN excluded.last_run_id ELSE schedules.last_run_id END,
		late_seconds=CASE WHEN excluded.last_at>0 THEN excluded.late_seconds ELSE schedules.late_seconds END`,
		string(sc.Tenant()), string(s.WorkflowID), s.TriggerID, micros(s.Next), micros(s.Last), string(s.LastRun), int64(s.Late/time.Second))
	return err
}

// StopSchedules ends all schedules of a workflow.
func (tx *Tx) StopSchedules(sc account.Scope, id workflow.ID) error {
	_, err := tx.exec("UPDATE schedules SET next_at=0 WHERE tenant_id=$1 AND workflow_id=$2", string(sc.Tenant()), string(id))
	return err
}

// Schedules lists a workflow's schedules.
func (r *Reader) Schedules(sc account.Scope, id workflow.ID) ([]Schedule, error) {
	return queryAll(r, scanSchedule, "SELECT "+scheduleColumns+" FROM schedules WHERE tenant_id=$1 AND workflow_id=$2 ORDER BY trigger_id", string(sc.Tenant()), string(id))
}

// ClaimSchedules takes schedules that are due; nobody else gets them until the transaction ends.
func (tx *Tx) ClaimSchedules(_ account.Instance, limit int) ([]Schedule, error) {
	return queryAll(tx.Reader, scanSchedule, schedulesDue+tx.claim(), micros(tx.now), limit)
}
