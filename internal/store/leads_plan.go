package store

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"leadloom/internal/account"
)

// What a request may cost does not depend on how many leads there are: beyond these numbers a total is an estimate, and
// a page ends before it is full, with the position where the next one goes on.
const (
	exactTotal  = 5_000  // totals are exact when no more entries of an index than this must be looked at
	fewMatches  = 300    // what finds at most this many leads is looked up first and sorted
	wordMatches = 2_000  // the same when nothing but one word is asked for: its index knows the order
	lookedAt    = 1_000  // entries of an index that a page looks at
	probedAt    = 250    // entries of an index that a page looks at, where other indexes tell what they are checked for
	readAt      = 200    // leads that a page reads, where no index tells what they are checked for
	goesOn      = 4      // how many times as much each further look of a page covers, as long as the allowance lasts,
	goesFar     = 13     // and how many times as much a page looks at in all; both twice where the order's index tells all
	foundFew    = 1_000  // a first look that did not fill the page is followed by all that a part finds, up to this many,
	foundWord   = 4_000  // or this many by one word alone, in the order of creation: more of them would fill it by looking on
	mergedWords = 40     // how many words of one prefix are walked beside each other,
	mergedRows  = 50_000 // and how many of their entries at most
	skipReach   = 25     // how much further a page with skip looks: old clients don't know where to go on
)

// LeadPlan is a filter turned into SQL: what finds the leads, and what those found are checked for.
type LeadPlan struct {
	filter  LeadFilter
	parts   []lookup
	few     int64                  // how many are few
	leadOf  func(id string) string // of the dialect
	columns []string               // of the order, the id last
	from    string
	drive   []string // served by the index that is walked
	check   []string // looked at row by row
	needs   []string // the leads' columns that check looks at
	most    int      // how many rows a page looks at; 0: all, there are few
	args    []any
	driven  int      // how many of args belong to drive
	counter string   // the maintained total that is the answer
	known   int64    // the total when it was counted before; -1: it was not
	only    *lookup  // the part, when there is one only
	word    bool     // only's own index gives the page
	words   []string // the words that its prefix begins, when their walks are merged; nil: all its matches are few
	empty   bool     // nothing can match
}

// lookup is one part of a filter: how its own index finds leads, and how a lead found otherwise is checked for it.
// Each function writes the SQL and adds its arguments to the plan.
type lookup struct {
	walk    func(*LeadPlan) (from, condition string) // its index, in the order of creation; nil when it has none
	set     func(*LeadPlan) string                   // what follows SELECT [DISTINCT] to find all lead_ids
	repeats bool                                     // set finds a lead several times
	check   func(*LeadPlan) string                   // must not be served by an index: the order's is walked
	needs   []string                                 // the leads' columns that check looks at
	probe   func(*LeadPlan) string                   // check for what is found by another index in the order of creation: served by its own
	word    string                                   // the prefix
	counter string                                   // the maintained total of its matches
	n       int64                                    // how many it finds, no further than one more than most
}

// most is how far its matches are counted: one of several parts is looked up by its own index only when they are few.
func (l *lookup) most(parts int) int64 {
	if l.repeats && parts == 1 {
		return wordMatches
	}
	return fewMatches
}

// count is how many it finds: the maintained total if there is one, else no further than most.
func (l *lookup) count(r *Reader, sc string, most int64) (int64, error) {
	if l.counter != "" {
		return queryOne(r, scanInt, sqlCount, sc, l.counter)
	}
	c := &LeadPlan{args: []any{sc}}
	return queryOne(r, scanInt, "SELECT COUNT(*) FROM (SELECT "+l.set(c)+" LIMIT "+c.arg(most)+") n", c.args...)
}

// leads is the SELECT of the leads that it finds.
func (l *lookup) leads(p *LeadPlan) string {
	if l.repeats {
		return "SELECT DISTINCT " + l.set(p)
	}
	return "SELECT " + l.set(p)
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
	if len(parts) > 1 || len(parts) == 1 && !(created(f) && parts[0].walk != nil) {
		for i := range parts {
			var err error
			if parts[i].n, err = parts[i].count(r, string(sc.Tenant()), parts[i].most(len(parts))+1); err != nil {
				return nil, err
			}
			if parts[i].n == 0 {
				return &LeadPlan{filter: f, empty: true}, nil
			}
		}
	}
	return r.merged(planLeads(r.s.dialect, string(sc.Tenant()), f, parts))
}

func created(f LeadFilter) bool { return f.Sort == "" || f.Sort == "created_at" }

// planLeads chooses by the counts in parts.
func planLeads(d dialect, tenant string, f LeadFilter, parts []lookup) *LeadPlan {
	return planWithin(d, tenant, f, parts, fewMatches, wordMatches)
}

