package httpapi

import (
	"context"
	"net/http"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/service"
)

// loginTimeout is above the longest wait for a turn to hash a password (account.DefaultHasherLimits).
const loginTimeout = 40 * time.Second

// auth registers the routes with which callers let themselves in and look after their own credentials.
func (a *API) auth() {
	register(a, Route{Method: "POST", Path: "/api/auth/login", ID: "login", Tag: "Auth", Summary: "Log in with a username or e-mail address", Permission: account.Public, MaxBody: 16 << 10, Timeout: loginTimeout,
		Description: "Logins take turns; many at once wait for some seconds. Repeated failures with one name from one address must wait longer and longer (429 with Retry-After), without a consequence for anybody else."}, a.login)
	register(a, Route{Method: "POST", Path: "/api/auth/setup", ID: "set-up", Tag: "Auth", Summary: "Make the first administrator with the token of the set-up link", Permission: account.Public, MaxBody: 16 << 10, Timeout: loginTimeout}, a.setup)
	register(a, Route{Method: "POST", Path: "/api/auth/refresh", ID: "refresh-login", Tag: "Auth", Summary: "Renew an access token", Permission: account.Public, MaxBody: 16 << 10,
		Description: "Send the refresh token, which is exchanged for a new one, or a still valid access token in the Authorization header."}, a.refresh)
	register(a, Route{Method: "POST", Path: "/api/auth/logout", ID: "logout", Tag: "Auth", Summary: "End the session of the token", Permission: account.Anyone, MaxBody: 16 << 10}, a.logout)
	register(a, Route{Method: "GET", Path: "/api/auth/me", ID: "me", Tag: "Auth", Summary: "Who the caller is and what he may do", Permission: account.Anyone}, a.me)
	register(a, Route{Method: "PUT", Path: "/api/auth/password", ID: "change-password", Tag: "Auth", Summary: "Change one's own password and end all of one's sessions", Permission: account.Anyone, MaxBody: 16 << 10, Timeout: loginTimeout}, a.changePassword)
	register(a, Route{Method: "GET", Path: "/api/auth/keys", ID: "list-keys", Tag: "Auth", Summary: "List one's own API keys", Permission: account.Anyone}, a.listKeys)
	register(a, Route{Method: "POST", Path: "/api/auth/keys", ID: "create-key", Tag: "Auth", Summary: "Make an API key, shown this once", Permission: account.Anyone, MaxBody: 16 << 10}, a.createKey)
	register(a, Route{Method: "DELETE", Path: "/api/auth/keys/{key_id}", ID: "revoke-key", Tag: "Auth", Summary: "Revoke an API key", Permission: account.Anyone}, a.revokeKey)
}

type loginInput struct {
	Body struct {
		_        struct{} `additionalProperties:"true"`
		Username string   `json:"username,omitempty" doc:"Username or e-mail address."`
		Email    string   `json:"email,omitempty" doc:"Instead of username."`
		Password string   `json:"password,omitempty"`
		Tenant   string   `json:"tenant,omitempty" doc:"Only needed where very many tenants use the same name."`
	}
}

type loginBody struct {
	AccessToken  string `json:"access_token"`
	TokenType    string `json:"token_type" enum:"bearer"`
	UserID       string `json:"user_id"`
	Username     string `json:"username"`
	Role         string `json:"role"`
	ExpiresIn    int64  `json:"expires_in" doc:"Seconds until the access token expires."`
	RefreshToken string `json:"refresh_token,omitempty" doc:"For POST /api/auth/refresh; each is good for one exchange."`
	TenantID     string `json:"tenant_id"`
}

type loginOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         loginBody
}

func newLoginOutput(l *service.Login) *loginOutput {
	return &loginOutput{CacheControl: "no-store", Body: loginBody{
		AccessToken: l.Access.Reveal(), TokenType: "bearer", UserID: string(l.User.ID), Username: l.User.Username, Role: string(l.User.Role),
		ExpiresIn: int64(l.ExpiresIn / time.Second), RefreshToken: l.Token.Reveal(), TenantID: string(l.User.TenantID),
	}}
}

