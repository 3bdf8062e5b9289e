package store

import (
	"leadloom/internal/account"
	"leadloom/internal/workflow"
)

// LostJob is a job of a run that will do nothing more, although its worker had no chance to say so: an operator
// cancelled it, or the process was killed during its last attempt.
type LostJob struct {
	Tenant account.TenantID
	RunID  workflow.RunID
	Turn   string // of run.advance
	Step   string // of step.http: the key of the intent
}

// LostRunJobs lists jobs of runs that ended without being done, the latest first.
func (r *Reader) LostRunJobs(_ account.Instance, limit int) ([]LostJob, error) {
	arg := func(name string) string { return "COALESCE(" + r.jobArg(name) + ", '')" }
	return queryAll(r, func(r row) (j LostJob, err error) {
		err = r.Scan(&j.Tenant, &j.RunID, &j.Turn, &j.Step)
		return
	}, "SELECT "+arg("tenant_id")+", "+arg("run_id")+", "+arg("turn")+", "+arg("step")+` FROM river_job
		WHERE state IN ('discarded', 'cancelled') AND kind IN ('run.advance', 'step.http') ORDER BY finalized_at DESC LIMIT $1`, limit)
}
