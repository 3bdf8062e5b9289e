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

// leadRules are the tenant's rules as this reader sees them. They are shared: nobody changes them.
func (c *core) leadRules(r *store.Reader, sc account.Scope) (*lead.Rules, error) {
	version, err := r.CacheVersion(sc, areaLeads)
	if err != nil {
		return nil, err
	}
	key := ruleKey{c.st, sc.Tenant()}
	if v, ok := ruleCache.Load(key); ok && v.(versionedRules).version == version {
		return v.(versionedRules).rules, nil
	}
	rules := lead.DefaultRules()
	text, region, err := r.LeadSettings(sc, settingLeads)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	if text != "" {
		if err := json.Unmarshal([]byte(text), rules); err != nil {
			return nil, fault.Internal("read the tenant's lead rules", err)
		}
	}
	if rules.Region == "" {
		rules.Region = region
	}
	defs, err := r.Fields(sc)
	if err != nil {
		return nil, err
	}
	for _, d := range defs {
		rules.Fields[d.Key] = d.FieldDef
	}
	ruleCache.Store(key, versionedRules{version, rules})
	return rules, nil
}

// LeadRules are the tenant's rules for reading.
func (s *Leads) LeadRules(ctx ctxT, sc account.Scope) (*lead.Rules, error) {
	return s.leadRules(s.st.Read(ctx), sc)
}
