package store

import (
	"slices"
	"strings"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

// checkedLead is a lead with what is kept beside it for look-ups.
type checkedLead struct {
	*lead.Lead
	tenant                 string
	email, source, searchs string
}

// checkPage is how many leads a step of the walk reads.
const checkPage = 1000

var checkLeads = "SELECT " + leadColumns + ", l.tenant_id, l.email_folded, l.source_folded, l.search_text FROM leads l WHERE (l.tenant_id, l.id) > ($1,$2) ORDER BY l.tenant_id, l.id LIMIT $3"

func scanChecked(r row) (l checkedLead, err error) {
	l.Lead, err = scanLead(beside{r, []any{&l.tenant, &l.email, &l.source, &l.searchs}})
	return
}

// eachLead walks every lead of every tenant by its key, page by page, so that no read lasts long.
func (c *checking) eachLead(each func(page []checkedLead) error) error {
	tenant, id := "", ""
	for !c.full() {
		page, err := queryAll(c.Reader, scanChecked, checkLeads, tenant, id, checkPage)
		if err != nil || len(page) == 0 {
			return err
		}
		c.rows += int64(len(page))
		if err := each(page); err != nil {
			return err
		}
		tenant, id = page[len(page)-1].tenant, string(page[len(page)-1].ID)
	}
	return nil
}

// beside scans further columns after those that a scan function knows.
type beside struct {
	row
	more []any
}

// Scan implements row.
func (b beside) Scan(dest ...any) error { return b.row.Scan(append(slices.Clip(dest), b.more...)...) }

// leadsShowWhatTheyHold derives anew what a lead's row keeps for lists and search: folded address and source, words.
func (c *checking) leadsShowWhatTheyHold() error {
	return c.eachLead(func(page []checkedLead) error {
		for _, l := range page {
			for what, pair := range map[string][2]string{"address": {l.email, lead.FoldEmail(l.Email)}, "source": {l.source, lead.Fold(l.Source)}, "words": {l.searchs, searchText(lead.Words(l.Lead))}} {
				if pair[0] != pair[1] {
					c.found(l.tenant, string(l.ID), "is listed by the %s %q; its fields give %q", what, pair[0], pair[1])
				}
			}
		}
		return nil
	})
}

// wordsOfLeads compares the index of words with what the leads' rows say, and their number both ways.
func (c *checking) wordsOfLeads() error {
	instr := "INSTR"
	if c.s.pg != nil {
		instr = "STRPOS"
	}
	if err := c.report(`SELECT w.tenant_id, w.lead_id, 'is found by the word "' || w.word || '", ' || CASE WHEN l.created_at<>w.lead_created_at THEN 'as of another time' ELSE 'which it does not have' END FROM lead_words w
		LEFT JOIN leads l ON l.tenant_id=w.tenant_id AND l.id=w.lead_id AND l.deleted_at=0 WHERE l.id IS NULL OR l.created_at<>w.lead_created_at OR ` + instr + `(l.search_text || ' ', ' ' || w.word || ' ')=0`); err != nil {
		return err
	}
	const has = "CASE WHEN l.search_text='' THEN 0 ELSE LENGTH(l.search_text)-LENGTH(REPLACE(l.search_text,' ','')) END"
	tenants, err := queryAll(c.Reader, scanString, `SELECT tenant_id FROM (SELECT l.tenant_id, `+has+` AS n FROM leads l WHERE l.deleted_at=0
		UNION ALL SELECT tenant_id, -1 FROM lead_words) AS both_ways GROUP BY tenant_id HAVING SUM(n)<>0`)
	if err != nil {
		return err
	}
	for _, t := range tenants { // only where the totals differ: this one sorts the index by lead
		if err := c.report(`SELECT l.tenant_id, l.id, 'has ' || (`+has+`) || ' words and is found by ' || COALESCE(w.n,0) FROM leads l
			LEFT JOIN (SELECT lead_id, COUNT(*) AS n FROM lead_words WHERE tenant_id=$1 GROUP BY lead_id) w ON w.lead_id=l.id
			WHERE l.tenant_id=$1 AND l.deleted_at=0 AND (`+has+`)<>COALESCE(w.n,0)`, t); err != nil {
			return err
		}
	}
	return nil
}

// tagsOfLeads compares the index of tags with the lists in the leads' rows.
func (c *checking) tagsOfLeads() error {
	if err := c.report(`SELECT t.tenant_id, t.lead_id, 'is listed by the tag ' || t.tag_folded || ' and is ' || CASE WHEN l.id IS NULL THEN 'no live lead' ELSE 'of another time' END FROM lead_tags t
		LEFT JOIN leads l ON l.tenant_id=t.tenant_id AND l.id=t.lead_id AND l.deleted_at=0 WHERE l.id IS NULL OR l.created_at<>t.lead_created_at`); err != nil {
		return err
	}
	length := "json_array_length(l.tags)"
	if c.s.pg != nil {
		length = "jsonb_array_length(CAST(l.tags AS jsonb))"
	}
	if err := c.report(`SELECT l.tenant_id, l.id, 'has ' || ` + length + ` || ' tags and is listed by ' || COALESCE(t.n,0) FROM leads l
		LEFT JOIN (SELECT tenant_id, lead_id, COUNT(*) AS n FROM lead_tags GROUP BY tenant_id, lead_id) t ON t.tenant_id=l.tenant_id AND t.lead_id=l.id
		WHERE l.deleted_at=0 AND ` + length + ` <> COALESCE(t.n,0)`); err != nil {
		return err
	}
	// The same number; what SQL cannot fold is folded here.
	return queryEach(c.Reader, func(r row) error {
		var tenant, id, tag, tags string
		if err := r.Scan(&tenant, &id, &tag, &tags); err != nil {
			return err
		}
		if !slices.ContainsFunc(scanTags(tags), func(t string) bool { return lead.Fold(t) == tag }) {
			c.found(tenant, id, "is listed by the tag %s and has %s", tag, tags)
		}
		return nil
	}, `SELECT t.tenant_id, t.lead_id, t.tag_folded, l.tags FROM lead_tags t JOIN leads l ON l.tenant_id=t.tenant_id AND l.id=t.lead_id
		WHERE l.tags NOT LIKE '%"' || t.tag_folded || '"%'`)
}

// identitiesFollowRules derives each live lead's identities by its tenant's rules. A value that another live lead has is
// that one's. Tenants whose rules a job is just applying are left out.
func (c *checking) identitiesFollowRules() error {
	if c.aids.Rules == nil {
		return nil
	}
	rules := map[string]*lead.Rules{}
	of := func(tenant string) (*lead.Rules, error) {
		if r, ok := rules[tenant]; ok {
			return r, nil
		}
		r, err := c.aids.Rules(c.Reader, account.SystemScope(account.TenantID(tenant), "check"))
		if busy, berr := c.identitiesChange(tenant); err != nil || berr != nil {
			return nil, firstError(err, berr)
		} else if busy {
			r = nil
		}
		rules[tenant] = r
		return r, nil
	}
	return c.eachLead(func(page []checkedLead) error {
		for len(page) > 0 {
			n := slices.IndexFunc(page, func(l checkedLead) bool { return l.tenant != page[0].tenant })
			if n < 0 {
				n = len(page)
			}
			r, err := of(page[0].tenant)
			if err == nil && r != nil {
				err = c.identitiesOf(r, page[:n])
			}
			if err != nil {
				return err
			}
			page = page[n:]
		}
		return nil
	})
}

func firstError(errs ...error) error {
	i := slices.IndexFunc(errs, func(e error) bool { return e != nil })
	return errs[i]
}

// identitiesChange reports whether a job is giving the tenant's leads new identities.
func (c *checking) identitiesChange(tenant string) (bool, error) {
	if there, err := c.hasTable("river_job"); err != nil || !there {
		return false, err
	}
	n, err := queryOne(c.Reader, scanInt, "SELECT COUNT(*) FROM river_job WHERE kind='leads.identities' AND state IN "+liveStates+" AND "+c.jobArg("tenant_id")+"=$1", tenant)
	return n > 0, err
}

// identitiesOf judges leads of one tenant, in the order of their ids.
func (c *checking) identitiesOf(rules *lead.Rules, page []checkedLead) error {
	has := map[lead.ID][]lead.Identity{}
	if err := queryEach(c.Reader, func(r row) error {
		var id lead.ID
		var i lead.Identity
		if err := r.Scan((*string)(&id), &i.Kind, &i.Value); err != nil {
			return err
		}
		has[id] = append(has[id], i)
		return nil
	}, "SELECT lead_id, kind, value FROM lead_identities WHERE tenant_id=$1 AND lead_id>=$2 AND lead_id<=$3 AND live=1", page[0].tenant, string(page[0].ID), string(page[len(page)-1].ID)); err != nil {
		return err
	}
	for _, l := range page {
		if l.Live() && !sameSet(has[l.ID], rules.Identities(l.Lead)) {
			if err := c.identitiesAgain(rules, l.tenant, l.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

func sameSet(a, b []lead.Identity) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(i lead.Identity) bool { return !slices.Contains(b, i) })
}

// identitiesAgain looks at one lead until it has not changed between two looks, and says what differs.
func (c *checking) identitiesAgain(rules *lead.Rules, tenant string, id lead.ID) error {
	sc := account.SystemScope(account.TenantID(tenant), "check")
	for {
		l, err := c.Lead(sc, id)
		if err != nil || !l.Live() {
			return err
		}
		has, err := c.LiveIdentities(sc, id)
		if err != nil {
			return err
		}
		var missing []lead.Identity
		for _, want := range rules.Identities(l) {
			if slices.Contains(has, want) {
				continue
			}
			others, err := c.FindIdentities(sc, []lead.Identity{want}, true)
			if err != nil {
				return err
			}
			if len(others) == 0 {
				missing = append(missing, want)
			}
		}
		again, err := c.Lead(sc, id)
		if err != nil {
			return err
		}
		if again.Version != l.Version {
			continue
		}
		for _, i := range missing {
			c.found(tenant, string(id), "is not recognised by its %s, and nobody else is", i.Kind)
		}
		for _, i := range has {
			if !slices.Contains(rules.Identities(l), i) {
				c.found(tenant, string(id), "is recognised by a value of %s that it does not have", strings.TrimPrefix(i.Kind, "custom_fields."))
			}
		}
		return nil
	}
}
