package store

import "strings"

// merged turns the plan of what one prefix finds in the order of creation into one that merges the walks of the words
// that it begins, when they are few: then a page is full however rare they are. Other plans stay as they are.
func (r *Reader) merged(p *LeadPlan) (*LeadPlan, error) {
	f := p.filter
	if p.only == nil || p.only.word == "" || p.word || !created(f) {
		return p, nil
	}
	words, err := queryAll(r, scanString, sqlWordsOf, p.args[0], p.only.word, p.only.word+"\U0010FFFF", mergedWords+1)
	if err != nil || len(words) > mergedWords || len(words)*(f.Skip+f.Limit) > mergedRows {
		return p, err
	}
	m := *p
	m.word, m.words, m.most, m.args = true, words, 0, p.args[:1]
	return &m, nil
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
