package store

import (
	"strings"

	"leadloom/internal/account"
)

// spelled are the tenant's words that a prefix begins, at most so many.
func (r *Reader) spelled(sc account.Scope, prefix string, most int) ([]string, error) {
	return queryAll(r, scanString, sqlWordsOf, string(sc.Tenant()), prefix, prefix+"\U0010FFFF", most)
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
	return "SELECT " + leadColumns + " FROM (" + found + ") f" + p.leadOf("f.lead_id") + " WHERE l.tenant_id=$1 AND l.deleted_at=0 AND l.id=f.lead_id", page.args
}