func (a *API) login(ctx context.Context, _ account.Scope, in *loginInput) (*loginOutput, error) {
	c := stateOf(ctx).client
	name := in.Body.Username
	if name == "" {
		name = in.Body.Email
	}
	l, err := a.Services.Accounts.Login(ctx, service.LoginInput{Name: name, Password: in.Body.Password, Tenant: in.Body.Tenant, Address: c.address, Device: c.device, Kind: account.SessionToken})
	if err != nil {
		return nil, err
	}
	return newLoginOutput(l), nil
}

type setupInput struct {
	Body struct {
		Token    string `json:"token"`
		Username string `json:"username,omitempty"`
		Email    string `json:"email,omitempty"`
		Password string `json:"password,omitempty" doc:"At least 10 characters."`
	}
}

func (a *API) setup(ctx context.Context, _ account.Scope, in *setupInput) (*loginOutput, error) {
	c := stateOf(ctx).client
	l, err := a.Services.Accounts.Setup(ctx, service.SetupInput{Token: in.Body.Token,
		User:  account.NewUser{Username: in.Body.Username, Email: in.Body.Email, Password: in.Body.Password},
		Login: service.LoginInput{Address: c.address, Device: c.device, Kind: account.SessionToken}})
	if err != nil {
		return nil, err
	}
	return newLoginOutput(l), nil
}

type refreshInput struct {
	Authorization string `header:"Authorization" doc:"Instead of refresh_token: Bearer and a still valid access token."`
	Body          *struct {
		_            struct{} `additionalProperties:"true"`
		RefreshToken string   `json:"refresh_token,omitempty"`
	}
}

func (a *API) refresh(ctx context.Context, _ account.Scope, in *refreshInput) (*loginOutput, error) {
	if in.Body != nil && in.Body.RefreshToken != "" {
		l, err := a.Services.Accounts.Refresh(ctx, in.Body.RefreshToken)
		if err != nil {
			return nil, err
		}
		return newLoginOutput(l), nil
	}
	token, err := headerCredential(&http.Request{Header: http.Header{"Authorization": {in.Authorization}}})
	if err != nil {
		return nil, err
	}
	sc, err := a.Services.Accounts.AuthenticateToken(ctx, token)
	if err != nil {
		return nil, err
	}
	l, err := a.Services.Accounts.RenewAccess(ctx, sc)
	if err != nil {
		return nil, err
	}
	return newLoginOutput(l), nil
}

type statusOutput struct {
	Body struct {
		Status string `json:"status"`
		KeyID  string `json:"key_id,omitempty"`
	}
}

func (a *API) logout(ctx context.Context, sc account.Scope, _ *struct{}) (*statusOutput, error) {
	out := &statusOutput{}
	out.Body.Status = "logged_out"
	return out, a.Services.Accounts.Logout(ctx, sc)
}

type meOutput struct {
	Body struct {
		UserID      string   `json:"user_id"`
		Username    string   `json:"username"`
		Email       string   `json:"email"`
		Role        string   `json:"role"`
		Permissions []string `json:"permissions" doc:"What this credential may do now: an API key may do less than its user."`
		TenantID    string   `json:"tenant_id"`
	}
}

func (a *API) me(ctx context.Context, sc account.Scope, _ *struct{}) (*meOutput, error) {
	u, err := a.Services.Accounts.GetUser(ctx, sc, sc.UserID)
	if err != nil {
		return nil, err
	}
	out := &meOutput{}
	b := &out.Body
	b.UserID, b.Username, b.Email, b.Role = string(u.ID), u.Username, u.Email, string(u.Role)
	b.Permissions, b.TenantID = sc.Permissions().Names(), string(u.TenantID)
	return out, nil
}

type changePasswordInput struct {
	Body struct {
		Current string `json:"current_password"`
		New     string `json:"new_password" doc:"At least 10 characters."`
	}
}

func (a *API) changePassword(ctx context.Context, sc account.Scope, in *changePasswordInput) (*statusOutput, error) {
	out := &statusOutput{}
	out.Body.Status = "changed"
	return out, a.Services.Accounts.ChangePassword(ctx, sc, in.Body.Current, in.Body.New, stateOf(ctx).client.address)
}

