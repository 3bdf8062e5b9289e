package store_test

import (
	"errors"
	"sync"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

var instance = account.NewInstance("test")

func write(t *testing.T, st *store.Store, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := st.Write(ctx, fn); err != nil {
		t.Fatal(err)
	}
}

func TestUsers_UniqueInTheirTenantOnly(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		one, two := account.SystemScope("t-one", "test"), account.SystemScope("t-two", "test")
		insert := func(sc account.Scope, id, name, email string) error {
			return st.Write(ctx, func(tx *store.Tx) error {
				return tx.InsertUser(sc, &account.User{ID: account.UserID(id), Username: name, Email: email, Role: account.RoleAdmin, Active: true, PasswordHash: "h"})
			})
		}
		for _, c := range []struct {
			sc              account.Scope
			id, name, email string
			conflict        string
		}{
			{one, "u1", "Ada", "ada@example.org", ""},
			{one, "u2", "ADA", "", "username"},
			{one, "u3", "bob", "Ada@Example.org", "email"},
			{one, "u4", "bob", "", ""},
			{one, "u5", "carol", "", ""},
			{two, "u1", "Ada", "ada@example.org", ""},
		} {
			err := insert(c.sc, c.id, c.name, c.email)
			if (c.conflict == "") != (err == nil) || (c.conflict != "" && !store.IsConflict(err, c.conflict)) {
				t.Errorf("%s %s %q: %v, want conflict %q", c.sc.Tenant(), c.name, c.email, err, c.conflict)
			}
		}
		r := st.Read(ctx)
		if us, err := r.Users(one, "", 10); err != nil || len(us) != 3 {
			t.Errorf("tenant one lists %d users, %v; want 3", len(us), err)
		}
		if n, err := r.Count(one, store.UsersCounter); err != nil || n != 3 {
			t.Errorf("counted %d users, %v; want 3", n, err)
		}
		if us, err := r.UsersByLogin(instance, "ada", false, 8); err != nil || len(us) != 2 {
			t.Errorf("login ada finds %d users, %v; want one per tenant", len(us), err)
		}
		if us, err := r.UsersByLogin(instance, "", true, 8); err != nil || len(us) != 0 {
			t.Errorf("an empty address finds %d users, %v", len(us), err)
		}
		if u, err := r.UserByLogin(two, "ada@example.org", true); err != nil || u.TenantID != "t-two" || !u.Active || u.Version != 1 {
			t.Errorf("by e-mail in tenant two: %+v, %v", u, err)
		}
		if _, err := r.User(two, "u4"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another tenant's user: %v, want not found", err)
		}
		if any, err := r.AnyUser(instance); err != nil || !any {
			t.Errorf("any user: %v, %v", any, err)
		}
	})
}

func TestUpdateUser_RefusesAStaleVersion(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sc := account.SystemScope("t-one", "test")
		write(t, st, func(tx *store.Tx) error {
			return tx.InsertUser(sc, &account.User{ID: "u1", Username: "ada", Role: account.RoleAdmin, Active: true})
		})
		old, err := st.Read(ctx).User(sc, "u1")
		if err != nil {
			t.Fatal(err)
		}
		write(t, st, func(tx *store.Tx) error {
			u := *old
			u.Role, u.Active = account.RoleGuest, false
			return tx.UpdateUser(sc, &u)
		})
		if err := st.Write(ctx, func(tx *store.Tx) error { u := *old; return tx.UpdateUser(sc, &u) }); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an update of an old version: %v, want not found", err)
		}
		write(t, st, func(tx *store.Tx) error { return tx.RecordLogin(sc, "u1", "renewed") })
		write(t, st, func(tx *store.Tx) error { return tx.RecordLogin(sc, "u1", "") })
		u, err := st.Read(ctx).User(sc, "u1")
		if err != nil || u.Role != account.RoleGuest || u.Active || u.Version != 2 || u.PasswordHash != "renewed" || u.LastLoginAt.IsZero() {
			t.Errorf("read back %+v, %v", u, err)
		}
	})
}

