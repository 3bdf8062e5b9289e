package store

var _ = addPlans(
	plan{"workflow by id", "SELECT " + workflowColumns + " FROM workflows WHERE tenant_id=$1 AND id=$2", []any{"t", "w"}},
	plan{"workflows of a tenant", workflowsList, []any{"t", 0, "", 50}},
	plan{"published workflows", publishedWorkflows, []any{"t"}},
	plan{"runs of a workflow", runsByWorkflow, []any{"t", "w", "~", 50}},
	plan{"runs in a state", runsByStatus, []any{"t", "w", "cancelled", "~", 50}},
	plan{"held runs", runsHeld, []any{"t", "w", 50}},
	plan{"run to advance", runToAdvance, []any{"t", "r"}},
	plan{"runs of a lead", runsOfLead, []any{"t", "l", "w", "~", "", 50}},
	plan{"last run", lastRun, []any{"t", "l", "w"}},
	plan{"steps of a run", runSteps, []any{"t", "r", 0, 50}},
	plan{"intents of a run", runIntents, []any{"t", "r"}},
	plan{"timers due", timersDue, []any{1, 200}},
	plan{"next timer", nextTimer, nil},
	plan{"schedules due", schedulesDue, []any{1, 200}},
	plan{"next schedule", nextSchedule, nil},
	plan{"run counts", runCounts, []any{"t", "runs:w:", "runs:w:~"}},
)
