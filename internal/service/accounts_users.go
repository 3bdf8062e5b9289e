package service

import (
	"context"
	"fmt"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/store"
)

// UserPage is a part of a tenant's users, oldest first.
type UserPage struct {
	Users []*account.User
	Total int64
	More  bool
}

// ListUsers lists the tenant's users: after one of them, or, for old clients, without the first skip.
func (a *Accounts) ListUsers(ctx context.Context, sc account.Scope, after account.UserID, skip, limit int) (UserPage, error) {
	r := a.st.Read(ctx)
	var p UserPage
	var err error
	if skip > 0 {
		p.Users, err = r.UsersSkip(sc, skip, limit+1)
	} else {
		p.Users, err = r.Users(sc, after, limit+1)
	}
	if err != nil {
		return p, err
	}
	if p.More = len(p.Users) > limit; p.More {
		p.Users = p.Users[:limit]
	}
	p.Total, err = r.Count(sc, store.UsersCounter)
	return p, err
}

// GetUser finds a user of the tenant.
func (a *Accounts) GetUser(ctx context.Context, sc account.Scope, id account.UserID) (*account.User, error) {
	u, err := a.st.Read(ctx).User(sc, id)
	return u, notFound(err, "user", string(id))
}

// CreateUser makes a user of the tenant. Nobody can give a role that may more than he may himself.
func (a *Accounts) CreateUser(ctx context.Context, sc account.Scope, in account.NewUser) (*account.User, error) {
	in, role, problems := in.Normalize()
	if len(problems) > 0 {
		return nil, fault.InvalidFields(problems)
	}
	if err := mayGrant(sc, role); err != nil {
		return nil, err
	}
	hash, err := a.hash(ctx, account.Turn{Account: "by " + string(sc.UserID)}, in.Password)
	if err != nil {
		return nil, err
	}
	return write(ctx, a.core, sc, func(tx *store.Tx) (*account.User, error) {
		return a.insertUser(tx, sc, in, role, hash)
	})
}

// insertUser stores a user whose input was checked.
func (a *Accounts) insertUser(tx *store.Tx, sc account.Scope, in account.NewUser, role account.Role, hash string) (*account.User, error) {
	u := &account.User{ID: account.UserID(tx.NewID()), Username: in.Username, Email: in.Email, PasswordHash: hash, Role: role, Active: true}
	if err := tx.InsertUser(sc, u); err != nil {
		return nil, takenField(err)
	}
	u.PasswordHash = "" // the reply may be stored for a repeated request
	return u, record(tx, sc, event.UserCreated, string(u.ID), map[string]any{"username": u.Username, "role": u.Role}, nil)
}

// takenField says which name of a new user another one of the tenant has.
func takenField(err error) error {
	taken := func(path, message string) error {
		return &fault.Error{Kind: fault.KindConflict, Code: path + "_taken", Message: message, Fields: []fault.Field{{Path: path, Code: "taken", Message: message}}, Cause: err}
	}
	switch {
	case store.IsConflict(err, "email"):
		return taken("email", "Another user has this e-mail address. Send another one.")
	case store.IsConflict(err, "username"):
		return taken("username", "Another user has this name. Send another one.")
	}
	return err
}

func mayGrant(sc account.Scope, role account.Role) error {
	wanted := account.EffectivePermissions(sc.Tenant(), role)
	if missing := wanted &^ sc.Permissions(); missing.Len() > 0 {
		return &fault.Error{Kind: fault.KindForbidden, Code: "forbidden", Message: fmt.Sprintf("The role %s may do what you may not (%s). Ask an administrator.", role, missing.Names()[0])}
	}
	return nil
}

// SetRole gives a user another role and ends his sessions. The last active administrator keeps his.
func (a *Accounts) SetRole(ctx context.Context, sc account.Scope, id account.UserID, role string, match IfMatch) (*account.User, error) {
	to, problems := account.CheckRole("role", role)
	if len(problems) > 0 {
		return nil, fault.InvalidFields(problems)
	}
	if err := mayGrant(sc, to); err != nil {
		return nil, err
	}
	return a.changeUser(ctx, sc, id, match, func(u *account.User) (event.Type, map[string]event.Change) {
		from := u.Role
		u.Role = to
		return event.RoleChanged, map[string]event.Change{"role": {From: from, To: to}}
	})
}

// Activate lets a user in again.
func (a *Accounts) Activate(ctx context.Context, sc account.Scope, id account.UserID, match IfMatch) (*account.User, error) {
	return a.setActive(ctx, sc, id, match, event.UserActivated, true)
}

// Deactivate shuts a user out: his sessions end and his keys stop working. The last active administrator stays.
func (a *Accounts) Deactivate(ctx context.Context, sc account.Scope, id account.UserID, match IfMatch) (*account.User, error) {
	return a.setActive(ctx, sc, id, match, event.UserDeactivated, false)
}

func (a *Accounts) setActive(ctx context.Context, sc account.Scope, id account.UserID, match IfMatch, t event.Type, active bool) (*account.User, error) {
	return a.changeUser(ctx, sc, id, match, func(u *account.User) (event.Type, map[string]event.Change) {
		from := u.Active
		u.Active = active
		return t, map[string]event.Change{"is_active": {From: from, To: active}}
	})
}

