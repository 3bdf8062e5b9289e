package store

import (
	"slices"
	"strconv"

	"leadloom/internal/account"
)

// What a request may cost does not depend on how many leads there are: beyond these numbers a total is an estimate, and
// a page ends before it is full, with the position where the next one goes on.
const (
	exactTotal  = 5_000  // totals are exact when no more entries of an index than this must be looked at
	fewMatches  = 300    // what finds at most this many leads is looked up first and sorted
	wordMatches = 1_000  // the same when nothing but one word is asked for: its index knows the order
	lookedAt    = 500    // entries of an index that a page looks at first
	probedAt    = 125    // the same, where other indexes tell what they are checked for,
	probedText  = 40     // and where the order's index does, which is a large one
	readAt      = 100    // leads that a page reads first, where no index tells what they are checked for
	goesOn      = 3      // how many times as much each further look of a page covers, as long as the allowance lasts,
	goesFar     = 20     // and how many times as much a page looks at in all,
	probedFar   = 32     // where other indexes are asked,
	textFar     = 40     // or the search texts
	foundFew    = 2_500  // a first look that did not fill the page is followed by all that a part finds, up to this many,
	foundWord   = 4_000  // or this many by one word alone, in the order of creation: more of them would fill it by looking on
	foundRead   = 1_000  // more than this many leads to read, for another order, take the allowance of all pages in a row
	mergedWords = 24     // how many words of one prefix are walked beside each other,
	mergedRows  = 50_000 // and how many of their entries at most
	probedWords = 4      // how many words of one prefix are probed for each entry
	oftenWord   = 4      // a word that one lead in so many has is met soon enough on the way along the order's index
	rarePart    = 6      // a part that one lead in so many has, or fewer: its own index is walked, not the order's
	skipReach   = 25     // how much further a page with skip looks: old clients don't know where to go on
)

// LeadPlan is a filter turned into SQL: what finds the leads, and what those found are checked for.
type LeadPlan struct {
	filter  LeadFilter
	parts   []lookup
	few     int64 // how many are few
	d       dialect
	columns []string // of the order, the id last
	from    string
	drive   []string // served by the index that is walked
	check   []string // looked at row by row
	needs   []string // the leads' columns that check looks at
	probed  bool     // check is served by the parts' own indexes
	reads   int64    // how many leads are read to be put in order
	most    int      // how many rows a page looks at; 0: all, there are few
	all     bool     // these are all
	args    []any
	driven  int      // how many of args belong to drive
	counter string   // the maintained total that is the answer
	known   int64    // the total when it was counted before; -1: it was not
	found   int64    // how many leads the first page has; -1: it was not read
	only    *lookup  // the part, when there is one only
	word    bool     // only's own index gives the page
	words   []string // the words that its prefix begins, when their walks are merged; nil: all its matches are few
	empty   bool     // nothing can match
}

// lookup is one part of a filter: how its own index finds leads, and how a lead found otherwise is checked for it.
// Each function writes the SQL and adds its arguments to the plan.
type lookup struct {
	walk    func(*LeadPlan) string // the condition on its index, in the order of creation; nil when it has none
	side    string                 // the table whose rows, under the alias t, that index finds; "": leads, under l
	set     func(*LeadPlan) string // what follows SELECT [DISTINCT] to find all lead_ids
	repeats bool                   // set finds a lead several times
	once    bool                   // and how many different ones it finds is counted too, for the total
	check   func(*LeadPlan) string // must not be served by an index: the order's is walked
	needs   []string               // the leads' columns that check looks at
	probe   func(*LeadPlan) string // check for what is found by another index in the order of creation: served by its own
	word    string                 // the prefix, or the word
	words   []string               // those that the prefix begins, when they are several and not many
	text    bool                   // probe is served by the order's index
	counter string                 // the maintained total of its matches
	n       int64                  // how many it finds, no further than one more than most
	leadsN  int64                  // how many different leads n are, when once is set
	since   int64                  // when the oldest of the newest most+1 was created; 0 where there are fewer, or they are not in this order
}

// most is how far its matches are counted: only one word alone, in the order of creation, is looked up by its own index
// when they are not few.
func (l *lookup) most(alone bool) int64 {
	if l.repeats && alone {
		return wordMatches
	}
	return fewMatches
}

