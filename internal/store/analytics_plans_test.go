package store

var _ = addPlans(
	plan{"leads created, by time", sqlLeadBuckets, []any{"t", 1, 2}},
	plan{"leads created, by status", sqlLeadStates, []any{"t", 1, 2}},
	plan{"leads ever in a state", sqlEver, []any{"t", 1, 2, "qualified", "converted"}},
	plan{"runs by start", sqlRunBuckets, []any{"t", 1, 2}},
	plan{"runs by state", sqlRunStates, []any{"t", 1, 2}},
	plan{"workflows by status", sqlWorkflows, []any{"t"}},
	plan{"messages by end", sqlMailBuckets, []any{"t", 1, 2}},
	plan{"facts by time", sqlMailFacts, []any{"t", 1, 2}},
	plan{"results by time", sqlMailElsewhere, []any{"t", 1, 2}},
)