// TestLockTenant_TwoCannotRemoveTheLastTwo: without the lock both transactions would see two administrators.
func TestLockTenant_TwoCannotRemoveTheLastTwo(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sc := account.SystemScope("t-one", "test")
		write(t, st, func(tx *store.Tx) error {
			if err := tx.InsertTenant(instance, &account.Tenant{ID: "t-one", Name: "One", Plan: account.PlanFree}); err != nil {
				return err
			}
			if err := tx.InsertUser(sc, &account.User{ID: "u1", Username: "a", Role: account.RoleAdmin, Active: true}); err != nil {
				return err
			}
			return tx.InsertUser(sc, &account.User{ID: "u2", Username: "b", Role: account.RoleAdmin, Active: true})
		})
		last := errors.New("last administrator")
		var wg sync.WaitGroup
		errs := make([]error, 2)
		for i, id := range []account.UserID{"u1", "u2"} {
			wg.Go(func() {
				errs[i] = st.Write(ctx, func(tx *store.Tx) error {
					if err := tx.LockTenant(sc); err != nil {
						return err
					}
					if n, err := tx.ActiveAdmins(sc); err != nil || n < 2 {
						return errors.Join(err, last)
					}
					u, err := tx.User(sc, id)
					if err != nil {
						return err
					}
					u.Active = false
					return tx.UpdateUser(sc, u)
				})
			})
		}
		wg.Wait()
		if (errs[0] == nil) == (errs[1] == nil) {
			t.Errorf("got %v and %v; want exactly one refused", errs[0], errs[1])
		}
		if n, err := st.Read(ctx).ActiveAdmins(sc); err != nil || n != 1 {
			t.Errorf("%d administrators left, %v; want 1", n, err)
		}
	})
}

func TestSessions_RotateAndRevoke(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sc, other := account.SystemScope("t-one", "test"), account.SystemScope("t-two", "test")
		write(t, st, func(tx *store.Tx) error {
			return tx.InsertSession(sc, &account.Session{ID: "s1", UserID: "u1", Kind: account.SessionToken, Digest: "d1", ExpiresAt: tx.Now().Add(time.Hour)})
		})
		write(t, st, func(tx *store.Tx) error { return tx.RotateSession(sc, "s1", "d2") })
		r := st.Read(ctx)
		for digest, previous := range map[string]bool{"d1": true, "d2": false} {
			s, err := r.SessionByToken(instance, digest)
			if err != nil || s.Tenant != "t-one" || (s.Previous == digest) != previous {
				t.Errorf("by %s: %+v, %v", digest, s, err)
			}
		}
		if _, err := r.SessionByToken(instance, ""); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an empty digest finds a session: %v", err)
		}
		if _, err := r.Session(other, "s1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another tenant's session: %v", err)
		}
		later := time.Now().Add(time.Minute)
		write(t, st, func(tx *store.Tx) error { return tx.TouchSessions(instance, "t-one", []string{"s1", "x"}, later) })
		write(t, st, func(tx *store.Tx) error {
			n, err := tx.RevokeSessionsOfUser(sc, "u1")
			if n != 1 {
				t.Errorf("%d sessions ended, want 1", n)
			}
			return err
		})
		s, err := r.Session(sc, "s1")
		if err != nil || s.RevokedAt.IsZero() || s.LastUsedAt.UnixMicro() != later.UnixMicro() {
			t.Errorf("after the end: %+v, %v", s, err)
		}
		if err := st.Write(ctx, func(tx *store.Tx) error { return tx.RotateSession(sc, "s1", "d3") }); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an ended session was rotated: %v", err)
		}
		write(t, st, func(tx *store.Tx) error {
			n, err := tx.DeleteSessions(instance, later.Add(time.Second), 10)
			if n != 1 {
				t.Errorf("%d sessions swept, want 1", n)
			}
			return err
		})
	})
}

