-- Totals of live leads by what lists are filtered by, kept in tenant_counters.
INSERT INTO tenant_counters (tenant_id, counter, shard, n)
SELECT tenant_id, 'status:' || status, 0, COUNT(*) FROM leads WHERE deleted_at = 0 GROUP BY tenant_id, status;
INSERT INTO tenant_counters (tenant_id, counter, shard, n)
SELECT tenant_id, 'source:' || source_folded, 0, COUNT(*) FROM leads WHERE deleted_at = 0 AND source_folded <> '' GROUP BY tenant_id, source_folded;
INSERT INTO tenant_counters (tenant_id, counter, shard, n)
SELECT tenant_id, 'owner:' || owner_id, 0, COUNT(*) FROM leads WHERE deleted_at = 0 AND owner_id <> '' GROUP BY tenant_id, owner_id;
