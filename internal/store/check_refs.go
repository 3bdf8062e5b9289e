package store

import (
	"encoding/json"
	"slices"
	"strings"
)

// tenantTables are the tables whose rows belong to a tenant; a test holds them against the schema.
var tenantTables = []string{"settings", "events", "event_blocks", "idempotency_keys", "tenant_counters", "cache_versions", "users", "sessions", "api_keys",
	"leads", "lead_identities", "lead_tags", "lead_words", "lead_stages", "field_definitions", "notes", "tasks", "score_ledger", "merges", "lead_batches", "lead_batch_chunks",
	"workflows", "workflow_versions", "runs", "run_steps", "step_intents", "timers", "schedules",
	"templates", "campaigns", "campaign_named", "campaign_recipients", "messages", "message_events", "campaign_results", "suppressions",
	"connections", "mappings", "crm_links", "crm_dirty", "crm_problems", "crm_waiters", "quota_budgets"}

// rowsHaveTenants walks each table from one tenant to the next by its key.
func (c *checking) rowsHaveTenants() error {
	for _, table := range tenantTables {
		for at := "\x01"; ; c.rows++ { // a tenant's id is never empty; an empty one would be found by the look-up below
			next, err := queryOne(c.Reader, scanString, "SELECT COALESCE(MIN(tenant_id),'') FROM "+table+" WHERE tenant_id>$1", at)
			if err != nil {
				return err
			}
			if next == "" {
				break
			}
			at = next
			there, err := queryOne(c.Reader, scanInt, "SELECT COUNT(*) FROM tenants WHERE id=$1", at)
			if err != nil {
				return err
			}
			if there == 0 {
				c.found(at, table, "has rows of a tenant that is not there")
			}
		}
	}
	return nil
}

// reference is a column that names a row of another table of the same tenant; "" names none.
type reference struct {
	table, id, column, target string
	// loose ones may name what was removed since; then only a row of another tenant is wrong.
	loose bool
}

var references = []reference{
	{"leads", "x.id", "owner_id", "users", false}, {"leads", "x.id", "merged_into", "leads", false},
	{"lead_identities", "x.lead_id", "lead_id", "leads", false}, {"lead_stages", "x.lead_id", "lead_id", "leads", false}, {"notes", "x.id", "lead_id", "leads", false},
	{"tasks", "x.id", "lead_id", "leads", false}, {"tasks", "x.id", "owner_id", "users", false}, {"score_ledger", "x.id", "lead_id", "leads", false},
	{"merges", "x.id", "survivor_id", "leads", false}, {"merges", "x.id", "merged_id", "leads", false},
	{"lead_batch_chunks", "x.batch_id", "batch_id", "lead_batches", false}, {"lead_batches", "x.id", "user_id", "users", true},
	{"events", "x.id", "lead_id", "leads", false},
	{"sessions", "x.id", "user_id", "users", false}, {"api_keys", "x.id", "user_id", "users", false},
	{"workflow_versions", "x.workflow_id||'/'||x.version", "workflow_id", "workflows", false}, {"schedules", "x.workflow_id", "workflow_id", "workflows", false},
	{"runs", "x.id", "workflow_id", "workflows", false}, {"runs", "x.id", "lead_id", "leads", false},
	{"run_steps", "x.run_id||'/'||x.seq", "run_id", "runs", false}, {"step_intents", "x.run_id||'/'||x.node", "run_id", "runs", false},
	{"campaign_named", "x.campaign_id", "campaign_id", "campaigns", false}, {"campaign_recipients", "x.campaign_id||'/'||x.id", "campaign_id", "campaigns", false},
	{"campaign_recipients", "x.campaign_id||'/'||x.id", "lead_id", "leads", true}, {"campaign_recipients", "x.campaign_id||'/'||x.id", "message_id", "messages", false},
	{"campaign_results", "x.campaign_id||'/'||x.event_id", "campaign_id", "campaigns", false},
	{"messages", "x.id", "campaign_id", "campaigns", true}, {"messages", "x.id", "lead_id", "leads", false},
	{"message_events", "x.event_id", "message_id", "messages", false}, {"message_events", "x.event_id", "lead_id", "leads", false},
	{"mappings", "x.connection_id||'/'||x.version", "connection_id", "connections", true}, {"crm_links", "x.connection_id||'/'||x.lead_id", "connection_id", "connections", true},
	{"crm_links", "x.connection_id||'/'||x.lead_id", "lead_id", "leads", false}, {"crm_dirty", "x.connection_id||'/'||x.lead_id", "connection_id", "connections", true},
	{"crm_dirty", "x.connection_id||'/'||x.lead_id", "lead_id", "leads", false}, {"crm_problems", "x.id", "connection_id", "connections", true},
	{"crm_problems", "x.id", "lead_id", "leads", false}, {"crm_waiters", "x.step", "connection_id", "connections", true}, {"crm_waiters", "x.step", "lead_id", "leads", false},
}

// dangling is a row that names what its tenant does not have.
type dangling struct{ tenant, id, names string }

func scanDangling(r row) (d dangling, err error) { err = r.Scan(&d.tenant, &d.id, &d.names); return }

