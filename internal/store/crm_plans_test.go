package store

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
	plan{"links of leads", "SELECT " + linkColumns + " FROM crm_links WHERE tenant_id=$1 AND lead_id IN (SELECT value FROM json_each($2))", []any{"t", "[]"}},
	plan{"problems of a connection", problemsSQL, []any{"t", "c", "open", "", 50}},
	plan{"problems to try again", retryableSQL, []any{"t", "c", "% manual %", 500}},
)
