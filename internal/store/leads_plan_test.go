package store

import "strings"

var _ = addPlans(
	plan{"lead by id", "SELECT " + leadColumns + " FROM leads l WHERE l.tenant_id=$1 AND l.id=$2", []any{"t", "l"}},
	plan{"leads, newest first", leadList("", "l.created_at"), []any{"t"}},
	plan{"leads by change", leadList("", "l.updated_at"), []any{"t"}},
	plan{"leads by score", leadList("", "l.score"), []any{"t"}},
	plan{"leads of a status", leadList(" AND l.status='new'", "l.created_at"), []any{"t"}},
	plan{"leads of a source", leadList(" AND l.source_folded='web' AND l.source_folded<>''", "l.created_at"), []any{"t"}},
	plan{"leads of an owner", leadList(" AND l.owner_id='u' AND l.owner_id<>''", "l.created_at"), []any{"t"}},
	plan{"leads of an e-mail", leadList(" AND l.email_folded='e' AND l.email_folded<>''", "l.created_at"), []any{"t"}},
	plan{"leads, a later page", leadList(" AND (l.created_at, l.id) < (5, 'x')", "l.created_at"), []any{"t"}},
	plan{"leads of a tag", strings.NewReplacer("leads l", "lead_tags t CROSS JOIN leads l", "l.created_at DESC, l.id", "t.lead_created_at DESC, t.lead_id").
		Replace(leadList(" AND t.tenant_id=$1 AND t.tag_folded='vip' AND l.id=t.lead_id", "l.created_at")), []any{"t"}},
	plan{"leads of a word", "SELECT DISTINCT w.lead_id FROM lead_words w WHERE w.tenant_id=$1 AND w.word>=$2 AND w.word<$3", []any{"t", "a", "b"}},
	plan{"number of a word", "SELECT 1 FROM lead_words WHERE tenant_id=$1 AND word>=$2 AND word<$3 LIMIT 2001", []any{"t", "a", "b"}},
	plan{"live identity", findLive, []any{"t", "email", "v"}},
	plan{"identity of the deleted", findGone, []any{"t", "email", "v"}},
	plan{"merged into", "SELECT id FROM leads WHERE tenant_id=$1 AND merged_into=$2 AND merged_into<>''", []any{"t", "l"}},
	plan{"same phone", "SELECT phone_e164 FROM leads WHERE tenant_id=$1 AND deleted_at=0 AND phone_e164<>'' AND phone_e164>$2 GROUP BY phone_e164 HAVING COUNT(*)>1 ORDER BY phone_e164 LIMIT 10", []any{"t", ""}},
	plan{"tags", "SELECT counter, SUM(n) FROM tenant_counters WHERE tenant_id=$1 AND counter>$2 AND counter<$3 GROUP BY counter HAVING SUM(n)>0 ORDER BY counter LIMIT 10", []any{"t", "tag:", "tag;"}},
	plan{"fields", "SELECT " + fieldColumns + " FROM field_definitions WHERE tenant_id=$1 ORDER BY key", []any{"t"}},
	plan{"notes of a lead", "SELECT " + noteColumns + " FROM notes WHERE tenant_id=$1 AND lead_id=$2 AND id<$3 ORDER BY id DESC LIMIT 5", []any{"t", "l", "~"}},
	plan{"tasks of a lead", "SELECT " + taskColumns + " FROM tasks WHERE tenant_id=$1 AND lead_id=$2 ORDER BY id DESC LIMIT 5", []any{"t", "l"}},
	plan{"tasks of an owner", "SELECT " + taskColumns + " FROM tasks WHERE tenant_id=$1 AND owner_id=$2 AND status=$3 ORDER BY id DESC LIMIT 5", []any{"t", "u", "open"}},
	plan{"tasks of a state", "SELECT " + taskColumns + " FROM tasks WHERE tenant_id=$1 AND status=$2 ORDER BY id DESC LIMIT 5", []any{"t", "open"}},
	plan{"score ledger", "SELECT points FROM score_ledger WHERE tenant_id=$1 AND lead_id=$2 ORDER BY id DESC LIMIT 5", []any{"t", "l"}},
	plan{"next chunk", "SELECT first_row FROM lead_batch_chunks WHERE tenant_id=$1 AND batch_id=$2 AND first_row>=$3 ORDER BY first_row LIMIT 1", []any{"t", "b", 0}},
)

func leadList(where, order string) string {
	return "SELECT " + leadColumns + " FROM leads l WHERE l.tenant_id=$1 AND l.deleted_at=0" + where + " ORDER BY " + order + " DESC, l.id DESC LIMIT 50"
}
