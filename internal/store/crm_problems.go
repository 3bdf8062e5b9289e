package store

import (
	"fmt"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/lead"
)

const problemColumns = "id, connection_id, lead_id, state, class, code, field, message, lead_version, mapping_version, attempts, retry_on, created_at, last_at, resolved_at"

func scanProblem(r row) (*crm.Problem, error) {
	var p crm.Problem
	var retry string
	var created, last, resolved int64
	if err := r.Scan(&p.ID, &p.ConnectionID, &p.LeadID, &p.State, &p.Class, &p.Code, &p.Field, &p.Message, &p.LeadVersion, &p.MappingVersion, &p.Attempts, &retry,
		&created, &last, &resolved); err != nil {
		return nil, err
	}
	p.RetryOn = strings.Fields(retry)
	p.CreatedAt, p.LastAt, p.ResolvedAt = fromMicros(created), fromMicros(last), fromMicros(resolved)
	return &p, nil
}

const problemsSQL = "SELECT " + problemColumns + " FROM crm_problems WHERE tenant_id=$1 AND connection_id=$2 AND state=$3 AND id > $4 ORDER BY id LIMIT $5" // crm_problems_list

// Problems lists a connection's problems in one state by id after the given one.
func (r *Reader) Problems(sc account.Scope, id crm.ConnectionID, state crm.ProblemState, after crm.ProblemID, limit int) ([]*crm.Problem, error) {
	return queryAll(r, scanProblem, problemsSQL, string(sc.Tenant()), string(id), string(state), string(after), limit)
}

// LeadProblems reads the open problems of the given leads in every connection.
func (r *Reader) LeadProblems(sc account.Scope, leads []lead.ID) ([]*crm.Problem, error) {
	return queryAll(r, scanProblem, r.leadProblemsSQL(), string(sc.Tenant()), idTexts(leads))
}

func (r *Reader) leadProblemsSQL() string {
	return "SELECT " + problemColumns + " FROM crm_problems" + r.by("crm_problems_by_lead") + " WHERE tenant_id=$1 AND state='open' AND lead_id IN " + r.list("$2")
}

// CountProblems counts a connection's open problems, at most 100,000.
func (r *Reader) CountProblems(sc account.Scope, id crm.ConnectionID) (int64, error) {
	return queryOne(r, scanInt, "SELECT COUNT(*) FROM (SELECT 1 FROM crm_problems WHERE tenant_id=$1 AND connection_id=$2 AND state='open' LIMIT 100000) AS found",
		string(sc.Tenant()), string(id))
}

// SaveProblem opens a problem, or renews the lead's open one.
func (tx *Tx) SaveProblem(sc account.Scope, p *crm.Problem) error {
	if p.ID == "" {
		p.ID = crm.ProblemID(tx.NewID())
	}
	_, err := tx.exec(`INSERT INTO crm_problems (tenant_id, `+problemColumns+`) VALUES ($1,$2,$3,$4,'open',$5,$6,$7,$8,$9,$10,1,$11,$12,$12,0)
		ON CONFLICT (tenant_id, connection_id, lead_id) WHERE state = 'open' DO UPDATE SET class=excluded.class, code=excluded.code, field=excluded.field,
		message=excluded.message, lead_version=excluded.lead_version, mapping_version=excluded.mapping_version, attempts=crm_problems.attempts+1,
		retry_on=excluded.retry_on, last_at=excluded.last_at`,
		string(sc.Tenant()), string(p.ID), string(p.ConnectionID), string(p.LeadID), string(p.Class), p.Code, p.Field, p.Message, p.LeadVersion, p.MappingVersion,
		strings.Join(p.RetryOn, " "), micros(tx.Now()))
	if err != nil {
		return fmt.Errorf("save problem: %w", err)
	}
	return nil
}

// CloseProblems ends the open problems of these leads in one connection: resolved when the CRM has them now.
func (tx *Tx) CloseProblems(sc account.Scope, id crm.ConnectionID, leads []lead.ID, state crm.ProblemState) (int64, error) {
	if len(leads) == 0 {
		return 0, nil
	}
	n, err := tx.exec("UPDATE crm_problems SET state=$4, resolved_at=$5 WHERE tenant_id=$1 AND connection_id=$2 AND state='open' AND lead_id IN "+tx.list("$3"),
		string(sc.Tenant()), string(id), idTexts(leads), string(state), micros(tx.Now()))
	if err != nil {
		return 0, fmt.Errorf("close problems: %w", err)
	}
	return n, nil
}

const retryableSQL = "SELECT " + problemColumns + " FROM crm_problems WHERE tenant_id=$1 AND connection_id=$2 AND state='open' AND ' ' || retry_on || ' ' LIKE $3 ORDER BY id LIMIT $4" // crm_problems_list

