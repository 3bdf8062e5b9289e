package account

import (
	"strings"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"
)

// FuzzReadAccess: no token is one of ours but those that we signed, and none of those once a byte of it has changed.
func FuzzReadAccess(f *testing.F) {
	f.Add("a.b.c", uint(0))
	f.Add("eyJhbGciOiJub25lIn0.eyJzdWIiOiJ1In0.", uint(5))
	f.Add("eyJhbGciOiJIUzI1NiIsImtpZCI6ImsifQ.e30.AAAA", uint(40))
	key := NewSigningKey("k", time.Unix(0, 0))
	find := func(id string) ([]byte, bool) { return key.Secret, id == "k" }
	now := time.Unix(0, 0)
	f.Fuzz(func(t *testing.T, token string, at uint) {
		if c, err := ReadAccess(token, find, now); err == nil {
			t.Fatalf("%q is accepted: %+v", token, c)
		}
		if !utf8.ValidString(token) {
			return
		}
		want := Claims{Tenant: TenantID("t" + token), User: "u", Session: SessionID("s" + token), ExpiresAt: now.Add(time.Hour)}
		made, err := SignAccess(key, want, now)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := ReadAccess(made, find, now); err != nil || got.Tenant != want.Tenant || got.Session != want.Session {
			t.Fatalf("our own token says %+v (%v), want %+v", got, err, want)
		}
		if _, err := ReadAccess(made, find, now.Add(2*time.Hour)); err != ErrTokenExpired {
			t.Fatalf("two hours later: %v", err)
		}
		b := []byte(made)
		b[at%uint(len(b)-1)] ^= 1 << (at >> 8 % 7) // the last character of base64 may hold bits that count for nothing
		if string(b) == made {
			return
		}
		if got, err := ReadAccess(string(b), find, now); err == nil {
			t.Fatalf("changed at %d, it says %+v", at%uint(len(b)-1), got)
		}
	})
}

// FuzzNewUser: a user that is taken can be taken again as he is, has a name that can be shown in one line, and logs in
// under his name in any case.
func FuzzNewUser(f *testing.F) {
	f.Add("ada", "ada@example.org", "correct horse", "admin")
	f.Add(" İx\u0301 ", "A <a@b.c>", "\xff", "")
	f.Add("a\u202eb", "", strings.Repeat("x", 1025), "root")
	f.Add("a\u00adb", "é@x", "1234567890", "GUEST")
	f.Fuzz(func(t *testing.T, name, email, password, role string) {
		n, r, problems := NewUser{Username: name, Email: email, Password: password, Role: role}.Normalize()
		for _, p := range problems {
			if p.Path == "" || p.Code == "" || p.Message == "" {
				t.Fatalf("refused without a reason: %+v", p)
			}
		}
		if len(problems) > 0 {
			return
		}
		again, r2, problems := n.Normalize()
		if len(problems) > 0 || again != n || r2 != r || r == "" {
			t.Fatalf("%+v is taken as %+v, then as %+v: %v", name, n, again, problems)
		}
		if strings.ContainsFunc(n.Username, func(r rune) bool { return unicode.IsControl(r) || unicode.Is(unicode.Cf, r) }) || strings.ContainsAny(n.Email, "\r\n ") {
			t.Fatalf("%q, %q", n.Username, n.Email)
		}
		if fold := FoldLogin(n.Username); fold == "" || FoldLogin(fold) != fold {
			t.Fatalf("%q is looked up as %q, then as %q", n.Username, fold, FoldLogin(fold))
		}
	})
}

// FuzzStoredHash: a stored form that is none of ours matches no password and costs no more than a good one.
func FuzzStoredHash(f *testing.F) {
	p := HashParams{MemoryKiB: 8, Passes: 1, Lanes: 1}
	good, err := HashPassword(p, "right")
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{good, "", "$argon2id$v=19$m=8,t=1,p=1$$", strings.Replace(good, "m=8", "m=4294967295", 1), strings.Replace(good, "t=1", "t=99", 1), strings.Replace(good, "p=1", "p=0", 1), strings.Replace(good, "m=8", "m=8 ", 1)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, stored string) {
		made, salt, hash, err := decodeHash(stored)
		if err == nil {
			if made.MemoryKiB > maxHashMemoryKiB || made.Passes > maxHashPasses || len(salt) < 8 || len(hash) > 128 {
				t.Fatalf("%q asks for %+v", stored, made)
			}
			if made.MemoryKiB > 64 || made.Passes > 2 || made.Lanes > 2 {
				return // within the bounds, but slow to try
			}
		}
		if ok, _ := VerifyPassword(p, stored, "no password that was ever set"); ok {
			t.Fatalf("%q matches", stored)
		}
	})
}

// FuzzKeyPublicPart: the part by which a key is looked up is short and its own.
func FuzzKeyPublicPart(f *testing.F) {
	key, _ := NewAPIKey()
	f.Add(key.Reveal())
	f.Add("ll_")
	f.Add("ll_" + strings.Repeat("\x00", 51))
	f.Fuzz(func(t *testing.T, s string) {
		if public, ok := KeyPublicPart(s); ok && (len(public) != keyPublicLen || !LooksLikeKey(s) || !strings.HasPrefix(s, keyPrefix+public)) {
			t.Fatalf("%q is looked up by %q", s, public)
		}
	})
}
