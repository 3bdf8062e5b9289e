-- Who may do what: users, their sessions, API keys, failed logins, set-up links.
CREATE TABLE users (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  username TEXT NOT NULL,
  username_folded TEXT NOT NULL,
  email TEXT NOT NULL,
  email_folded TEXT NOT NULL,
  password_hash TEXT NOT NULL,
  role TEXT NOT NULL,
  active INTEGER NOT NULL,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  last_login_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX users_by_username ON users (tenant_id, username_folded);
CREATE UNIQUE INDEX users_by_email ON users (tenant_id, email_folded) WHERE email_folded <> '';
CREATE INDEX users_admins ON users (tenant_id) WHERE role = 'admin' AND active = 1;
-- A login does not name its tenant.
CREATE INDEX users_login_name ON users (username_folded, id);
CREATE INDEX users_login_email ON users (email_folded, id) WHERE email_folded <> '';

CREATE TABLE sessions (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  digest TEXT NOT NULL,
  previous TEXT NOT NULL,
  rotated_at INTEGER NOT NULL,
  address TEXT NOT NULL,
  device TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  last_used_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX sessions_by_user ON sessions (tenant_id, user_id, id);
CREATE INDEX sessions_by_digest ON sessions (digest);
CREATE INDEX sessions_by_previous ON sessions (previous) WHERE previous <> '';
CREATE INDEX sessions_by_use ON sessions (last_used_at);

CREATE TABLE api_keys (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  user_id TEXT NOT NULL,
  name TEXT NOT NULL,
  public TEXT NOT NULL,
  digest TEXT NOT NULL,
  scopes TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  last_used_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  revoked_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX api_keys_by_user ON api_keys (tenant_id, user_id, id);
CREATE INDEX api_keys_by_public ON api_keys (public);

-- Failed logins by name (as a digest: people type passwords into the wrong field) and address. They belong to no
-- tenant, because the name may belong to none.
CREATE TABLE login_failures (
  name_digest TEXT NOT NULL,
  address TEXT NOT NULL,
  failures INTEGER NOT NULL,
  retry_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (name_digest, address)
) STRICT, WITHOUT ROWID;
CREATE INDEX login_failures_by_age ON login_failures (updated_at);

CREATE TABLE setup_links (
  digest TEXT NOT NULL PRIMARY KEY,
  created_at INTEGER NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