// RetryProblems turns at most limit open problems with this cause back into forced dirty rows and keeps them as
// history. ids limits it to these problems; nil means all. It returns how many there were.
func (tx *Tx) RetryProblems(sc account.Scope, id crm.ConnectionID, cause string, ids []crm.ProblemID, limit int) (int, error) {
	query, args := retryableSQL, []any{string(sc.Tenant()), string(id), "% " + cause + " %", limit}
	if ids != nil {
		query = strings.Replace(query, " ORDER BY", " AND id IN "+tx.list("$5")+" ORDER BY", 1)
		args = append(args, jsonText(ids))
	}
	list, err := queryAll(tx.Reader, scanProblem, query, args...)
	if err != nil {
		return 0, err
	}
	leads := make([]lead.ID, len(list))
	for i, p := range list {
		leads[i] = p.LeadID
		if err := tx.MarkDirty(sc, id, crm.Dirty{LeadID: p.LeadID, LeadVersion: p.LeadVersion, Reason: cause, Forced: true}); err != nil {
			return 0, err
		}
	}
	_, err = tx.CloseProblems(sc, id, leads, crm.ProblemRetried)
	return len(leads), err
}

// Problem reads one problem.
func (r *Reader) Problem(sc account.Scope, id crm.ProblemID) (*crm.Problem, error) {
	return queryOne(r, scanProblem, "SELECT "+problemColumns+" FROM crm_problems WHERE tenant_id=$1 AND id=$2"+r.lock(), string(sc.Tenant()), string(id))
}

func scanWaiter(r row) (w crm.Waiter, err error) {
	err = r.Scan(&w.ConnectionID, &w.LeadID, &w.Step, &w.Failed)
	return
}

// AddWaiter notes that a workflow step waits for a lead in one connection.
func (tx *Tx) AddWaiter(sc account.Scope, w crm.Waiter) error {
	_, err := tx.exec(`INSERT INTO crm_waiters (tenant_id, connection_id, lead_id, step, created_at, failed) VALUES ($1,$2,$3,$4,$5,'')
		ON CONFLICT (tenant_id, connection_id, lead_id, step) DO NOTHING`, string(sc.Tenant()), string(w.ConnectionID), string(w.LeadID), w.Step, micros(tx.Now()))
	if err != nil {
		return fmt.Errorf("wait for a connection: %w", err)
	}
	return nil
}

// Waiters reads who waits for these leads in one connection and has an answer: while a lead is dirty, what was sent is
// not what they wait for.
func (r *Reader) Waiters(sc account.Scope, id crm.ConnectionID, leads []lead.ID) ([]crm.Waiter, error) {
	return queryAll(r, scanWaiter, "SELECT w.connection_id, w.lead_id, w.step, w.failed FROM crm_waiters w WHERE w.tenant_id=$1 AND w.connection_id=$2 AND w.lead_id IN "+r.list("$3")+
		" AND NOT EXISTS (SELECT 1 FROM crm_dirty d WHERE d.tenant_id=w.tenant_id AND d.connection_id=w.connection_id AND d.lead_id=w.lead_id)",
		string(sc.Tenant()), string(id), idTexts(leads))
}

// WaitersOf reads at most limit waits for one connection.
func (r *Reader) WaitersOf(sc account.Scope, id crm.ConnectionID, limit int) ([]crm.Waiter, error) {
	return queryAll(r, scanWaiter, "SELECT connection_id, lead_id, step, failed FROM crm_waiters WHERE tenant_id=$1 AND connection_id=$2 ORDER BY lead_id, step LIMIT $3",
		string(sc.Tenant()), string(id), limit)
}

// OverdueWait is a workflow step that has waited for a connection since before a time.
type OverdueWait struct {
	Tenant account.TenantID
	crm.Waiter
}

const overdueWaitsSQL = `SELECT tenant_id, connection_id, lead_id, step, failed FROM crm_waiters WHERE created_at < $1 ORDER BY created_at LIMIT $2`

// OverdueWaits finds at most limit waits of all tenants that began before a time, the oldest first.
func (r *Reader) OverdueWaits(_ account.Instance, before time.Time, limit int) ([]OverdueWait, error) {
	return queryAll(r, func(r row) (w OverdueWait, err error) {
		err = r.Scan(&w.Tenant, &w.ConnectionID, &w.LeadID, &w.Step, &w.Failed)
		return
	}, overdueWaitsSQL, micros(before), limit)
}

// EndWaiter removes one wait and answers what is left of its step: how many connections it still waits for.
func (tx *Tx) EndWaiter(sc account.Scope, w crm.Waiter) (left int64, err error) {
	if _, err = tx.exec(`DELETE FROM crm_waiters WHERE tenant_id=$1 AND connection_id=$2 AND lead_id=$3 AND step=$4`,
		string(sc.Tenant()), string(w.ConnectionID), string(w.LeadID), w.Step); err != nil {
		return 0, fmt.Errorf("end a wait: %w", err)
	}
	if w.Failed != "" {
		if _, err = tx.exec(`UPDATE crm_waiters SET failed=$3 WHERE tenant_id=$1 AND step=$2 AND failed=''`, string(sc.Tenant()), w.Step, w.Failed); err != nil {
			return 0, fmt.Errorf("note a failed connection: %w", err)
		}
	}
	return queryOne(tx.Reader, scanInt, `SELECT COUNT(*) FROM crm_waiters WHERE tenant_id=$1 AND step=$2`, string(sc.Tenant()), w.Step)
}
