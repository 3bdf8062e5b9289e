-- Leads, every way to recognise and find them, and what people write beside them.
-- deleted_at is 0 while a lead is live; a merged-away lead is deleted and names its survivor.
CREATE TABLE leads (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  external_id TEXT NOT NULL,
  first_name TEXT NOT NULL,
  last_name TEXT NOT NULL,
  email TEXT NOT NULL,
  email_folded TEXT NOT NULL,
  phone TEXT NOT NULL,
  phone_e164 TEXT NOT NULL,
  company TEXT NOT NULL,
  source TEXT NOT NULL,
  source_folded TEXT NOT NULL,
  status TEXT NOT NULL,
  score INTEGER NOT NULL,
  owner_id TEXT NOT NULL,
  tags TEXT NOT NULL,
  custom_fields TEXT NOT NULL,
  notes TEXT NOT NULL,
  timezone TEXT NOT NULL,
  language TEXT NOT NULL,
  search_text TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  deleted_at INTEGER NOT NULL,
  merged_into TEXT NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT;
-- The indexes of the orders also hold what a list is filtered by, so that the leads it leaves out need not be read.
-- PostgreSQL refuses index rows as long as a search_text can be.
CREATE INDEX leads_by_created ON leads (tenant_id, created_at, id, status, source_folded, owner_id, search_text) WHERE deleted_at = 0; -- sqlite
CREATE INDEX leads_by_created ON leads (tenant_id, created_at, id, status, source_folded, owner_id) WHERE deleted_at = 0; -- postgres
CREATE INDEX leads_by_updated ON leads (tenant_id, updated_at, id, status, source_folded, owner_id) WHERE deleted_at = 0;
CREATE INDEX leads_by_score ON leads (tenant_id, score, id, status, source_folded, owner_id) WHERE deleted_at = 0;
CREATE INDEX leads_by_status ON leads (tenant_id, status, created_at, id) WHERE deleted_at = 0;
CREATE INDEX leads_by_source ON leads (tenant_id, source_folded, created_at, id) WHERE deleted_at = 0 AND source_folded <> '';
CREATE INDEX leads_by_owner ON leads (tenant_id, owner_id, created_at, id) WHERE deleted_at = 0;
CREATE INDEX leads_by_email ON leads (tenant_id, email_folded, created_at, id) WHERE deleted_at = 0 AND email_folded <> '';
CREATE INDEX leads_by_phone ON leads (tenant_id, phone_e164, created_at, id) WHERE deleted_at = 0 AND phone_e164 <> '';
CREATE INDEX leads_by_deleted ON leads (deleted_at) WHERE deleted_at > 0;
CREATE INDEX leads_by_survivor ON leads (tenant_id, merged_into) WHERE merged_into <> '';

-- One value of each kind per lead. Only live ones are unique: a deleted lead blocks nobody.
CREATE TABLE lead_identities (
  tenant_id TEXT NOT NULL,
  lead_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  value TEXT NOT NULL,
  live INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, lead_id, kind)
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX lead_identities_live ON lead_identities (tenant_id, kind, value) WHERE live = 1;
CREATE INDEX lead_identities_gone ON lead_identities (tenant_id, kind, value) WHERE live = 0;

-- lead_created_at is the lead's own and never changes: a tag's leads come out in list order.
CREATE TABLE lead_tags (
  tenant_id TEXT NOT NULL,
  tag_folded TEXT NOT NULL,
  lead_created_at INTEGER NOT NULL,
  lead_id TEXT NOT NULL,
  PRIMARY KEY (tenant_id, tag_folded, lead_created_at, lead_id)
) STRICT, WITHOUT ROWID;

-- The words of live leads, folded, searched by prefix; lead_created_at is the lead's own, so that what is found is put in
-- order without reading the leads.
CREATE TABLE lead_words (
  tenant_id TEXT NOT NULL,
  word TEXT NOT NULL,
  lead_created_at INTEGER NOT NULL,
  lead_id TEXT NOT NULL,
  PRIMARY KEY (tenant_id, word, lead_created_at, lead_id)
) STRICT, WITHOUT ROWID;

CREATE TABLE field_definitions (
  tenant_id TEXT NOT NULL,
  key TEXT NOT NULL,
  definition TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, key)
) STRICT, WITHOUT ROWID;

CREATE TABLE notes (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  lead_id TEXT NOT NULL,
  body TEXT NOT NULL,
  author_kind TEXT NOT NULL,
  author_id TEXT NOT NULL,
  author_name TEXT NOT NULL,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  deleted_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX notes_by_lead ON notes (tenant_id, lead_id, id);

-- due_at 0: none; all_day 1: due_at is midnight UTC of a date that means a day, not an instant.
CREATE TABLE tasks (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  lead_id TEXT NOT NULL,
  title TEXT NOT NULL,
  body TEXT NOT NULL,
  owner_id TEXT NOT NULL,
  status TEXT NOT NULL,
  due_at INTEGER NOT NULL,
  all_day INTEGER NOT NULL,
  done_at INTEGER NOT NULL,
  version INTEGER NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX tasks_by_lead ON tasks (tenant_id, lead_id, id);
CREATE INDEX tasks_by_owner ON tasks (tenant_id, owner_id, status, id);
CREATE INDEX tasks_by_status ON tasks (tenant_id, status, id);

-- A lead's score is the sum of its rows, always.
CREATE TABLE score_ledger (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  lead_id TEXT NOT NULL,
  points INTEGER NOT NULL,
  reason TEXT NOT NULL,
  source_id TEXT NOT NULL,
  actor_kind TEXT NOT NULL,
  actor_id TEXT NOT NULL,
  actor_name TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX score_ledger_by_lead ON score_ledger (tenant_id, lead_id, id);

-- Enough to undo a merge: both leads as they were and every row that moved.
CREATE TABLE merges (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  survivor_id TEXT NOT NULL,
  merged_id TEXT NOT NULL,
  reason TEXT NOT NULL,
  survivor_before TEXT NOT NULL,
  merged_before TEXT NOT NULL,
  moved TEXT NOT NULL,
  merged_at INTEGER NOT NULL,
  undone_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX merges_by_survivor ON merges (tenant_id, survivor_id, id);

-- A bulk of more rows than a request may write; its job takes one chunk per transaction.
CREATE TABLE lead_batches (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  status TEXT NOT NULL,
  total INTEGER NOT NULL,
  processed INTEGER NOT NULL,
  outcomes TEXT NOT NULL,
  actor TEXT NOT NULL,
  user_id TEXT NOT NULL,
  request_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;

CREATE TABLE lead_batch_chunks (
  tenant_id TEXT NOT NULL,
  batch_id TEXT NOT NULL,
  first_row INTEGER NOT NULL,
  rows_json TEXT NOT NULL,
  results_json TEXT NOT NULL,
  PRIMARY KEY (tenant_id, batch_id, first_row)
) STRICT;
