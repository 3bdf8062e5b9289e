package store

import (
	"time"

	"leadloom/internal/account"
)

const userColumns = "tenant_id, id, username, email, password_hash, role, active, version, created_at, updated_at, last_login_at"

func scanUser(r row) (*account.User, error) {
	var u account.User
	var active, created, updated, login int64
	err := r.Scan(&u.TenantID, &u.ID, &u.Username, &u.Email, &u.PasswordHash, &u.Role, &active, &u.Version, &created, &updated, &login)
	u.Active = active == 1
	u.CreatedAt, u.UpdatedAt, u.LastLoginAt = fromMicros(created), fromMicros(updated), fromMicros(login)
	return &u, err
}

// User finds a user of the tenant.
func (r *Reader) User(sc account.Scope, id account.UserID) (*account.User, error) {
	return queryOne(r, scanUser, "SELECT "+userColumns+" FROM users WHERE tenant_id=$1 AND id=$2"+r.lock(), string(sc.Tenant()), string(id))
}

const usersSQL = "SELECT " + userColumns + " FROM users WHERE tenant_id=$1 AND id > $2 ORDER BY id LIMIT $3" // primary key

// Users lists the tenant's users by id, oldest first, after the given one ("" from the start).
func (r *Reader) Users(sc account.Scope, after account.UserID, limit int) ([]*account.User, error) {
	return queryAll(r, scanUser, usersSQL, string(sc.Tenant()), string(after), limit)
}

// UsersSkip lists the tenant's users by id, oldest first, without the first skip of them: for old clients.
func (r *Reader) UsersSkip(sc account.Scope, skip, limit int) ([]*account.User, error) {
	return queryAll(r, scanUser, "SELECT "+userColumns+" FROM users WHERE tenant_id=$1 ORDER BY id LIMIT $2 OFFSET $3", string(sc.Tenant()), limit, skip)
}

const (
	usersByNameSQL  = "SELECT " + userColumns + " FROM users WHERE username_folded=$1 ORDER BY id LIMIT $2"                         // users_login_name
	usersByEmailSQL = "SELECT " + userColumns + " FROM users WHERE email_folded=$1 AND email_folded <> '' ORDER BY id LIMIT $2"     // users_login_email
	userByNameSQL   = "SELECT " + userColumns + " FROM users WHERE tenant_id=$1 AND username_folded=$2"                             // users_by_username
	userByEmailSQL  = "SELECT " + userColumns + " FROM users WHERE tenant_id=$1 AND email_folded=$2 AND email_folded <> '' LIMIT 1" // users_by_email
)

// UsersByLogin finds who may be meant by a login's name in any tenant, oldest user first: by e-mail when isEmail,
// else by username. name is folded.
func (r *Reader) UsersByLogin(_ account.Instance, name string, isEmail bool, limit int) ([]*account.User, error) {
	if isEmail {
		return queryAll(r, scanUser, usersByEmailSQL, name, limit)
	}
	return queryAll(r, scanUser, usersByNameSQL, name, limit)
}

// UserByLogin finds the user of one tenant by folded e-mail or username.
func (r *Reader) UserByLogin(sc account.Scope, name string, isEmail bool) (*account.User, error) {
	if isEmail {
		return queryOne(r, scanUser, userByEmailSQL, string(sc.Tenant()), name)
	}
	return queryOne(r, scanUser, userByNameSQL, string(sc.Tenant()), name)
}

