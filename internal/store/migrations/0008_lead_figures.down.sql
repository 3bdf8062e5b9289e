DROP INDEX messages_by_end;
CREATE INDEX messages_by_end ON messages (tenant_id, final_at, state) WHERE state <> 'pending';
DROP INDEX runs_by_start;
CREATE INDEX runs_by_start ON runs (tenant_id, started_at, status);
DELETE FROM tenant_counters WHERE counter LIKE 'born%';
DROP TABLE lead_stages;
