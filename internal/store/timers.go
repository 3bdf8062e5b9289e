package store

import (
	"time"

	"leadloom/internal/account"
	"leadloom/internal/workflow"
)

// Timer is the instant at which a run goes on.
type Timer struct {
	Tenant account.TenantID
	RunID  workflow.RunID
	Kind   string // TimerWait or TimerRetry
	DueAt  time.Time
	Turn   int64
}

// The kinds of timers: the end of a wait, the next attempt of an outside step.
const (
	TimerWait  = "wait"
	TimerRetry = "retry"
)

// SetTimer stores the run's timer, in place of an earlier one.
func (tx *Tx) SetTimer(sc account.Scope, t Timer) error {
	_, err := tx.exec(`INSERT INTO timers (tenant_id, run_id, kind, due_at, turn, set_at) VALUES ($1,$2,$3,$4,$5,$6)
		ON CONFLICT (tenant_id, run_id) DO UPDATE SET kind=excluded.kind, due_at=excluded.due_at, turn=excluded.turn, set_at=excluded.set_at`,
		string(sc.Tenant()), string(t.RunID), t.Kind, micros(t.DueAt), t.Turn, micros(tx.now))
	return err
}

// DeleteTimer removes the run's timer, if it has one.
func (tx *Tx) DeleteTimer(sc account.Scope, id workflow.RunID) error {
	_, err := tx.exec("DELETE FROM timers WHERE tenant_id=$1 AND run_id=$2", string(sc.Tenant()), string(id))
	return err
}

func scanTimer(r row) (t Timer, err error) {
	var due int64
	err = r.Scan(&t.Tenant, &t.RunID, &t.Kind, &due, &t.Turn)
	t.DueAt = fromMicros(due)
	return
}

const timersDue = "SELECT tenant_id, run_id, kind, due_at, turn FROM timers WHERE due_at <= $1 ORDER BY due_at, run_id LIMIT $2"

// ClaimTimers takes timers that are due, the oldest first; nobody else gets them. They are gone when the transaction
// commits.
func (tx *Tx) ClaimTimers(_ account.Instance, limit int) ([]Timer, error) {
	due, err := queryAll(tx.Reader, scanTimer, timersDue+tx.claim(), micros(tx.now), limit)
	if err != nil {
		return nil, err
	}
	for _, t := range due {
		if _, err := tx.exec("DELETE FROM timers WHERE tenant_id=$1 AND run_id=$2", string(t.Tenant), string(t.RunID)); err != nil {
			return nil, err
		}
	}
	return due, nil
}

// TimersAhead reports timers that were set after an instant. It reads all of them.
func (r *Reader) TimersAhead(_ account.Instance, of time.Time) (bool, error) {
	_, err := queryOne(r, scanInt, "SELECT turn FROM timers WHERE set_at > $1 LIMIT 1", micros(of))
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

// PullTimersIn lets timers that were set after an instant wait from now on for as long as they were set for, and returns
// how many those are.
func (tx *Tx) PullTimersIn(_ account.Instance, setAfter time.Time) (int64, error) {
	return tx.exec("UPDATE timers SET due_at = due_at - set_at + $1, set_at = $1 WHERE set_at > $2", micros(tx.now), micros(setAfter))
}

const nextTimer = "SELECT due_at FROM timers ORDER BY due_at LIMIT 1"

// NextDue is when the first timer or schedule is due; zero when there is none.
func (r *Reader) NextDue(_ account.Instance) (time.Time, error) {
	var first int64
	for _, text := range []string{nextTimer, nextSchedule} {
		at, err := queryOne(r, scanInt, text)
		if err != nil && err != ErrNotFound {
			return time.Time{}, err
		}
		if at > 0 && (first == 0 || at < first) {
			first = at
		}
	}
	return fromMicros(first), nil
}

// WakeRun makes a run whose wait is over ready for its job; false when it has moved on since the timer was set.
func (tx *Tx) WakeRun(sc account.Scope, t Timer) (workflow.ID, bool, error) {
	id, err := queryOne(tx.Reader, scanString, `UPDATE runs SET status='running', phase='due', turn=turn+1, updated_at=$1
		WHERE tenant_id=$2 AND id=$3 AND turn=$4 AND status='waiting' AND phase='wait' RETURNING workflow_id`,
		micros(tx.now), string(sc.Tenant()), string(t.RunID), t.Turn)
	if err == ErrNotFound {
		return "", false, nil
	}
	if err != nil {
		return "", false, err
	}
	tx.AddCount(sc, RunCounter(workflow.ID(id), workflow.Waiting), -1)
	tx.AddCount(sc, RunCounter(workflow.ID(id), workflow.Running), 1)
	return workflow.ID(id), true, nil
}
