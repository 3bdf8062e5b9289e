package httpapi

import (
	"context"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/service"
)

// tenants registers the routes of tenants, for the first tenant's administrators.
func (a *API) tenants() {
	register(a, Route{Method: "GET", Path: "/api/tenants", ID: "list-tenants", Tag: "Tenants", Summary: "List tenants", Permission: account.SystemAdmin}, a.listTenants)
	register(a, Route{Method: "POST", Path: "/api/tenants", ID: "create-tenant", Tag: "Tenants", Summary: "Create a tenant, with its first administrator when one is given", Permission: account.SystemAdmin, MaxBody: 16 << 10, Timeout: loginTimeout}, a.createTenant)
	register(a, Route{Method: "GET", Path: "/api/tenants/{id}", ID: "get-tenant", Tag: "Tenants", Summary: "Read a tenant", Permission: account.SystemAdmin}, a.getTenant)
	register(a, Route{Method: "PUT", Path: "/api/tenants/{id}/plan", ID: "set-tenant-plan", Tag: "Tenants", Summary: "Give a tenant another plan", Permission: account.SystemAdmin, MaxBody: 16 << 10}, a.setPlan)
}

type tenantBody struct {
	ID        string    `json:"id"`
	TenantID  string    `json:"tenant_id" doc:"The same as id."`
	Name      string    `json:"name"`
	Plan      string    `json:"plan"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

func newTenantBody(t *account.Tenant) tenantBody {
	return tenantBody{ID: string(t.ID), TenantID: string(t.ID), Name: t.Name, Plan: string(t.Plan), CreatedAt: t.CreatedAt, UpdatedAt: t.UpdatedAt}
}

type tenantOutput struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     tenantBody
}

func newTenantOutput(t *account.Tenant, err error) (*tenantOutput, error) {
	if err != nil {
		return nil, err
	}
	return &tenantOutput{ETag: etag(t.Version), Body: newTenantBody(t)}, nil
}

type listTenantsInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor string `query:"cursor"`
}

type listTenantsOutput struct {
	Body struct {
		Total      int64        `json:"total"`
		Limit      int          `json:"limit"`
		Tenants    []tenantBody `json:"tenants"`
		NextCursor string       `json:"next_cursor,omitempty"`
	}
}

func (a *API) listTenants(ctx context.Context, sc account.Scope, in *listTenantsInput) (*listTenantsOutput, error) {
	after, err := a.cursors.decode(sc, "tenants", a.Now(), in.Cursor)
	if err != nil {
		return nil, err
	}
	page, err := a.Services.Accounts.ListTenants(ctx, sc, account.TenantID(first(after)), in.Limit)
	if err != nil {
		return nil, err
	}
	out := &listTenantsOutput{}
	b := &out.Body
	b.Total, b.Limit, b.Tenants = page.Total, in.Limit, make([]tenantBody, len(page.Tenants))
	for i, t := range page.Tenants {
		b.Tenants[i] = newTenantBody(t)
	}
	if page.More {
		b.NextCursor = a.cursors.encode(sc, "tenants", a.Now(), b.Tenants[len(b.Tenants)-1].ID)
	}
	return out, nil
}

type newUserBodyInput struct {
	Username string `json:"username,omitempty"`
	Email    string `json:"email,omitempty"`
	Password string `json:"password,omitempty" doc:"At least 10 characters."`
}

type createTenantInput struct {
	Body struct {
		ID    string            `json:"id,omitempty" doc:"1 to 63 of a-z, 0-9 and -; drawn when left out."`
		Name  string            `json:"name,omitempty"`
		Plan  string            `json:"plan,omitempty" doc:"free, starter, pro or enterprise; free when left out."`
		Admin *newUserBodyInput `json:"admin,omitempty" doc:"The tenant's first administrator."`
	}
}

func (a *API) createTenant(ctx context.Context, sc account.Scope, in *createTenantInput) (*tenantOutput, error) {
	n := service.NewTenant{ID: in.Body.ID, Name: in.Body.Name, Plan: in.Body.Plan}
	if u := in.Body.Admin; u != nil {
		n.Admin = &account.NewUser{Username: u.Username, Email: u.Email, Password: u.Password}
	}
	out, err := newTenantOutput(a.Services.Accounts.CreateTenant(ctx, sc, n))
	if err == nil {
		out.Location = "/api/tenants/" + out.Body.ID
	}
	return out, err
}

func (a *API) getTenant(ctx context.Context, sc account.Scope, in *struct {
	ID string `path:"id"`
}) (*tenantOutput, error) {
	return newTenantOutput(a.Services.Accounts.GetTenant(ctx, sc, account.TenantID(in.ID)))
}

type setPlanInput struct {
	ID      string `path:"id"`
	IfMatch string `header:"If-Match"`
	Body    struct {
		_    struct{} `additionalProperties:"true"`
		Plan string   `json:"plan,omitempty"`
	}
}

func (a *API) setPlan(ctx context.Context, sc account.Scope, in *setPlanInput) (*tenantOutput, error) {
	return newTenantOutput(a.Services.Accounts.SetPlan(ctx, sc, account.TenantID(in.ID), in.Body.Plan, ifMatch(in.IfMatch)))
}
