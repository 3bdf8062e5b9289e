DROP INDEX runs_by_start;
DROP TABLE suppressions;
DROP TABLE campaign_results;
DROP TABLE message_events;
DROP TABLE messages;
DROP TABLE campaign_recipients;
DROP TABLE campaigns;
DROP TABLE templates;
