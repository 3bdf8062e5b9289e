DROP TABLE schedules;
DROP TABLE timers;
DROP TABLE step_intents;
DROP TABLE run_steps;
DROP TABLE runs;
DROP TABLE workflow_versions;
DROP TABLE workflows;
