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
