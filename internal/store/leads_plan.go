package store

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

const (
	exactTotal = 10_000 // totals are exact when no more rows than this must be looked at
	fewMatches = 2_000  // what finds at most this many leads is looked up first and sorted
)

// LeadPlan is a filter turned into SQL: what finds the leads, and what those found are checked for.
type LeadPlan struct {
	filter  LeadFilter
	columns []string // of the order, the id last
	from    string
	drive   []string // served by the index that is walked
	check   []string // looked at row by row
	args    []any
	counter string // the maintained total that is the answer
	empty   bool   // nothing can match
}

// lookup is one part of a filter: how its own index finds leads, and how a lead found otherwise is checked for it.
// Each function writes the SQL and adds its arguments to the plan.
type lookup struct {
	walk    func(*LeadPlan) (from, condition string) // its index, in the order of creation; nil when it has none
	set     func(*LeadPlan) string                   // SELECT of all lead_ids
	check   func(*LeadPlan) string                   // must not be served by an index: the order's is walked
	counter string                                   // the maintained total of its matches
	n       int64                                    // how many it finds, at most fewMatches+1
}

func (p *LeadPlan) arg(v any) string {
	p.args = append(p.args, v)
	return "$" + strconv.Itoa(len(p.args))
}

// PlanLeads decides how a list is read: from the few leads that its rarest part finds, else along that part's index,
// else along the index of the order.
func (r *Reader) PlanLeads(sc account.Scope, f LeadFilter) (*LeadPlan, error) {
	parts := equalities(f)
	if f.Q != "" {
		found, err := r.searched(sc, f)
		if err != nil {
			return nil, err
		}
		parts = append(parts, found...)
		if len(found) == 0 {
			return &LeadPlan{filter: f, empty: true}, nil
		}
	}
	if created := f.Sort == "" || f.Sort == "created_at"; len(parts) > 1 || len(parts) == 1 && !(created && parts[0].walk != nil) {
		for i := range parts {
			count := &LeadPlan{args: []any{string(sc.Tenant())}}
			text := "SELECT COUNT(*) FROM (" + parts[i].set(count) + " LIMIT " + count.arg(fewMatches+1) + ") n"
			var err error
			if parts[i].n, err = queryOne(r, scanInt, text, count.args...); err != nil {
				return nil, err
			}
			if parts[i].n == 0 {
				return &LeadPlan{filter: f, empty: true}, nil
			}
		}
	}
	return planLeads(string(sc.Tenant()), f, parts), nil
}

// planLeads chooses by the counts in parts.
func planLeads(tenant string, f LeadFilter, parts []lookup) *LeadPlan {
	p := &LeadPlan{filter: f, from: "leads l", drive: []string{"l.tenant_id=$1", "l.deleted_at=0"}, args: []any{tenant}}
	switch f.Sort {
	case "", "created_at":
		p.columns = []string{"l.created_at", "l.id"}
	case sortOwner:
		p.columns = []string{"l.owner_id", "l.created_at", "l.id"}
	default:
		p.columns = []string{"l." + f.Sort, "l.id"}
	}
	first := -1
	for i, part := range parts {
		if first < 0 || part.n < parts[first].n {
			first = i
		}
	}
	switch {
	case first < 0:
		p.counter = CountLeads
	case parts[first].n <= fewMatches && (parts[first].walk == nil || p.columns[0] != "l.created_at"):
		p.from = "(" + parts[first].set(p) + ") f CROSS JOIN leads l" // on SQLite CROSS JOIN also fixes the order of the loops
		p.drive = append(p.drive, "l.id=f.lead_id")
	default:
		first = p.walkOne(parts)
	}
	for i, part := range parts {
		if i != first {
			p.check = append(p.check, part.check(p))
		}
	}
	if len(parts) == 1 {
		p.counter = parts[0].counter
	}
	return p
}

// walkOne takes the rarest part whose index is in the order of the list; -1 when the order's own index is walked.
func (p *LeadPlan) walkOne(parts []lookup) int {
	best := -1
	for i, part := range parts {
		if part.walk != nil && p.columns[0] == "l.created_at" && (best < 0 || part.n < parts[best].n) {
			best = i
		}
	}
	if best >= 0 {
		from, condition := parts[best].walk(p)
		p.drive = append(p.drive, condition)
		if from != "" {
			p.from, p.columns = from, []string{"t.lead_created_at", "t.lead_id"}
		}
	}
	return best
}

// equalities are the filters by one value.
func equalities(f LeadFilter) []lookup {
	var parts []lookup
	if f.Tag != "" {
		parts = append(parts, taggedWith(lead.Fold(f.Tag)))
	}
	for _, e := range []struct {
		sent, column, value string
		sparse              bool // its index leaves empty values out
	}{{f.Status, "status", lead.Fold(f.Status), false}, {f.Source, "source_folded", lead.Fold(f.Source), true}, {f.Owner, "owner_id", f.Owner, true},
		{f.Email, "email_folded", lead.FoldEmail(f.Email), true}} {
		if e.sent != "" { // a blank one folds to nothing, and finds nothing
			parts = append(parts, equalTo(e.column, e.value, e.sparse))
		}
	}
	return parts
}

// equalTo is served by leads_by_status, _source, _owner and _email.
func equalTo(column, value string, sparse bool) lookup {
	condition := func(p *LeadPlan, alias string) string {
		text := alias + column + "=" + p.arg(value)
		if sparse {
			text += " AND " + alias + column + "<>''"
		}
		return text
	}
	return lookup{
		walk: func(p *LeadPlan) (string, string) { return "", condition(p, "l.") },
		set: func(p *LeadPlan) string {
			return "SELECT x.id AS lead_id FROM leads x WHERE x.tenant_id=$1 AND x.deleted_at=0 AND " + condition(p, "x.")
		},
		check: func(p *LeadPlan) string { return "l." + column + "||''=" + p.arg(value) },
	}
}

