DROP TABLE cache_versions;
DROP TABLE tenant_counters;
DROP TABLE idempotency_keys;
DROP TABLE event_blocks;
DROP TABLE events;
DROP TABLE settings;
DROP TABLE tenants;
DROP TABLE instance;
