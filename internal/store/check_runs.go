package store

import (
	"fmt"

	"leadloom/internal/account"
)

// liveStates are the states of jobs that will still do something.
const liveStates = "('available','running','retryable','scheduled','pending')"

// jobArg is one argument of a job as text.
func (r *Reader) jobArg(name string) string {
	if r.s.pg != nil {
		return "(args->>'" + name + "')"
	}
	return "CAST(json_extract(args, '$." + name + "') AS TEXT)"
}

type openRun struct{ tenant, id, status, phase, turn string }

func scanOpenRun(r row) (o openRun, err error) {
	err = r.Scan(&o.tenant, &o.id, &o.status, &o.phase, &o.turn)
	return
}

const openRuns = "SELECT tenant_id, id, status, phase, CAST(turn AS TEXT) FROM runs WHERE finished_at = 0 AND (tenant_id, id) > ($1,$2) ORDER BY tenant_id, id LIMIT 2000"

// checkRuns finds runs that nothing will move: a running one needs exactly one job of its turn, a waiting one a timer
// or an outside step under way, a held one a paused workflow, a parked one its reason. Runs move while it looks, so
// each suspicion is looked at again in one statement before it is reported.
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
			if o.status == "running" && jobs[o.id+" "+o.turn] == 1 {
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

// runsWithJobs counts, by run and turn, the live jobs that advance it.
func (r *Reader) runsWithJobs() (map[string]int, error) {
	keys, err := queryAll(r, scanString, "SELECT "+r.jobArg("run_id")+" || ' ' || "+r.jobArg("turn")+" FROM river_job WHERE kind='run.advance' AND state IN "+liveStates)
	out := make(map[string]int, len(keys))
	for _, k := range keys {
		out[k]++
	}
	return out, err
}

// runMovers counts what will move a run.
type runMovers struct {
	status, phase, workflow                             string
	parked                                              *string
	advance, calls, steps, release, timers, mails, crms int64
}

// runMoves counts what will move a run in one statement, and says what is wrong; "" when nothing is.
func (r *Reader) runMoves(o openRun) (string, error) {
	jobs := "SELECT COUNT(*) FROM river_job WHERE state IN " + liveStates + " AND "
	m, err := queryOne(r, func(r row) (m runMovers, err error) {
		err = r.Scan(&m.status, &m.phase, &m.parked, &m.workflow, &m.advance, &m.calls, &m.steps, &m.release, &m.timers, &m.mails, &m.crms)
		return
	}, `SELECT status, phase, parked, COALESCE((SELECT CASE WHEN w.deleted_at=0 THEN w.status ELSE 'deleted' END FROM workflows w WHERE w.tenant_id=runs.tenant_id AND w.id=runs.workflow_id), 'gone'),
		(`+jobs+`kind='run.advance' AND `+r.jobArg("run_id")+`=runs.id AND `+r.jobArg("turn")+`=CAST(runs.turn AS TEXT)),
		(`+jobs+`kind='step.http' AND `+r.jobArg("run_id")+`=runs.id),
		(`+jobs+`kind NOT IN ('run.advance','step.http') AND `+r.jobArg("run_id")+`=runs.id),
		(`+jobs+`kind='workflow.release' AND `+r.jobArg("workflow_id")+`=runs.workflow_id),
		(SELECT COUNT(*) FROM timers t WHERE t.tenant_id=runs.tenant_id AND t.run_id=runs.id AND t.turn=runs.turn),
		(SELECT COUNT(*) FROM messages m WHERE m.tenant_id=runs.tenant_id AND m.state='pending' AND m.step_key LIKE runs.id || ':%'),
		(SELECT COUNT(*) FROM crm_waiters x WHERE x.tenant_id=runs.tenant_id AND x.step LIKE runs.id || ':%')
		FROM runs WHERE tenant_id=$1 AND id=$2`, o.tenant, o.id)
	if err == ErrNotFound {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	outside := m.calls + m.steps + m.timers + m.mails + m.crms
	switch {
	case m.status == "running" && m.advance != 1:
		return fmt.Sprintf("is running with %d jobs instead of one", m.advance), nil
	case m.status == "waiting" && m.phase == "wait" && m.timers != 1:
		return fmt.Sprintf("waits with %d timers instead of one", m.timers), nil
	case m.status == "waiting" && m.phase != "wait" && outside == 0:
		return "waits for an outside step that nobody is doing", nil
	case m.status == "waiting" && m.phase != "wait" && m.calls+m.timers > 1:
		return fmt.Sprintf("has %d jobs and timers for one outside step", m.calls+m.timers), nil
	case m.status == "held" && m.workflow != "paused" && m.release == 0:
		return "is held although its workflow is " + m.workflow, nil
	case m.status == "parked" && m.parked == nil:
		return "is parked without a reason", nil
	}
	return "", nil
}
