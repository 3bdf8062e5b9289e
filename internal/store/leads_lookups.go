package store

import (
	"strings"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

// equalities are the filters by one value.
func equalities(f LeadFilter) []lookup {
	var parts []lookup
	if f.Tag != "" {
		parts = append(parts, taggedWith(lead.Fold(f.Tag)))
	}
	for _, e := range []struct {
		sent, column, value string
		sparse              bool   // its index leaves empty values out
		counter             string // the prefix of its totals
	}{{f.Status, "status", lead.Fold(f.Status), false, countStatus}, {f.Source, "source_folded", lead.Fold(f.Source), true, countSource},
		{f.Owner, "owner_id", f.Owner, true, countOwner}, {f.Email, "email_folded", lead.FoldEmail(f.Email), true, ""}} {
		if e.sent == "" { // a blank one folds to nothing, and finds nothing
			continue
		}
		part := equalTo(e.column, e.value, e.sparse)
		if e.counter != "" {
			part.counter = e.counter + e.value
		}
		parts = append(parts, part)
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
		walk: func(p *LeadPlan) string { return condition(p, "l.") },
		set: func(p *LeadPlan) string {
			return "x.id AS lead_id FROM leads x WHERE x.tenant_id=$1 AND x.deleted_at=0 AND " + condition(p, "x.")
		},
		needs: []string{column},
		check: func(p *LeadPlan) string { return "l." + column + "||''=" + p.arg(value) },
		probe: func(p *LeadPlan) string { // of the ids no key is made use of: that would read the lead
			return "EXISTS (SELECT 1 FROM leads x WHERE x.tenant_id=l.tenant_id AND x.deleted_at=0 AND " + condition(p, "x.") + " AND x.created_at=l.created_at AND x.id||''=l.id)"
		},
	}
}

// taggedWith is served by lead_tags, which is in the order of the leads' creation.
func taggedWith(folded string) lookup {
	l := besideLeads("lead_tags", "tag_folded", folded)
	l.counter, l.check = countTag+folded, l.probe
	l.needs = []string{"created_at", "tag"} // no index of leads holds its tags
	return l
}

// exactWord is served by lead_words, which is in the order of the leads' creation for each word.
func exactWord(word string) lookup {
	l := besideLeads("lead_words", "word", word)
	l.word, l.needs, l.check = word, []string{"search_text"}, inText(word)
	return l
}

// besideLeads is served by a table whose key is the tenant, a value, and the lead's creation and id.
func besideLeads(table, column, value string) lookup {
	return lookup{
		side: table,
		walk: func(p *LeadPlan) string { return "t.tenant_id=$1 AND t." + column + "=" + p.arg(value) },
		set: func(p *LeadPlan) string {
			return "t.lead_id FROM " + table + " t WHERE t.tenant_id=$1 AND t." + column + "=" + p.arg(value)
		},
		probe: func(p *LeadPlan) string {
			return "EXISTS (SELECT 1 FROM " + table + " x WHERE x.tenant_id=l.tenant_id AND x." + column + "=" + p.arg(value) + " AND x.lead_created_at=l.created_at AND x.lead_id=l.id)"
		},
	}
}

// inText finds a word in search_text by its beginning.
func inText(word string) func(*LeadPlan) string {
	return func(p *LeadPlan) string { return likeWord(p, "l.", word) }
}

// likeWord's pattern is not a parameter alone: SQLite would plan the statement again for each word, to see how it begins.
func likeWord(p *LeadPlan, alias, word string) string {
	return alias + "search_text LIKE " + p.arg("% "+escapeLike(word)+"%") + `||'' ESCAPE '\'`
}

// wordLike is a prefix of several words, all of which words names unless they are many. It is served by lead_words; a
// lead found otherwise shows its words in search_text.
func wordLike(word string, words []string) lookup {
	return lookup{
		set: func(p *LeadPlan) string {
			return "w.lead_created_at, w.lead_id FROM lead_words w WHERE w.tenant_id=$1 AND w.word>=" + p.arg(word) + " AND w.word<" + p.arg(word+"\U0010FFFF")
		},
		repeats: true,
		word:    word,
		words:   words,
		text:    len(words) == 0,
		needs:   []string{"search_text"},
		check:   inText(word),
		probe: func(p *LeadPlan) string {
			if len(words) == 0 {
				return "EXISTS (SELECT 1 FROM leads x WHERE x.tenant_id=l.tenant_id AND x.deleted_at=0 AND x.created_at=l.created_at AND x.id||''=l.id AND " + likeWord(p, "x.", word) + ")"
			}
			any := make([]string, len(words))
			for i, w := range words {
				any[i] = p.arg(w)
			}
			return "EXISTS (SELECT 1 FROM lead_words x WHERE x.tenant_id=l.tenant_id AND x.word IN (" + strings.Join(any, ",") + ") AND x.lead_created_at=l.created_at AND x.lead_id=l.id)"
		},
	}
}

// theLead is served by the key.
func theLead(id lead.ID) lookup {
	return lookup{
		n: 1,
		set: func(p *LeadPlan) string {
			return "x.id AS lead_id FROM leads x WHERE x.tenant_id=$1 AND x.id=" + p.arg(string(id))
		},
		needs: []string{"id"},
		check: func(p *LeadPlan) string { return "l.id||''=" + p.arg(string(id)) },
	}
}

// searched is what a search asks for: a lead by its id, those of an exact address, else all words, each as a prefix.
// alone is one word that nothing else is asked for with, in the order of creation: then it matters more which words it
// begins. It is empty when nothing can match.
func (r *Reader) searched(sc account.Scope, f LeadFilter, alone bool) ([]lookup, error) {
	if !strings.ContainsAny(f.Q, " ") { // no id has one
		switch l, err := r.Lead(sc, lead.ID(f.Q)); {
		case err == nil && l.Live():
			return []lookup{theLead(l.ID)}, nil
		case err != nil && err != ErrNotFound:
			return nil, err
		}
	}
	if f.Address != "" {
		exact := equalTo("email_folded", f.Address, true)
		p := &LeadPlan{args: []any{string(sc.Tenant())}}
		switch _, err := queryOne(r, scanString, "SELECT "+exact.set(p)+" LIMIT 1", p.args...); err {
		case nil:
			return []lookup{exact}, nil
		case ErrNotFound:
		default:
			return nil, err
		}
	}
	most := probedWords
	if alone {
		most = mergedWords
	}
	found, err := r.begun(sc, f.Words, most+1)
	if err != nil {
		return nil, err
	}
	var parts []lookup
	for i, words := range found {
		switch {
		case len(words) == 0:
			return nil, nil
		case len(words) == 1:
			parts = append(parts, exactWord(words[0]))
		case len(words) <= most:
			parts = append(parts, wordLike(f.Words[i], words))
		default:
			parts = append(parts, wordLike(f.Words[i], nil))
		}
	}
	return parts, nil
}

func escapeLike(s string) string {
	return strings.NewReplacer(`\`, `\\`, "%", `\%`, "_", `\_`).Replace(s)
}
