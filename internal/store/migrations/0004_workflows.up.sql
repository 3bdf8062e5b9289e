-- Workflows, their immutable versions, and the runs through them.
CREATE TABLE workflows (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  name TEXT NOT NULL,
  status TEXT NOT NULL,
  version INTEGER NOT NULL,
  revision INTEGER NOT NULL,
  position INTEGER NOT NULL,
  layout TEXT NOT NULL,
  created_by TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  deleted_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT, WITHOUT ROWID;
CREATE INDEX workflows_live ON workflows (tenant_id, position, id) WHERE deleted_at = 0;

CREATE TABLE workflow_versions (
  tenant_id TEXT NOT NULL,
  workflow_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  definition TEXT NOT NULL,
  digest TEXT NOT NULL,
  author_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, workflow_id, version)
) STRICT;

-- turn grows with each job or timer of the run; whoever comes with an older one does nothing.
CREATE TABLE runs (
  tenant_id TEXT NOT NULL,
  id TEXT NOT NULL,
  workflow_id TEXT NOT NULL,
  version INTEGER NOT NULL,
  lead_id TEXT NOT NULL,
  trigger_id TEXT NOT NULL,
  event_id TEXT NOT NULL,
  status TEXT NOT NULL,
  outcome TEXT NOT NULL,
  node TEXT NOT NULL,
  phase TEXT NOT NULL,
  steps INTEGER NOT NULL,
  visits TEXT NOT NULL,
  generation INTEGER NOT NULL,
  turn INTEGER NOT NULL,
  context TEXT NOT NULL,
  parked TEXT,
  reason TEXT NOT NULL,
  depth INTEGER NOT NULL,
  path TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, id)
) STRICT;
CREATE INDEX runs_by_workflow ON runs (tenant_id, workflow_id, id);
CREATE INDEX runs_by_lead ON runs (tenant_id, lead_id, workflow_id, id);
CREATE INDEX runs_by_status ON runs (tenant_id, workflow_id, status, id);
CREATE INDEX runs_parked ON runs (tenant_id, workflow_id) WHERE status = 'parked';

CREATE TABLE run_steps (
  tenant_id TEXT NOT NULL,
  run_id TEXT NOT NULL,
  seq INTEGER NOT NULL,
  node TEXT NOT NULL,
  visit INTEGER NOT NULL,
  type TEXT NOT NULL,
  state TEXT NOT NULL,
  started_at INTEGER NOT NULL,
  finished_at INTEGER NOT NULL,
  exit TEXT NOT NULL,
  decision TEXT,
  output TEXT,
  error TEXT,
  PRIMARY KEY (tenant_id, run_id, seq)
) STRICT, WITHOUT ROWID;

-- What an outside step is about to do, written before it is done; its key is the idempotency key of every attempt.
CREATE TABLE step_intents (
  tenant_id TEXT NOT NULL,
  run_id TEXT NOT NULL,
  node TEXT NOT NULL,
  visit INTEGER NOT NULL,
  generation INTEGER NOT NULL,
  effect TEXT NOT NULL,
  request TEXT NOT NULL,
  digest TEXT NOT NULL,
  state TEXT NOT NULL,
  attempt INTEGER NOT NULL,
  attempts TEXT NOT NULL,
  remote_id TEXT NOT NULL,
  created_at INTEGER NOT NULL,
  updated_at INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, run_id, node, visit, generation)
) STRICT, WITHOUT ROWID;

-- At most one timer per run: the end of its wait, or the next attempt of its outside step.
CREATE TABLE timers (
  tenant_id TEXT NOT NULL,
  run_id TEXT NOT NULL,
  kind TEXT NOT NULL,
  due_at INTEGER NOT NULL,
  turn INTEGER NOT NULL,
  set_at INTEGER NOT NULL, -- later than now: by a clock that has gone back since
  PRIMARY KEY (tenant_id, run_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX timers_due ON timers (due_at, run_id);

CREATE TABLE schedules (
  tenant_id TEXT NOT NULL,
  workflow_id TEXT NOT NULL,
  trigger_id TEXT NOT NULL,
  next_at INTEGER NOT NULL,
  last_at INTEGER NOT NULL,
  last_run_id TEXT NOT NULL,
  late_seconds INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, workflow_id, trigger_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX schedules_due ON schedules (next_at) WHERE next_at > 0;
