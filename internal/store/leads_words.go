package store

import (
	"fmt"
	"strings"

	"leadloom/internal/account"
)

// begun are the tenant's words that each prefix begins, at most so many of each, in order.
func (r *Reader) begun(sc account.Scope, prefixes []string, most int) ([][]string, error) {
	if len(prefixes) == 0 {
		return nil, nil
	}
	ends, err := queryOne(r, func(rw row) (ends []string, err error) {
		ends, into := make([]string, 2*len(prefixes)), make([]any, 2*len(prefixes))
		for i := range ends {
			into[i] = &ends[i]
		}
		return ends, rw.Scan(into...)
	}, endsOf(len(prefixes)), wordRanges(sc, prefixes)...)
	if err != nil {
		return nil, err
	}
	words := make([][]string, len(prefixes))
	for i := range words {
		switch first, last := ends[2*i], ends[2*i+1]; {
		case first == "":
		case first == last: // most names
			words[i] = []string{first}
		default:
			if words[i], err = queryAll(r, scanString, sqlWordsOf, append(wordRanges(sc, prefixes[i:i+1]), most)...); err != nil {
				return nil, err
			}
		}
	}
	return words, nil
}

func wordRanges(sc account.Scope, prefixes []string) []any {
	args := append(make([]any, 0, 2+2*len(prefixes)), string(sc.Tenant()))
	for _, p := range prefixes {
		args = append(args, p, p+"\U0010FFFF")
	}
	return args
}

// endsOf is the SQL of the first and the last word of each of so many ranges, in one row.
func endsOf(ranges int) string {
	ends := make([]string, 0, 2*ranges)
	for i := range ranges {
		for _, order := range []string{"", " DESC"} {
			ends = append(ends, fmt.Sprintf("COALESCE((SELECT w.word FROM lead_words w WHERE w.tenant_id=$1 AND w.word>=$%d AND w.word<$%d ORDER BY w.word%s LIMIT 1),'')", 2*i+2, 2*i+3, order))
		}
	}
	return "SELECT " + strings.Join(ends, ", ")
}

// sqlWordsOf goes from one word to the next, which an index of a million rows of few words is quick at.
const sqlWordsOf = `WITH RECURSIVE spelled(word) AS (
	SELECT (SELECT w.word FROM lead_words w WHERE w.tenant_id=$1 AND w.word>=$2 AND w.word<$3 ORDER BY w.word LIMIT 1)
	UNION ALL SELECT (SELECT w.word FROM lead_words w WHERE w.tenant_id=$1 AND w.word>spelled.word AND w.word<$3 ORDER BY w.word LIMIT 1) FROM spelled WHERE spelled.word IS NOT NULL)
	SELECT word FROM spelled WHERE word IS NOT NULL LIMIT $4`

// pageOfWord takes a page of what one word finds out of the words' own index.
func (p *LeadPlan) pageOfWord(page *LeadPlan, after *LeadPosition, skip, limit int) (string, []any) {
	order := p.order([]string{"w.lead_created_at", "w.lead_id"})
	begin := ""
	if after != nil {
		begin = " AND (w.lead_created_at, w.lead_id) " + p.than() + " (" + page.arg(after.Value) + ", " + page.arg(string(after.ID)) + ")"
	}
	var found string
	if p.words == nil {
		found = p.only.leads(page) + begin
	} else { // each word's rows are in the order; the page is among the first so many of each
		most := page.arg(skip + limit)
		walks := make([]string, len(p.words))
		for i, word := range p.words {
			walks[i] = "SELECT * FROM (SELECT w.lead_created_at, w.lead_id FROM lead_words w WHERE w.tenant_id=$1 AND w.word=" + page.arg(word) + begin + order + " LIMIT " + most + ") AS walked"
		}
		found = "SELECT DISTINCT w.lead_created_at, w.lead_id FROM (" + strings.Join(walks, " UNION ALL ") + ") w"
	}
	found += order + " LIMIT " + page.arg(limit)
	if skip > 0 {
		found += " OFFSET " + page.arg(skip)
	}
	return "SELECT " + leadColumns + " FROM (" + found + ") f" + p.d.leadOf("f.lead_id") + " WHERE l.tenant_id=$1 AND l.deleted_at=0 AND l.id=f.lead_id", page.args
}
