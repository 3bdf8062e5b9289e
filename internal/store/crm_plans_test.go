package store

import (
	"context"
	"strings"
	"testing"
)

var _ = addPlans(
	plan{"connections of a tenant", connectionsSQL, []any{"t", "", 50}},
	plan{"connections with something to send", dueConnectionsSQL, []any{1}},
	plan{"connections to mark", unmarkedConnectionsSQL, nil},
	plan{"connections that may work again", idleConnectionsSQL, []any{1}},
	plan{"connections that steps wait for in vain", strandedConnectionsSQL, nil},
	plan{"steps that wait for too long", overdueWaitsSQL, []any{1, 200}},
	plan{"due dirty rows", dueDirtySQL, []any{"t", "c", 1, 200}},
	plan{"backlog of a connection", backlogRowsSQL, []any{"t", "c"}},
	plan{"link of a remote record", linkByRemoteSQL, []any{"t", "c", "r"}},
	plan{"problems of a connection", problemsSQL, []any{"t", "c", "open", "", 50}},
	plan{"problems to try again", retryableSQL, []any{"t", "c", "% manual %", 500}},
)

// TestLeadLinks_LookForEachLead: reading all rows of the tenant uses an index too, and costs more with every lead.
func TestLeadLinks_LookForEachLead(t *testing.T) {
	ctx := context.Background()
	st := emptyStore(t)
	r := st.Read(ctx)
	for _, sql := range []string{r.leadLinksSQL(), r.leadProblemsSQL()} {
		steps, err := queryAll(r, func(r row) (string, error) {
			var a, b, c int64
			var detail string
			err := r.Scan(&a, &b, &c, &detail)
			return detail, err
		}, "EXPLAIN QUERY PLAN "+sql, "t", `["a","b"]`)
		if err != nil {
			t.Fatal(err)
		}
		if all := strings.Join(steps, "; "); !strings.Contains(all, "(tenant_id=? AND lead_id=?)") {
			t.Errorf("%s\n%s; want a search by the lead", sql, all)
		}
	}
}
