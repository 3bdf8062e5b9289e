-- Templates, campaigns, the send ledger and what is learned about messages afterwards.
CREATE TABLE templates (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  name_key TEXT NOT NULL,
  subject TEXT NOT NULL,
  html TEXT NOT NULL,
  text TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX templates_by_name ON templates (tenant_id, name_key);

CREATE TABLE campaigns (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  state TEXT NOT NULL,
  hold TEXT NOT NULL,
  hold_text TEXT NOT NULL,
  hold_since_at INTEGER NOT NULL,
  topic TEXT NOT NULL,
  audience TEXT NOT NULL,
  content TEXT NOT NULL,
  from_address TEXT NOT NULL,
  reply_to TEXT NOT NULL,
  scheduled_at INTEGER NOT NULL,
  per_minute INTEGER NOT NULL,
  missing TEXT NOT NULL,
  prepared TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  started_at INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX campaigns_by_state ON campaigns (tenant_id, state, id);
CREATE INDEX campaigns_moving ON campaigns (state, tenant_id, id) WHERE state IN ('scheduled', 'preparing', 'sending');

-- The people and leads that an audience names, in the pieces in which they are prepared. They stand apart because each
-- message that is handed over looks at its campaign.
CREATE TABLE campaign_named (
  tenant_id TEXT NOT NULL,
  campaign_id TEXT NOT NULL,
  list TEXT NOT NULL,
  piece INTEGER NOT NULL,
  members TEXT NOT NULL,
  PRIMARY KEY (tenant_id, campaign_id, list, piece)
) STRICT, WITHOUT ROWID;

-- One row per lead and address that a campaign means. An address has one live row; others of it say duplicate_address.
CREATE TABLE campaign_recipients (
  tenant_id TEXT NOT NULL,
  campaign_id TEXT NOT NULL,
  id TEXT NOT NULL,
  lead_id TEXT NOT NULL,
  name TEXT NOT NULL,
  address TEXT NOT NULL,
  address_key TEXT NOT NULL,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  message_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, campaign_id, id),
  CHECK (state IN ('pending', 'sent', 'skipped', 'failed', 'unknown')),
  CHECK (state = 'pending' OR reason <> '')
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX campaign_recipients_by_lead ON campaign_recipients (tenant_id, campaign_id, lead_id, address_key);
CREATE UNIQUE INDEX campaign_recipients_by_address ON campaign_recipients (tenant_id, campaign_id, address_key) WHERE address_key <> '' AND reason <> 'duplicate_address';
CREATE INDEX campaign_recipients_by_state ON campaign_recipients (tenant_id, campaign_id, state, id);

-- Every message this installation wrote or is to write. A pending one is waiting, claimed (has not met the relay) or
-- open (may have). After a crash a claimed one waits again and an open one is unknown.
CREATE TABLE messages (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  header_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  campaign_id TEXT NOT NULL,
  recipient_id TEXT NOT NULL,
  lead_id TEXT NOT NULL,
  step_key TEXT NOT NULL,
  to_name TEXT NOT NULL,
  address TEXT NOT NULL,
  address_key TEXT NOT NULL,
  from_address TEXT NOT NULL,
  reply_to TEXT NOT NULL,
  subject TEXT NOT NULL,
  html TEXT NOT NULL,
  text TEXT NOT NULL,
  auto INTEGER NOT NULL,
  state TEXT NOT NULL,
  reason TEXT NOT NULL,
  detail TEXT NOT NULL,
  stage TEXT NOT NULL,
  claim TEXT NOT NULL,
  claim_until_at INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  due_at INTEGER NOT NULL,
  queued_at INTEGER NOT NULL,
  final_at INTEGER NOT NULL,
  smtp_code INTEGER NOT NULL,
  enhanced TEXT NOT NULL,
  size INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id),
  CHECK (state IN ('pending', 'sent', 'skipped', 'failed', 'unknown')),
  CHECK (state = 'pending' OR (stage = '' AND reason <> '' AND final_at > 0))
) STRICT, WITHOUT ROWID;
CREATE INDEX messages_to_send ON messages (tenant_id, campaign_id, due_at, id) WHERE state = 'pending' AND stage = '';
CREATE INDEX messages_claimed ON messages (claim_until_at, tenant_id, id) WHERE stage <> '';
CREATE INDEX messages_claimed_of ON messages (tenant_id, campaign_id, stage, id) WHERE stage <> '';
CREATE INDEX messages_overdue ON messages (due_at, tenant_id, id) WHERE state = 'pending' AND stage = '' AND campaign_id = '';
CREATE INDEX messages_by_lead ON messages (tenant_id, lead_id, id) WHERE lead_id <> '';
CREATE UNIQUE INDEX messages_by_step ON messages (tenant_id, step_key) WHERE step_key <> '';
CREATE INDEX messages_by_end ON messages (tenant_id, final_at, state) WHERE state <> 'pending';
CREATE INDEX messages_of_campaign_by_end ON messages (tenant_id, campaign_id, final_at) WHERE campaign_id <> '' AND state <> 'pending';

-- Facts about messages of ours, hanging beside the ledger: they never change its state.
CREATE TABLE message_events (
  tenant_id TEXT NOT NULL,
  event_id TEXT NOT NULL,
  message_id TEXT NOT NULL,
  campaign_id TEXT NOT NULL,
  lead_id TEXT NOT NULL,
  type TEXT NOT NULL,
  source TEXT NOT NULL,
  detail TEXT NOT NULL,
  at INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, event_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX message_events_by_message ON message_events (tenant_id, message_id, type);
CREATE INDEX message_events_by_campaign ON message_events (tenant_id, campaign_id, type, message_id);
CREATE INDEX message_events_by_time ON message_events (tenant_id, at, type);

-- Results measured elsewhere and posted to a campaign; a second post of an event_id changes nothing.
CREATE TABLE campaign_results (
  tenant_id TEXT NOT NULL,
  campaign_id TEXT NOT NULL,
  event_id TEXT NOT NULL,
  type TEXT NOT NULL,
  n INTEGER NOT NULL,
  lead_id TEXT NOT NULL,
  source TEXT NOT NULL,
  at INTEGER NOT NULL,
  recorded_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, campaign_id, event_id),
  CHECK (n >= 0)
) STRICT, WITHOUT ROWID;
CREATE INDEX campaign_results_by_time ON campaign_results (tenant_id, at, type);

-- An address may be suppressed for several reasons at once: taking one off the list leaves the others in force.
CREATE TABLE suppressions (
  tenant_id TEXT NOT NULL,
  address_key TEXT NOT NULL,
  address TEXT NOT NULL,
  kind TEXT NOT NULL,
  reason TEXT NOT NULL,
  at INTEGER NOT NULL,
  until_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, address_key, kind)
) STRICT, WITHOUT ROWID;

-- Figures of a period.
CREATE INDEX runs_by_start ON runs (tenant_id, started_at, status);
