package service

import (
	"bytes"
	"context"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/secret"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

func newTestAccounts(t *testing.T, st *store.Store) *Accounts {
	t.Helper()
	return New(Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32)), Passwords: account.HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1}}).Accounts
}

// bootstrapped makes the first tenant with one administrator and gives his scope.
func bootstrapped(t *testing.T, a *Accounts) (*account.User, account.Scope) {
	t.Helper()
	in := account.NewInstance("test")
	if err := a.BootstrapTenant(t.Context(), in, account.Tenant{ID: account.FirstTenant, Name: "Default", Plan: account.PlanFree}); err != nil {
		t.Fatal(err)
	}
	u, err := a.BootstrapUser(t.Context(), in, account.FirstTenant, "u-admin", account.NewUser{Username: "admin", Password: "admin123", Role: "admin"})
	if err != nil {
		t.Fatal(err)
	}
	return u, userScope(u, "")
}

func TestAccounts_LoginOnBothEngines(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		a := newTestAccounts(t, st)
		bootstrapped(t, a)
		in := LoginInput{Name: "admin", Password: "admin123", Address: "192.0.2.1:5", Kind: account.SessionToken}
		l, err := a.Login(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		sc, err := a.AuthenticateToken(t.Context(), l.Access.Reveal())
		if err != nil || sc.UserID != "u-admin" || !sc.Can(account.SystemAdmin) {
			t.Fatalf("the token stands for %+v, %v", sc, err)
		}
		if _, err := a.Refresh(t.Context(), l.Token.Reveal()); err != nil {
			t.Errorf("refresh: %v", err)
		}
		wrong := in
		wrong.Password = "wrong"
		for range account.FreeLoginFailures {
			if _, err := a.Login(t.Context(), wrong); !fault.HasCode(err, "wrong_credentials") {
				t.Fatalf("a wrong password: %v", err)
			}
		}
		if _, err := a.Login(t.Context(), in); !fault.HasCode(err, "login_throttled") {
			t.Errorf("after %d failures: %v, want login_throttled", account.FreeLoginFailures, err)
		}
		if err := a.Logout(t.Context(), sc); err != nil {
			t.Fatal(err)
		}
		if _, err := a.AuthenticateToken(t.Context(), l.Access.Reveal()); !fault.HasCode(err, "session_ended") {
			t.Errorf("after logout: %v", err)
		}
		if n, err := a.Sweep(t.Context(), account.NewInstance("test")); err != nil || n != 0 {
			t.Errorf("swept %d fresh rows, %v", n, err)
		}
	})
}

func TestAccounts_BootstrapTwiceLeavesTheUserAlone(t *testing.T) {
	st := storetest.SQLite(t)
	a := newTestAccounts(t, st)
	first, _ := bootstrapped(t, a)
	again, err := a.BootstrapUser(t.Context(), account.NewInstance("test"), account.FirstTenant, "", account.NewUser{Username: "ADMIN", Password: "another", Role: "guest"})
	if err != nil || again.ID != first.ID || again.Role != account.RoleAdmin || again.PasswordHash != first.PasswordHash {
		t.Errorf("made %+v, %v; want the user that was there", again, err)
	}
}

func TestAccounts_CommandLine(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		a, in := newTestAccounts(t, st), account.NewInstance("command line")
		if _, err := a.CreateUserIn(t.Context(), in, "nowhere", account.NewUser{Username: "ada", Password: "a long password"}); !fault.IsKind(err, fault.KindNotFound) {
			t.Errorf("a tenant that does not exist: %v", err)
		}
		if _, err := a.CreateUserIn(t.Context(), in, account.FirstTenant, account.NewUser{Username: "ada", Password: "a long password", Role: "admin"}); err != nil {
			t.Fatal(err)
		}
		if err := a.SetPasswordIn(t.Context(), in, account.FirstTenant, "ADA", "another password"); err != nil {
			t.Fatal(err)
		}
		if err := a.SetPasswordIn(t.Context(), in, account.FirstTenant, "bob", "another password"); !fault.IsKind(err, fault.KindNotFound) {
			t.Errorf("an unknown user: %v", err)
		}
		if _, err := a.Login(t.Context(), LoginInput{Name: "ada", Password: "another password", Address: "192.0.2.1"}); err != nil {
			t.Errorf("login with the new password: %v", err)
		}
	})
}

