package service

import (
	"encoding/json"
	"errors"
	"sync"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/store"
)

// areaLeads is the cache area of a tenant's lead rules; whoever changes a field definition or the settings bumps it.
const areaLeads = "lead_rules"

// settingLeads is the settings key of a tenant's own lead rules.
const settingLeads = "leads"

type versionedRules struct {
	version int64
	rules   *lead.Rules
}

// ruleCache holds compiled rules by tenant; an entry counts only at the version that the reader sees.
var ruleCache sync.Map // ruleKey → versionedRules

type ruleKey struct {
	st     *store.Store
	tenant account.TenantID
}

// leadRules are the tenant's rules as this transaction sees them. They are shared: nobody changes them. What was read
// here is kept for others only once it has committed: a rehearsal may see definitions that never come to be, under a
// version that another change gets later.
func (c *core) leadRules(tx *store.Tx, sc account.Scope) (*lead.Rules, error) {
	v, fresh, err := c.readRules(tx.Reader, sc)
	if err == nil && fresh {
		tx.OnCommit(func() { ruleCache.Store(ruleKey{c.st, sc.Tenant()}, v) })
	}
	return v.rules, err
}

// LeadRules are the tenant's rules for reading.
func (s *Leads) LeadRules(ctx ctxT, sc account.Scope) (*lead.Rules, error) {
	return s.committedRules(s.st.Read(ctx), sc)
}

func (c *core) committedRules(r *store.Reader, sc account.Scope) (*lead.Rules, error) {
	v, fresh, err := c.readRules(r, sc)
	if err == nil && fresh {
		ruleCache.Store(ruleKey{c.st, sc.Tenant()}, v)
	}
	return v.rules, err
}

// readRules finds the rules at the version that the reader sees in the cache, else compiles them (fresh).
func (c *core) readRules(r *store.Reader, sc account.Scope) (v versionedRules, fresh bool, err error) {
	version, err := r.CacheVersion(sc, areaLeads)
	if err != nil {
		return v, false, err
	}
	if known, ok := ruleCache.Load(ruleKey{c.st, sc.Tenant()}); ok && known.(versionedRules).version == version {
		return known.(versionedRules), false, nil
	}
	rules := lead.DefaultRules()
	text, region, err := r.LeadSettings(sc, settingLeads)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return v, false, err
	}
	if text != "" {
		if err := json.Unmarshal([]byte(text), rules); err != nil {
			return v, false, fault.Internal("read the tenant's lead rules", err)
		}
	}
	if rules.Region == "" {
		rules.Region = region
	}
	defs, err := r.Fields(sc)
	if err != nil {
		return v, false, err
	}
	for _, d := range defs {
		rules.Fields[d.Key] = d.FieldDef
	}
	return versionedRules{version, rules}, true, nil
}
