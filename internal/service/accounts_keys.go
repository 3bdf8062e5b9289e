package service

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/store"
)

// NewKey is the input from which an API key is made.
type NewKey struct {
	Name          string
	ExpiresInDays *int     // nil: never
	Scopes        []string // nil: everything its creator may do
}

// CreatedKey is a new key with its secret, which is shown this once.
type CreatedKey struct {
	ID        account.KeyID
	Name      string
	Secret    string
	Preview   string
	Scopes    []string
	CreatedAt time.Time
	ExpiresAt time.Time
}

const (
	maxKeyNameRunes = 100
	maxKeyDays      = 3650
	listedKeys      = 500
)

// CreateKey makes an API key of the calling user. A key cannot make keys: a leaked one would outlive its revocation.
func (a *Accounts) CreateKey(ctx context.Context, sc account.Scope, in NewKey) (CreatedKey, error) {
	if sc.Actor.Kind != account.ActorUser {
		return CreatedKey{}, &fault.Error{Kind: fault.KindForbidden, Code: "needs_a_user", Message: "An API key cannot make API keys. Log in as a user."}
	}
	k, err := checkNewKey(sc, in, a.now())
	if err != nil {
		return CreatedKey{}, err
	}
	return write(ctx, a.core, sc, func(tx *store.Tx) (CreatedKey, error) {
		// The user's row is locked, so that two requests cannot both make the last key allowed.
		if _, err := tx.User(sc, sc.UserID); err != nil {
			return CreatedKey{}, notFound(err, "user", string(sc.UserID))
		}
		n, err := tx.ActiveKeys(sc, sc.UserID, tx.Now())
		if err != nil {
			return CreatedKey{}, err
		}
		if n >= account.MaxKeysPerUser {
			return CreatedKey{}, fault.Conflict("too_many_keys", fmt.Sprintf("You have %d API keys in force, which is the most a user may have. Revoke one first.", n))
		}
		secret, public := account.NewAPIKey()
		k := k
		k.ID, k.Public, k.Digest = account.KeyID(tx.NewID()), public, account.Digest(secret.Reveal())
		if err := tx.InsertAPIKey(sc, &k); err != nil {
			return CreatedKey{}, err
		}
		out := CreatedKey{ID: k.ID, Name: k.Name, Secret: secret.Reveal(), Preview: account.KeyPreview(public), Scopes: keyScopes(&k), CreatedAt: k.CreatedAt, ExpiresAt: k.ExpiresAt}
		data := map[string]any{"name": k.Name, "preview": out.Preview, "scopes": out.Scopes}
		if !k.ExpiresAt.IsZero() {
			data["expires_at"] = k.ExpiresAt
		}
		return out, record(tx, sc, event.KeyCreated, string(k.ID), data, nil)
	})
}

func checkNewKey(sc account.Scope, in NewKey, now time.Time) (account.APIKey, error) {
	k := account.APIKey{UserID: sc.UserID, Name: strings.TrimSpace(in.Name)}
	var problems []fault.Field
	bad := func(path, code, message string) {
		problems = append(problems, fault.Field{Path: path, Code: code, Message: message})
	}
	switch {
	case k.Name == "":
		bad("name", "required", "Send a name that says what the key is for.")
	case utf8.RuneCountInString(k.Name) > maxKeyNameRunes:
		bad("name", "too_long", fmt.Sprintf("Send at most %d characters.", maxKeyNameRunes))
	case strings.ContainsFunc(k.Name, unicode.IsControl):
		bad("name", "bad_character", "Send the name without control characters.")
	}
	if d := in.ExpiresInDays; d != nil {
		if *d < 1 || *d > maxKeyDays {
			bad("expires_in_days", "out_of_range", fmt.Sprintf("Send 1 to %d days, or leave it out for a key that does not expire.", maxKeyDays))
		}
		k.ExpiresAt = now.Add(time.Duration(*d) * 24 * time.Hour).Truncate(time.Microsecond)
	}
	if in.Scopes != nil {
		scopes, fields := account.CheckScopes("scopes", in.Scopes, sc.Permissions())
		k.Scopes = &scopes
		problems = append(problems, fields...)
		if len(in.Scopes) == 0 {
			bad("scopes", "empty", "Send at least one permission, or leave scopes out for everything that you may do.")
		}
	}
	return k, fault.InvalidFields(problems).OrNil()
}

// keyScopes lists what a key is cut down to; nil when it is not.
func keyScopes(k *account.APIKey) []string {
	if k.Scopes == nil {
		return nil
	}
	return k.Scopes.Names()
}

// KeyView is an API key as its owner sees it.
type KeyView struct {
	account.APIKey
	Active     bool
	ScopeNames []string // nil: everything its creator may do
}

// ListKeys lists the calling user's keys, newest first, revoked and expired ones too.
func (a *Accounts) ListKeys(ctx context.Context, sc account.Scope) ([]KeyView, error) {
	keys, err := a.st.Read(ctx).APIKeysOfUser(sc, sc.UserID, listedKeys)
	if err != nil {
		return nil, err
	}
	out := make([]KeyView, len(keys))
	for i, k := range keys {
		out[i] = KeyView{k.APIKey, k.Active(a.now()), keyScopes(&k.APIKey)}
	}
	return out, nil
}

// RevokeKey ends a key of the calling user, or of anyone in the tenant for those who manage users. A key can end
// itself and no other. Revoking a revoked key changes nothing.
func (a *Accounts) RevokeKey(ctx context.Context, sc account.Scope, id account.KeyID) error {
	_, err := write(ctx, a.core, sc, func(tx *store.Tx) (struct{}, error) {
		k, err := tx.APIKey(sc, id)
		if err != nil {
			return struct{}{}, notFound(err, "API key", string(id))
		}
		itself := sc.Actor.Kind == account.ActorKey && sc.Actor.ID == string(id)
		own := sc.Actor.Kind == account.ActorUser && (k.UserID == sc.UserID || sc.Can(account.UserManage))
		if !itself && !own {
			return struct{}{}, fault.NotFound("API key", string(id))
		}
		was, err := tx.RevokeAPIKey(sc, id)
		if err != nil || !was {
			return struct{}{}, err
		}
		if err := a.accountsChanged(tx, sc, k.UserID); err != nil {
			return struct{}{}, err
		}
		return struct{}{}, record(tx, sc, event.KeyRevoked, string(id), map[string]any{"name": k.Name, "preview": account.KeyPreview(k.Public), "user_id": k.UserID}, nil)
	})
	return err
}