// taggedWith is served by lead_tags, which is in the order of the leads' creation.
func taggedWith(folded string) lookup {
	return lookup{
		counter: countTag + folded,
		walk: func(p *LeadPlan) (string, string) {
			return "lead_tags t CROSS JOIN leads l", "t.tenant_id=$1 AND t.tag_folded=" + p.arg(folded) + " AND l.id=t.lead_id"
		},
		set: func(p *LeadPlan) string {
			return "SELECT t.lead_id FROM lead_tags t WHERE t.tenant_id=$1 AND t.tag_folded=" + p.arg(folded)
		},
		check: func(p *LeadPlan) string {
			return "EXISTS (SELECT 1 FROM lead_tags t WHERE t.tenant_id=l.tenant_id AND t.tag_folded=" + p.arg(folded) + " AND t.lead_created_at=l.created_at AND t.lead_id=l.id)"
		},
	}
}

// wordLike is served by lead_words; a lead found otherwise shows its words in search_text.
func wordLike(word string) lookup {
	return lookup{
		set: func(p *LeadPlan) string {
			return "SELECT DISTINCT w.lead_id FROM lead_words w WHERE w.tenant_id=$1 AND w.word>=" + p.arg(word) + " AND w.word<" + p.arg(word+"\U0010FFFF")
		},
		check: func(p *LeadPlan) string {
			return "l.search_text LIKE " + p.arg("% "+escapeLike(word)+"%") + ` ESCAPE '\'`
		},
	}
}

// theLead is served by the key.
func theLead(id lead.ID) lookup {
	return lookup{
		n: 1,
		set: func(p *LeadPlan) string {
			return "SELECT x.id AS lead_id FROM leads x WHERE x.tenant_id=$1 AND x.id=" + p.arg(string(id))
		},
		check: func(p *LeadPlan) string { return "l.id||''=" + p.arg(string(id)) },
	}
}

// searched is what a search asks for: a lead by its id, those of an exact address, else all words, each as a prefix.
// It is empty when nothing can match.
func (r *Reader) searched(sc account.Scope, f LeadFilter) ([]lookup, error) {
	switch l, err := r.Lead(sc, lead.ID(f.Q)); {
	case err == nil && l.Live():
		return []lookup{theLead(l.ID)}, nil
	case err != nil && err != ErrNotFound:
		return nil, err
	}
	if f.Address != "" {
		exact := equalTo("email_folded", f.Address, true)
		p := &LeadPlan{args: []any{string(sc.Tenant())}}
		switch _, err := queryOne(r, scanString, exact.set(p)+" LIMIT 1", p.args...); err {
		case nil:
			return []lookup{exact}, nil
		case ErrNotFound:
		default:
			return nil, err
		}
	}
	var parts []lookup
	for _, w := range f.Words {
		parts = append(parts, wordLike(w))
	}
	return parts, nil
}

func escapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(s)
}

// The two parts of the order by owner: an index holds owned leads only, and those without an owner come last.
const (
	ownedOnly   = "l.owner_id<>''"
	unownedOnly = "l.owner_id||''=''"
)

// page is the SQL of one page. part is empty, or which part of the order by owner is read.
func (p *LeadPlan) page(part string, after *LeadPosition, skip, limit int) (string, []any) {
	page := &LeadPlan{args: slices.Clone(p.args)}
	where, columns := slices.Concat(p.drive, p.check), p.columns
	if part != "" {
		where = append(where, part)
	}
	if part == unownedOnly {
		columns = columns[1:]
	}
	direction, than := " DESC", "<"
	if p.filter.Ascending {
		direction, than = " ASC", ">"
	}
	if after != nil {
		var values []string
		if len(columns) == 3 {
			values = append(values, page.arg(after.Owner))
		}
		values = append(values, page.arg(after.Value), page.arg(string(after.ID)))
		where = append(where, "("+strings.Join(columns, ", ")+") "+than+" ("+strings.Join(values, ", ")+")")
	}
	text := "SELECT " + leadColumns + " FROM " + p.from + " WHERE " + strings.Join(where, " AND ") +
		" ORDER BY " + strings.Join(columns, direction+", ") + direction + " LIMIT " + page.arg(limit)
	if skip > 0 {
		text += " OFFSET " + page.arg(skip)
	}
	return text, page.args
}

// countUpTo counts a part of the order by owner, no further than most.
func (p *LeadPlan) countUpTo(part string, most int) (string, []any) {
	c := &LeadPlan{args: slices.Clone(p.args)}
	where := append(slices.Concat(p.drive, p.check), part)
	return "SELECT COUNT(*) FROM (SELECT 1 FROM " + p.from + " WHERE " + strings.Join(where, " AND ") + " LIMIT " + c.arg(most) + ") n", c.args
}

// count tells how many rows were looked at, at most exactTotal+1, and how many of them match.
func (p *LeadPlan) count() (string, []any) {
	c := &LeadPlan{args: slices.Clone(p.args)}
	match, columns := "1", "l.id"
	if len(p.check) > 0 {
		match = "CASE WHEN " + strings.Join(p.check, " AND ") + " THEN 1 ELSE 0 END"
		columns = "l.tenant_id, l.id, l.created_at, l.status, l.source_folded, l.owner_id, l.email_folded, l.search_text"
	}
	return fmt.Sprintf("SELECT COUNT(*), CAST(COALESCE(SUM(%s),0) AS BIGINT) FROM (SELECT %s FROM %s WHERE %s LIMIT %s) l",
		match, columns, p.from, strings.Join(p.drive, " AND "), c.arg(exactTotal+1)), c.args
}
