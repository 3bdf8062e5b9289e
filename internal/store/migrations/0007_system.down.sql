DROP INDEX event_blocks_by_order;
DELETE FROM event_blocks;
DROP TABLE seal_state;
DROP TABLE periodic_runs;
