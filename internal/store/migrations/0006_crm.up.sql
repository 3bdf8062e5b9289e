-- Accounts of other CRMs, what goes there, what is there already, what has yet to go and what was refused.
CREATE TABLE connections (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  type TEXT NOT NULL,
  name TEXT NOT NULL,
  api_url TEXT NOT NULL,
  settings TEXT NOT NULL,
  credentials BLOB,
  credentials_digest TEXT NOT NULL,
  credentials_hint TEXT NOT NULL,
  enabled INTEGER NOT NULL,
  state TEXT NOT NULL,
  state_code TEXT NOT NULL,
  state_reason TEXT NOT NULL,
  state_until INTEGER NOT NULL,
  failures INTEGER NOT NULL,
  mapping_version INTEGER NOT NULL,
  quota_key TEXT NOT NULL,
  schema_hash TEXT NOT NULL,
  account TEXT NOT NULL,
  peer TEXT NOT NULL,
  marked_through TEXT, -- the last lead a first marking has reached; null once every lead has been marked
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  saved_at INTEGER NOT NULL,
  tested_at INTEGER NOT NULL,
  synced_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX connections_by_name ON connections (tenant_id, type, name);
CREATE INDEX connections_by_state ON connections (state, state_until);

CREATE TABLE mappings (
  tenant_id TEXT NOT NULL,
  connection_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  fields TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  created_by TEXT NOT NULL,
  PRIMARY KEY (tenant_id, connection_id, version)
) STRICT, WITHOUT ROWID;

CREATE TABLE crm_links (
  tenant_id TEXT NOT NULL,
  connection_id TEXT NOT NULL,
  lead_id TEXT NOT NULL,
  remote_id TEXT NOT NULL,
  remote_url TEXT NOT NULL,
  remote_stamp TEXT NOT NULL,
  synced_version INTEGER NOT NULL,
  mapping_version INTEGER NOT NULL,
  base TEXT NOT NULL,
  sent_hash TEXT NOT NULL,
  synced_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, connection_id, lead_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX crm_links_by_lead ON crm_links (tenant_id, lead_id);
CREATE INDEX crm_links_by_remote ON crm_links (tenant_id, connection_id, remote_id);

CREATE TABLE crm_dirty (
  tenant_id TEXT NOT NULL,
  connection_id TEXT NOT NULL,
  lead_id TEXT NOT NULL,
  lead_version INTEGER NOT NULL,
  reason TEXT NOT NULL,
  forced INTEGER NOT NULL,
  hops INTEGER NOT NULL,
  not_before INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  marked_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, connection_id, lead_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX crm_dirty_due ON crm_dirty (tenant_id, connection_id, not_before, lead_id);
CREATE INDEX crm_dirty_by_lead ON crm_dirty (tenant_id, lead_id);

CREATE TABLE crm_problems (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  connection_id TEXT NOT NULL,
  lead_id TEXT NOT NULL,
  state TEXT NOT NULL,
  class TEXT NOT NULL,
  code TEXT NOT NULL,
  field TEXT NOT NULL,
  message TEXT NOT NULL,
  lead_version INTEGER NOT NULL,
  mapping_version INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  retry_on TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  resolved_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX crm_problems_open ON crm_problems (tenant_id, connection_id, lead_id) WHERE state = 'open';
CREATE INDEX crm_problems_list ON crm_problems (tenant_id, connection_id, state, id);
CREATE INDEX crm_problems_by_lead ON crm_problems (tenant_id, lead_id);

-- A workflow step that waits for a lead to be in step with a connection.
CREATE TABLE crm_waiters (
  tenant_id TEXT NOT NULL,
  connection_id TEXT NOT NULL,
  lead_id TEXT NOT NULL,
  step TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  failed TEXT NOT NULL,
  PRIMARY KEY (tenant_id, connection_id, lead_id, step)
) STRICT, WITHOUT ROWID;
CREATE INDEX crm_waiters_by_step ON crm_waiters (tenant_id, step);
CREATE INDEX crm_waiters_by_age ON crm_waiters (created_at);

-- Token bucket and daily counter of one account of a CRM, shared by all nodes. tokens are thousandths.
CREATE TABLE quota_budgets (
  tenant_id TEXT NOT NULL,
  quota_key TEXT NOT NULL,
  capacity INTEGER NOT NULL,
  refill_milli INTEGER NOT NULL,
  tokens INTEGER NOT NULL,
  daily_limit INTEGER NOT NULL,
  daily_used INTEGER NOT NULL,
  daily_reset_at INTEGER NOT NULL,
  blocked_until INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, quota_key)
) STRICT, WITHOUT ROWID;
