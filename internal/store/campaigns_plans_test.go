package store

var _ = addPlans(
	plan{"templates by name", sqlTemplates, []any{"t", "", 50}},
	plan{"suppressions by address", sqlSuppressions, []any{"t", "", "", 50}},
	plan{"suppressions of an address", sqlSuppressionsOf, []any{"t", "a@b.example"}},
	plan{"campaigns, newest first", sqlCampaigns, []any{"t", lastID, 50, 0}},
	plan{"campaigns of a state", sqlCampaignsByState, []any{"t", lastID, 50, 0, "sending"}},
	plan{"held campaigns", sqlHeldCampaigns, []any{"t", "scheduled_missed", 20}},
	plan{"leads by id", sqlLeadsAfter, []any{"t", "", 500}},
	plan{"campaigns to move", sqlMoving, []any{"scheduled", "", "", 50}},
	plan{"ledger counts", sqlLedgerCounts, []any{"t", "c"}},
	plan{"recipients of a campaign", sqlRecipients, []any{"t", "c", "", 50}},
	plan{"recipients of a state", sqlRecipientsByState, []any{"t", "c", "", 50, "sent"}},
	plan{"messages to send", sqlToSend, []any{"t", "c", 1, 50}},
	plan{"abandoned messages", sqlAbandoned, []any{1, 50, "p:"}},
	plan{"overdue messages", sqlOverdue, []any{1, 50}},
	plan{"messages of a lead", sqlMessagesOfLead, []any{"t", "l", 50}},
	plan{"facts of a campaign", sqlFacts, []any{"t", "c"}},
	plan{"results of a campaign", sqlResults, []any{"t", "c"}},
)
