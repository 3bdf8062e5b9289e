package store

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/testpg"
)

var _ = addPlans(
	plan{"lead by id", "SELECT " + leadColumns + " FROM leads l WHERE l.tenant_id=$1 AND l.id=$2", []any{"t", "l"}},
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
	plan{"leads of a role address", roleAddressSQL, []any{"t", "info@example.com"}},
	plan{"identities of a lead", "SELECT kind, value FROM lead_identities WHERE tenant_id=$1 AND lead_id=$2 AND live=1", []any{"t", "l"}},
	plan{"timeline by kind", "SELECT " + eventColumns + " FROM events WHERE tenant_id=$1 AND lead_id=$2 AND id<$3 AND (type='x' OR type>'note.' AND type<'note.~') ORDER BY id DESC LIMIT 5", []any{"t", "l", "~"}},
	plan{"same address", "SELECT email_folded FROM leads WHERE tenant_id=$1 AND deleted_at=0 AND email_folded<>'' AND email_folded>$2 GROUP BY email_folded HAVING COUNT(*)>1 ORDER BY email_folded LIMIT 10", []any{"t", ""}},
	plan{"next chunk", "SELECT first_row FROM lead_batch_chunks WHERE tenant_id=$1 AND batch_id=$2 AND first_row>=$3 ORDER BY first_row LIMIT 1", []any{"t", "b", 0}},
)

var _ = addPlans(fieldPlans()...)

var _ = addPlans(wordPlans()...)

func wordPlans() []plan {
	word, newest := exactWord("ada"), &LeadPlan{args: []any{"t"}}
	text := word.newest(newest, fewMatches+1)
	return []plan{
		{"newest of a word", text, newest.args},
		{"ends of beginnings", endsOf(2), []any{"t", "a", "a~", "b", "b~"}},
	}
}

func fieldPlans() (out []plan) {
	for _, place := range fieldPlaces {
		out = append(out, plan{"uses of a field by a " + place.noun, place.sql, []any{"t", "%x%"}})
	}
	return out
}

// listFilters are all parts of a filter, alone and in pairs.
func listFilters() []LeadFilter {
	single := []LeadFilter{{Status: "new"}, {Source: "web"}, {Owner: "u"}, {Email: "a@example.com"}, {Tag: "vip"}, {Words: []string{"ada"}}, {Words: []string{"lovelace"}}}
	out := append([]LeadFilter{{}, {Words: []string{"ada", "lovelace"}}, {Status: "new", Source: "web", Owner: "u", Email: "a@example.com", Tag: "vip", Words: []string{"ada"}}}, single...)
	for i, a := range single {
		for _, b := range single[i+1:] {
			a.Status, a.Source, a.Owner, a.Email, a.Tag = a.Status+b.Status, a.Source+b.Source, a.Owner+b.Owner, a.Email+b.Email, a.Tag+b.Tag
			a.Words = append(a.Words[:len(a.Words):len(a.Words)], b.Words...)
			out = append(out, a)
			a = single[i]
		}
	}
	return out
}

// way is what a tenant is like, that a filter is planned for.
type way struct {
	name  string
	parts []lookup // with their counts
	all   int64    // how many leads there are
}

func (w way) plan(d dialect, tenant string, f LeadFilter) *LeadPlan {
	return planLeads(d, tenant, f, w.parts, w.all)
}

// waysTo are the kinds of tenant that a filter may be asked of: each part finds few leads or none does, many leads have
// the others or few of all do, and a prefix begins one word, two, or many.
func waysTo(f LeadFilter) (out []way) {
	for _, words := range [][]string{nil, {"ada", "adam"}} {
		parts := equalities(f)
		for _, w := range f.Words {
			if w == "lovelace" {
				parts = append(parts, exactWord(w))
			} else {
				parts = append(parts, wordLike(w, words))
			}
		}
		for few := range len(parts) + 1 { // the last: none
			counted := slices.Clone(parts)
			for i := range counted {
				if counted[i].n = counted[i].most(len(counted) == 1) + 1; i == few {
					counted[i].n = 3
				}
			}
			for _, all := range []int64{1, 1_000_000} {
				out = append(out, way{fmt.Sprintf("few=%d words=%v of %d", few, words, all), counted, all})
			}
		}
	}
	return out
}

// listStatements are the statements of every sort and filter, of every kind of tenant. sorts says that rows are sorted,
// at most fewMatches of them.
func listStatements(t *testing.T, d dialect, visit func(name, text string, args []any, sorts bool)) {
	t.Helper()
	for _, f := range listFilters() {
		for _, w := range waysTo(f) {
			for _, sort := range LeadSorts {
				for _, up := range []bool{true, false} {
					f.Sort, f.Ascending = sort, up
					p := w.plan(d, "t", f)
					sorts := strings.Contains(p.from, ") f CROSS JOIN") || p.word
					name := fmt.Sprintf("%+v %s", f, w.name)
					if p.most == lookedAt {
						name += " covered"
					} else if p.probed {
						name += " probed"
					}
					at := &LeadPosition{Owner: "u", Value: 5, ID: "x"}
					pieces := []string{""}
					if sort == sortOwner {
						pieces = []string{ownedOnly, unownedOnly}
						text, args := p.countUpTo(ownedOnly, 10)
						visit(name+" owned before", text, args, sorts)
					}
					for _, part := range pieces {
						text, args := p.page(part, nil, 0, 51)
						visit(name+" first page"+part, text, args, sorts)
						text, args = p.page(part, at, 0, 51)
						visit(name+" later page"+part, text, args, sorts)
						if p.most > 0 {
							text, args = p.end(part, at, 0)
							visit(name+" end of a page"+part, text, args, sorts)
						}
					}
					text, args, _ := p.count()
					visit(name+" total", text, args, sorts)
				}
			}
		}
	}
}

