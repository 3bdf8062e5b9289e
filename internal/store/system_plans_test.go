package store

var _ = addPlans(
	plan{"events to seal", recordsSQLite, []any{1, 2, 3}},
	plan{"events of a block", blockRecordsSQLite, []any{1, 2, "t"}},
	plan{"head of a chain", "SELECT " + blockColumns + " FROM event_blocks WHERE tenant_id=$1 ORDER BY number DESC LIMIT 1", []any{"t"}},
	plan{"block of an event", "SELECT " + blockColumns + " FROM event_blocks WHERE tenant_id=$1 AND commit_epoch=$2 AND from_order<=$3 AND to_order>$3 ORDER BY from_order DESC LIMIT 1", []any{"t", 1, 2}},
	plan{"audit list", "SELECT " + eventColumns + " FROM events WHERE tenant_id=$1 AND id<$2 ORDER BY id DESC LIMIT 50", []any{"t", "x"}},
	plan{"audit list of a subject", "SELECT " + eventColumns + " FROM events WHERE tenant_id=$1 AND subject_id=$2 ORDER BY id DESC LIMIT 50", []any{"t", "x"}},
)
