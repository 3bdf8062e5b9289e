package account

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"strings"
	"time"
)

// The prefixes tell our credentials apart at sight, also for scanners of leaked secrets.
const (
	keyPrefix     = "ll_"
	refreshPrefix = "lr_"
	cookiePrefix  = "lc_"
	setupPrefix   = "lsetup_"
	keyPublicLen  = 8
)

var (
	publicEncoding = base32.NewEncoding("abcdefghijkmnpqrstuvwxyz23456789").WithPadding(base32.NoPadding)
	secretEncoding = base64.RawURLEncoding
)

// Secret is a credential in clear. It prints masked; Reveal is for the one reply that shows it.
type Secret string

// String masks the secret, so that no log or error holds it.
func (Secret) String() string { return "[secret]" }

// GoString masks the secret under %#v too.
func (Secret) GoString() string { return "[secret]" }

// Reveal gives the clear text.
func (s Secret) Reveal() string { return string(s) }

// Digest is the hex SHA-256 under which a random secret is stored and found; passwords never are.
func Digest(secret string) string {
	sum := sha256.Sum256([]byte(secret))
	return hex.EncodeToString(sum[:])
}

// SameDigest compares two digests in constant time.
func SameDigest(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }

// NewAPIKey draws a key: ll_, eight public characters by which it is found, and 32 random bytes.
func NewAPIKey() (secret Secret, public string) {
	public = publicEncoding.EncodeToString(randomBytes(5))
	return Secret(keyPrefix + public + secretEncoding.EncodeToString(randomBytes(32))), public
}

// KeyPublicPart is the part by which a key is found; false when the text is no key of ours at all.
func KeyPublicPart(s string) (string, bool) {
	rest, ok := strings.CutPrefix(s, keyPrefix)
	if !ok || len(rest) != keyPublicLen+secretEncoding.EncodedLen(32) {
		return "", false
	}
	return rest[:keyPublicLen], true
}

// LooksLikeKey reports whether a credential means to be an API key.
func LooksLikeKey(s string) bool { return strings.HasPrefix(s, keyPrefix) }

// KeyPreview is what a list shows of a key.
func KeyPreview(public string) string { return keyPrefix + public + "…" }

// NewRefreshToken draws the token with which a client renews its access.
func NewRefreshToken() Secret { return newToken(refreshPrefix) }

// NewCookieToken draws the token of a browser session.
func NewCookieToken() Secret { return newToken(cookiePrefix) }

// NewSetupToken draws the token of the one-time set-up link.
func NewSetupToken() Secret { return newToken(setupPrefix) }

func newToken(prefix string) Secret {
	return Secret(prefix + secretEncoding.EncodeToString(randomBytes(32)))
}

func randomBytes(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails: crypto/rand ends the process instead
	return b
}

// KeyID names an API key within its tenant.
type KeyID string

// APIKey is a machine's credential as we keep it: without its secret.
type APIKey struct {
	ID        KeyID
	UserID    UserID // who made it; the key can never do more than he can now
	Name      string
	Public    string
	Digest    string
	Scopes    *Permissions // nil: everything its creator may do
	CreatedAt time.Time
	LastUsed  time.Time // zero: never; up to a minute behind
	ExpiresAt time.Time // zero: never
	RevokedAt time.Time // zero: in force
}

// Active reports whether the key is in force at now.
func (k *APIKey) Active(now time.Time) bool {
	return k.RevokedAt.IsZero() && (k.ExpiresAt.IsZero() || now.Before(k.ExpiresAt))
}

// Effective is what the key may do, given its creator's rights now.
func (k *APIKey) Effective(creator Permissions) Permissions {
	if k.Scopes == nil {
		return creator
	}
	return creator.And(*k.Scopes)
}

// MaxKeysPerUser bounds the keys in force that one user may have.
const MaxKeysPerUser = 100
