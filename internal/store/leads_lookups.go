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
		walk: func(p *LeadPlan) (string, string) { return "", condition(p, "l.") },
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
	has := func(p *LeadPlan) string {
		return "EXISTS (SELECT 1 FROM lead_tags t WHERE t.tenant_id=l.tenant_id AND t.tag_folded=" + p.arg(folded) + " AND t.lead_created_at=l.created_at AND t.lead_id=l.id)"
	}
	return lookup{
		counter: countTag + folded,
		walk: func(p *LeadPlan) (string, string) {
			return "lead_tags t" + p.leadOf("t.lead_id"), "t.tenant_id=$1 AND t.tag_folded=" + p.arg(folded)
		},
		set: func(p *LeadPlan) string {
			return "t.lead_id FROM lead_tags t WHERE t.tenant_id=$1 AND t.tag_folded=" + p.arg(folded)
		},
		needs: []string{"created_at", "tag"}, // no index of leads holds its tags
		check: has,
		probe: has,
	}
}

// wordLike is served by lead_words; a lead found otherwise shows its words in search_text.
func wordLike(word string) lookup {
	return lookup{
		set: func(p *LeadPlan) string {
			return "w.lead_created_at, w.lead_id FROM lead_words w WHERE w.tenant_id=$1 AND w.word>=" + p.arg(word) + " AND w.word<" + p.arg(word+"\U0010FFFF")
		},
		repeats: true,
		word:    word,
		needs:   []string{"search_text"},
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
			return "x.id AS lead_id FROM leads x WHERE x.tenant_id=$1 AND x.id=" + p.arg(string(id))
		},
		needs: []string{"id"},
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
		switch _, err := queryOne(r, scanString, "SELECT "+exact.set(p)+" LIMIT 1", p.args...); err {
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
