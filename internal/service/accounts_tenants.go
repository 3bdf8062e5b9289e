package service

import (
	"context"
	"fmt"
	"regexp"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/store"
)

// The verbs on tenants cross them: the caller's right, system:admin, exists in the first tenant only
// (account.EffectivePermissions), and each method checks it again.

// TenantPage is a part of all tenants, by id.
type TenantPage struct {
	Tenants []*account.Tenant
	Total   int64
	More    bool
}

// ListTenants lists all tenants after the given one.
func (a *Accounts) ListTenants(ctx context.Context, sc account.Scope, after account.TenantID, limit int) (TenantPage, error) {
	var p TenantPage
	if err := sc.Require(account.SystemAdmin); err != nil {
		return p, err
	}
	r := a.st.Read(ctx)
	var err error
	if p.Tenants, err = r.Tenants(a.inst, after, limit+1); err != nil {
		return p, err
	}
	if p.More = len(p.Tenants) > limit; p.More {
		p.Tenants = p.Tenants[:limit]
	}
	p.Total, err = r.Count(account.SystemScope(account.FirstTenant, "tenants"), store.TenantsCounter)
	return p, err
}

// GetTenant finds a tenant.
func (a *Accounts) GetTenant(ctx context.Context, sc account.Scope, id account.TenantID) (*account.Tenant, error) {
	if err := sc.Require(account.SystemAdmin); err != nil {
		return nil, err
	}
	t, err := a.st.Read(ctx).Tenant(a.inst, id)
	return t, notFound(err, "tenant", string(id))
}

// NewTenant is the input from which a tenant is made. Admin is its first user; without one, `leadloom user create`
// makes him.
type NewTenant struct {
	ID    string // optional, a-z 0-9 and -, else we choose
	Name  string
	Plan  string // default free
	Admin *account.NewUser
}

var tenantID = regexp.MustCompile(`^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$`)

// CreateTenant makes a tenant, and its first administrator when one is given.
func (a *Accounts) CreateTenant(ctx context.Context, sc account.Scope, in NewTenant) (*account.Tenant, error) {
	if err := sc.Require(account.SystemAdmin); err != nil {
		return nil, err
	}
	t, err := checkNewTenant(&in)
	if err != nil {
		return nil, err
	}
	hash := ""
	if in.Admin != nil {
		if hash, err = a.hash(ctx, account.Turn{Account: "by " + string(sc.UserID)}, in.Admin.Password); err != nil {
			return nil, err
		}
	}
	return write(ctx, a.core, sc, func(tx *store.Tx) (*account.Tenant, error) {
		t := t
		if t.ID == "" {
			t.ID = account.TenantID(tx.NewID())
		}
		if err := tx.InsertTenant(a.inst, &t); err != nil {
			if store.IsConflict(err, "tenants") {
				return nil, fault.Conflict("tenant_taken", fmt.Sprintf("There is a tenant %q already. Send another id, or none.", t.ID))
			}
			return nil, err
		}
		if in.Admin != nil {
			inside := account.SystemScope(t.ID, "tenants").As(sc.Actor, account.Cause{})
			inside.RequestID = sc.RequestID
			if _, err := a.insertUser(tx, inside, *in.Admin, account.RoleAdmin, hash); err != nil {
				return nil, err
			}
		}
		return &t, record(tx, sc, event.TenantCreated, string(t.ID), map[string]any{"name": t.Name, "plan": t.Plan}, nil)
	})
}

// checkNewTenant reports every problem and normalises the administrator in place.
func checkNewTenant(in *NewTenant) (account.Tenant, error) {
	var t account.Tenant
	name, problems := account.CheckTenantName("name", in.Name)
	t.Name = name
	if in.Plan == "" {
		in.Plan = string(account.PlanFree)
	}
	plan, fields := account.CheckPlan("plan", in.Plan)
	t.Plan = plan
	problems = append(problems, fields...)
	if in.ID != "" && !tenantID.MatchString(in.ID) {
		problems = append(problems, fault.Field{Path: "id", Code: "bad_character", Message: "Send 1 to 63 of a-z, 0-9 and -, not - at the ends, or leave it out."})
	}
	t.ID = account.TenantID(in.ID)
	if in.Admin != nil {
		n, _, fields := in.Admin.Normalize()
		n.Role = string(account.RoleAdmin)
		for _, f := range fields {
			f.Path = "admin." + f.Path
			problems = append(problems, f)
		}
		in.Admin = &n
	}
	return t, fault.InvalidFields(problems).OrNil()
}

// SetPlan gives a tenant another plan.
func (a *Accounts) SetPlan(ctx context.Context, sc account.Scope, id account.TenantID, plan string, match IfMatch) (*account.Tenant, error) {
	if err := sc.Require(account.SystemAdmin); err != nil {
		return nil, err
	}
	to, problems := account.CheckPlan("plan", plan)
	if len(problems) > 0 {
		return nil, fault.InvalidFields(problems)
	}
	return write(ctx, a.core, sc, func(tx *store.Tx) (*account.Tenant, error) {
		t, err := tx.Tenant(a.inst, id)
		if err != nil {
			return nil, notFound(err, "tenant", string(id))
		}
		if !match.Holds(t.Version) {
			return nil, fault.Stale(nil)
		}
		from := t.Plan
		if from == to {
			return t, nil
		}
		t.Plan = to
		if err := tx.UpdateTenantPlan(a.inst, t); err != nil {
			return nil, err
		}
		return t, record(tx, sc, event.TenantPlanChanged, string(id), nil, map[string]event.Change{"plan": {From: from, To: to}})
	})
}
