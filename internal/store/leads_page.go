package store

import (
	"fmt"
	"slices"
	"strings"
)

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
	if p.most == 0 && p.beside() { // PostgreSQL would reckon with fewer leads than a page has, and sort all
		return "SELECT " + leadColumns + " FROM (SELECT t.lead_id FROM " + p.from + " WHERE " + strings.Join(where, " AND ") + p.order(columns) + tail(limit) +
			") f" + p.d.leadOf("f.lead_id") + " WHERE l.tenant_id=$1 AND l.deleted_at=0 AND l.id=f.lead_id", page.args
	}
	if p.most == 0 {
		from := " FROM " + p.from + " WHERE " + strings.Join(slices.Concat(where, p.check), " AND ") + p.order(columns) + tail(limit)
		if p.reads > int64(limit) { // they are put in order by their ids, and only the page's are read whole
			return "SELECT " + leadColumns + " FROM (SELECT l.id" + from + ") f" + p.d.leadOf("f.id") + " WHERE l.tenant_id=$1 AND l.id=f.id", page.args
		}
		return "SELECT " + leadColumns + from, page.args
	}
	// The innermost SELECT bounds what is looked at, the next one checks it in its order, the leads found are read last.
	looked, again := p.looks(where), ""
	if p.d.reorders {
		looked, again = p.looks(where, asLead(columns)...), p.order(asLead(columns))
	}
	looked += p.order(columns) + " LIMIT " + page.arg(p.most*page.reach(skip))
	return "SELECT " + leadColumns + " FROM (SELECT l.id FROM (" + looked + ") l WHERE " + strings.Join(p.check, " AND ") + again + tail(limit) +
		") f" + p.d.leadOf("f.id") + " WHERE l.tenant_id=$1 AND l.id=f.id", page.args
}

// reach is how many times as much as usual a page with skip looks at.
func (p *LeadPlan) reach(skip int) int {
	if skip > 0 {
		return skipReach
	}
	return 1
}

// asLead names the columns of rows beside the leads as looks does.
func asLead(columns []string) []string {
	return strings.Split(strings.NewReplacer("t.lead_", "l.").Replace(strings.Join(columns, " ")), " ")
}

// beside is whether rows beside the leads are walked, without the leads.
func (p *LeadPlan) beside() bool { return strings.HasSuffix(p.from, " t") }

// looks selects what is needed to check the rows that are looked at, and to put them in an order again.
func (p *LeadPlan) looks(where []string, order ...string) string {
	if p.beside() { // their indexes tell the rest
		return "SELECT t.tenant_id, t.lead_id AS id, t.lead_created_at AS created_at FROM " + p.from + " WHERE " + strings.Join(where, " AND ")
	}
	need := []string{"l.tenant_id", "l.id"}
	for _, c := range slices.Concat(p.needs, order) {
		if c = "l." + strings.TrimPrefix(c, "l."); !slices.Contains(need, c) && c != "l.tag" {
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
		if p.only.word != "" {
			if most = wordMatches; p.only.repeats && (p.only.n > wordMatches || !p.word && p.only.n > fewMatches) {
				most = fewMatches // an estimate in any case
			}
		}
		count := "COUNT(*)"
		if p.only.repeats {
			count = "COUNT(DISTINCT n.lead_id)"
		}
		return "SELECT COUNT(*), " + count + " FROM (SELECT " + p.only.set(c) + " LIMIT " + c.arg(most+1) + ") n", c.args, most
	case len(p.check) == 0:
		return fmt.Sprintf("SELECT COUNT(*), COUNT(*) FROM (SELECT l.id FROM %s WHERE %s LIMIT %s) l", p.from, strings.Join(p.drive, " AND "), c.arg(most+1)), c.args, most
	case p.most > 0: // all that are looked at, or those of a first look: a first page has its own leads for a total
		most = p.most
	}
	return fmt.Sprintf("SELECT COUNT(*), CAST(COALESCE(SUM(CASE WHEN %s THEN 1 ELSE 0 END),0) AS BIGINT) FROM (%s LIMIT %s) l",
		strings.Join(p.check, " AND "), p.looks(p.drive), c.arg(most+1)), c.args, most
}