func TestLogin_RenewsAnOutdatedHash(t *testing.T) {
	st := storetest.SQLite(t)
	a := newTestAccounts(t, st)
	u, sc := bootstrapped(t, a)
	a.params.Passes = 2
	for range 2 {
		if _, err := a.Login(t.Context(), LoginInput{Name: "admin", Password: "admin123", Address: "192.0.2.1"}); err != nil {
			t.Fatal(err)
		}
	}
	now, err := st.Read(t.Context()).User(sc, u.ID)
	if err != nil || now.PasswordHash == u.PasswordHash {
		t.Errorf("the stored hash was not renewed: %v", err)
	}
	if _, outdated := account.VerifyPassword(a.params, now.PasswordHash, "admin123"); outdated {
		t.Error("the renewed hash is outdated too")
	}
}

// meddler lets something happen while a password is compared.
type meddler struct {
	hereWork
	meanwhile func()
}

func (m *meddler) Verify(p account.HashParams, stored, password string) (ok, outdated bool) {
	if f := m.meanwhile; f != nil {
		m.meanwhile = nil
		f()
	}
	return m.hereWork.Verify(p, stored, password)
}

// TestLogin_WhatChangesMeanwhileCounts: a session must not begin on a password that was changed, or for a user who was
// shut out, while it was compared; a renewal of the hash meanwhile changes nothing.
func TestLogin_WhatChangesMeanwhileCounts(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		a, in := newTestAccounts(t, st), account.NewInstance("test")
		_, admin := bootstrapped(t, a)
		m := &meddler{}
		a.PasswordWork = m
		a.hasher = account.NewHasher(account.HasherLimits{AtOnce: 2, Waiting: 10, LongestFor: time.Minute}) // the login's turn and the meddler's
		u, err := a.CreateUser(t.Context(), admin, account.NewUser{Username: "ada", Password: "a long password", Role: "guest"})
		if err != nil {
			t.Fatal(err)
		}
		login := func(password string, meanwhile func() error) error {
			t.Helper()
			m.meanwhile = func() {
				if err := meanwhile(); err != nil {
					t.Fatal(err)
				}
			}
			_, err := a.Login(t.Context(), LoginInput{Name: "ada", Password: password, Address: "192.0.2.1", Kind: account.SessionToken})
			return err
		}
		if err := login("a long password", func() error { return a.SetPasswordIn(t.Context(), in, account.FirstTenant, "ada", "a long password") }); err != nil {
			t.Errorf("another hash of the same password: %v", err)
		}
		if err := login("a long password", func() error { return a.SetPasswordIn(t.Context(), in, account.FirstTenant, "ada", "another password") }); !fault.HasCode(err, "wrong_credentials") {
			t.Errorf("a password that was changed meanwhile let in: %v", err)
		}
		shut := func() error { _, err := a.Deactivate(t.Context(), admin, u.ID, IfMatch{}); return err }
		if err := login("another password", shut); !fault.HasCode(err, "wrong_credentials") {
			t.Errorf("a user who was shut out meanwhile was let in: %v", err)
		}
	})
}

// TestLogin_SameNameInTwoTenants: the password decides who is meant, and the tenant when it is named.
func TestLogin_SameNameInTwoTenants(t *testing.T) {
	st := storetest.SQLite(t)
	a, in := newTestAccounts(t, st), account.NewInstance("test")
	for tenant, password := range map[account.TenantID]string{"one": "first password", "two": "second password"} {
		if err := a.BootstrapTenant(t.Context(), in, account.Tenant{ID: tenant, Name: "T", Plan: account.PlanFree}); err != nil {
			t.Fatal(err)
		}
		if _, err := a.BootstrapUser(t.Context(), in, tenant, "", account.NewUser{Username: "ada", Password: password, Role: "guest"}); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ password, tenant, want string }{
		{"first password", "", "one"}, {"second password", "", "two"}, {"second password", "two", "two"}, {"first password", "two", ""}, {"x", "", ""},
	} {
		l, err := a.Login(t.Context(), LoginInput{Name: "ada", Password: c.password, Tenant: c.tenant, Address: "192.0.2.1"})
		got := ""
		if err == nil {
			got = string(l.User.TenantID)
		}
		if got != c.want {
			t.Errorf("%q in %q logs in to %q (%v), want %q", c.password, c.tenant, got, err, c.want)
		}
	}
}

