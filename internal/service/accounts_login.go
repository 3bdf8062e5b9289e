package service

import (
	"context"
	"errors"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/store"
)

// LoginInput is an attempt to log in.
type LoginInput struct {
	Name     string // username or e-mail address
	Password string
	Tenant   string // optional: needed only where a name is used in very many tenants
	Address  string // of the client, as host:port or host
	Device   string // its User-Agent
	Kind     account.SessionKind
}

// Login is a session that has begun or was renewed.
type Login struct {
	User      *account.User
	Session   account.SessionID
	Access    account.Secret // signed, short-lived; empty for a browser's session
	Token     account.Secret // refresh token or cookie
	ExpiresIn time.Duration  // of Access
}

// maxLoginTenants bounds the hashings of one attempt whose name is used in several tenants.
const maxLoginTenants = 4

// Login checks a name and password and begins a session. An unknown name, a wrong password and a deactivated user are
// the same refusal, for the same work. It waits for its turn among other logins.
func (a *Accounts) Login(ctx context.Context, in LoginInput) (*Login, error) {
	if err := checkLoginInput(in); err != nil {
		return nil, err
	}
	src := newLoginSource(in)
	if err := a.mayTry(ctx, src); err != nil {
		return nil, err
	}
	for {
		user, renewed, err := a.prove(ctx, in, src)
		if err != nil {
			return nil, err
		}
		l, err := a.beginSession(ctx, in, src, user, renewed)
		if err != errPasswordMoved {
			return l, err
		}
	}
}

// prove finds the user whose password it is, in the caller's turn.
func (a *Accounts) prove(ctx context.Context, in LoginInput, src loginSource) (user *account.User, renewed string, err error) {
	err = a.hasher.Run(ctx, account.Turn{Account: src.nameDigest, Address: src.address}, func() error {
		// Again: of many attempts that came at once, those behind a failure must not be tried before its delay is over.
		if err := a.mayTry(ctx, src); err != nil {
			return err
		}
		candidates, err := a.candidates(ctx, in)
		if err != nil {
			return err
		}
		if user, renewed, err = a.matchPassword(candidates, in.Password); err != nil {
			return err
		}
		if user == nil {
			return a.refuseLogin(ctx, in, src, candidates)
		}
		return nil
	})
	return user, renewed, err
}

// errPasswordMoved says that another hash is stored than the one that was compared: a change, or another login's
// renewal. The password is compared again.
var errPasswordMoved = errors.New("service: the stored password has changed meanwhile")

func checkLoginInput(in LoginInput) error {
	var problems []fault.Field
	if strings.TrimSpace(in.Name) == "" {
		problems = append(problems, fault.Field{Path: "username", Code: "required", Message: "Send your username or e-mail address."})
	}
	if in.Password == "" {
		problems = append(problems, fault.Field{Path: "password", Code: "required", Message: "Send your password."})
	}
	if len(in.Password) > account.MaxPasswordBytes {
		problems = append(problems, fault.Field{Path: "password", Code: "too_long", Message: "No password is that long."})
	}
	if len(in.Name) > 4*account.MaxEmailBytes {
		problems = append(problems, fault.Field{Path: "username", Code: "too_long", Message: "No username is that long."})
	}
	return fault.InvalidFields(problems).OrNil()
}

// candidates are the users who may be meant, in the named tenant or in any.
func (a *Accounts) candidates(ctx context.Context, in LoginInput) ([]*account.User, error) {
	name := account.FoldLogin(in.Name)
	isEmail := strings.Contains(name, "@")
	r := a.st.Read(ctx)
	if in.Tenant == "" {
		return r.UsersByLogin(a.inst, name, isEmail, maxLoginTenants)
	}
	u, err := r.UserByLogin(account.SystemScope(account.TenantID(in.Tenant), "login"), name, isEmail)
	if err == store.ErrNotFound {
		return nil, nil
	}
	return []*account.User{u}, err
}

