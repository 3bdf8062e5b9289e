package store

import (
	"encoding/json"
	"fmt"
	"strings"

	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/workflow"
)

const runColumns = "id, workflow_id, version, lead_id, trigger_id, event_id, status, outcome, node, phase, steps, visits, generation, turn, context, parked, reason, depth, path, started_at, updated_at, finished_at"

func scanRun(r row) (*workflow.Run, error) {
	var run workflow.Run
	var visits, context, path string
	var parked *string
	var started, updated, finished, depth int64
	err := r.Scan(&run.ID, &run.WorkflowID, &run.Version, &run.LeadID, &run.TriggerID, &run.EventID, &run.Status, &run.Outcome, &run.Node, &run.Phase,
		&run.Steps, &visits, &run.Generation, &run.Turn, &context, &parked, &run.Reason, &depth, &path, &started, &updated, &finished)
	if err != nil {
		return nil, err
	}
	run.Depth = int(depth)
	run.StartedAt, run.UpdatedAt, run.FinishedAt = fromMicros(started), fromMicros(updated), fromMicros(finished)
	for _, part := range []struct {
		text string
		into any
	}{{visits, &run.Visits}, {context, &run.Context}, {path, &run.Path}, {orEmpty(parked), &run.Parked}} {
		if len(part.text) <= 2 { // "", {} and []
			continue
		}
		d := json.NewDecoder(strings.NewReader(part.text))
		d.UseNumber()
		if err := d.Decode(part.into); err != nil {
			return nil, fmt.Errorf("run %s: %w", run.ID, err)
		}
	}
	return &run, nil
}

func runArgs(sc account.Scope, r *workflow.Run) []any {
	var parked any
	if r.Parked != nil {
		parked = jsonText(r.Parked)
	}
	return []any{string(sc.Tenant()), string(r.ID), string(r.WorkflowID), r.Version, string(r.LeadID), r.TriggerID, r.EventID, string(r.Status), r.Outcome, r.Node,
		string(r.Phase), r.Steps, objectText(r.Visits), r.Generation, r.Turn, objectText(r.Context), parked, r.Reason, int64(r.Depth), listText(r.Path),
		micros(r.StartedAt), micros(r.UpdatedAt), micros(r.FinishedAt)}
}

func objectText[V any](m map[string]V) string {
	if len(m) == 0 {
		return "{}"
	}
	return jsonText(m)
}

func listText(list []string) string {
	if len(list) == 0 {
		return "[]"
	}
	return jsonText(list)
}

// RunCounter names the maintained total of a workflow's runs in a state.
func RunCounter(id workflow.ID, s workflow.RunStatus) string {
	return "runs:" + string(id) + ":" + string(s)
}

// InsertRun stores a new run and counts it.
func (tx *Tx) InsertRun(sc account.Scope, r *workflow.Run) error {
	r.StartedAt, r.UpdatedAt = tx.now, tx.now
	_, err := tx.exec("INSERT INTO runs (tenant_id, "+runColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23)", runArgs(sc, r)...)
	tx.AddCount(sc, RunCounter(r.WorkflowID, r.Status), 1)
	return err
}

// UpdateRun stores a run that was read in this transaction in state before with the given turn, and counts the change
// of state. ErrNotFound means that somebody else has moved it meanwhile.
func (tx *Tx) UpdateRun(sc account.Scope, r *workflow.Run, before workflow.RunStatus, turn int64) error {
	r.UpdatedAt = tx.now
	n, err := tx.exec(`UPDATE runs SET lead_id=$5, status=$8, outcome=$9, node=$10, phase=$11, steps=$12, visits=$13, generation=$14, turn=$15, context=$16, parked=$17,
		reason=$18, updated_at=$22, finished_at=$23
		WHERE tenant_id=$1 AND id=$2 AND turn=$24 AND status=$25 AND workflow_id=$3 AND version=$4 AND trigger_id=$6 AND event_id=$7 AND depth=$19 AND path=$20 AND started_at=$21`,
		append(runArgs(sc, r), turn, string(before))...)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	if before != r.Status {
		tx.AddCount(sc, RunCounter(r.WorkflowID, before), -1)
		tx.AddCount(sc, RunCounter(r.WorkflowID, r.Status), 1)
	}
	return err
}

