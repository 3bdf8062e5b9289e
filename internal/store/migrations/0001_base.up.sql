-- What every room stands on: who the database is, tenants, settings, events, repeated requests, totals, cache versions.
CREATE TABLE instance (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  id TEXT NOT NULL,
  commit_epoch INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  checked_at INTEGER NOT NULL
) STRICT;

CREATE TABLE tenants (
  id TEXT NOT NULL PRIMARY KEY,
  name TEXT NOT NULL,
  plan TEXT NOT NULL,
  status TEXT NOT NULL,
  timezone TEXT NOT NULL,
  region TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL
) STRICT;

CREATE TABLE settings (
  tenant_id TEXT NOT NULL,
  key TEXT NOT NULL,
  value TEXT NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, key)
) STRICT, WITHOUT ROWID;

-- commit_order grows with commits: the rowid of SQLite's single writer, the transaction's id on PostgreSQL, where an
-- event is final for the chain once every transaction up to its own has ended.
CREATE TABLE events (
  commit_order INTEGER PRIMARY KEY, -- sqlite
  commit_order INTEGER NOT NULL DEFAULT CAST(CAST(pg_current_xact_id() AS text) AS bigint), -- postgres
  commit_epoch INTEGER NOT NULL,
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  at INTEGER NOT NULL,
  type TEXT NOT NULL,
  lead_id TEXT,
  subject_id TEXT,
  actor_kind TEXT NOT NULL,
  actor_id TEXT NOT NULL,
  actor_name TEXT NOT NULL,
  cause TEXT NOT NULL,
  data TEXT,
  changes TEXT,
  request_id TEXT,
  erased_digest TEXT
) STRICT;
CREATE UNIQUE INDEX events_by_id ON events (tenant_id, id);
CREATE INDEX events_by_lead ON events (tenant_id, lead_id, id) WHERE lead_id IS NOT NULL;
CREATE INDEX events_by_subject ON events (tenant_id, subject_id, id) WHERE subject_id IS NOT NULL;
CREATE INDEX events_by_order ON events (commit_epoch, commit_order); -- postgres

-- One block of a tenant's chain covers its events with from <= (commit_epoch, commit_order) < to.
CREATE TABLE event_blocks (
  tenant_id TEXT NOT NULL,
  number INTEGER NOT NULL,
  commit_epoch INTEGER NOT NULL,
  from_order INTEGER NOT NULL,
  to_order INTEGER NOT NULL,
  first_seq INTEGER NOT NULL,
  events INTEGER NOT NULL,
  previous_hash TEXT NOT NULL,
  hash TEXT NOT NULL,
  sealed_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, number)
) STRICT, WITHOUT ROWID;

CREATE TABLE idempotency_keys (
  tenant_id TEXT NOT NULL,
  caller TEXT NOT NULL,
  route TEXT NOT NULL,
  key TEXT NOT NULL,
  digest TEXT NOT NULL,
  result BLOB,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, caller, route, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX idempotency_keys_by_age ON idempotency_keys (created_at);

CREATE TABLE tenant_counters (
  tenant_id TEXT NOT NULL,
  counter TEXT NOT NULL,
  shard INTEGER NOT NULL,
  n INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, counter, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE cache_versions (
  tenant_id TEXT NOT NULL,
  area TEXT NOT NULL,
  version INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, area)
) STRICT, WITHOUT ROWID;
