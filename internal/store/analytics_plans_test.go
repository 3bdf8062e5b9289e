package store

import "strings"

var _ = addPlans(
	plan{"leads created, by time", sqlLeadBuckets, []any{"t", "born:1000000001", "born:1000000002"}},
	plan{"figures of leads", strings.TrimSuffix(sqlFiguresOfPeriod[1:], ") AS both_parts"), []any{"t", "bornq:1", "bornq:2", "bornd:1", "bornd:2"}},
	plan{"stage of a lead", "SELECT stage FROM lead_stages WHERE tenant_id=$1 AND lead_id=$2", []any{"t", "l"}},
	plan{"runs by start", sqlRunBuckets, []any{"t", 1, 2}},
	plan{"runs by state", sqlRunStates, []any{"t", 1, 2}},
	plan{"workflows by status", sqlWorkflows, []any{"t"}},
	plan{"messages by end", sqlMailBuckets, []any{"t", 1, 2}},
	plan{"facts by time", sqlMailFacts, []any{"t", 1, 2}},
	plan{"results by time", sqlMailElsewhere, []any{"t", 1, 2}},
)
