package store

import (
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
)

// Bucket is a quarter of an hour since 1970 and how much fell into it: every zone's days are made of whole ones.
type Bucket struct {
	Quarter int64
	Key     string
	N       int64
}

// QuarterMicros is the length of a Bucket.
const QuarterMicros = int64(15 * time.Minute / time.Microsecond)

func scanBucket(r row) (b Bucket, err error) { err = r.Scan(&b.Quarter, &b.Key, &b.N); return }

// Named is a count by name.
type Named struct {
	Name string `json:"name"`
	N    int64  `json:"count"`
}

func scanNamed(r row) (n Named, err error) { err = r.Scan(&n.Name, &n.N); return }

const (
	// runs_by_start
	sqlRunBuckets = `SELECT started_at / 900000000, status, COUNT(*) FROM runs WHERE tenant_id=$1 AND started_at>=$2 AND started_at<$3 GROUP BY started_at / 900000000, status`
	sqlRunStates  = `SELECT status || ':' || outcome, COUNT(*) FROM runs WHERE tenant_id=$1 AND started_at>=$2 AND started_at<$3 GROUP BY status, outcome`
	sqlRunsOf     = `SELECT workflow_id, COUNT(*) FROM runs WHERE tenant_id=$1 AND started_at>=$2 AND started_at<$3 GROUP BY workflow_id ORDER BY COUNT(*) DESC, workflow_id LIMIT 50`
	sqlWorkflows  = `SELECT status, COUNT(*) FROM workflows WHERE tenant_id=$1 AND deleted_at=0 GROUP BY status` // workflows_live
	// messages_by_end
	sqlMailBuckets = `SELECT final_at / 900000000, state, COUNT(*) FROM messages WHERE tenant_id=$1 AND final_at>=$2 AND final_at<$3 AND state <> 'pending' AND kind<>'test' GROUP BY final_at / 900000000, state`
	sqlMailReasons = `SELECT reason, COUNT(*) FROM messages WHERE tenant_id=$1 AND final_at>=$2 AND final_at<$3 AND state <> 'pending' AND kind<>'test' GROUP BY reason`
	// message_events_by_time, campaign_results_by_time
	sqlMailFacts = `SELECT e.type, COUNT(DISTINCT e.message_id) FROM message_events e JOIN messages m ON m.tenant_id=e.tenant_id AND m.id=e.message_id
		WHERE e.tenant_id=$1 AND e.at>=$2-86400000000 AND m.final_at>=$2 AND m.final_at<$3 AND m.state='sent' AND m.kind<>'test' GROUP BY e.type`
	sqlMailElsewhere = `SELECT type, CAST(SUM(n) AS BIGINT) FROM campaign_results WHERE tenant_id=$1 AND at>=$2 AND at<$3 GROUP BY type`
)

// RunBuckets counts runs by start and status now.
func (r *Reader) RunBuckets(sc account.Scope, from, to time.Time) ([]Bucket, error) {
	return queryAll(r, scanBucket, sqlRunBuckets, string(sc.Tenant()), micros(from), micros(to))
}

// RunStates counts runs started in [from, to) by "status:outcome".
func (r *Reader) RunStates(sc account.Scope, from, to time.Time) ([]Named, error) {
	return queryAll(r, scanNamed, sqlRunStates, string(sc.Tenant()), micros(from), micros(to))
}

// RunsByWorkflow counts runs started in [from, to), at most 50 workflows.
func (r *Reader) RunsByWorkflow(sc account.Scope, from, to time.Time) ([]Named, error) {
	return queryAll(r, scanNamed, sqlRunsOf, string(sc.Tenant()), micros(from), micros(to))
}

// WorkflowStates counts live workflows by status.
func (r *Reader) WorkflowStates(sc account.Scope) ([]Named, error) {
	return queryAll(r, scanNamed, sqlWorkflows, string(sc.Tenant()))
}

// MailBuckets counts ended messages by end and state, tests left out.
func (r *Reader) MailBuckets(sc account.Scope, from, to time.Time) ([]Bucket, error) {
	return queryAll(r, scanBucket, sqlMailBuckets, string(sc.Tenant()), micros(from), micros(to))
}

// MailReasons counts ended messages by reason, tests left out.
func (r *Reader) MailReasons(sc account.Scope, from, to time.Time) ([]Named, error) {
	return queryAll(r, scanNamed, sqlMailReasons, string(sc.Tenant()), micros(from), micros(to))
}

// MailFacts counts what became of the messages sent in [from, to), whenever it was learned (a provider's clock may be
// a day behind), and results measured elsewhere in that time.
func (r *Reader) MailFacts(sc account.Scope, from, to time.Time) (ours, elsewhere map[campaign.Fact]int64, err error) {
	if ours, err = factCounts(r, sqlMailFacts, string(sc.Tenant()), micros(from), micros(to)); err != nil {
		return nil, nil, err
	}
	elsewhere, err = factCounts(r, sqlMailElsewhere, string(sc.Tenant()), micros(from), micros(to))
	return ours, elsewhere, err
}

// Zone is the tenant's time zone name; empty when the tenant has none.
func (r *Reader) Zone(sc account.Scope) (string, error) {
	z, err := queryOne(r, scanString, "SELECT timezone FROM tenants WHERE id=$1", string(sc.Tenant()))
	if err == ErrNotFound {
		return "", nil
	}
	return z, err
}
