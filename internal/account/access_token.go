package account

import (
	"errors"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// AccessLifetime is how long an access token is good for; the session behind it may be ended earlier.
const AccessLifetime = time.Hour

// SigningKey signs access tokens. Two are in force while one replaces the other.
type SigningKey struct {
	ID        string
	Secret    []byte
	CreatedAt time.Time
}

// NewSigningKey draws a key; id is its name in the tokens' header.
func NewSigningKey(id string, now time.Time) SigningKey {
	return SigningKey{ID: id, Secret: randomBytes(32), CreatedAt: now}
}

// Claims is what an access token says: whose session it belongs to. Rights are looked up, never carried.
type Claims struct {
	Tenant    TenantID
	User      UserID
	Session   SessionID
	ExpiresAt time.Time
}

type tokenClaims struct {
	jwt.RegisteredClaims
	Tenant  string `json:"tid"`
	Session string `json:"sid"`
}

const tokenIssuer = "leadloom"

// SignAccess makes the access token.
func SignAccess(k SigningKey, c Claims, now time.Time) (string, error) {
	t := jwt.NewWithClaims(jwt.SigningMethodHS256, tokenClaims{
		RegisteredClaims: jwt.RegisteredClaims{
			Issuer: tokenIssuer, Subject: string(c.User),
			IssuedAt: jwt.NewNumericDate(now), ExpiresAt: jwt.NewNumericDate(c.ExpiresAt),
		},
		Tenant: string(c.Tenant), Session: string(c.Session),
	})
	t.Header["kid"] = k.ID
	return t.SignedString(k.Secret)
}

// Why an access token is refused.
var (
	ErrTokenExpired = errors.New("the access token has expired")
	ErrTokenInvalid = errors.New("not an access token of ours")
)

// ReadAccess checks a token's signature, issuer and expiry at now. find gives the secret of a key id.
func ReadAccess(token string, find func(kid string) ([]byte, bool), now time.Time) (Claims, error) {
	var c tokenClaims
	p := jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithIssuer(tokenIssuer), jwt.WithExpirationRequired(),
		jwt.WithTimeFunc(func() time.Time { return now }))
	_, err := p.ParseWithClaims(token, &c, func(t *jwt.Token) (any, error) {
		kid, _ := t.Header["kid"].(string)
		secret, ok := find(kid)
		if !ok {
			return nil, ErrTokenInvalid
		}
		return secret, nil
	})
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Claims{}, ErrTokenExpired
	case err != nil || c.Subject == "" || c.Tenant == "" || c.Session == "":
		return Claims{}, ErrTokenInvalid
	}
	return Claims{Tenant: TenantID(c.Tenant), User: UserID(c.Subject), Session: SessionID(c.Session), ExpiresAt: c.ExpiresAt.Time}, nil
}
