package store

import (
	"time"

	"leadloom/internal/account"
)

const sessionColumns = "tenant_id, id, user_id, kind, digest, previous, rotated_at, address, device, created_at, last_used_at, expires_at, revoked_at"

// TenantSession is a session with the tenant it was found in.
type TenantSession struct {
	Tenant account.TenantID
	account.Session
}

func scanSession(r row) (*TenantSession, error) {
	var s TenantSession
	var rotated, created, used, expires, revoked int64
	err := r.Scan(&s.Tenant, &s.ID, &s.UserID, &s.Kind, &s.Digest, &s.Previous, &rotated, &s.Address, &s.Device, &created, &used, &expires, &revoked)
	s.RotatedAt, s.CreatedAt, s.LastUsedAt = fromMicros(rotated), fromMicros(created), fromMicros(used)
	s.ExpiresAt, s.RevokedAt = fromMicros(expires), fromMicros(revoked)
	return &s, err
}

// Session finds a session of the tenant.
func (r *Reader) Session(sc account.Scope, id account.SessionID) (*TenantSession, error) {
	return queryOne(r, scanSession, "SELECT "+sessionColumns+" FROM sessions WHERE tenant_id=$1 AND id=$2"+r.lock(), string(sc.Tenant()), string(id))
}

const (
	sessionByDigestSQL   = "SELECT " + sessionColumns + " FROM sessions WHERE digest=$1"                      // sessions_by_digest
	sessionByPreviousSQL = "SELECT " + sessionColumns + " FROM sessions WHERE previous=$1 AND previous <> ''" // sessions_by_previous
)

// SessionByToken finds the session of a token's digest in any tenant; a refresh token that was exchanged finds its
// session too, with Previous equal to the digest.
func (r *Reader) SessionByToken(_ account.Instance, digest string) (*TenantSession, error) {
	s, err := queryOne(r, scanSession, sessionByDigestSQL+r.lock(), digest)
	if err == ErrNotFound {
		return queryOne(r, scanSession, sessionByPreviousSQL+r.lock(), digest)
	}
	return s, err
}

const sessionsOfUserSQL = "SELECT " + sessionColumns + " FROM sessions WHERE tenant_id=$1 AND user_id=$2 ORDER BY id DESC LIMIT $3" // sessions_by_user

// SessionsOfUser lists a user's sessions, newest first, ended ones too.
func (r *Reader) SessionsOfUser(sc account.Scope, user account.UserID, limit int) ([]*TenantSession, error) {
	return queryAll(r, scanSession, sessionsOfUserSQL, string(sc.Tenant()), string(user), limit)
}

// InsertSession stores a new session.
func (tx *Tx) InsertSession(sc account.Scope, s *account.Session) error {
	_, err := tx.exec(`INSERT INTO sessions (tenant_id, id, user_id, kind, digest, previous, rotated_at, address, device, created_at, last_used_at, expires_at, revoked_at)
		VALUES ($1,$2,$3,$4,$5,'',0,$6,$7,$8,$8,$9,0)`,
		string(sc.Tenant()), string(s.ID), string(s.UserID), string(s.Kind), s.Digest, s.Address, s.Device, micros(tx.now), micros(s.ExpiresAt))
	return err
}

// RotateSession exchanges a session's token and counts as a use; the old token stays known as the previous one.
func (tx *Tx) RotateSession(sc account.Scope, id account.SessionID, digest string) error {
	n, err := tx.exec(`UPDATE sessions SET previous=digest, digest=$1, rotated_at=$2, last_used_at=$2 WHERE tenant_id=$3 AND id=$4 AND revoked_at=0`,
		digest, micros(tx.now), string(sc.Tenant()), string(id))
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	return err
}

// RevokeSession ends a session; it says whether it was in force.
func (tx *Tx) RevokeSession(sc account.Scope, id account.SessionID) (bool, error) {
	n, err := tx.exec(`UPDATE sessions SET revoked_at=$1 WHERE tenant_id=$2 AND id=$3 AND revoked_at=0`, micros(tx.now), string(sc.Tenant()), string(id))
	return n > 0, err
}

// RevokeSessionsOfUser ends all sessions of a user and says how many.
func (tx *Tx) RevokeSessionsOfUser(sc account.Scope, user account.UserID) (int64, error) {
	return tx.exec(`UPDATE sessions SET revoked_at=$1 WHERE tenant_id=$2 AND user_id=$3 AND revoked_at=0`, micros(tx.now), string(sc.Tenant()), string(user))
}

// TouchSessions stores that the tenant's sessions were used at a time, in one statement.
func (tx *Tx) TouchSessions(_ account.Instance, t account.TenantID, ids []string, at time.Time) error {
	_, err := tx.exec("UPDATE sessions SET last_used_at=$1 WHERE tenant_id=$2 AND last_used_at < $1 AND id IN "+tx.list("$3"), micros(at), string(t), jsonText(ids))
	return err
}

const oldSessionsSQL = "SELECT tenant_id, id FROM sessions WHERE last_used_at < $1 ORDER BY last_used_at LIMIT $2" // sessions_by_use

// DeleteSessions removes at most limit sessions that were last used before the given time, and says how many.
func (tx *Tx) DeleteSessions(_ account.Instance, before time.Time, limit int) (int64, error) {
	return tx.exec("DELETE FROM sessions WHERE (tenant_id, id) IN ("+oldSessionsSQL+")", micros(before), limit)
}
