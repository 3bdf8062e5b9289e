-- Work by the clock remembers what it has dealt with, so that a restart neither loses a run nor repeats one.
CREATE TABLE periodic_runs (
  id TEXT NOT NULL PRIMARY KEY,
  last_at INTEGER NOT NULL,
  next_at INTEGER NOT NULL,
  runs INTEGER NOT NULL,
  started_at INTEGER NOT NULL
) STRICT;

-- Everything before this point of the commit order is in a block of its tenant's chain.
CREATE TABLE seal_state (
  only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
  commit_epoch INTEGER NOT NULL,
  commit_order INTEGER NOT NULL,
  sealed_at INTEGER NOT NULL
) STRICT;
INSERT INTO seal_state (only_row, commit_epoch, commit_order, sealed_at) VALUES (1, 0, 0, 0);
CREATE INDEX event_blocks_by_order ON event_blocks (tenant_id, commit_epoch, from_order);
