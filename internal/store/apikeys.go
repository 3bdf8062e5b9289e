package store

import (
	"encoding/json"
	"fmt"
	"time"

	"leadloom/internal/account"
)

const keyColumns = "tenant_id, id, user_id, name, public, digest, scopes, created_at, last_used_at, expires_at, revoked_at"

// TenantKey is an API key with the tenant it was found in.
type TenantKey struct {
	Tenant account.TenantID
	account.APIKey
}

func scanKey(r row) (*TenantKey, error) {
	var k TenantKey
	var scopes string
	var created, used, expires, revoked int64
	if err := r.Scan(&k.Tenant, &k.ID, &k.UserID, &k.Name, &k.Public, &k.Digest, &scopes, &created, &used, &expires, &revoked); err != nil {
		return nil, err
	}
	k.CreatedAt, k.LastUsed, k.ExpiresAt, k.RevokedAt = fromMicros(created), fromMicros(used), fromMicros(expires), fromMicros(revoked)
	var err error
	k.Scopes, err = scopesFromText(scopes)
	return &k, err
}

// scopesText is the stored form: "" for a key without scopes of its own, else a JSON array of permissions.
func scopesText(p *account.Permissions) string {
	if p == nil {
		return ""
	}
	return jsonText(p.Names())
}

// scopesFromText leaves out permissions that this version does not know: a key may lose a right, never gain one.
func scopesFromText(s string) (*account.Permissions, error) {
	if s == "" {
		return nil, nil
	}
	var names []string
	if err := json.Unmarshal([]byte(s), &names); err != nil {
		return nil, fmt.Errorf("store: scopes of a key: %w", err)
	}
	set := account.Set()
	for _, n := range names {
		if p, ok := account.ParsePermission(n); ok {
			set |= account.Set(p)
		}
	}
	return &set, nil
}

// APIKey finds a key of the tenant.
func (r *Reader) APIKey(sc account.Scope, id account.KeyID) (*TenantKey, error) {
	return queryOne(r, scanKey, "SELECT "+keyColumns+" FROM api_keys WHERE tenant_id=$1 AND id=$2"+r.lock(), string(sc.Tenant()), string(id))
}

const keysByPublicSQL = "SELECT " + keyColumns + " FROM api_keys WHERE public=$1" // api_keys_by_public

// APIKeysByPublic finds the keys with this public part in any tenant; there is hardly ever more than one.
func (r *Reader) APIKeysByPublic(_ account.Instance, public string) ([]*TenantKey, error) {
	return queryAll(r, scanKey, keysByPublicSQL, public)
}

const keysOfUserSQL = "SELECT " + keyColumns + " FROM api_keys WHERE tenant_id=$1 AND user_id=$2 ORDER BY id DESC LIMIT $3" // api_keys_by_user

// APIKeysOfUser lists a user's keys, newest first, revoked and expired ones too.
func (r *Reader) APIKeysOfUser(sc account.Scope, user account.UserID, limit int) ([]*TenantKey, error) {
	return queryAll(r, scanKey, keysOfUserSQL, string(sc.Tenant()), string(user), limit)
}

// ActiveKeys counts the keys in force that a user has.
func (r *Reader) ActiveKeys(sc account.Scope, user account.UserID, now time.Time) (int64, error) {
	return queryOne(r, scanInt, "SELECT COUNT(*) FROM api_keys WHERE tenant_id=$1 AND user_id=$2 AND revoked_at=0 AND (expires_at=0 OR expires_at > $3)",
		string(sc.Tenant()), string(user), micros(now))
}

// InsertAPIKey stores a new key.
func (tx *Tx) InsertAPIKey(sc account.Scope, k *account.APIKey) error {
	_, err := tx.exec(`INSERT INTO api_keys (tenant_id, id, user_id, name, public, digest, scopes, created_at, last_used_at, expires_at, revoked_at)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,0,$9,0)`,
		string(sc.Tenant()), string(k.ID), string(k.UserID), k.Name, k.Public, k.Digest, scopesText(k.Scopes), micros(tx.now), micros(k.ExpiresAt))
	k.CreatedAt = tx.now
	return err
}

// RevokeAPIKey ends a key; it says whether it was in force.
func (tx *Tx) RevokeAPIKey(sc account.Scope, id account.KeyID) (bool, error) {
	n, err := tx.exec(`UPDATE api_keys SET revoked_at=$1 WHERE tenant_id=$2 AND id=$3 AND revoked_at=0`, micros(tx.now), string(sc.Tenant()), string(id))
	return n > 0, err
}

// TouchAPIKeys stores that the tenant's keys were used at a time, in one statement.
func (tx *Tx) TouchAPIKeys(_ account.Instance, t account.TenantID, ids []string, at time.Time) error {
	_, err := tx.exec("UPDATE api_keys SET last_used_at=$1 WHERE tenant_id=$2 AND last_used_at < $1 AND id IN "+tx.list("$3"), micros(at), string(t), jsonText(ids))
	return err
}