type createKeyInput struct {
	Body struct {
		_             struct{} `additionalProperties:"true"`
		Name          string   `json:"name,omitempty" doc:"What the key is for."`
		ExpiresInDays *int     `json:"expires_in_days,omitempty" doc:"1 to 3650; without it the key does not expire."`
		Scopes        []string `json:"scopes,omitempty" nullable:"true" doc:"Permissions to which the key is cut down; without it, or with *, everything its user may do."`
	}
}

type createKeyOutput struct {
	CacheControl string `header:"Cache-Control"`
	Location     string `header:"Location"`
	Body         struct {
		KeyID      string     `json:"key_id"`
		APIKey     string     `json:"api_key" doc:"Shown this once."`
		Name       string     `json:"name"`
		CreatedAt  time.Time  `json:"created_at"`
		ExpiresAt  *time.Time `json:"expires_at"`
		KeyPreview string     `json:"key_preview"`
		Scopes     []string   `json:"scopes"`
	}
}

// allScopes is how the API writes the scopes of a key that is not cut down.
const allScopes = "*"

func (a *API) createKey(ctx context.Context, sc account.Scope, in *createKeyInput) (*createKeyOutput, error) {
	n := service.NewKey{Name: in.Body.Name, ExpiresInDays: in.Body.ExpiresInDays, Scopes: in.Body.Scopes}
	if len(n.Scopes) == 1 && n.Scopes[0] == allScopes {
		n.Scopes = nil
	}
	k, err := a.Services.Accounts.CreateKey(ctx, sc, n)
	if err != nil {
		return nil, err
	}
	out := &createKeyOutput{CacheControl: "no-store", Location: "/api/auth/keys/" + string(k.ID)}
	b := &out.Body
	b.KeyID, b.APIKey, b.Name, b.CreatedAt, b.ExpiresAt = string(k.ID), k.Secret, k.Name, k.CreatedAt, orNull(k.ExpiresAt)
	b.KeyPreview, b.Scopes = k.Preview, scopeNames(k.Scopes)
	return out, nil
}

func scopeNames(s []string) []string {
	if s == nil {
		return []string{allScopes}
	}
	return s
}

// orNull shows a zero time as null.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

type keyBody struct {
	KeyID      string     `json:"key_id"`
	Name       string     `json:"name"`
	IsActive   bool       `json:"is_active" doc:"Neither revoked nor expired."`
	CreatedAt  time.Time  `json:"created_at"`
	LastUsed   *time.Time `json:"last_used" doc:"Up to a minute behind."`
	ExpiresAt  *time.Time `json:"expires_at"`
	KeyPreview string     `json:"key_preview"`
	Scopes     []string   `json:"scopes"`
}

type listKeysOutput struct {
	Body []keyBody
}

func (a *API) listKeys(ctx context.Context, sc account.Scope, _ *struct{}) (*listKeysOutput, error) {
	keys, err := a.Services.Accounts.ListKeys(ctx, sc)
	if err != nil {
		return nil, err
	}
	out := &listKeysOutput{Body: make([]keyBody, len(keys))}
	for i, k := range keys {
		out.Body[i] = keyBody{KeyID: string(k.ID), Name: k.Name, IsActive: k.Active, CreatedAt: k.CreatedAt, LastUsed: orNull(k.LastUsed),
			ExpiresAt: orNull(k.ExpiresAt), KeyPreview: account.KeyPreview(k.Public), Scopes: scopeNames(k.ScopeNames)}
	}
	return out, nil
}

type keyIDInput struct {
	ID string `path:"key_id"`
}

func (a *API) revokeKey(ctx context.Context, sc account.Scope, in *keyIDInput) (*statusOutput, error) {
	out := &statusOutput{}
	out.Body.Status, out.Body.KeyID = "revoked", in.ID
	return out, a.Services.Accounts.RevokeKey(ctx, sc, account.KeyID(in.ID))
}