// matchPassword finds the active user whose password it is, and a renewed hash when his is outdated. Without any
// candidate it does the work of one.
func (a *Accounts) matchPassword(candidates []*account.User, password string) (match *account.User, renewed string, err error) {
	if len(candidates) == 0 {
		a.PasswordWork.Verify(a.params, "", password)
	}
	outdated := false
	for _, u := range candidates {
		ok, old := a.PasswordWork.Verify(a.params, u.PasswordHash, password)
		if ok && u.Active && match == nil {
			match, outdated = u, old
		}
	}
	if outdated {
		renewed, err = a.PasswordWork.Hash(a.params, password)
	}
	return match, renewed, err
}

// refuseLogin counts the failure and records it with each account that was meant; for an unknown name with the first
// tenant, without the name: people type passwords into the wrong field.
func (a *Accounts) refuseLogin(ctx context.Context, in LoginInput, src loginSource, candidates []*account.User) error {
	err := a.st.Write(ctx, func(tx *store.Tx) error {
		if err := a.countFailure(tx, src); err != nil {
			return err
		}
		data := map[string]any{"address": src.address, "device": clipDevice(in.Device)}
		if len(candidates) == 0 {
			return record(tx, account.SystemScope(account.FirstTenant, "login"), event.UserLoginFailed, "", data, nil)
		}
		for _, u := range candidates {
			if err := record(tx, account.SystemScope(u.TenantID, "login"), event.UserLoginFailed, string(u.ID), data, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return errWrongCredentials()
}

// beginSession stores the session of a user who has proved who he is. He is read again: while his password was compared
// it may have been changed, or he may have been shut out, and whatever ended his sessions then must end this one too.
func (a *Accounts) beginSession(ctx context.Context, in LoginInput, src loginSource, proved *account.User, renewed string) (*Login, error) {
	var out *Login
	err := a.st.Write(ctx, func(tx *store.Tx) error {
		sc := account.SystemScope(proved.TenantID, "login")
		u, err := tx.User(sc, proved.ID)
		if err == store.ErrNotFound || err == nil && !u.Active {
			return errWrongCredentials()
		}
		if err != nil {
			return err
		}
		if u.PasswordHash != proved.PasswordHash {
			return errPasswordMoved
		}
		if err := tx.ClearLoginFailures(a.inst, src.nameDigest, src.address); err != nil {
			return err
		}
		if err := tx.RecordLogin(sc, u.ID, renewed); err != nil {
			return err
		}
		out, err = a.startSession(tx, in, u)
		return err
	})
	return out, err
}

func errWrongCredentials() error {
	return fault.Unauthorized("wrong_credentials", "The username or the password is wrong.")
}

// startSession stores a new session of u and records the login.
func (a *Accounts) startSession(tx *store.Tx, in LoginInput, u *account.User) (*Login, error) {
	sc := userScope(u, "")
	s := account.Session{ID: account.SessionID(tx.NewID()), UserID: u.ID, Kind: in.Kind, Address: account.ThrottleAddress(in.Address), Device: clipDevice(in.Device), ExpiresAt: tx.Now().Add(account.SessionLifetime)}
	out := &Login{User: u, Session: s.ID}
	if in.Kind == account.SessionCookie {
		out.Token = account.NewCookieToken()
	} else {
		out.Token = account.NewRefreshToken()
		if err := a.signAccess(out, tx.Now()); err != nil {
			return nil, err
		}
	}
	s.Digest = account.Digest(out.Token.Reveal())
	if err := tx.InsertSession(sc, &s); err != nil {
		return nil, err
	}
	return out, record(tx, sc, event.UserLogin, string(u.ID), map[string]any{"address": s.Address, "device": s.Device, "session": s.ID, "kind": s.Kind}, nil)
}

// Refresh exchanges a refresh token for a new one with a new access token. A token that was exchanged before ends its
// session: either the client or a thief holds a copy. Shortly after the exchange it is accepted once more, for the
// client that lost the reply.
func (a *Accounts) Refresh(ctx context.Context, token string) (*Login, error) {
	refused := fault.Unauthorized("bad_refresh_token", "This refresh token is not in force. Log in again.")
	digest := account.Digest(token)
	var out *Login
	err := a.st.Write(ctx, func(tx *store.Tx) error {
		out = nil
		s, err := tx.SessionByToken(a.inst, digest)
		if err == store.ErrNotFound || err == nil && (s.Kind != account.SessionToken || !s.Active(tx.Now())) {
			return refused
		}
		if err != nil {
			return err
		}
		sc := account.SystemScope(s.Tenant, "refresh")
		u, err := tx.User(sc, s.UserID)
		if err == store.ErrNotFound || err == nil && !u.Active {
			return refused
		}
		if err != nil {
			return err
		}
		if s.Digest != digest && tx.Now().Sub(s.RotatedAt) > account.RefreshGrace {
			return a.endSession(tx, userScope(u, s.ID), s.ID, "refresh token used twice")
		}
		l := &Login{User: u, Session: s.ID, Token: account.NewRefreshToken()}
		if err := tx.RotateSession(sc, s.ID, account.Digest(l.Token.Reveal())); err != nil {
			return err
		}
		out = l
		return a.signAccess(l, tx.Now())
	})
	if err == nil && out == nil {
		err = refused
	}
	return out, err
}

// RenewAccess gives the session behind a still valid access token another one, for clients that keep no refresh token.
func (a *Accounts) RenewAccess(ctx context.Context, sc account.Scope) (*Login, error) {
	if sc.Session == "" {
		return nil, fault.Unauthorized("no_session", "Only a session can be renewed. Log in with POST /api/auth/login.")
	}
	u, err := a.st.Read(ctx).User(sc, sc.UserID)
	if err != nil {
		return nil, notFound(err, "user", string(sc.UserID))
	}
	l := &Login{User: u, Session: sc.Session}
	return l, a.signAccess(l, a.now())
}

// Logout ends the session that the caller uses.
func (a *Accounts) Logout(ctx context.Context, sc account.Scope) error {
	if sc.Session == "" {
		return fault.Conflict("no_session", "An API key has no session to end. Revoke it with DELETE /api/auth/keys/{key_id}.")
	}
	return a.st.Write(ctx, func(tx *store.Tx) error { return a.endSession(tx, sc, sc.Session, "") })
}

func (a *Accounts) endSession(tx *store.Tx, sc account.Scope, id account.SessionID, reason string) error {
	was, err := tx.RevokeSession(sc, id)
	if err != nil || !was {
		return err
	}
	if err := a.accountsChanged(tx, sc, sc.UserID); err != nil {
		return err
	}
	data := map[string]any{"session": id}
	if reason != "" {
		data["reason"] = reason
	}
	return record(tx, sc, event.UserLogout, string(sc.UserID), data, nil)
}

func (a *Accounts) signAccess(l *Login, now time.Time) error {
	key := a.signingKey(signingPeriod(now))
	token, err := account.SignAccess(key, account.Claims{Tenant: l.User.TenantID, User: l.User.ID, Session: l.Session, ExpiresAt: now.Add(account.AccessLifetime)}, now)
	if err != nil {
		return fault.Internal("sign an access token", err)
	}
	l.Access, l.ExpiresIn = account.Secret(token), account.AccessLifetime
	return nil
}

// userScope is the scope of a user's own act.
func userScope(u *account.User, s account.SessionID) account.Scope {
	sc := account.NewScope(u.TenantID, account.Actor{Kind: account.ActorUser, ID: string(u.ID), Name: u.Username}, u.ID, u.Permissions())
	sc.Session = s
	return sc
}

// clipDevice keeps a User-Agent short and printable.
func clipDevice(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	if r := []rune(s); len(r) > 200 {
		return string(r[:200])
	}
	return s
}
