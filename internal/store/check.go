package store

import (
	"fmt"
	"slices"

	"leadloom/internal/account"
)

// Finding is one broken invariant: which, in which tenant, and the id of the row that shows it.
type Finding struct {
	Check  string `json:"check"`
	Tenant string `json:"tenant_id,omitempty"`
	ID     string `json:"id"`
	Detail string `json:"detail"`
}

// check is one invariant of architecture.md §6. Its query returns (tenant_id, id, detail) for each row that breaks it;
// sqlite or postgres replace text on that engine.
type check struct {
	name     string
	text     string
	postgres string
	run      func(*Reader, account.Instance, int) ([]Finding, error)
}

// findingsPerCheck bounds what one check reports.
const findingsPerCheck = 100

var checks = []check{
	{name: "event_chain", run: (*Reader).verifyChain},
	{name: "event_chain_complete", text: `SELECT e.tenant_id, 'events', 'of ' || e.n || ' events before the last seal ' || COALESCE(b.n,0) || ' are in a block'
		FROM (SELECT tenant_id, COUNT(*) AS n FROM events WHERE commit_order < (SELECT commit_order FROM seal_state) GROUP BY tenant_id) e
		LEFT JOIN (SELECT tenant_id, SUM(events) AS n FROM event_blocks GROUP BY tenant_id) b ON b.tenant_id = e.tenant_id
		WHERE e.n <> COALESCE(b.n,0)`,
		postgres: `SELECT e.tenant_id, 'events', 'of ' || e.n || ' events before the last seal ' || COALESCE(b.n,0) || ' are in a block'
		FROM (SELECT tenant_id, COUNT(*) AS n FROM events WHERE (commit_epoch, commit_order) < (SELECT commit_epoch, commit_order FROM seal_state) GROUP BY tenant_id) e
		LEFT JOIN (SELECT tenant_id, SUM(events) AS n FROM event_blocks GROUP BY tenant_id) b ON b.tenant_id = e.tenant_id
		WHERE e.n <> COALESCE(b.n,0)`},
	{name: "runs_move", run: (*Reader).checkRuns},
	{name: "score_is_the_ledger", text: `SELECT l.tenant_id, l.id, 'has the score ' || l.score || ', its ledger sums up to ' || COALESCE(s.points,0)
		FROM leads l LEFT JOIN (SELECT tenant_id, lead_id, SUM(points) AS points FROM score_ledger GROUP BY tenant_id, lead_id) s
		ON s.tenant_id=l.tenant_id AND s.lead_id=l.id WHERE l.deleted_at=0 AND l.score <> COALESCE(s.points,0)`},
	{name: "count_of_leads", text: counted("leads", "SELECT tenant_id, COUNT(*) AS n FROM leads WHERE deleted_at=0 GROUP BY tenant_id")},
	{name: "count_of_users", text: counted("users", "SELECT tenant_id, COUNT(*) AS n FROM users GROUP BY tenant_id")},
	{name: "count_of_tags", text: `SELECT tenant_id, counter, 'is counted as ' || SUM(n) || ', its rows are ' || SUM(k) FROM (
		SELECT tenant_id, counter, n, 0 AS k FROM tenant_counters WHERE counter LIKE 'tag:%'
		UNION ALL SELECT tenant_id, 'tag:' || tag_folded, 0, 1 FROM lead_tags) AS both_ways GROUP BY tenant_id, counter HAVING SUM(n) <> SUM(k)`},
	{name: "count_of_runs", text: `SELECT tenant_id, counter, 'is counted as ' || SUM(n) || ', its rows are ' || SUM(k) FROM (
		SELECT tenant_id, counter, n, 0 AS k FROM tenant_counters WHERE counter LIKE 'runs:%'
		UNION ALL SELECT tenant_id, 'runs:' || workflow_id || ':' || status, 0, 1 FROM runs) AS both_ways GROUP BY tenant_id, counter HAVING SUM(n) <> SUM(k)`},
	{name: "identities_have_leads", text: `SELECT i.tenant_id, i.lead_id, 'is recognised by its ' || i.kind || ' but is no live lead'
		FROM lead_identities i LEFT JOIN leads l ON l.tenant_id=i.tenant_id AND l.id=i.lead_id AND l.deleted_at=0 WHERE i.live=1 AND l.id IS NULL`},
	{name: "recipients_match_messages", text: `SELECT r.tenant_id, r.campaign_id || '/' || r.id, 'is ' || r.state || ' while its message is ' || COALESCE(m.state,'not there')
		FROM campaign_recipients r LEFT JOIN messages m ON m.tenant_id=r.tenant_id AND m.id=r.message_id WHERE r.message_id<>'' AND (m.state IS NULL OR m.state<>r.state)`},
	{name: "pending_recipients_have_messages", text: `SELECT tenant_id, campaign_id || '/' || id, 'is pending and has no message that could be sent'
		FROM campaign_recipients WHERE state='pending' AND message_id=''`},
	{name: "sent_campaigns_are_complete", text: `SELECT c.tenant_id, c.id, 'is sent while ' || COUNT(*) || ' of its recipients are pending'
		FROM campaigns c JOIN campaign_recipients r ON r.tenant_id=c.tenant_id AND r.campaign_id=c.id AND r.state='pending' WHERE c.state='sent' GROUP BY c.tenant_id, c.id`},
	{name: "one_message_per_recipient", text: `SELECT tenant_id, campaign_id || '/' || recipient_id, 'has ' || COUNT(*) || ' messages of one campaign'
		FROM messages WHERE campaign_id<>'' AND recipient_id<>'' GROUP BY tenant_id, campaign_id, recipient_id HAVING COUNT(*)>1`},
	{name: "leads_in_step_with_crms", text: `SELECT l.tenant_id, c.id || '/' || l.id, 'has the version ' || l.version || ', ' || COALESCE(k.synced_version,0) || ' was sent, and it is neither dirty nor a problem'
		FROM connections c JOIN leads l ON l.tenant_id=c.tenant_id AND l.deleted_at=0
		LEFT JOIN crm_links k ON k.tenant_id=c.tenant_id AND k.connection_id=c.id AND k.lead_id=l.id
		WHERE c.enabled=1 AND c.marked_through IS NULL AND COALESCE(k.synced_version,0) < l.version
		AND NOT EXISTS (SELECT 1 FROM crm_dirty d WHERE d.tenant_id=c.tenant_id AND d.connection_id=c.id AND d.lead_id=l.id)
		AND NOT EXISTS (SELECT 1 FROM crm_problems p WHERE p.tenant_id=c.tenant_id AND p.connection_id=c.id AND p.lead_id=l.id AND p.state='open')`},
	{name: "links_are_not_ahead", text: `SELECT k.tenant_id, k.connection_id || '/' || k.lead_id, 'version ' || k.synced_version || ' was sent, the lead has ' || l.version
		FROM crm_links k JOIN leads l ON l.tenant_id=k.tenant_id AND l.id=k.lead_id WHERE k.synced_version > l.version`},
	{name: "unknown_effects_are_shown", text: `SELECT i.tenant_id, i.run_id, 'has a step (' || i.node || ') whose effect is unknown while the run is ' || r.status
		FROM step_intents i JOIN runs r ON r.tenant_id=i.tenant_id AND r.id=i.run_id WHERE i.state='unknown' AND r.status='running'
		AND i.generation=r.generation AND i.node=r.node`},
}

