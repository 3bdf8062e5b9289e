DROP TABLE quota_budgets;
DROP TABLE crm_waiters;
DROP TABLE crm_problems;
DROP TABLE crm_dirty;
DROP TABLE crm_links;
DROP TABLE mappings;
DROP TABLE connections;