// Run reads one by id. In a Tx the row is locked.
func (r *Reader) Run(sc account.Scope, id workflow.RunID) (*workflow.Run, error) {
	return queryOne(r, scanRun, "SELECT "+runColumns+" FROM runs WHERE tenant_id=$1 AND id=$2"+r.lock(), string(sc.Tenant()), string(id))
}

// RunToAdvance reads a run for its job, with the state of its workflow now. On PostgreSQL the workflow's row is locked
// against changes until the transaction ends: once a pause has returned nothing acts any more, and no run is held
// behind the back of a resume.
func (tx *Tx) RunToAdvance(sc account.Scope, id workflow.RunID) (*workflow.Run, workflow.Status, error) {
	text := runToAdvance
	if tx.s.pg != nil {
		text += " FOR UPDATE OF runs FOR SHARE OF w"
	}
	var status string
	run, err := queryOne(tx.Reader, func(r row) (*workflow.Run, error) { return scanRun(scanMore{r, []any{&status}}) }, text, string(sc.Tenant()), string(id))
	return run, workflow.Status(status), err
}

// runToAdvance joins: a workflow's row is never removed.
const runToAdvance = `SELECT runs.id, runs.workflow_id, runs.version, lead_id, trigger_id, event_id, runs.status, outcome, node, phase, steps, visits, generation, turn, context, parked,
	reason, depth, path, started_at, runs.updated_at, finished_at, CASE WHEN w.deleted_at=0 THEN w.status ELSE 'deleted' END
	FROM runs JOIN workflows w ON w.tenant_id=runs.tenant_id AND w.id=runs.workflow_id WHERE runs.tenant_id=$1 AND runs.id=$2`

// runRows are the columns of a list: variables stay behind, they can be 256 KiB a run.
const runRows = "id, workflow_id, version, lead_id, trigger_id, event_id, status, outcome, node, phase, steps, '{}', generation, turn, '{}', parked, reason, depth, path, started_at, updated_at, finished_at"

const (
	runsByWorkflow = "SELECT " + runRows + " FROM runs WHERE tenant_id=$1 AND workflow_id=$2 AND id < $3 ORDER BY id DESC LIMIT $4"
	runsByStatus   = "SELECT " + runRows + " FROM runs WHERE tenant_id=$1 AND workflow_id=$2 AND status=$3 AND id < $4 ORDER BY id DESC LIMIT $5"
	runsOfLead     = "SELECT " + runRows + " FROM runs WHERE tenant_id=$1 AND lead_id=$2 AND workflow_id=$3 AND id < $4 AND ($5='' OR status=$5) ORDER BY id DESC LIMIT $6"
	runsHeld       = "SELECT " + runColumns + " FROM runs WHERE tenant_id=$1 AND workflow_id=$2 AND status='held' ORDER BY id LIMIT $3"
)

// RunFilter chooses runs of one workflow. Before is the id after which the list goes on; empty starts with the newest.
type RunFilter struct {
	Workflow workflow.ID
	Status   workflow.RunStatus
	Lead     lead.ID
	Before   workflow.RunID
	Limit    int
}

// HeldRuns reads runs that a pause holds, oldest first, to let them go on. In a Tx their rows are locked.
func (r *Reader) HeldRuns(sc account.Scope, id workflow.ID, limit int) ([]*workflow.Run, error) {
	return queryAll(r, scanRun, runsHeld+r.lock(), string(sc.Tenant()), string(id), limit)
}

// Runs lists runs, newest first, without their variables.
func (r *Reader) Runs(sc account.Scope, f RunFilter) ([]*workflow.Run, error) {
	before := string(f.Before)
	if before == "" {
		before = "~" // behind every id
	}
	tenant, id := string(sc.Tenant()), string(f.Workflow)
	switch {
	case f.Lead != "":
		return queryAll(r, scanRun, runsOfLead, tenant, string(f.Lead), id, before, string(f.Status), f.Limit)
	case f.Status == "":
		return queryAll(r, scanRun, runsByWorkflow, tenant, id, before, f.Limit)
	}
	return queryAll(r, scanRun, runsByStatus, tenant, id, string(f.Status), before, f.Limit)
}