// count sets how many it finds: the maintained total if there is one, else no further than most.
func (l *lookup) count(r *Reader, sc string, most int64) (err error) {
	if l.counter != "" {
		l.n, err = queryOne(r, scanInt, sqlCount, sc, l.counter)
		return err
	}
	if l.side != "" { // the last of so many is reached sooner than they are counted
		c := &LeadPlan{args: []any{sc}}
		l.n = most
		l.since, err = queryOne(r, scanInt, l.newest(c, most), c.args...)
		if err != ErrNotFound {
			return err
		}
	}
	c := &LeadPlan{args: []any{sc}}
	text, count := "SELECT "+l.set(c)+" LIMIT "+c.arg(most), "COUNT(*), 0"
	if l.once && l.repeats {
		count = "COUNT(*), COUNT(DISTINCT n.lead_id)"
	}
	counted, err := queryOne(r, scanInts, "SELECT "+count+" FROM ("+text+") n", c.args...)
	l.n, l.leadsN = counted[0], counted[1]
	return err
}

func scanInts(r row) (v [2]int64, err error) { err = r.Scan(&v[0], &v[1]); return }

// newest is the SELECT of when the n-th newest of its leads was created, 1 being the newest.
func (l *lookup) newest(p *LeadPlan, n int64) string {
	return "SELECT t.lead_created_at FROM " + l.side + " t WHERE " + l.walk(p) + " ORDER BY t.lead_created_at DESC, t.lead_id DESC LIMIT 1 OFFSET " + p.arg(n-1)
}

// rarer tells of two words, each of which finds more than were counted, by how long the same number took to come.
func (l *lookup) rarer(than *lookup) bool {
	if l.n != than.n {
		return l.n < than.n
	}
	return l.since != 0 && l.since < than.since
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
	alone := created(f) && len(parts) == 0 && len(f.Words) == 1
	if f.Q != "" {
		found, err := r.searched(sc, f, alone)
		if err != nil {
			return nil, err
		}
		parts = append(parts, found...)
		if len(found) == 0 {
			return &LeadPlan{filter: f, empty: true}, nil
		}
	}
	if len(parts) == 0 || len(parts) == 1 && created(f) && parts[0].walk != nil {
		return planLeads(r.s.dialect, string(sc.Tenant()), f, parts, 0), nil
	}
	if len(parts) == 1 && !created(f) {
		parts[0].once = true
	}
	for i := range parts {
		if err := parts[i].count(r, string(sc.Tenant()), parts[i].most(alone)+1); err != nil {
			return nil, err
		}
		if parts[i].n == 0 {
			return &LeadPlan{filter: f, empty: true}, nil
		}
	}
	all, err := r.Count(sc, CountLeads)
	if err != nil {
		return nil, err
	}
	return planLeads(r.s.dialect, string(sc.Tenant()), f, parts, all), nil
}

func created(f LeadFilter) bool { return f.Sort == "" || f.Sort == "created_at" }

// planLeads chooses by the counts in parts, of all leads.
func planLeads(d dialect, tenant string, f LeadFilter, parts []lookup, all int64) *LeadPlan {
	return planWithin(d, tenant, f, parts, all, fewMatches, wordMatches)
}

// whole plans a page again that a first look has not filled: as all that its rarest part finds, when that is no more
// than a further look would cost; else nil.
func (r *Reader) whole(p *LeadPlan) (*LeadPlan, error) {
	parts, tenant := slices.Clone(p.parts), p.args[0].(string)
	rare := false
	for i := range parts {
		parts[i].once = false
		most := int64(foundFew)
		if parts[i].repeats && len(parts) == 1 && created(p.filter) {
			most = foundWord
		}
		if err := parts[i].count(r, tenant, most+1); err != nil {
			return nil, err
		}
		rare = rare || parts[i].n <= most
	}
	if !rare {
		return nil, nil
	}
	whole := planWithin(r.s.dialect, tenant, p.filter, parts, 0, foundFew, foundWord)
	if whole.reads > foundRead && !r.s.further.rest() {
		return nil, nil
	}
	return whole, nil
}

// planWithin takes at most few leads, or fewWord of one word alone, for few.
func planWithin(d dialect, tenant string, f LeadFilter, parts []lookup, all, few, fewWord int64) *LeadPlan {
	p := &LeadPlan{filter: f, parts: parts, few: few, d: d, from: "leads l", drive: []string{"l.tenant_id=$1", "l.deleted_at=0"}, args: []any{tenant}, known: -1, found: -1}
	switch f.Sort {
	case "", "created_at":
		p.columns = []string{"l.created_at", "l.id"}
	case sortOwner:
		p.columns = []string{"l.owner_id", "l.created_at", "l.id"}
	default:
		p.columns = []string{"l." + f.Sort, "l.id"}
	}
	if p.ofWord(fewWord, all) {
		return p
	}
	first := -1
	for i, part := range parts {
		if first < 0 || part.rarer(&parts[first]) {
			first = i
		}
	}
	switch {
	case first < 0:
		p.counter = CountLeads
	case parts[first].n <= few && (parts[first].walk == nil || !created(f)):
		p.from = "(" + parts[first].leads(p) + ") f" + p.d.leadOf("f.lead_id")
		p.drive = append(p.drive, "l.id=f.lead_id")
		p.reads = parts[first].n
	default:
		first = p.walkOne(all)
	}
	p.driven = len(p.args)
	p.checks(first)
	if len(parts) == 1 {
		p.only, p.counter = &parts[0], parts[0].counter
		switch n := parts[0].n; {
		case parts[0].repeats && parts[0].once && n <= few:
			p.known = parts[0].leadsN
		case n > 0 && (p.counter != "" || !parts[0].repeats && n <= few):
			p.known = n
		}
	}
	return p
}