// whole plans a page again that a first look has not filled: as all that its rarest part finds, when that is no more
// than a further look would cost; else nil.
func (r *Reader) whole(p *LeadPlan) (*LeadPlan, error) {
	parts, tenant := slices.Clone(p.parts), p.args[0].(string)
	rare := false
	for i := range parts {
		most := int64(foundFew)
		if parts[i].repeats && len(parts) == 1 && created(p.filter) {
			most = foundWord
		}
		var err error
		if parts[i].n, err = parts[i].count(r, tenant, most+1); err != nil {
			return nil, err
		}
		rare = rare || parts[i].n <= most
	}
	if !rare {
		return nil, nil
	}
	return planWithin(r.s.dialect, tenant, p.filter, parts, foundFew, foundWord), nil
}

// planWithin takes at most few leads, or fewWord of one word alone, for few.
func planWithin(d dialect, tenant string, f LeadFilter, parts []lookup, few, fewWord int64) *LeadPlan {
	p := &LeadPlan{filter: f, parts: parts, few: few, leadOf: d.leadOf, from: "leads l", drive: []string{"l.tenant_id=$1", "l.deleted_at=0"}, args: []any{tenant}}
	switch f.Sort {
	case "", "created_at":
		p.columns = []string{"l.created_at", "l.id"}
	case sortOwner:
		p.columns = []string{"l.owner_id", "l.created_at", "l.id"}
	default:
		p.columns = []string{"l." + f.Sort, "l.id"}
	}
	p.known = -1
	first := -1
	for i, part := range parts {
		if first < 0 || part.n < parts[first].n {
			first = i
		}
	}
	created := p.columns[0] == "l.created_at"
	switch {
	case first < 0:
		p.counter = CountLeads
	case len(parts) == 1 && created && parts[0].repeats && parts[0].n <= fewWord:
		p.only, p.word = &parts[0], true
		return p
	case parts[first].n <= few && (parts[first].walk == nil || !created):
		p.from = "(" + parts[first].leads(p) + ") f" + p.leadOf("f.lead_id")
		p.drive = append(p.drive, "l.id=f.lead_id")
	default:
		p.most = readAt
		if first = p.walkOne(parts, created); first >= 0 && parts[first].n <= few {
			p.most = 0
		}
	}
	probing := first >= 0 && p.most > 0 && len(parts) > 1 && !slices.ContainsFunc(parts, func(l lookup) bool { return l.probe == nil })
	switch {
	case probing:
		p.most = probedAt
		if p.columns[0] == "t.lead_created_at" { // of the tag's rows alone
			p.from, p.drive = "lead_tags t", p.drive[2:]
		}
	case first >= 0 && p.columns[0] == "t.lead_created_at":
		p.drive = append(p.drive, "l.id=t.lead_id")
	}
	p.driven = len(p.args)
	covered := orderHolds[p.columns[0]]
	for i, part := range parts {
		if i != first && probing {
			p.check = append(p.check, part.probe(p))
			p.needs = append(p.needs, "created_at")
		} else if i != first {
			p.check = append(p.check, part.check(p))
			p.needs = append(p.needs, part.needs...)
		}
	}
	if first < 0 && !slices.ContainsFunc(p.needs, func(c string) bool { return !slices.Contains(covered, c) }) {
		p.most = lookedAt
	}
	if len(p.check) == 0 {
		p.most = 0
	}
	if len(parts) == 1 {
		p.only, p.counter = &parts[0], parts[0].counter
		if n := parts[0].n; n > 0 && (p.counter != "" || !parts[0].repeats && n <= few) {
			p.known = n
		}
	}
	return p
}

// orderHolds says what the index of each order holds besides the order (migration 0003).
var orderHolds = map[string][]string{
	"l.created_at": {"status", "source_folded", "owner_id", "search_text"},
	"l.updated_at": {"status", "source_folded", "owner_id"},
	"l.score":      {"status", "source_folded", "owner_id"},
}

