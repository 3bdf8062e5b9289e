package account

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"leadloom/internal/fault"
)

var cheap = HashParams{MemoryKiB: 64, Passes: 1, Lanes: 1}

func TestPassword_VerifiesOnlyWhatWasHashed(t *testing.T) {
	stored, err := HashPassword(cheap, "correct horse")
	if err != nil {
		t.Fatal(err)
	}
	again, _ := HashPassword(cheap, "correct horse")
	if stored == again {
		t.Error("two hashes of one password are equal: the salt is missing")
	}
	if !strings.HasPrefix(stored, "$argon2id$v=19$m=64,t=1,p=1$") || strings.Contains(stored, "horse") {
		t.Errorf("stored form is %q", stored)
	}
	for _, c := range []struct {
		stored, password string
		ok, outdated     bool
		p                HashParams
	}{
		{stored, "correct horse", true, false, cheap},
		{stored, "correct horse", true, true, HashParams{MemoryKiB: 128, Passes: 1, Lanes: 1}},
		{stored, "Correct horse", false, false, cheap},
		{stored, "", false, false, cheap},
		{"", "", false, false, cheap},
		{"correct horse", "correct horse", false, false, cheap},
		{strings.Replace(stored, "m=64", "m=99999999", 1), "correct horse", false, false, cheap},
		{strings.Replace(stored, "argon2id", "argon2i", 1), "correct horse", false, false, cheap},
	} {
		if ok, outdated := VerifyPassword(c.p, c.stored, c.password); ok != c.ok || outdated != c.outdated {
			t.Errorf("Verify(%q, %q) = %v, %v; want %v, %v", c.stored, c.password, ok, outdated, c.ok, c.outdated)
		}
	}
}

func TestNewUser_ReportsEveryProblem(t *testing.T) {
	for _, c := range []struct {
		in   NewUser
		want string // path:code of each problem
	}{
		{NewUser{Username: " Ada ", Email: "ada@example.org", Password: "0123456789", Role: "Viewer"}, ""},
		{NewUser{Username: "ada", Password: "0123456789"}, ""},
		{NewUser{}, "username:required password:too_short"},
		{NewUser{Username: "a b", Email: "x", Password: "short", Role: "king"}, "username:bad_character email:not_an_address password:too_short role:unknown_role"},
		{NewUser{Username: "a@b.c", Email: "Ada <ada@example.org>", Password: strings.Repeat("x", 1025)}, "username:bad_character email:not_an_address password:too_long"},
		{NewUser{Username: strings.Repeat("x", 65), Password: "0123456789"}, "username:too_long"},
		{NewUser{Username: "a\x00b", Password: "0123456789"}, "username:bad_character"},
	} {
		_, _, problems := c.in.Normalize()
		if got := codes(problems); got != c.want {
			t.Errorf("%+v: %q, want %q", c.in, got, c.want)
		}
	}
	n, role, _ := NewUser{Username: " Ada ", Password: "0123456789", Role: "viewer"}.Normalize()
	if n.Username != "Ada" || role != RoleGuest || FoldLogin(" ADA ") != FoldLogin("ada") || FoldLogin("STRASSE") != FoldLogin("straße") {
		t.Errorf("normalised to %q, %q", n.Username, role)
	}
}

func codes(fields []fault.Field) string {
	var out []string
	for _, f := range fields {
		out = append(out, f.Path+":"+f.Code)
	}
	return strings.Join(out, " ")
}

func TestAPIKey_IsFoundByItsPublicPart(t *testing.T) {
	secret, public := NewAPIKey()
	got, ok := KeyPublicPart(secret.Reveal())
	if !ok || got != public || len(public) != 8 {
		t.Errorf("public part of the key is %q, %v; want %q", got, ok, public)
	}
	if printed := fmt.Sprintf("%v %s %#v %q", secret, secret, secret, secret); strings.Contains(printed, secret.Reveal()) {
		t.Error("a key prints itself in clear")
	}
	for _, bad := range []string{"", "ll_", "ll_short", "xx_" + secret.Reveal()[3:], secret.Reveal() + "x"} {
		if _, ok := KeyPublicPart(bad); ok {
			t.Errorf("%q is taken for a key", bad)
		}
	}
	if strings.Contains(KeyPreview(public), secret.Reveal()[11:]) {
		t.Error("the preview shows the secret part")
	}
}

func TestAPIKey_NeverExceedsItsCreator(t *testing.T) {
	scopes := Set(LeadRead, LeadDelete)
	k := APIKey{Scopes: &scopes}
	if p := k.Effective(RoleGuest.Permissions()); p.Has(LeadDelete) || !p.Has(LeadRead) || p.Has(WorkflowRead) {
		t.Errorf("a guest's key may %v", p.Names())
	}
	if p := (&APIKey{}).Effective(RoleGuest.Permissions()); p != RoleGuest.Permissions() {
		t.Errorf("a key without scopes may %v, want all that its creator may", p.Names())
	}
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		k    APIKey
		want bool
	}{
		{APIKey{}, true},
		{APIKey{ExpiresAt: now}, false},
		{APIKey{ExpiresAt: now.Add(time.Second)}, true},
		{APIKey{RevokedAt: now.Add(-time.Hour)}, false},
	} {
		if c.k.Active(now) != c.want {
			t.Errorf("%+v active = %v", c.k, !c.want)
		}
	}
}