// RunCounts are the maintained totals of runs by workflow and state; a workflow that never had a run is missing. Of one
// workflow when id is given, else of all.
func (r *Reader) RunCounts(sc account.Scope, id workflow.ID) (map[workflow.ID]map[workflow.RunStatus]int64, error) {
	type count struct {
		counter string
		n       int64
	}
	prefix := "runs:"
	if id != "" {
		prefix += string(id) + ":"
	}
	rows, err := queryAll(r, func(r row) (c count, err error) { err = r.Scan(&c.counter, &c.n); return }, runCounts, string(sc.Tenant()), prefix, prefix+"~")
	out := map[workflow.ID]map[workflow.RunStatus]int64{}
	for _, c := range rows {
		parts := strings.Split(c.counter, ":")
		if len(parts) != 3 {
			continue
		}
		of := out[workflow.ID(parts[1])]
		if of == nil {
			of = map[workflow.RunStatus]int64{}
			out[workflow.ID(parts[1])] = of
		}
		of[workflow.RunStatus(parts[2])] = c.n
	}
	return out, err
}

const runCounts = "SELECT counter, CAST(SUM(n) AS BIGINT) FROM tenant_counters WHERE tenant_id=$1 AND counter >= $2 AND counter < $3 GROUP BY counter"

// LastRun is what the entry rule needs to know of a lead's runs of a workflow.
func (r *Reader) LastRun(sc account.Scope, id workflow.ID, l lead.ID) (workflow.Last, error) {
	return queryOne(r, func(r row) (last workflow.Last, err error) {
		var n, inside int64
		err = r.Scan(&n, &inside, &last.EndedAt)
		last.Any, last.Inside = n > 0, inside > 0
		return
	}, lastRun, string(sc.Tenant()), string(l), string(id))
}

const lastRun = `SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN finished_at=0 THEN 1 ELSE 0 END),0) AS BIGINT), CAST(COALESCE(MAX(finished_at),0) AS BIGINT)
	FROM runs WHERE tenant_id=$1 AND lead_id=$2 AND workflow_id=$3`

const stepColumns = "seq, node, visit, type, state, started_at, finished_at, exit, decision, output, error"

// AddSteps appends new steps of a run in one statement.
func (tx *Tx) AddSteps(sc account.Scope, id workflow.RunID, steps []workflow.Step) error {
	if len(steps) == 0 {
		return nil
	}
	var b strings.Builder
	b.WriteString("INSERT INTO run_steps (tenant_id, run_id, " + stepColumns + ") VALUES ")
	args := []any{string(sc.Tenant()), string(id)}
	for i, s := range steps {
		if i > 0 {
			b.WriteByte(',')
		}
		n := len(args)
		fmt.Fprintf(&b, "($1,$2,$%d,$%d,$%d,$%d,$%d,$%d,$%d,$%d,$%d,$%d,$%d)", n+1, n+2, n+3, n+4, n+5, n+6, n+7, n+8, n+9, n+10, n+11)
		args = append(args, s.Seq, s.Node, s.Visit, s.Type, string(s.State), micros(s.StartedAt), micros(s.FinishedAt), s.Exit, orNull(string(s.Decision)), orNull(string(s.Output)), problemText(s.Error))
	}
	_, err := tx.exec(b.String(), args...)
	return err
}

func problemText(p *workflow.Problem) any {
	if p == nil {
		return nil
	}
	return jsonText(p)
}

// FinishStep completes an open step; an output that is nil keeps the stored one. It changes nothing when the step is
// complete already.
func (tx *Tx) FinishStep(sc account.Scope, id workflow.RunID, s *workflow.Step) error {
	_, err := tx.exec("UPDATE run_steps SET state=$1, finished_at=$2, exit=$3, output=COALESCE($4, output), error=$5 WHERE tenant_id=$6 AND run_id=$7 AND seq=$8 AND state='open'",
		string(s.State), micros(s.FinishedAt), s.Exit, orNull(string(s.Output)), problemText(s.Error), string(sc.Tenant()), string(id), s.Seq)
	return err
}

