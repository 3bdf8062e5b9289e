package service

import (
	"errors"
	"sync"

	"github.com/maypok86/otter/v2"

	"leadloom/internal/account"
	"leadloom/internal/action"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// areaWorkflows is the cache area of a tenant's workflows; whoever publishes, pauses, resumes or deletes one bumps it.
const areaWorkflows = "workflows"

// maxPlans bounds the compiled versions that one process keeps.
const maxPlans = 4096

// flowCache holds compiled workflows: versions never change, a tenant's set of active ones counts only at the cache
// version that the reader sees.
type flowCache struct {
	kinds   *action.Registry
	plans   *otter.Cache[planKey, *workflow.Plan]
	tenants sync.Map // account.TenantID → *flowRules
}

type planKey struct {
	tenant  account.TenantID
	id      workflow.ID
	version int64
}

func newFlowCache() *flowCache {
	return &flowCache{kinds: action.NewRegistry(), plans: otter.Must(&otter.Options[planKey, *workflow.Plan]{MaximumSize: maxPlans})}
}

// flowRules are a tenant's live workflows, compiled.
type flowRules struct {
	version int64
	byID    map[workflow.ID]*flowRule
	hears   map[event.Type][]*flowRule // active ones by position
}

type flowRule struct {
	*workflow.Workflow
	plan *workflow.Plan
}

// triggering are the event types that can start a run; the others cost nothing.
var triggering = []event.Type{event.LeadCreated, event.LeadUpdated, event.ScoreChanged}

// flowRules are the tenant's workflows as this reader sees them. They are shared: nobody changes them. A transaction
// may keep what it has not committed yet: its cache version is its own.
func (c *core) flowRules(r *store.Reader, sc account.Scope) (*flowRules, error) {
	version, err := r.CacheVersion(sc, areaWorkflows)
	if err != nil {
		return nil, err
	}
	if v, ok := c.flows.tenants.Load(sc.Tenant()); ok && v.(*flowRules).version == version {
		return v.(*flowRules), nil
	}
	rules := &flowRules{version: version, byID: map[workflow.ID]*flowRule{}, hears: map[event.Type][]*flowRule{}}
	if version > 0 {
		published, err := r.PublishedWorkflows(sc)
		if err != nil {
			return nil, err
		}
		for _, p := range published {
			plan, err := c.compileStored(planKey{sc.Tenant(), p.Workflow.ID, p.Workflow.Version}, p.Definition)
			if err != nil {
				return nil, err
			}
			rule := &flowRule{p.Workflow, plan}
			rules.byID[p.Workflow.ID] = rule
			for _, t := range triggering {
				if p.Workflow.Status == workflow.Active && plan.Listens(t) {
					rules.hears[t] = append(rules.hears[t], rule)
				}
			}
		}
	}
	c.flows.tenants.Store(sc.Tenant(), rules)
	return rules, nil
}

// plan is a compiled version, from the cache or from its row. It is kept once the transaction has committed: until then
// the version may still become another one.
func (c *core) plan(tx *store.Tx, sc account.Scope, id workflow.ID, version int64) (*workflow.Plan, error) {
	key := planKey{sc.Tenant(), id, version}
	if p, ok := c.flows.plans.GetIfPresent(key); ok {
		return p, nil
	}
	raw, _, err := tx.WorkflowDefinition(sc, id, version)
	if errors.Is(err, store.ErrNotFound) {
		return nil, fault.Internal("read a pinned version", err)
	}
	if err != nil {
		return nil, err
	}
	p, err := c.compileStored(key, raw)
	if err == nil {
		tx.OnCommit(func() { c.flows.plans.Set(key, p) })
	}
	return p, err
}

// compileStored compiles what was checked when it was published. Problems that are new (an action that this binary
// does not have) stay inside the plan: its runs park at that node.
func (c *core) compileStored(key planKey, raw []byte) (*workflow.Plan, error) {
	if p, ok := c.flows.plans.GetIfPresent(key); ok {
		return p, nil
	}
	d, _ := workflow.Parse(raw)
	if d == nil {
		return nil, fault.Internal("read a stored definition", errors.New(string(key.id)))
	}
	p, _ := workflow.Compile(d, c.flows.kinds)
	p.Workflow, p.Version = key.id, key.version
	return p, nil
}