// TestCallers_AnotherNodesRevocationIsHeard: two nodes on one PostgreSQL; what one revokes the other must not let in.
func TestCallers_AnotherNodesRevocationIsHeard(t *testing.T) {
	url := storetest.PostgresURL(t)
	node := func() *store.Store {
		st, err := store.Open(t.Context(), store.Options{PostgresURL: url, PoolSize: 4})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = st.Close() })
		if err := st.MigrateUp(t.Context(), account.NewInstance("test")); err != nil {
			t.Fatal(err)
		}
		return st
	}
	one := newTestAccounts(t, node())
	two := newTestAccounts(t, node())
	_, admin := bootstrapped(t, one)
	k, err := one.CreateKey(t.Context(), admin, NewKey{Name: "site"})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	listening, heard, ended := make(chan struct{}), make(chan struct{}, 10), make(chan struct{})
	go func() {
		defer close(ended)
		two.st.Notices(ctx, func() { close(listening) }, func(area string, _ account.TenantID) {
			if area == cacheArea {
				two.callers.forgetAll()
				heard <- struct{}{}
			}
		})
	}()
	defer func() { stop(); <-ended }()
	within := func(c chan struct{}, what string) {
		t.Helper()
		select {
		case <-c:
		case <-time.After(patience):
			t.Fatal("waited in vain for " + what)
		}
	}
	within(listening, "the listener")
	if _, err := two.AuthenticateToken(t.Context(), k.Secret); err != nil {
		t.Fatal(err)
	}
	if err := one.RevokeKey(t.Context(), admin, k.ID); err != nil {
		t.Fatal(err)
	}
	if _, err := one.AuthenticateToken(t.Context(), k.Secret); !fault.HasCode(err, "key_revoked") {
		t.Errorf("on the node that revoked it: %v", err)
	}
	within(heard, "the notice")
	if _, err := two.AuthenticateToken(t.Context(), k.Secret); !fault.HasCode(err, "key_revoked") {
		t.Errorf("on the other node: %v", err)
	}
}

// TestCallerCache_LookUpThatBeganBeforeAChangeIsNotKept is the race between a fill and a change.
func TestCallerCache_LookUpThatBeganBeforeAChangeIsNotKept(t *testing.T) {
	c := newCallerCache()
	e := &caller{scope: account.NewScope("t", account.Actor{}, "u", 0), mark: c.mark()}
	c.forget("t", "u") // committed while the look-up ran
	c.put("x", e)
	if _, ok := c.get("x"); ok {
		t.Error("a caller that was looked up before the change is still let in")
	}
	fresh := &caller{scope: e.scope, mark: c.mark()}
	c.put("x", fresh)
	other := account.UserID("v")
	for c.lastChange("t", other) == c.lastChange("t", "u") { // the table is small: two users may share a mark
		other += "v"
	}
	c.forget("t", other)
	if got, ok := c.get("x"); !ok || got != fresh {
		t.Error("another user's change made this caller stale")
	}
	c.forgetAll()
	if _, ok := c.get("x"); ok {
		t.Error("forgetAll kept a caller")
	}
}

func BenchmarkAuthenticateToken(b *testing.B) {
	st := storetest.SQLite(b)
	a := New(Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32)), Passwords: account.HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1}}).Accounts
	in := account.NewInstance("test")
	if err := a.BootstrapTenant(b.Context(), in, account.Tenant{ID: account.FirstTenant, Name: "D", Plan: account.PlanFree}); err != nil {
		b.Fatal(err)
	}
	u, err := a.BootstrapUser(b.Context(), in, account.FirstTenant, "", account.NewUser{Username: "admin", Password: "admin123", Role: "admin"})
	if err != nil {
		b.Fatal(err)
	}
	l, err := a.Login(b.Context(), LoginInput{Name: "admin", Password: "admin123", Address: "192.0.2.1"})
	if err != nil {
		b.Fatal(err)
	}
	k, err := a.CreateKey(b.Context(), userScope(u, ""), NewKey{Name: "bench"})
	if err != nil {
		b.Fatal(err)
	}
	for name, credential := range map[string]string{"access token": l.Access.Reveal(), "API key": k.Secret} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := a.AuthenticateToken(context.Background(), credential); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