func TestCheckScopes_RefusesWhatTheCreatorMayNot(t *testing.T) {
	set, problems := CheckScopes("scopes", []string{"lead:read", "user:manage", "lead:fly", "public"}, RoleAnalyst.Permissions())
	if got := codes(problems); got != "scopes[1]:beyond_your_rights scopes[2]:unknown_permission scopes[3]:unknown_permission" {
		t.Errorf("problems are %q", got)
	}
	if strings.Join(set.Names(), " ") != "lead:read" {
		t.Errorf("the set is %v", set.Names())
	}
}

func TestEffectivePermissions_InstanceRightOnlyInTheFirstTenant(t *testing.T) {
	if !EffectivePermissions(FirstTenant, RoleAdmin).Has(SystemAdmin) || EffectivePermissions("other", RoleAdmin).Has(SystemAdmin) {
		t.Error("system:admin must belong to the first tenant's administrators and to nobody else")
	}
	if !EffectivePermissions("other", RoleAdmin).Has(UserManage) {
		t.Error("an administrator of another tenant may not manage its users")
	}
	if u := (&User{TenantID: FirstTenant, Role: RoleAdmin}); u.Permissions() != 0 {
		t.Error("a deactivated administrator still has rights")
	}
}

func TestAccessToken(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	key, other := NewSigningKey("k1", now), NewSigningKey("k1", now)
	c := Claims{Tenant: "t", User: "u", Session: "s", ExpiresAt: now.Add(AccessLifetime)}
	token, err := SignAccess(key, c, now)
	if err != nil {
		t.Fatal(err)
	}
	find := func(k SigningKey) func(string) ([]byte, bool) {
		return func(kid string) ([]byte, bool) { return k.Secret, kid == k.ID }
	}
	if got, err := ReadAccess(token, find(key), now); err != nil || got.User != "u" || got.Tenant != "t" || got.Session != "s" || !got.ExpiresAt.Equal(c.ExpiresAt) {
		t.Errorf("read back %+v, %v", got, err)
	}
	if _, err := ReadAccess(token, find(key), c.ExpiresAt); err != ErrTokenExpired {
		t.Errorf("at its end: %v", err)
	}
	head, rest, _ := strings.Cut(token, ".")
	for name, bad := range map[string]string{
		"unsigned": "eyJhbGciOiJub25lIiwia2lkIjoiazEifQ." + strings.Split(rest, ".")[0] + ".",
		"cut":      head + "." + strings.Split(rest, ".")[0], "empty": "", "garbage": "a.b.c",
	} {
		if _, err := ReadAccess(bad, find(key), now); err != ErrTokenInvalid {
			t.Errorf("%s token: %v", name, err)
		}
	}
	if _, err := ReadAccess(token, find(other), now); err != ErrTokenInvalid {
		t.Errorf("signed with another key: %v", err)
	}
	if _, err := ReadAccess(token, find(NewSigningKey("k2", now)), now); err != ErrTokenInvalid {
		t.Errorf("unknown kid: %v", err)
	}
}

func TestLoginDelay_GrowsAndIsBounded(t *testing.T) {
	want := map[int]time.Duration{0: 0, 4: 0, 5: 2 * time.Second, 6: 4 * time.Second, 10: 64 * time.Second, 14: 15 * time.Minute, 100000: 15 * time.Minute}
	for n, d := range want {
		if got := LoginDelay(n); got != d {
			t.Errorf("after %d failures: %v, want %v", n, got, d)
		}
	}
}

func TestThrottleAddress(t *testing.T) {
	for in, want := range map[string]string{
		"192.0.2.7:5000": "192.0.2.7", "192.0.2.7": "192.0.2.7", "[::ffff:192.0.2.7]:1": "192.0.2.7",
		"[2001:db8:1:2:3:4:5:6]:443": "2001:db8:1:2::/64", "fe80::1%eth0": "fe80::/64", "": "unknown", "nonsense": "unknown",
	} {
		if got := ThrottleAddress(in); got != want {
			t.Errorf("%q → %q, want %q", in, got, want)
		}
	}
}

func TestSession_EndsByIdleAgeAndRevocation(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := Session{LastUsedAt: now, ExpiresAt: now.Add(SessionLifetime)}
	if !s.Active(now) || s.Active(now.Add(SessionIdle)) {
		t.Error("a session ends after 12 hours without use, not before")
	}
	s.LastUsedAt = now.Add(SessionLifetime - time.Hour)
	if s.Active(now.Add(SessionLifetime)) {
		t.Error("a session outlives its absolute end")
	}
	s = Session{LastUsedAt: now, ExpiresAt: now.Add(SessionLifetime), RevokedAt: now}
	if s.Active(now) {
		t.Error("a revoked session is active")
	}
}