// counted compares a maintained total with its rows.
func counted(counter, rows string) string {
	return `SELECT t.tenant_id, '` + counter + `', 'are counted as ' || COALESCE(c.n,0) || ', their rows are ' || COALESCE(k.n,0) FROM (
		SELECT tenant_id FROM tenant_counters WHERE counter='` + counter + `' UNION SELECT tenant_id FROM (` + rows + `) AS any_row) AS t
		LEFT JOIN (SELECT tenant_id, SUM(n) AS n FROM tenant_counters WHERE counter='` + counter + `' GROUP BY tenant_id) AS c ON c.tenant_id=t.tenant_id
		LEFT JOIN (` + rows + `) AS k ON k.tenant_id=t.tenant_id WHERE COALESCE(c.n,0) <> COALESCE(k.n,0)`
}

// Checks names every check that Check knows, in order.
func Checks() []string {
	out := make([]string, len(checks))
	for i, c := range checks {
		out[i] = c.name
	}
	return out
}

// Check runs one invariant over all tenants and returns at most 100 findings. It only reads.
func (r *Reader) Check(in account.Instance, name string) ([]Finding, error) {
	i := slices.IndexFunc(checks, func(c check) bool { return c.name == name })
	if i < 0 {
		return nil, fmt.Errorf("store: no check is named %q", name)
	}
	c := checks[i]
	var out []Finding
	var err error
	if c.run != nil {
		out, err = c.run(r, in, findingsPerCheck)
	} else {
		text := c.text
		if r.s.pg != nil && c.postgres != "" {
			text = c.postgres
		}
		out, err = queryAll(r, func(r row) (f Finding, err error) {
			err = r.Scan(&f.Tenant, &f.ID, &f.Detail)
			return
		}, text+fmt.Sprintf(" LIMIT %d", findingsPerCheck))
	}
	if err != nil {
		return nil, fmt.Errorf("check %s: %w", name, err)
	}
	for i := range out {
		out[i].Check = name
	}
	return out, nil
}