// changeUser applies a change of role or state with its consequences; one that changes nothing leaves no trace.
func (a *Accounts) changeUser(ctx context.Context, sc account.Scope, id account.UserID, match IfMatch, change func(*account.User) (event.Type, map[string]event.Change)) (*account.User, error) {
	return write(ctx, a.core, sc, func(tx *store.Tx) (*account.User, error) {
		if err := tx.LockTenant(sc); err != nil && err != store.ErrNotFound {
			return nil, err
		}
		u, err := tx.User(sc, id)
		if err != nil {
			return nil, notFound(err, "user", string(id))
		}
		if !match.Holds(u.Version) {
			return nil, fault.Stale(nil)
		}
		if err := mayGrant(sc, u.Role); err != nil { // nor demote or shut out someone who may more
			return nil, err
		}
		before := *u
		what, changes := change(u)
		defer func() { u.PasswordHash = "" }()
		if u.Role == before.Role && u.Active == before.Active {
			return u, nil
		}
		if err := a.keepAnAdmin(tx, sc, &before, u); err != nil {
			return nil, err
		}
		if err := tx.UpdateUser(sc, u); err != nil {
			return nil, err
		}
		if err := a.endSessionsOf(tx, sc, id); err != nil {
			return nil, err
		}
		return u, record(tx, sc, what, string(id), map[string]any{"username": u.Username}, changes)
	})
}

func (a *Accounts) keepAnAdmin(tx *store.Tx, sc account.Scope, before, after *account.User) error {
	isAdmin := func(u *account.User) bool { return u.Active && u.Role == account.RoleAdmin }
	if !isAdmin(before) || isAdmin(after) {
		return nil
	}
	n, err := tx.ActiveAdmins(sc)
	if err != nil {
		return err
	}
	if n <= 1 {
		return fault.Conflict("last_admin", "This is the last active administrator. Make another user administrator first.")
	}
	return nil
}

func (a *Accounts) endSessionsOf(tx *store.Tx, sc account.Scope, id account.UserID) error {
	if _, err := tx.RevokeSessionsOfUser(sc, id); err != nil {
		return err
	}
	return a.accountsChanged(tx, sc, id)
}

// ChangePassword sets the calling user's password after checking the one he has, and ends all his sessions.
func (a *Accounts) ChangePassword(ctx context.Context, sc account.Scope, current, next, address string) error {
	if sc.Actor.Kind != account.ActorUser {
		return &fault.Error{Kind: fault.KindForbidden, Code: "needs_a_user", Message: "An API key cannot change a password. Log in as the user."}
	}
	if problems := account.CheckNewPassword("new_password", next); len(problems) > 0 {
		return fault.InvalidFields(problems)
	}
	if len(current) > account.MaxPasswordBytes {
		current = ""
	}
	u, err := a.st.Read(ctx).User(sc, sc.UserID)
	if err != nil {
		return notFound(err, "user", string(sc.UserID))
	}
	src := newLoginSource(LoginInput{Tenant: string(sc.Tenant()), Name: u.Username, Address: address})
	var hash string
	err = a.hasher.Run(ctx, account.Turn{Account: src.nameDigest, Address: src.address}, func() error {
		if err := a.mayTry(ctx, src); err != nil {
			return err
		}
		if ok, _ := a.PasswordWork.Verify(a.params, u.PasswordHash, current); !ok {
			if err := a.st.Write(ctx, func(tx *store.Tx) error { return a.countFailure(tx, src) }); err != nil {
				return err
			}
			return errWrongCurrent()
		}
		hash, err = a.PasswordWork.Hash(a.params, next)
		return err
	})
	if err != nil {
		return err
	}
	return a.st.Write(ctx, func(tx *store.Tx) error {
		now, err := tx.User(sc, sc.UserID)
		if err != nil {
			return notFound(err, "user", string(sc.UserID))
		}
		if now.PasswordHash != u.PasswordHash { // changed while this one was compared: it was the password no more
			return errWrongCurrent()
		}
		return a.setPassword(tx, sc, now, hash)
	})
}

func errWrongCurrent() error {
	return fault.Invalid("current_password", "wrong", "This is not your password.")
}

// setPassword stores a password's hash and ends the user's sessions.
func (a *Accounts) setPassword(tx *store.Tx, sc account.Scope, u *account.User, hash string) error {
	u.PasswordHash = hash
	if err := tx.UpdateUser(sc, u); err != nil {
		return err
	}
	if err := a.endSessionsOf(tx, sc, u.ID); err != nil {
		return err
	}
	return record(tx, sc, event.PasswordChanged, string(u.ID), map[string]any{"username": u.Username}, nil)
}

// RoleView is a role with what it may do in the caller's tenant.
type RoleView struct {
	Role        account.Role
	Permissions account.Permissions
}

// ListRoles lists the roles in order of rights.
func ListRoles(sc account.Scope) []RoleView {
	out := make([]RoleView, len(account.Roles))
	for i, r := range account.Roles {
		out[i] = RoleView{r, account.EffectivePermissions(sc.Tenant(), r)}
	}
	return out
}
