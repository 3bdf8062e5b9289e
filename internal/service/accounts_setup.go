package service

import (
	"context"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/store"
)

// setupLife is how long a set-up link may be used.
const setupLife = 24 * time.Hour

// SetupLink makes the token of a one-time set-up link while the installation has no user; otherwise it is empty.
func (a *Accounts) SetupLink(ctx context.Context, in account.Instance) (account.Secret, error) {
	token := account.NewSetupToken()
	err := a.st.Write(ctx, func(tx *store.Tx) error {
		any, err := tx.AnyUser(in)
		if err != nil {
			return err
		}
		if any {
			token = ""
			return nil
		}
		return tx.AddSetupLink(in, account.Digest(token.Reveal()), tx.Now().Add(setupLife))
	})
	if err != nil {
		return "", err
	}
	return token, nil
}

// SetupInput is what the set-up link's page sends.
type SetupInput struct {
	Token string
	User  account.NewUser // the role is always admin
	Login LoginInput      // address, device and kind of the session that begins
}

// Setup makes the first tenant and its first administrator, ends all set-up links and begins a session.
func (a *Accounts) Setup(ctx context.Context, in SetupInput) (*Login, error) {
	refused := fault.Unauthorized("bad_setup_token", "This set-up link is not in force: it was used, is older than a day, or a user exists. Restart the server for a new one, or use `leadloom user create`.")
	digest := account.Digest(in.Token)
	valid, err := a.st.Read(ctx).SetupLinkValid(a.inst, digest, a.now())
	if err != nil {
		return nil, err
	}
	if !valid {
		return nil, refused
	}
	in.User.Role = string(account.RoleAdmin)
	user, role, problems := in.User.Normalize()
	if len(problems) > 0 {
		return nil, fault.InvalidFields(problems)
	}
	hash, err := a.hash(ctx, account.Turn{Account: "setup", Address: account.ThrottleAddress(in.Login.Address)}, user.Password)
	if err != nil {
		return nil, err
	}
	var out *Login
	err = a.st.Write(ctx, func(tx *store.Tx) error {
		sc := account.SystemScope(account.FirstTenant, "setup")
		if err := a.ensureTenant(tx, account.Tenant{ID: account.FirstTenant, Name: "Default", Plan: account.PlanEnterprise}); err != nil {
			return err
		}
		if err := tx.LockTenant(sc); err != nil {
			return err
		}
		// Read again under the lock: the link works once.
		valid, err := tx.SetupLinkValid(a.inst, digest, tx.Now())
		if err != nil {
			return err
		}
		any, err := tx.AnyUser(a.inst)
		if err != nil {
			return err
		}
		if any || !valid {
			return refused
		}
		u, err := a.insertUser(tx, sc, user, role, hash)
		if err != nil {
			return err
		}
		if err := tx.DeleteSetupLinks(a.inst); err != nil {
			return err
		}
		out, err = a.startSession(tx, in.Login, u)
		return err
	})
	return out, err
}

// ensureTenant stores a tenant that may be there already.
func (a *Accounts) ensureTenant(tx *store.Tx, t account.Tenant) error {
	if _, err := tx.Tenant(a.inst, t.ID); err != store.ErrNotFound {
		return err
	}
	if err := tx.InsertTenant(a.inst, &t); err != nil {
		return err
	}
	return record(tx, account.SystemScope(t.ID, "setup"), event.TenantCreated, string(t.ID), map[string]any{"name": t.Name, "plan": t.Plan}, nil)
}

// BootstrapTenant makes sure that a tenant exists.
func (a *Accounts) BootstrapTenant(ctx context.Context, _ account.Instance, t account.Tenant) error {
	return a.st.Write(ctx, func(tx *store.Tx) error { return a.ensureTenant(tx, t) })
}

// BootstrapUser makes sure that a user with this name exists in a tenant that does, with any password (demo data has
// a short one) and any id ("" draws one). It leaves a user that exists as he is.
func (a *Accounts) BootstrapUser(ctx context.Context, _ account.Instance, t account.TenantID, id account.UserID, in account.NewUser) (*account.User, error) {
	role, problems := account.CheckRole("role", in.Role)
	if len(problems) > 0 {
		return nil, fault.InvalidFields(problems)
	}
	hash, err := a.hash(ctx, account.Turn{Account: "bootstrap"}, in.Password)
	if err != nil {
		return nil, err
	}
	sc := account.SystemScope(t, "setup")
	var out *account.User
	err = a.st.Write(ctx, func(tx *store.Tx) error {
		var err error
		if out, err = tx.UserByLogin(sc, account.FoldLogin(in.Username), false); err != store.ErrNotFound {
			return err
		}
		out = &account.User{ID: id, Username: in.Username, Email: in.Email, PasswordHash: hash, Role: role, Active: true}
		if id == "" {
			out.ID = account.UserID(tx.NewID())
		}
		if err := tx.InsertUser(sc, out); err != nil {
			return takenField(err)
		}
		return record(tx, sc, event.UserCreated, string(out.ID), map[string]any{"username": out.Username, "role": out.Role}, nil)
	})
	return out, err
}

// CreateUserIn makes a user from the command line, with the first tenant when that is missing.
func (a *Accounts) CreateUserIn(ctx context.Context, in account.Instance, t account.TenantID, user account.NewUser) (*account.User, error) {
	user, role, problems := user.Normalize()
	if len(problems) > 0 {
		return nil, fault.InvalidFields(problems)
	}
	hash, err := a.hash(ctx, account.Turn{Account: "command line"}, user.Password)
	if err != nil {
		return nil, err
	}
	var out *account.User
	err = a.st.Write(ctx, func(tx *store.Tx) error {
		if t == account.FirstTenant {
			if err := a.ensureTenant(tx, account.Tenant{ID: t, Name: "Default", Plan: account.PlanEnterprise}); err != nil {
				return err
			}
		}
		sc := account.SystemScope(t, in.Name())
		if err := tx.LockTenant(sc); err != nil {
			return notFound(err, "tenant", string(t))
		}
		var err error
		out, err = a.insertUser(tx, sc, user, role, hash)
		return err
	})
	return out, err
}

// SetPasswordIn sets a user's password from the command line and ends his sessions.
func (a *Accounts) SetPasswordIn(ctx context.Context, in account.Instance, t account.TenantID, username, password string) error {
	if problems := account.CheckNewPassword("password", password); len(problems) > 0 {
		return fault.InvalidFields(problems)
	}
	hash, err := a.hash(ctx, account.Turn{Account: "command line"}, password)
	if err != nil {
		return err
	}
	sc := account.SystemScope(t, in.Name())
	return a.st.Write(ctx, func(tx *store.Tx) error {
		u, err := tx.UserByLogin(sc, account.FoldLogin(username), false)
		if err != nil {
			return notFound(err, "user", username)
		}
		return a.setPassword(tx, sc, u, hash)
	})
}