// AnyUser reports whether the installation has a user at all.
func (r *Reader) AnyUser(_ account.Instance) (bool, error) {
	_, err := queryOne(r, scanString, "SELECT id FROM users LIMIT 1")
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

const activeAdminsSQL = "SELECT COUNT(*) FROM users WHERE tenant_id=$1 AND role='admin' AND active=1" // users_admins

// ActiveAdmins counts the tenant's administrators who can log in. Lock the tenant first when a change depends on it.
func (r *Reader) ActiveAdmins(sc account.Scope) (int64, error) {
	return queryOne(r, scanInt, activeAdminsSQL, string(sc.Tenant()))
}

// UsersCounter is the maintained total of a tenant's users.
const UsersCounter = "users"

// InsertUser stores a new user; a taken username or e-mail is a conflict on users_by_username or users_by_email
// (IsConflict with "username" or "email").
func (tx *Tx) InsertUser(sc account.Scope, u *account.User) error {
	_, err := tx.exec(`INSERT INTO users (tenant_id, id, username, username_folded, email, email_folded, password_hash, role, active, version, created_at, updated_at, last_login_at)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,1,$10,$10,0)`,
		string(sc.Tenant()), string(u.ID), u.Username, account.FoldLogin(u.Username), u.Email, account.FoldLogin(u.Email),
		u.PasswordHash, string(u.Role), flag(u.Active), micros(tx.now))
	if err != nil {
		return err
	}
	u.TenantID, u.Version, u.CreatedAt, u.UpdatedAt = sc.Tenant(), 1, tx.now, tx.now
	tx.AddCount(sc, UsersCounter, 1)
	return nil
}

// UpdateUser stores a user's password hash, role and state, and grows its version. ErrNotFound when it has changed
// since it was read.
func (tx *Tx) UpdateUser(sc account.Scope, u *account.User) error {
	n, err := tx.exec(`UPDATE users SET password_hash=$1, role=$2, active=$3, version=version+1, updated_at=$4 WHERE tenant_id=$5 AND id=$6 AND version=$7`,
		u.PasswordHash, string(u.Role), flag(u.Active), micros(tx.now), string(sc.Tenant()), string(u.ID), u.Version)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err == nil {
		u.Version, u.UpdatedAt = u.Version+1, tx.now
	}
	return err
}

// RecordLogin stores when a user logged in, and his renewed password hash when there is one. It is no change of the
// user: his version stays.
func (tx *Tx) RecordLogin(sc account.Scope, id account.UserID, renewedHash string) error {
	_, err := tx.exec(`UPDATE users SET last_login_at=$1, password_hash=CASE WHEN $2 <> '' THEN $2 ELSE password_hash END WHERE tenant_id=$3 AND id=$4`,
		micros(tx.now), renewedHash, string(sc.Tenant()), string(id))
	return err
}

// LoginFailures is how often a name was tried in vain from an address, and when the next try may come.
type LoginFailures struct {
	Failures  int
	RetryAt   time.Time
	UpdatedAt time.Time
}

// LoginFailures reads the count; zero when there is none.
func (r *Reader) LoginFailures(_ account.Instance, nameDigest, address string) (LoginFailures, error) {
	f, err := queryOne(r, func(r row) (f LoginFailures, err error) {
		var retry, updated int64
		err = r.Scan(&f.Failures, &retry, &updated)
		f.RetryAt, f.UpdatedAt = fromMicros(retry), fromMicros(updated)
		return
	}, "SELECT failures, retry_at, updated_at FROM login_failures WHERE name_digest=$1 AND address=$2"+r.lock(), nameDigest, address)
	if err == ErrNotFound {
		return LoginFailures{}, nil
	}
	return f, err
}

// SetLoginFailures stores the count.
func (tx *Tx) SetLoginFailures(_ account.Instance, nameDigest, address string, f LoginFailures) error {
	_, err := tx.exec(`INSERT INTO login_failures (name_digest, address, failures, retry_at, updated_at) VALUES ($1,$2,$3,$4,$5)
		ON CONFLICT (name_digest, address) DO UPDATE SET failures=excluded.failures, retry_at=excluded.retry_at, updated_at=excluded.updated_at`,
		nameDigest, address, f.Failures, micros(f.RetryAt), micros(tx.now))
	return err
}

// ClearLoginFailures forgets the count after a login that worked.
func (tx *Tx) ClearLoginFailures(_ account.Instance, nameDigest, address string) error {
	_, err := tx.exec(`DELETE FROM login_failures WHERE name_digest=$1 AND address=$2`, nameDigest, address)
	return err
}

const oldLoginFailuresSQL = "SELECT name_digest, address FROM login_failures WHERE updated_at < $1 ORDER BY updated_at LIMIT $2" // login_failures_by_age

// DeleteLoginFailures removes at most limit counts that are older than before, and says how many.
func (tx *Tx) DeleteLoginFailures(_ account.Instance, before time.Time, limit int) (int64, error) {
	return tx.exec("DELETE FROM login_failures WHERE (name_digest, address) IN ("+oldLoginFailuresSQL+")", micros(before), limit)
}

// AddSetupLink stores the digest of a one-time set-up link.
func (tx *Tx) AddSetupLink(_ account.Instance, digest string, expires time.Time) error {
	_, err := tx.exec(`INSERT INTO setup_links (digest, created_at, expires_at) VALUES ($1,$2,$3)`, digest, micros(tx.now), micros(expires))
	return err
}

// SetupLinkValid reports whether a link with this digest is in force.
func (r *Reader) SetupLinkValid(_ account.Instance, digest string, now time.Time) (bool, error) {
	_, err := queryOne(r, scanString, "SELECT digest FROM setup_links WHERE digest=$1 AND expires_at > $2", digest, micros(now))
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}

// DeleteSetupLinks ends all set-up links.
func (tx *Tx) DeleteSetupLinks(_ account.Instance) error {
	_, err := tx.exec("DELETE FROM setup_links")
	return err
}

func flag(b bool) int64 {
	if b {
		return 1
	}
	return 0
}
