package httpapi

import (
	"context"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/service"
)

// users registers the routes of users and roles.
func (a *API) users() {
	register(a, Route{Method: "GET", Path: "/api/users", ID: "list-users", Tag: "Users", Summary: "List users, oldest first", Permission: account.UserRead}, a.listUsers)
	register(a, Route{Method: "POST", Path: "/api/users", ID: "create-user", Tag: "Users", Summary: "Create a user", Permission: account.UserManage, MaxBody: 16 << 10, Timeout: loginTimeout}, a.createUser)
	register(a, Route{Method: "GET", Path: "/api/users/{id}", ID: "get-user", Tag: "Users", Summary: "Read a user", Permission: account.UserRead}, a.getUser)
	register(a, Route{Method: "PUT", Path: "/api/users/{id}/role", ID: "set-user-role", Tag: "Users", Summary: "Give a user another role", Permission: account.UserManage, MaxBody: 16 << 10,
		Description: "Ends the user's sessions. The last active administrator keeps his role (409)."}, a.setRole)
	register(a, Route{Method: "POST", Path: "/api/users/{id}/activate", ID: "activate-user", Tag: "Users", Summary: "Let a user in again", Permission: account.UserManage, MaxBody: 16 << 10}, a.activate)
	register(a, Route{Method: "POST", Path: "/api/users/{id}/deactivate", ID: "deactivate-user", Tag: "Users", Summary: "Shut a user out", Permission: account.UserManage, MaxBody: 16 << 10,
		Description: "Ends his sessions and stops his API keys. The last active administrator stays (409)."}, a.deactivate)
	register(a, Route{Method: "GET", Path: "/api/roles", ID: "list-roles", Tag: "Users", Summary: "List roles with their permissions", Permission: account.Anyone}, a.listRoles)
}

type userBody struct {
	ID        string     `json:"id"`
	UserID    string     `json:"user_id" doc:"The same as id."`
	Username  string     `json:"username"`
	Email     string     `json:"email"`
	Role      string     `json:"role"`
	IsActive  bool       `json:"is_active"`
	TenantID  string     `json:"tenant_id"`
	Version   int64      `json:"version"`
	CreatedAt time.Time  `json:"created_at"`
	UpdatedAt time.Time  `json:"updated_at"`
	LastLogin *time.Time `json:"last_login"`
}

func newUserBody(u *account.User) userBody {
	return userBody{ID: string(u.ID), UserID: string(u.ID), Username: u.Username, Email: u.Email, Role: string(u.Role), IsActive: u.Active,
		TenantID: string(u.TenantID), Version: u.Version, CreatedAt: u.CreatedAt, UpdatedAt: u.UpdatedAt, LastLogin: orNull(u.LastLoginAt)}
}

type userOutput struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     userBody
}

func newUserOutput(u *account.User, err error) (*userOutput, error) {
	if err != nil {
		return nil, err
	}
	return &userOutput{ETag: etag(u.Version), Body: newUserBody(u)}, nil
}

type listUsersInput struct {
	Skip   int    `query:"skip" minimum:"0" maximum:"1000000"`
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor string `query:"cursor"`
}

type listUsersOutput struct {
	Body struct {
		Total      int64      `json:"total"`
		Skip       int        `json:"skip"`
		Limit      int        `json:"limit"`
		Users      []userBody `json:"users"`
		NextCursor string     `json:"next_cursor,omitempty"`
	}
}

func (a *API) listUsers(ctx context.Context, sc account.Scope, in *listUsersInput) (*listUsersOutput, error) {
	after, err := a.cursors.decode(sc, "users", a.Now(), in.Cursor)
	if err != nil {
		return nil, err
	}
	if len(after) > 0 && in.Skip > 0 {
		return nil, fault.Invalid("skip", "with_cursor", "send either skip or cursor")
	}
	page, err := a.Services.Accounts.ListUsers(ctx, sc, account.UserID(first(after)), in.Skip, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &listUsersOutput{}
	b := &out.Body
	b.Total, b.Skip, b.Limit, b.Users = page.Total, in.Skip, in.Limit, make([]userBody, len(page.Users))
	for i, u := range page.Users {
		b.Users[i] = newUserBody(u)
	}
	if page.More {
		b.NextCursor = a.cursors.encode(sc, "users", a.Now(), b.Users[len(b.Users)-1].ID)
	}
	return out, nil
}

func first(s []string) string {
	if len(s) == 0 {
		return ""
	}
	return s[0]
}

type createUserInput struct {
	Body struct {
		Username string `json:"username,omitempty"`
		Email    string `json:"email,omitempty"`
		Password string `json:"password,omitempty" doc:"At least 10 characters."`
		Role     string `json:"role,omitempty" doc:"admin, manager, salesperson, analyst or guest (also viewer); guest when left out."`
	}
}

func (a *API) createUser(ctx context.Context, sc account.Scope, in *createUserInput) (*userOutput, error) {
	out, err := newUserOutput(a.Services.Accounts.CreateUser(ctx, sc, account.NewUser(in.Body)))
	if err == nil {
		out.Location = "/api/users/" + out.Body.ID
	}
	return out, err
}

type userIDInput struct {
	ID      string `path:"id"`
	IfMatch string `header:"If-Match"`
}

func (a *API) getUser(ctx context.Context, sc account.Scope, in *struct {
	ID string `path:"id"`
}) (*userOutput, error) {
	return newUserOutput(a.Services.Accounts.GetUser(ctx, sc, account.UserID(in.ID)))
}

type setRoleInput struct {
	ID      string `path:"id"`
	IfMatch string `header:"If-Match"`
	Body    struct {
		_    struct{} `additionalProperties:"true"`
		Role string   `json:"role,omitempty"`
	}
}

func (a *API) setRole(ctx context.Context, sc account.Scope, in *setRoleInput) (*userOutput, error) {
	return newUserOutput(a.Services.Accounts.SetRole(ctx, sc, account.UserID(in.ID), in.Body.Role, ifMatch(in.IfMatch)))
}

func (a *API) activate(ctx context.Context, sc account.Scope, in *userIDInput) (*userOutput, error) {
	return newUserOutput(a.Services.Accounts.Activate(ctx, sc, account.UserID(in.ID), ifMatch(in.IfMatch)))
}

func (a *API) deactivate(ctx context.Context, sc account.Scope, in *userIDInput) (*userOutput, error) {
	return newUserOutput(a.Services.Accounts.Deactivate(ctx, sc, account.UserID(in.ID), ifMatch(in.IfMatch)))
}

type roleBody struct {
	Name        string   `json:"name"`
	Permissions []string `json:"permissions"`
}

type listRolesOutput struct {
	Body struct {
		Roles []roleBody `json:"roles"`
	}
}

func (a *API) listRoles(_ context.Context, sc account.Scope, _ *struct{}) (*listRolesOutput, error) {
	out := &listRolesOutput{}
	for _, r := range service.ListRoles(sc) {
		out.Body.Roles = append(out.Body.Roles, roleBody{string(r.Role), r.Permissions.Names()})
	}
	return out, nil
}
