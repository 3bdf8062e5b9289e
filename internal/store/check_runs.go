package store

import (
	"encoding/json"
	"fmt"

	"leadloom/internal/account"
)

// liveStates are the states of jobs that will still do something.
const liveStates = "('available','running','retryable','scheduled','pending')"

// jobArgs is a job's arguments as text.
func (r *Reader) jobArgs() string {
	if r.s.pg != nil {
		return "CAST(args AS TEXT)"
	}
	return "json(args)"
}

type openRun struct{ tenant, id, status, phase string }

func scanOpenRun(r row) (o openRun, err error) {
	err = r.Scan(&o.tenant, &o.id, &o.status, &o.phase)
	return
}

const openRuns = "SELECT tenant_id, id, status, phase FROM runs WHERE finished_at = 0 AND (tenant_id, id) > ($1,$2) ORDER BY tenant_id, id LIMIT 2000"

// checkRuns finds runs that nothing will move: a running one needs exactly one job, a waiting one a timer or an
// outside step under way, a held one a paused workflow, a parked one its reason. Runs move while it looks, so each
// suspicion is looked at again in one statement before it is reported.
func (r *Reader) checkRuns(_ account.Instance, limit int) ([]Finding, error) {
	jobs, err := r.runsWithJobs()
	if err != nil {
		return nil, err
	}
	var out []Finding
	tenant, id := "", ""
	for len(out) < limit {
		page, err := queryAll(r, scanOpenRun, openRuns, tenant, id)
		if err != nil || len(page) == 0 {
			return out, err
		}
		for _, o := range page {
			tenant, id = o.tenant, o.id
			if o.status == "running" && jobs[o.id] == 1 {
				continue
			}
			detail, err := r.runMoves(o)
			if err != nil {
				return nil, err
			}
			if detail != "" {
				out = append(out, Finding{Tenant: o.tenant, ID: o.id, Detail: detail})
			}
		}
	}
	return out, nil
}

// runsWithJobs counts, by run id, the live jobs that advance it.
func (r *Reader) runsWithJobs() (map[string]int, error) {
	args, err := queryAll(r, scanString, "SELECT "+r.jobArgs()+" FROM river_job WHERE kind='run.advance' AND state IN "+liveStates)
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, a := range args {
		var m map[string]any
		if err := json.Unmarshal([]byte(a), &m); err != nil {
			return nil, fmt.Errorf("arguments of a job: %w", err)
		}
		for _, v := range m {
			if s, ok := v.(string); ok {
				out[s]++
			}
		}
	}
	return out, nil
}

type runMovers struct {
	status, phase, workflow             string
	advance, steps, timers, mails, crms int64
	parked                              *string
}

// runMoves counts what will move a run in one statement, and says what is wrong; "" when nothing is.
func (r *Reader) runMoves(o openRun) (string, error) {
	mentions := "SELECT COUNT(*) FROM river_job WHERE state IN " + liveStates + " AND " + r.jobArgs() + " LIKE '%\"' || runs.id || '\"%' AND kind"
	m, err := queryOne(r, func(r row) (m runMovers, err error) {
		err = r.Scan(&m.status, &m.phase, &m.parked, &m.workflow, &m.advance, &m.steps, &m.timers, &m.mails, &m.crms)
		return
	}, `SELECT status, phase, parked, COALESCE((SELECT w.status FROM workflows w WHERE w.tenant_id=runs.tenant_id AND w.id=runs.workflow_id), ''),
		(`+mentions+`='run.advance'), (`+mentions+`<>'run.advance'),
		(SELECT COUNT(*) FROM timers t WHERE t.tenant_id=runs.tenant_id AND t.run_id=runs.id),
		(SELECT COUNT(*) FROM messages m WHERE m.tenant_id=runs.tenant_id AND m.state='pending' AND m.step_key LIKE '%' || runs.id || '%'),
		0
		FROM runs WHERE tenant_id=$1 AND id=$2`, o.tenant, o.id)
	if err == ErrNotFound {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	outside := m.steps + m.timers + m.mails + m.crms
	switch {
	case m.status == "running" && m.advance != 1:
		return fmt.Sprintf("is running with %d jobs instead of one", m.advance), nil
	case m.status == "waiting" && m.phase == "wait" && m.timers != 1:
		return fmt.Sprintf("waits with %d timers instead of one", m.timers), nil
	case m.status == "waiting" && m.phase != "wait" && outside == 0:
		return "waits for an outside step that nobody is doing", nil
	case m.status == "held" && m.workflow != "paused":
		return "is held although its workflow is " + m.workflow, nil
	case m.status == "parked" && m.parked == nil:
		return "is parked without a reason", nil
	}
	return "", nil
}