// walkOne takes the rarest part whose index is in the order of the list; -1 when the order's own index is walked, as it
// is for words, which that one holds.
func (p *LeadPlan) walkOne(parts []lookup, created bool) int {
	best := -1
	for i, part := range parts {
		if part.walk == nil && len(parts) > 1 && part.n > p.few {
			words := !slices.ContainsFunc(parts, func(l lookup) bool { return l.n <= p.few })
			if created && words {
				return -1
			}
		}
		if part.walk != nil && created && (best < 0 || part.n < parts[best].n) {
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

// The two parts of the order by owner: those without an owner come last, both ways.
const (
	ownedOnly   = "l.owner_id>''"
	unownedOnly = "l.owner_id=''"
)

// page is the SQL of one page; its rows come in the order of the list, or, where the order is found first, in any. part
// is empty, or which part of the order by owner is read.
func (p *LeadPlan) page(part string, after *LeadPosition, skip, limit int) (string, []any) {
	page := &LeadPlan{args: slices.Clone(p.args)}
	if p.word {
		return p.pageOfWord(page, after, skip, limit)
	}
	where, columns := p.conditions(page, part, after)
	tail := func(n int) string {
		text := " LIMIT " + page.arg(n)
		if skip > 0 {
			text += " OFFSET " + page.arg(skip)
		}
		return text
	}
	if p.most == 0 {
		return "SELECT " + leadColumns + " FROM " + p.from + " WHERE " + strings.Join(slices.Concat(where, p.check), " AND ") + p.order(columns) + tail(limit), page.args
	}
	// The innermost SELECT bounds what is looked at, the next one checks it in its order, the leads found are read last.
	looked := p.looks(where) + p.order(columns) + " LIMIT " + page.arg(p.most*page.reach(skip))
	return "SELECT " + leadColumns + " FROM (SELECT l.id FROM (" + looked + ") l WHERE " + strings.Join(p.check, " AND ") + tail(limit) +
		") f" + p.leadOf("f.id") + " WHERE l.tenant_id=$1 AND l.id=f.id", page.args
}

// reach is how many times as much as usual a page with skip looks at.
func (p *LeadPlan) reach(skip int) int {
	if skip > 0 {
		return skipReach
	}
	return 1
}

// further is how many times as much as the first look the next ones cover, and all of them together.
func (p *LeadPlan) further() (on, far int) {
	if p.most == lookedAt {
		return 2 * goesOn, 2 * goesFar
	}
	return goesOn, goesFar
}

// looks selects what is needed to check the rows that are looked at.
func (p *LeadPlan) looks(where []string) string {
	if p.from == "lead_tags t" {
		return "SELECT t.tenant_id, t.lead_id AS id, t.lead_created_at AS created_at FROM lead_tags t WHERE " + strings.Join(where, " AND ")
	}
	need := []string{"l.tenant_id", "l.id"}
	for _, c := range p.needs {
		if c = "l." + c; !slices.Contains(need, c) && c != "l.tag" {
			need = append(need, c)
		}
	}
	return "SELECT " + strings.Join(need, ", ") + " FROM " + p.from + " WHERE " + strings.Join(where, " AND ")
}

// conditions are those of the walk: what drives it, the part, and where it begins.
func (p *LeadPlan) conditions(page *LeadPlan, part string, after *LeadPosition) (where, columns []string) {
	where, columns = slices.Clone(p.drive), p.columns
	if part != "" {
		where = append(where, part)
	}
	if part == unownedOnly {
		columns = columns[1:]
	}
	if after != nil {
		var values []string
		if len(columns) == 3 {
			values = append(values, page.arg(after.Owner))
		}
		values = append(values, page.arg(after.Value), page.arg(string(after.ID)))
		where = append(where, "("+strings.Join(columns, ", ")+") "+p.than()+" ("+strings.Join(values, ", ")+")")
	}
	return where, columns
}

func (p *LeadPlan) than() string {
	if p.filter.Ascending {
		return ">"
	}
	return "<"
}

func (p *LeadPlan) order(columns []string) string {
	direction := " DESC"
	if p.filter.Ascending {
		direction = " ASC"
	}
	return " ORDER BY " + strings.Join(columns, direction+", ") + direction
}

// end is the SQL of the last row that such a page looks at; there is none when the walk ends before.
func (p *LeadPlan) end(part string, after *LeadPosition, skip int) (string, []any) {
	page := &LeadPlan{args: slices.Clone(p.args[:p.driven])}
	where, columns := p.conditions(page, part, after)
	owner := "''"
	if len(columns) == 3 {
		owner = "l.owner_id"
	}
	return "SELECT " + owner + ", " + strings.Join(columns[len(columns)-2:], ", ") + " FROM " + p.from + " WHERE " + strings.Join(where, " AND ") + p.order(columns) +
		" LIMIT 1 OFFSET " + page.arg(p.most*page.reach(skip)-1), page.args
}

// countUpTo counts a part of the order by owner, no further than most.
func (p *LeadPlan) countUpTo(part string, most int) (string, []any) {
	c := &LeadPlan{args: slices.Clone(p.args)}
	where := append(slices.Concat(p.drive, p.check), part)
	return "SELECT COUNT(*) FROM (SELECT 1 FROM " + p.from + " WHERE " + strings.Join(where, " AND ") + " LIMIT " + c.arg(most) + ") n", c.args
}

// count tells how many rows were looked at, at most one more than so many, and how many of them match.
func (p *LeadPlan) count() (text string, args []any, most int) {
	c := &LeadPlan{args: slices.Clone(p.args)}
	most = exactTotal
	switch {
	case p.only != nil:
		c.args = c.args[:1]
		if p.only.repeats {
			if most = wordMatches; p.only.n > wordMatches {
				most = fewMatches // an estimate in any case
			}
		}
		return "SELECT COUNT(*), COUNT(*) FROM (" + p.only.leads(c) + " LIMIT " + c.arg(most+1) + ") n", c.args, most
	case len(p.check) == 0:
		return fmt.Sprintf("SELECT COUNT(*), COUNT(*) FROM (SELECT l.id FROM %s WHERE %s LIMIT %s) l", p.from, strings.Join(p.drive, " AND "), c.arg(most+1)), c.args, most
	case p.most > 0: // a page that has seen the end of the list has counted it already
		most = max(p.most/4, 1)
	}
	return fmt.Sprintf("SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN %s THEN 1 ELSE 0 END),0) AS BIGINT) FROM (%s LIMIT %s) l",
		strings.Join(p.check, " AND "), p.looks(p.drive), c.arg(most+1)), c.args, most
}