// ofWord makes it a plan that reads one prefix, in the order of creation, out of the index of words alone: by all that
// it finds when they are few, or by merged walks of the words that it begins.
func (p *LeadPlan) ofWord(few, all int64) bool {
	if len(p.parts) != 1 || !created(p.filter) || !p.parts[0].repeats {
		return false
	}
	only := &p.parts[0]
	merged := len(only.words) > 0 && len(only.words)*(p.filter.Skip+p.filter.Limit) <= mergedRows
	if !merged && (only.n > few || only.n > fewMatches && only.n > all/oftenWord && all > 0) {
		return false
	}
	p.only, p.word = only, true
	if merged && only.n > fewMatches {
		p.words = only.words
	}
	return true
}

// orderHolds says what the index of each order holds besides the order (migration 0003).
var orderHolds = map[string][]string{
	"l.created_at": {"status", "source_folded", "owner_id", "search_text"},
	"l.updated_at": {"status", "source_folded", "owner_id"},
	"l.score":      {"status", "source_folded", "owner_id"},
}

// covers is whether the index of the order tells what is asked for.
func (p *LeadPlan) covers(needs []string) bool {
	return !slices.ContainsFunc(needs, func(c string) bool { return !slices.Contains(orderHolds[p.columns[0]], c) })
}

// walkOne takes the rarest part whose index is in the order of the list; -1 when the order's own index is walked, which
// is the better one for what many of all leads have.
func (p *LeadPlan) walkOne(all int64) int {
	p.most = readAt
	best, needs := -1, []string(nil)
	for i, part := range p.parts {
		needs = append(needs, part.needs...)
		if part.walk != nil && created(p.filter) && (best < 0 || part.rarer(&p.parts[best])) {
			best = i
		}
	}
	if best < 0 || len(p.parts) > 1 && p.parts[best].n > p.few && p.parts[best].n > all/rarePart && p.covers(needs) {
		return -1
	}
	walked := p.parts[best]
	condition := walked.walk(p)
	if walked.n <= p.few {
		p.most = 0
	}
	p.probed = len(p.parts) > 1 && !slices.ContainsFunc(p.parts, func(l lookup) bool { return l.probe == nil })
	if walked.side != "" {
		p.columns = []string{"t.lead_created_at", "t.lead_id"}
	}
	if p.probed {
		if p.most = p.firstLook(); walked.n <= p.few {
			p.most, p.all = 2*int(p.few), true // and some that have come since
		}
	}
	switch {
	case walked.side != "" && (p.probed || len(p.parts) == 1):
		p.from, p.drive = walked.side+" t", nil
	case walked.side != "":
		p.from = walked.side + " t" + p.d.leadOf("t.lead_id")
		p.drive = append(p.drive, "l.id=t.lead_id")
	}
	p.drive = append(p.drive, condition)
	return best
}

// firstLook is how many entries a page looks at first where they are probed.
func (p *LeadPlan) firstLook() int {
	if slices.ContainsFunc(p.parts, func(l lookup) bool { return l.text }) {
		return probedText
	}
	return probedAt
}

// furthest is how many entries a page looks at in all.
func (p *LeadPlan) furthest() int {
	switch p.most {
	case probedText:
		return textFar * p.most
	case probedAt:
		return probedFar * p.most
	}
	return goesFar * p.most
}

// checks adds what the leads that the first part finds, or the order's index, are checked for.
func (p *LeadPlan) checks(first int) {
	for i, part := range p.parts {
		switch {
		case i == first:
		case p.probed:
			p.check = append(p.check, part.probe(p))
			p.needs = append(p.needs, "created_at")
		default:
			p.check = append(p.check, part.check(p))
			p.needs = append(p.needs, part.needs...)
		}
	}
	switch {
	case len(p.check) == 0:
		p.most = 0
	case first < 0 && p.covers(p.needs):
		p.most = lookedAt
	}
}
