DELETE FROM tenant_counters WHERE counter LIKE 'status:%' OR counter LIKE 'source:%' OR counter LIKE 'owner:%';