func openForPlans(t *testing.T, o Options) *Store {
	t.Helper()
	st, err := Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	if err := st.MigrateUp(context.Background(), account.NewInstance("test")); err != nil {
		t.Fatal(err)
	}
	return st
}

func TestPlans_EveryListOfLeadsHasAnIndex(t *testing.T) {
	ctx := context.Background()
	sq := openForPlans(t, Options{Path: filepath.Join(t.TempDir(), "plans.db")})
	seen := map[string]bool{}
	listStatements(t, sqliteDialect, func(name, text string, args []any, sorts bool) {
		if seen[text] {
			return
		}
		seen[text] = true
		steps, err := queryAll(sq.Read(ctx), func(r row) (string, error) {
			var id, parent, x int64
			var detail string
			err := r.Scan(&id, &parent, &x, &detail)
			return detail, err
		}, "EXPLAIN QUERY PLAN "+text, args...)
		if err != nil {
			t.Fatalf("%s: %v\n%s", name, err, text)
		}
		derived := map[string]int{"SCAN f": 1} // the leads that the rarest part finds
		if strings.HasPrefix(text, "SELECT COUNT(*)") || strings.Contains(text, ") l WHERE") {
			derived["SCAN l"], derived["SCAN n"] = 1, 1 // what the inner SELECT gives, which ends at its LIMIT
		}
		derived["SCAN walked"], derived["SCAN w"] = 2, 1 // of two words, up to the LIMIT
		if strings.Contains(name, "probed") && slices.ContainsFunc(steps, func(s string) bool {
			return strings.HasPrefix(s, "SEARCH ") && !strings.Contains(s, "COVERING INDEX") && !strings.Contains(s, "USING PRIMARY KEY") && !strings.Contains(s, "SEARCH l USING INDEX sqlite_autoindex_leads_1 (tenant_id=? AND id=?)")
		}) {
			t.Errorf("%s: reads leads to leave them out: %v\n%s", name, steps, text)
		}
		if strings.Contains(name, "covered") && !slices.ContainsFunc(steps, func(s string) bool { return strings.Contains(s, "COVERING INDEX leads_by_") }) {
			t.Errorf("%s: reads leads that it leaves out: %v\n%s", name, steps, text)
		}
		for _, s := range steps {
			if derived[s]--; strings.HasPrefix(s, "SCAN ") && derived[s] < 0 {
				t.Errorf("%s: full scan: %s\n%s", name, s, text)
			}
			if strings.Contains(s, "TEMP B-TREE FOR ORDER BY") && !sorts {
				t.Errorf("%s: sorts the whole result: %s\n%s", name, s, text)
			}
		}
	})
	if len(seen) < 200 {
		t.Errorf("only %d statements were looked at", len(seen))
	}
	pg := openForPlans(t, Options{PostgresURL: testpg.URL(t), PoolSize: 2})
	err := pg.Write(ctx, func(tx *Tx) error {
		if _, err := tx.exec("SET LOCAL enable_seqscan = off"); err != nil {
			return err
		}
		// Leads that nobody has taken statistics of: what is freshly loaded is listed at once.
		for _, text := range []string{"ALTER TABLE leads SET (autovacuum_enabled=false)", "ALTER TABLE lead_tags SET (autovacuum_enabled=false)",
			`INSERT INTO leads SELECT 't', 'l'||n, '', '', '', '', '', '', '', '', 'web', 'web', CASE WHEN n%10=0 THEN 'lost' ELSE 'new' END, n%50, 'u', '[]', '{}', '', '', '', ' ada', 1, n, n, 0, '' FROM generate_series(1,2000) n`,
			`INSERT INTO lead_tags SELECT 't', 'vip', n, 'l'||n FROM generate_series(1,2000,3) n`} {
			if _, err := tx.exec(text); err != nil {
				return err
			}
		}
		for text := range seen {
			delete(seen, text)
		}
		var failed error
		listStatements(t, postgresDialect, func(name, text string, args []any, sorts bool) {
			if seen[text] || failed != nil {
				return
			}
			seen[text] = true
			steps, err := queryAll(tx.Reader, scanString, "EXPLAIN "+text, args...)
			if err != nil {
				failed = fmt.Errorf("%s: %w\n%s", name, err, text)
				return
			}
			for _, s := range steps {
				if strings.Contains(s, "Seq Scan") {
					t.Errorf("%s: %s\n%s", name, s, text)
				}
			}
			if strings.Contains(text, "LATERAL") && !slices.ContainsFunc(steps, func(s string) bool { return strings.Contains(s, "leads_pkey on leads one") }) {
				t.Errorf("%s: does not look up by the key: %s\n%s", name, strings.Join(steps, "\n"), text)
			}
		})
		return failed
	})
	if err != nil {
		t.Fatal(err)
	}
}
