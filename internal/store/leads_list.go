package store

import (
	"fmt"
	"strconv"
	"strings"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

// LeadFilter is a list of live leads: every filter that is set must hold. Texts compare folded.
type LeadFilter struct {
	Source, Email, Status, Tag, Owner string
	Q                                 string   // as typed; an exact id wins
	Words                             []string // lead.QueryWords(Q)
	Sort                              string   // one of LeadSorts
	Ascending                         bool
	After                             *LeadPosition // the last row of the page before
	Skip, Limit                       int
}

// LeadPosition is where a page ended.
type LeadPosition struct {
	Value int64 // of the sort column
	ID    lead.ID
}

// LeadSorts are the columns by which leads can be listed; each has an index.
var LeadSorts = []string{"created_at", "updated_at", "score"}

// Position is where a page that ends in l goes on.
func (f LeadFilter) Position(l *lead.Lead) LeadPosition {
	switch f.Sort {
	case "score":
		return LeadPosition{l.Score, l.ID}
	case "updated_at":
		return LeadPosition{micros(l.UpdatedAt), l.ID}
	}
	return LeadPosition{micros(l.CreatedAt), l.ID}
}

const (
	exactTotal = 10_000 // totals of filters are exact up to here
	fewMatches = 2_000  // a search word with at most this many leads is looked up first
)

// LeadPlan is a filter turned into SQL.
type LeadPlan struct {
	filter   LeadFilter
	from     string
	where    []string
	args     []any
	order    string
	counted  bool  // the total is known from planning
	total    int64 // when counted
	estimate bool
	empty    bool // nothing can match
	all      bool // no filter: the maintained total is the answer
}

func (p *LeadPlan) arg(v any) string {
	p.args = append(p.args, v)
	return "$" + strconv.Itoa(len(p.args))
}

func (p *LeadPlan) must(format string, v any) {
	p.where = append(p.where, fmt.Sprintf(format, p.arg(v)))
}

// PlanLeads decides how a list is read: along the index of its order, of a filter, or from the few leads that a
// search word finds.
func (r *Reader) PlanLeads(sc account.Scope, f LeadFilter) (*LeadPlan, error) {
	p := &LeadPlan{filter: f, from: "leads l", args: []any{string(sc.Tenant())}, where: []string{"l.tenant_id=$1", "l.deleted_at=0"}}
	direction := " DESC"
	if f.Ascending {
		direction = " ASC"
	}
	column := "l.created_at"
	if f.Sort != "" {
		column = "l." + f.Sort
	}
	p.order = column + direction + ", l.id" + direction
	if f.Tag != "" {
		p.tag(f, column, direction)
	}
	if f.Status != "" {
		p.must("l.status=%s", lead.Fold(f.Status))
	}
	if f.Source != "" {
		p.must("l.source_folded=%s AND l.source_folded<>''", lead.Fold(f.Source))
	}
	if f.Owner != "" {
		p.must("l.owner_id=%s AND l.owner_id<>''", f.Owner)
	}
	if f.Email != "" {
		p.must("l.email_folded=%s AND l.email_folded<>''", lead.FoldEmail(f.Email))
	}
	p.all = len(p.where) == 2 && f.Q == ""
	if f.Q != "" {
		if err := r.planSearch(sc, p); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// tag walks the tag's own index, which is in the order of creation; another order probes it.
func (p *LeadPlan) tag(f LeadFilter, column, direction string) {
	tag := lead.Fold(f.Tag)
	if column != "l.created_at" {
		p.must("EXISTS (SELECT 1 FROM lead_tags t WHERE t.tenant_id=l.tenant_id AND t.tag_folded=%s AND t.lead_created_at=l.created_at AND t.lead_id=l.id)", tag)
		return
	}
	p.from = "lead_tags t CROSS JOIN leads l" // on SQLite CROSS JOIN also fixes the order of the loops
	p.must("t.tenant_id=$1 AND t.tag_folded=%s AND l.id=t.lead_id", tag)
	p.order = "t.lead_created_at" + direction + ", t.lead_id" + direction
}

// planSearch looks the rarest word up when it is rare; else the list's own order is walked and filtered, which fills
// a page soon because each word is common.
func (r *Reader) planSearch(sc account.Scope, p *LeadPlan) error {
	f := p.filter
	if l, err := r.Lead(sc, lead.ID(f.Q)); err == nil && l.Live() {
		p.must("l.id=%s", f.Q)
		return nil
	} else if err != nil && err != ErrNotFound {
		return err
	}
	if len(f.Words) == 0 {
		p.empty = true
		return nil
	}
	rarest, fewest := "", int64(fewMatches+1)
	for _, w := range f.Words {
		n, err := queryOne(r, scanInt, countWord, string(sc.Tenant()), w, w+"\U0010FFFF")
		if err != nil {
			return err
		}
		if n < fewest {
			rarest, fewest = w, n
		}
	}
	if fewest == 0 {
		p.empty = true
		return nil
	}
	for _, w := range f.Words {
		if w != rarest {
			p.must(`l.search_text LIKE %s ESCAPE '\'`, "% "+escapeLike(w)+"%")
		}
	}
	if rarest == "" {
		p.counted, p.total, p.estimate = true, fewMatches, true
		return nil
	}
	found := fmt.Sprintf("(SELECT DISTINCT w.lead_id FROM lead_words w WHERE w.tenant_id=$1 AND w.word>=%s AND w.word<%s)", p.arg(rarest), p.arg(rarest+"\U0010FFFF"))
	p.from = found + " f CROSS JOIN " + p.from
	p.where = append(p.where, "l.id=f.lead_id")
	return nil
}

var countWord = "SELECT COUNT(*) FROM (SELECT 1 FROM lead_words WHERE tenant_id=$1 AND word>=$2 AND word<$3 LIMIT " + strconv.Itoa(fewMatches+1) + ") n"

func escapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(s)
}

// Leads reads one page. Indexes: leads_by_created, _updated, _score, _status, _source, _owner, _email; lead_tags;
// lead_words.
func (r *Reader) Leads(sc account.Scope, p *LeadPlan) ([]*lead.Lead, error) {
	if p.empty {
		return nil, nil
	}
	where, args := p.where, p.args
	page := LeadPlan{args: args}
	if a := p.filter.After; a != nil {
		than := "<"
		if p.filter.Ascending {
			than = ">"
		}
		columns, _, _ := strings.Cut(p.order, " ")
		id := "l.id"
		if strings.HasPrefix(columns, "t.") {
			id = "t.lead_id"
		}
		where = append(where[:len(where):len(where)], fmt.Sprintf("(%s, %s) %s (%s, %s)", columns, id, than, page.arg(a.Value), page.arg(string(a.ID))))
	}
	text := "SELECT " + leadColumns + " FROM " + p.from + " WHERE " + strings.Join(where, " AND ") + " ORDER BY " + p.order + " LIMIT " + page.arg(p.filter.Limit)
	if p.filter.Skip > 0 {
		text += " OFFSET " + page.arg(p.filter.Skip)
	}
	return queryAll(r, scanLead, text, page.args...)
}

// CountLeads is a list's total: the maintained one without filters, exact up to 10,000, else that with the mark of
// an estimate ("at least").
func (r *Reader) CountLeads(sc account.Scope, p *LeadPlan) (total int64, estimate bool, err error) {
	switch {
	case p.empty:
		return 0, false, nil
	case p.counted:
		return p.total, p.estimate, nil
	case p.all:
		n, err := r.Count(sc, CountLeads)
		return n, false, err
	}
	args := append(p.args[:len(p.args):len(p.args)], exactTotal+1)
	n, err := queryOne(r, scanInt, "SELECT COUNT(*) FROM (SELECT 1 FROM "+p.from+" WHERE "+strings.Join(p.where, " AND ")+" LIMIT $"+strconv.Itoa(len(args))+") n", args...)
	if n > exactTotal {
		return exactTotal, true, err
	}
	return n, false, err
}

// LeadsByID reads live leads of these ids, in no order.
func (r *Reader) LeadsByID(sc account.Scope, ids []lead.ID) ([]*lead.Lead, error) {
	return queryAll(r, scanLead, "SELECT "+leadColumns+" FROM leads l WHERE l.tenant_id=$1 AND l.deleted_at=0 AND l.id IN "+r.list("$2"), string(sc.Tenant()), jsonText(ids))
}

// DuplicateGroup is live leads that share one folded e-mail address or phone number, oldest first.
type DuplicateGroup struct {
	Value string
	IDs   []lead.ID
}

// Duplicates finds groups of more than one live lead by column email_folded or phone_e164, after a value, at most
// limit groups. It walks the column's index.
func (r *Reader) Duplicates(sc account.Scope, by string, after string, limit int) ([]DuplicateGroup, error) {
	column := map[string]string{lead.KindEmail: "email_folded", lead.KindPhone: "phone_e164"}[by]
	if column == "" {
		return nil, fmt.Errorf("store: no duplicates by %q", by)
	}
	values, err := queryAll(r, scanString, strings.ReplaceAll(`SELECT COL FROM leads WHERE tenant_id=$1 AND deleted_at=0 AND COL<>'' AND COL>$2
		GROUP BY COL HAVING COUNT(*)>1 ORDER BY COL LIMIT $3`, "COL", column), string(sc.Tenant()), after, limit)
	if err != nil {
		return nil, err
	}
	groups := make([]DuplicateGroup, 0, len(values))
	for _, v := range values {
		ids, err := queryAll(r, scanString, strings.ReplaceAll(`SELECT id FROM leads WHERE tenant_id=$1 AND deleted_at=0 AND COL<>'' AND COL=$2
			ORDER BY created_at, id LIMIT 500`, "COL", column), string(sc.Tenant()), v)
		if err != nil {
			return nil, err
		}
		g := DuplicateGroup{Value: v}
		for _, id := range ids {
			g.IDs = append(g.IDs, lead.ID(id))
		}
		groups = append(groups, g)
	}
	return groups, nil
}