// rowsStayInTenants looks each reference up within its tenant. What is not there is searched for in the others.
func (c *checking) rowsStayInTenants() error {
	for _, ref := range references {
		n, err := queryOne(c.Reader, scanInt, "SELECT COUNT(*) FROM "+ref.table)
		if err != nil {
			return err
		}
		c.rows += n
		if n == 0 {
			continue
		}
		lost, err := queryAll(c.Reader, scanDangling, "SELECT x.tenant_id, "+ref.id+", x."+ref.column+" FROM "+ref.table+" x LEFT JOIN "+ref.target+
			" y ON y.tenant_id=x.tenant_id AND y.id=x."+ref.column+" WHERE x."+ref.column+"<>'' AND y.id IS NULL LIMIT 1000")
		if err != nil {
			return err
		}
		if err := c.foreign(ref.table+"."+ref.column, ref.target, lost, ref.loose); err != nil {
			return err
		}
	}
	return c.report(`SELECT r.tenant_id, r.id, 'pins version ' || r.version || ' of workflow ' || r.workflow_id || ', which is not there' FROM runs r
		LEFT JOIN workflow_versions v ON v.tenant_id=r.tenant_id AND v.workflow_id=r.workflow_id AND v.version=r.version WHERE v.version IS NULL`)
}

// foreign says of rows that name nothing of their tenant's whose it is.
func (c *checking) foreign(column, target string, lost []dangling, loose bool) error {
	if len(lost) == 0 || c.full() {
		return nil
	}
	var ids []string
	for _, d := range lost {
		ids = append(ids, d.names)
	}
	owners := map[string]string{}
	if err := queryEach(c.Reader, func(r row) error {
		var id, tenant string
		if err := r.Scan(&id, &tenant); err != nil {
			return err
		}
		owners[id] = tenant
		return nil
	}, "SELECT id, tenant_id FROM "+target+" WHERE id IN "+c.list("$1"), jsonText(ids)); err != nil {
		return err
	}
	for _, d := range lost {
		switch owner, ok := owners[d.names]; {
		case ok && owner != d.tenant:
			c.found(d.tenant, d.id, "%s names %s of %s, which belongs to tenant %s", column, d.names, target, owner)
		case !ok && !loose:
			c.found(d.tenant, d.id, "%s names %s of %s, which is not there", column, d.names, target)
		}
	}
	return nil
}

// jobObjects are the arguments of jobs that name a row, and its table.
var jobObjects = map[string]string{"run_id": "runs", "workflow_id": "workflows", "campaign_id": "campaigns", "connection_id": "connections", "message_id": "messages", "batch": "lead_batches"}

// jobsStayInTenants looks the objects of live jobs up in the jobs' tenants. One that was removed meanwhile is nobody's.
func (c *checking) jobsStayInTenants() error {
	if there, err := c.hasTable("river_job"); err != nil || !there {
		return err
	}
	named := map[string][]dangling{} // by table
	args := "json(args)"
	if c.s.pg != nil {
		args = "CAST(args AS TEXT)"
	}
	if err := queryEach(c.Reader, func(r row) error {
		var id, kind, text string
		if err := r.Scan(&id, &kind, &text); err != nil {
			return err
		}
		c.rows++
		var a map[string]any
		if json.Unmarshal([]byte(text), &a) != nil {
			return nil
		}
		tenant, _ := a["tenant_id"].(string)
		if tenant == "" {
			tenant, _ = a["tenant"].(string)
		}
		for key, table := range jobObjects {
			if name, ok := a[key].(string); ok && name != "" && tenant != "" {
				named[table] = append(named[table], dangling{tenant, "job " + id + " (" + kind + ")", name})
			}
		}
		return nil
	}, "SELECT CAST(id AS TEXT), kind, "+args+" FROM river_job WHERE state IN "+liveStates); err != nil {
		return err
	}
	for table, all := range named {
		for some := range slices.Chunk(all, 500) {
			lost, err := c.notThere(table, some)
			if err == nil {
				err = c.foreign("its arguments", table, lost, true)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// notThere keeps those whose tenant has no such row.
func (c *checking) notThere(table string, all []dangling) ([]dangling, error) {
	var keys []string
	for _, d := range all {
		keys = append(keys, d.names)
	}
	has := map[string]bool{}
	err := queryEach(c.Reader, func(r row) error {
		var tenant, id string
		if err := r.Scan(&tenant, &id); err != nil {
			return err
		}
		has[tenant+"\x00"+id] = true
		return nil
	}, "SELECT tenant_id, id FROM "+table+" WHERE tenant_id IN "+c.list("$1")+" AND id IN "+c.list("$2"), jsonText(tenantsOf(all)), jsonText(keys))
	return slices.DeleteFunc(slices.Clone(all), func(d dangling) bool { return has[d.tenant+"\x00"+d.names] }), err
}

func tenantsOf(all []dangling) []string {
	var out []string
	for _, d := range all {
		out = append(out, d.tenant)
	}
	slices.SortFunc(out, strings.Compare)
	return slices.Compact(out)
}

// TenantTables names the tables whose rows belong to a tenant.
func TenantTables() []string { return slices.Clone(tenantTables) }