const runSteps = "SELECT " + stepColumns + " FROM run_steps WHERE tenant_id=$1 AND run_id=$2 AND seq > $3 ORDER BY seq LIMIT $4"

// Steps lists a run's steps after the given number, in order.
func (r *Reader) Steps(sc account.Scope, id workflow.RunID, after int64, limit int) ([]workflow.Step, error) {
	return queryAll(r, func(r row) (s workflow.Step, err error) {
		var started, finished int64
		var decision, output, problem *string
		if err = r.Scan(&s.Seq, &s.Node, &s.Visit, &s.Type, &s.State, &started, &finished, &s.Exit, &decision, &output, &problem); err != nil {
			return
		}
		s.StartedAt, s.FinishedAt = fromMicros(started), fromMicros(finished)
		if decision != nil {
			s.Decision = json.RawMessage(*decision)
		}
		if output != nil {
			s.Output = json.RawMessage(*output)
		}
		if problem != nil {
			err = json.Unmarshal([]byte(*problem), &s.Error)
		}
		return
	}, runSteps, string(sc.Tenant()), string(id), after, limit)
}

const intentColumns = "run_id, node, visit, generation, effect, request, digest, state, attempt, attempts, remote_id, created_at, updated_at"

func scanIntent(r row) (*workflow.Intent, error) {
	var i workflow.Intent
	var request, attempts string
	var created, updated int64
	if err := r.Scan(&i.Ref.RunID, &i.Ref.Node, &i.Ref.Visit, &i.Ref.Generation, &i.Effect, &request, &i.Digest, &i.State, &i.Attempt, &attempts, &i.RemoteID, &created, &updated); err != nil {
		return nil, err
	}
	i.Request, i.CreatedAt, i.UpdatedAt = json.RawMessage(request), fromMicros(created), fromMicros(updated)
	return &i, json.Unmarshal([]byte(attempts), &i.Attempts)
}

// InsertIntent stores what an outside step is about to do.
func (tx *Tx) InsertIntent(sc account.Scope, i *workflow.Intent) error {
	_, err := tx.exec("INSERT INTO step_intents (tenant_id, "+intentColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14)",
		string(sc.Tenant()), string(i.Ref.RunID), i.Ref.Node, i.Ref.Visit, i.Ref.Generation, i.Effect, string(i.Request), i.Digest, string(i.State), i.Attempt, attemptsText(i.Attempts), i.RemoteID, micros(tx.now), micros(tx.now))
	return err
}

func attemptsText(list []workflow.Attempt) string {
	if len(list) == 0 {
		return "[]"
	}
	return jsonText(list[max(0, len(list)-20):])
}

// UpdateIntent stores state, attempts and remote id.
func (tx *Tx) UpdateIntent(sc account.Scope, i *workflow.Intent) error {
	n, err := tx.exec("UPDATE step_intents SET state=$1, attempt=$2, attempts=$3, remote_id=$4, updated_at=$5 WHERE tenant_id=$6 AND run_id=$7 AND node=$8 AND visit=$9 AND generation=$10",
		string(i.State), i.Attempt, attemptsText(i.Attempts), i.RemoteID, micros(tx.now), string(sc.Tenant()), string(i.Ref.RunID), i.Ref.Node, i.Ref.Visit, i.Ref.Generation)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// Intent reads one. In a Tx the row is locked.
func (r *Reader) Intent(sc account.Scope, ref workflow.StepRef) (*workflow.Intent, error) {
	return queryOne(r, scanIntent, "SELECT "+intentColumns+" FROM step_intents WHERE tenant_id=$1 AND run_id=$2 AND node=$3 AND visit=$4 AND generation=$5"+r.lock(),
		string(sc.Tenant()), string(ref.RunID), ref.Node, ref.Visit, ref.Generation)
}

const runIntents = "SELECT " + intentColumns + " FROM step_intents WHERE tenant_id=$1 AND run_id=$2 ORDER BY node, visit, generation LIMIT 500"

// Intents lists a run's intents.
func (r *Reader) Intents(sc account.Scope, id workflow.RunID) ([]*workflow.Intent, error) {
	return queryAll(r, scanIntent, runIntents, string(sc.Tenant()), string(id))
}