func TestAPIKeys(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sc, other := account.SystemScope("t-one", "test"), account.SystemScope("t-two", "test")
		scopes := account.Set(account.LeadRead)
		write(t, st, func(tx *store.Tx) error {
			if err := tx.InsertAPIKey(sc, &account.APIKey{ID: "k1", UserID: "u1", Name: "site", Public: "abcd2345", Digest: "d1", Scopes: &scopes}); err != nil {
				return err
			}
			return tx.InsertAPIKey(sc, &account.APIKey{ID: "k2", UserID: "u1", Name: "old", Public: "abcd2345", Digest: "d2", ExpiresAt: tx.Now()})
		})
		r := st.Read(ctx)
		ks, err := r.APIKeysByPublic(instance, "abcd2345")
		if err != nil || len(ks) != 2 {
			t.Fatalf("found %d keys, %v; want both with that public part", len(ks), err)
		}
		k, err := r.APIKey(sc, "k1")
		if err != nil || k.Scopes == nil || *k.Scopes != scopes || k.Tenant != "t-one" || !k.LastUsed.IsZero() {
			t.Errorf("read back %+v, %v", k, err)
		}
		if k2, err := r.APIKey(sc, "k2"); err != nil || k2.Scopes != nil {
			t.Errorf("a key without scopes reads back %+v, %v", k2, err)
		}
		if _, err := r.APIKey(other, "k1"); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another tenant's key: %v", err)
		}
		if n, err := r.ActiveKeys(sc, "u1", time.Now().Add(time.Second)); err != nil || n != 1 {
			t.Errorf("%d keys in force, %v; want 1", n, err)
		}
		write(t, st, func(tx *store.Tx) error { return tx.TouchAPIKeys(instance, "t-one", []string{"k1"}, time.Now()) })
		for _, want := range []bool{true, false} {
			write(t, st, func(tx *store.Tx) error {
				was, err := tx.RevokeAPIKey(sc, "k1")
				if was != want {
					t.Errorf("revoked = %v, want %v", was, want)
				}
				return err
			})
		}
		if k, err = r.APIKey(sc, "k1"); err != nil || k.RevokedAt.IsZero() || k.LastUsed.IsZero() {
			t.Errorf("after revoking: %+v, %v", k, err)
		}
	})
}

func TestLoginFailures(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		if f, err := st.Read(ctx).LoginFailures(instance, "n", "a"); err != nil || f.Failures != 0 {
			t.Fatalf("a fresh name has %+v, %v", f, err)
		}
		until := time.Now().Add(time.Hour)
		for i := range 2 {
			write(t, st, func(tx *store.Tx) error {
				return tx.SetLoginFailures(instance, "n", "a", store.LoginFailures{Failures: i + 1, RetryAt: until})
			})
		}
		f, err := st.Read(ctx).LoginFailures(instance, "n", "a")
		if err != nil || f.Failures != 2 || f.RetryAt.UnixMicro() != until.UnixMicro() || f.UpdatedAt.IsZero() {
			t.Errorf("read back %+v, %v", f, err)
		}
		if f, _ := st.Read(ctx).LoginFailures(instance, "n", "b"); f.Failures != 0 {
			t.Error("another address is slowed down too")
		}
		write(t, st, func(tx *store.Tx) error {
			n, err := tx.DeleteLoginFailures(instance, time.Now().Add(time.Hour), 10)
			if n != 1 {
				t.Errorf("%d counts swept, want 1", n)
			}
			return err
		})
		write(t, st, func(tx *store.Tx) error { return tx.ClearLoginFailures(instance, "n", "a") })
	})
}

func TestTenantsAndSetupLinks(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		write(t, st, func(tx *store.Tx) error {
			for _, id := range []account.TenantID{"b", "a"} {
				if err := tx.InsertTenant(instance, &account.Tenant{ID: id, Name: "T", Plan: account.PlanFree}); err != nil {
					return err
				}
			}
			return tx.AddSetupLink(instance, "d", tx.Now().Add(time.Hour))
		})
		r := st.Read(ctx)
		ts, err := r.Tenants(instance, "", 10)
		if err != nil || len(ts) != 2 || ts[0].ID != "a" {
			t.Fatalf("tenants %v, %v", ts, err)
		}
		if err := st.Write(ctx, func(tx *store.Tx) error { return tx.InsertTenant(instance, &account.Tenant{ID: "a"}) }); !store.IsConflict(err, "tenants") {
			t.Errorf("a taken id: %v", err)
		}
		old := *ts[0]
		write(t, st, func(tx *store.Tx) error {
			n := old
			n.Plan = account.PlanPro
			return tx.UpdateTenantPlan(instance, &n)
		})
		if err := st.Write(ctx, func(tx *store.Tx) error { n := old; return tx.UpdateTenantPlan(instance, &n) }); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("an update of an old version: %v", err)
		}
		if got, err := r.Tenant(instance, "a"); err != nil || got.Plan != account.PlanPro || got.Version == old.Version {
			t.Errorf("read back %+v, %v", got, err)
		}
		for at, want := range map[time.Time]bool{time.Now(): true, time.Now().Add(2 * time.Hour): false} {
			if ok, err := r.SetupLinkValid(instance, "d", at); err != nil || ok != want {
				t.Errorf("link valid = %v, %v; want %v", ok, err, want)
			}
		}
		write(t, st, func(tx *store.Tx) error { return tx.DeleteSetupLinks(instance) })
		if ok, _ := r.SetupLinkValid(instance, "d", time.Now()); ok {
			t.Error("a deleted link is valid")
		}
	})
}
