-- How far a lead has ever come: 1 qualified, 2 converted. Leads that have come to neither have no row.
CREATE TABLE lead_stages (
  tenant_id TEXT NOT NULL,
  lead_id TEXT NOT NULL,
  stage INTEGER NOT NULL,
  PRIMARY KEY (tenant_id, lead_id)
) STRICT, WITHOUT ROWID;
INSERT INTO lead_stages (tenant_id, lead_id, stage)
SELECT tenant_id, lead_id, MAX(stage) FROM (
  SELECT tenant_id, id AS lead_id, CASE status WHEN 'converted' THEN 2 ELSE 1 END AS stage FROM leads WHERE status IN ('qualified', 'converted')
  UNION ALL SELECT tenant_id, lead_id, CASE WHEN changes LIKE '%:"converted"%' THEN 2 ELSE 1 END FROM events
    WHERE type = 'lead.status_changed' AND (changes LIKE '%:"qualified"%' OR changes LIKE '%:"converted"%')
) AS reached GROUP BY tenant_id, lead_id;

-- Figures of leads by the time of their creation, kept in tenant_counters.
INSERT INTO tenant_counters (tenant_id, counter, shard, n)
SELECT tenant_id, 'born:' || (1000000000 + created_at / 900000000), 0, COUNT(*) FROM leads WHERE deleted_at = 0 GROUP BY tenant_id, created_at / 900000000;
CREATE TABLE building_figures (tenant_id TEXT NOT NULL, q INTEGER NOT NULL, figure TEXT NOT NULL, n INTEGER NOT NULL) STRICT;
INSERT INTO building_figures SELECT tenant_id, created_at / 900000000, 'status:' || status, COUNT(*) FROM leads WHERE deleted_at = 0 GROUP BY tenant_id, created_at / 900000000, status;
INSERT INTO building_figures SELECT tenant_id, created_at / 900000000, 'source:' || source, COUNT(*) FROM leads WHERE deleted_at = 0 GROUP BY tenant_id, created_at / 900000000, source;
INSERT INTO building_figures SELECT tenant_id, created_at / 900000000, 'score', SUM(score) FROM leads WHERE deleted_at = 0 AND score <> 0 GROUP BY tenant_id, created_at / 900000000;
INSERT INTO building_figures SELECT l.tenant_id, l.created_at / 900000000, 'stage:' || s.stage, COUNT(*) FROM lead_stages s JOIN leads l ON l.tenant_id = s.tenant_id AND l.id = s.lead_id
  WHERE l.deleted_at = 0 GROUP BY l.tenant_id, l.created_at / 900000000, s.stage;
INSERT INTO tenant_counters (tenant_id, counter, shard, n) SELECT tenant_id, 'bornq:' || (1000000000 + q) || ':' || figure, 0, n FROM building_figures;
INSERT INTO tenant_counters (tenant_id, counter, shard, n)
SELECT tenant_id, 'bornd:' || (1000000000 + q / 96) || ':' || figure, 0, SUM(n) FROM building_figures GROUP BY tenant_id, q / 96, figure;
DROP TABLE building_figures;

-- The other figures of a period are counted from indexes alone.
DROP INDEX runs_by_start;
CREATE INDEX runs_by_start ON runs (tenant_id, started_at, status, outcome, workflow_id);
DROP INDEX messages_by_end;
CREATE INDEX messages_by_end ON messages (tenant_id, final_at, state, kind, reason) WHERE state <> 'pending';
