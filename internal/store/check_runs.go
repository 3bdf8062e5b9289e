package store

import (
	"encoding/json"
	"fmt"
	"strings"

	"leadloom/internal/workflow"
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

type openRun struct {
	tenant, id, status, phase, turn string
	// of a waiting one its timer, or timers, messages and CRM waiters of its outside step; of a parked one its reason, of a
	// held one its paused workflow
	movers int64
}

func scanOpenRun(r row) (o openRun, err error) {
	err = r.Scan(&o.tenant, &o.id, &o.status, &o.phase, &o.turn, &o.movers)
	return
}

// What moves a run beside jobs, of the row under the name runs. A step's key begins with the run's id and a colon; the
// semicolon comes next, and so the keys are a range of the index.
const (
	runTimers = "(SELECT COUNT(*) FROM timers t WHERE t.tenant_id=runs.tenant_id AND t.run_id=runs.id AND t.turn=runs.turn)"
	runMails  = "(SELECT COUNT(*) FROM messages m WHERE m.tenant_id=runs.tenant_id AND m.step_key<>'' AND m.step_key>runs.id||':' AND m.step_key<runs.id||';' AND m.state='pending')"
	runCRMs   = "(SELECT COUNT(*) FROM crm_waiters x WHERE x.tenant_id=runs.tenant_id AND x.step>runs.id||':' AND x.step<runs.id||';')"
)

const openRuns = "SELECT tenant_id, id, status, phase, CAST(turn AS TEXT), CASE WHEN status='waiting' AND phase='wait' THEN " + runTimers +
	" WHEN status='waiting' THEN " + runTimers + "+" + runMails + "+" + runCRMs + " WHEN status='parked' AND parked IS NOT NULL THEN 1" +
	" WHEN status='held' THEN (SELECT COUNT(*) FROM workflows w WHERE w.tenant_id=runs.tenant_id AND w.id=runs.workflow_id AND w.deleted_at=0 AND w.status='paused') ELSE 0 END" +
	" FROM runs WHERE finished_at = 0 AND (tenant_id, id) > ($1,$2) ORDER BY tenant_id, id LIMIT 2000"

// runsMove finds runs that nothing will move: a running one needs exactly one job of its turn, a waiting one a timer
// or an outside step under way, a held one a paused workflow, a parked one its reason. Runs move while it looks, so
// each suspicion is looked at again in one statement before it is reported.
func (c *checking) runsMove() error {
	jobs, err := c.runsWithJobs()
	if err != nil {
		return err
	}
	tenant, id := "", ""
	for !c.full() {
		page, err := queryAll(c.Reader, scanOpenRun, openRuns, tenant, id)
		if err != nil || len(page) == 0 {
			return err
		}
		for _, o := range page {
			tenant, id = o.tenant, o.id
			c.rows++
			if o.movedBy(jobs) == 1 {
				continue
			}
			detail, err := c.runMoves(o)
			if err != nil {
				return err
			}
			if detail != "" {
				c.found(o.tenant, o.id, "%s", detail)
			}
		}
	}
	return nil
}

// movedBy counts what will move the run; one is as it must be.
func (o openRun) movedBy(jobs map[string]int) int {
	switch {
	case o.status == "running":
		return jobs[o.id+" "+o.turn]
	case o.status == "waiting" && o.phase != "wait":
		return int(o.movers) + jobs[o.id]
	}
	return int(o.movers)
}

// runsWithJobs counts the live jobs of runs: those that advance one by "run turn", those of its steps by "run".
func (r *Reader) runsWithJobs() (map[string]int, error) {
	out := map[string]int{}
	run := r.jobArg("run_id")
	err := queryEach(r, func(rw row) error {
		var k string
		if err := rw.Scan(&k); err != nil {
			return err
		}
		out[k]++
		return nil
	}, "SELECT CASE kind WHEN 'run.advance' THEN "+run+" || ' ' || "+r.jobArg("turn")+" ELSE "+run+" END FROM river_job WHERE state IN "+liveStates+" AND "+run+" IS NOT NULL")
	return out, err
}

// runMovers counts what will move a run.
type runMovers struct {
	status, phase                                       string
	parked                                              *string
	workflow                                            string
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
		`+runTimers+`, `+runMails+`, `+runCRMs+` FROM runs WHERE tenant_id=$1 AND id=$2`, o.tenant, o.id)
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

// oneEffect finds calls that were answered with success twice, although nobody had said that they may be repeated. A
// repeat that a person asks for is an intent of its own.
func (c *checking) oneEffect() error {
	type made struct{ tenant, run, node, request, attempts string }
	twice, err := queryAll(c.Reader, func(r row) (m made, err error) {
		err = r.Scan(&m.tenant, &m.run, &m.node, &m.request, &m.attempts)
		return
	}, `SELECT tenant_id, run_id, node, request, attempts FROM step_intents WHERE effect='action.http' AND attempts LIKE '%"http_2%"http_2%'`)
	if err != nil {
		return err
	}
	for _, m := range twice {
		var call workflow.Call
		var attempts []workflow.Attempt
		if json.Unmarshal([]byte(m.request), &call) != nil || json.Unmarshal([]byte(m.attempts), &attempts) != nil {
			c.found(m.tenant, m.run, "has a step (%s) whose call cannot be read", m.node)
			continue
		}
		n := 0
		for _, a := range attempts {
			if strings.HasPrefix(a.Code, "http_2") {
				n++
			}
		}
		if n > 1 && call.Method != "GET" && call.OnUnknown != "repeat" {
			c.found(m.tenant, m.run, "has a step (%s) whose call succeeded %d times", m.node, n)
		}
	}
	return nil
}

// batchesHaveJobs finds bulks that nobody will finish.
func (c *checking) batchesHaveJobs() error {
	if there, err := c.hasTable("river_job"); err != nil || !there {
		return err
	}
	return c.report(`SELECT b.tenant_id, b.id, 'is ' || b.status || ' and has no job' FROM lead_batches b
		WHERE b.finished_at=0 AND NOT EXISTS (SELECT 1 FROM river_job WHERE kind='leads.bulk' AND state IN ` + liveStates + ` AND ` + c.jobArg("batch") + `=b.id)`)
}
