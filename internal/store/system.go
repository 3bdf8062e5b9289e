package store

import (
	"context"
	"errors"
	"os"
	"strconv"
	"time"

	"leadloom/internal/account"
)

// JobStat counts the jobs of one queue, kind and state that are not over, and the dead ones.
type JobStat struct {
	Queue  string    `json:"queue"`
	Kind   string    `json:"kind"`
	State  string    `json:"state"` // available, running, retryable, scheduled, pending; discarded is dead
	Count  int64     `json:"count"`
	Oldest time.Time `json:"oldest_due_at"` // when the first of them was due
}

// JobStats reads the queue's table; empty when the queue has no table yet.
func (r *Reader) JobStats(_ account.Instance) ([]JobStat, error) {
	due := "CAST(unixepoch(MIN(scheduled_at), 'subsec') * 1000 AS INTEGER)"
	if r.s.pg != nil {
		due = "CAST(EXTRACT(EPOCH FROM MIN(scheduled_at)) * 1000 AS BIGINT)"
	}
	// river_job_prioritized_fetching_index leads with the state
	return queryAll(r, func(r row) (j JobStat, err error) {
		var ms int64
		err = r.Scan(&j.Queue, &j.Kind, &j.State, &j.Count, &ms)
		j.Oldest = time.UnixMilli(ms).UTC()
		return
	}, "SELECT queue, kind, CAST(state AS TEXT), COUNT(*), "+due+" FROM river_job"+
		" WHERE state IN ('available','running','retryable','scheduled','pending','discarded') GROUP BY queue, kind, state ORDER BY 1, 2, 3")
}

// HeldQueues names the queues that are paused.
func (r *Reader) HeldQueues(_ account.Instance) ([]string, error) {
	return queryAll(r, scanString, "SELECT name FROM river_queue WHERE paused_at IS NOT NULL ORDER BY name")
}

// DatabaseClock is the database server's time; the process's own on SQLite.
func (r *Reader) DatabaseClock(_ account.Instance) (time.Time, error) {
	if r.s.pg == nil {
		return time.Now().UTC(), nil
	}
	us, err := queryOne(r, scanInt, `SELECT CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)`)
	return fromMicros(us), err
}

// FileSizes are the bytes of SQLite's file and of its write-ahead log; zeros on PostgreSQL.
func (s *Store) FileSizes() (database, wal int64) {
	if s.sq == nil {
		return 0, 0
	}
	if i, err := os.Stat(s.sq.path); err == nil {
		database = i.Size()
	}
	if i, err := os.Stat(s.sq.path + "-wal"); err == nil {
		wal = i.Size()
	}
	return database, wal
}

// PendingMigrations counts the steps of the schema that this version has and the database does not. It only reads.
func (s *Store) PendingMigrations(ctx context.Context, _ account.Instance) (int, error) {
	all, err := s.migrations()
	if err != nil {
		return 0, err
	}
	n, err := queryOne(s.Read(ctx), scanInt, `SELECT COUNT(*) FROM schema_migrations`)
	return max(0, len(all)-int(n)), err
}

// Setting is a tenant's setting as JSON text; "" when it was never set.
func (r *Reader) Setting(sc account.Scope, key string) (string, error) {
	v, err := queryOne(r, scanString, `SELECT value FROM settings WHERE tenant_id=$1 AND key=$2`+r.lock(), string(sc.Tenant()), key)
	if errors.Is(err, ErrNotFound) {
		return "", nil
	}
	return v, err
}

// SaveSetting stores a tenant's setting.
func (tx *Tx) SaveSetting(sc account.Scope, key, value string) error {
	_, err := tx.exec(`INSERT INTO settings (tenant_id, key, value, updated_at) VALUES ($1,$2,$3,$4)
		ON CONFLICT (tenant_id, key) DO UPDATE SET value=excluded.value, updated_at=excluded.updated_at`, string(sc.Tenant()), key, value, micros(tx.Now()))
	return err
}

// WorkFacts are the totals of health over all tenants.
type WorkFacts struct {
	ParkedRuns, Timers              int64
	OldestTimer                     time.Time // due time of the first one; zero when none waits
	Connections, FailingConnections int64
	Dirty                           int64
}

// countedUpTo bounds the counts that health takes every few seconds.
const countedUpTo = 10000

// WorkFacts counts what waits for a person, a clock or a CRM; counts end at 10,000.
func (r *Reader) WorkFacts(_ account.Instance, _ time.Time) (w WorkFacts, err error) {
	var oldest int64
	for _, c := range []struct {
		into *int64
		text string
	}{
		{&w.ParkedRuns, "runs WHERE status='parked'"},
		{&w.Timers, "timers"},
		{&w.Connections, "connections"},
		{&w.FailingConnections, "connections WHERE enabled=1 AND state IN ('degraded','needs_reauth','config_error') AND state_code<>'not_tested'"},
		{&w.Dirty, "crm_dirty"},
	} {
		if *c.into, err = queryOne(r, scanInt, "SELECT COUNT(*) FROM (SELECT 1 FROM "+c.text+" LIMIT "+strconv.Itoa(countedUpTo)+") AS some"); err != nil {
			return w, err
		}
	}
	oldest, err = queryOne(r, scanInt, nextTimer)
	if errors.Is(err, ErrNotFound) {
		err = nil
	}
	w.OldestTimer = fromMicros(oldest)
	return w, err
}
