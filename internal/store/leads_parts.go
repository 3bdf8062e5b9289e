package store

import (
	"fmt"
	"strings"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

// maxRows is how many rows one INSERT carries; each number of rows is one cached statement.
const maxRows = 24

// insertTexts are the multi-row INSERTs for lead_words and lead_tags by number of rows: $1 tenant, $2 lead, $3 its
// creation, then one parameter a row. One text for both engines.
var wordTexts, tagTexts = rowTexts("INSERT INTO lead_words (tenant_id, lead_id, lead_created_at, word) VALUES ", "($1,$2,$3,$%d)", " ON CONFLICT DO NOTHING", 4),
	rowTexts("INSERT INTO lead_tags (tenant_id, lead_id, lead_created_at, tag_folded) VALUES ", "($1,$2,$3,$%d)", " ON CONFLICT DO NOTHING", 4)

// unwordTexts are the DELETEs by number of words.
var unwordTexts = rowTexts("DELETE FROM lead_words WHERE tenant_id=$1 AND lead_id=$2 AND lead_created_at=$3 AND word IN (", "$%d", ")", 4)

func rowTexts(head, item, tail string, first int) []string {
	out := make([]string, maxRows+1)
	for n := 1; n <= maxRows; n++ {
		items := make([]string, n)
		for i := range items {
			items[i] = fmt.Sprintf(item, first+i)
		}
		out[n] = head + strings.Join(items, ",") + tail
	}
	return out
}

func (tx *Tx) addWords(sc account.Scope, l *lead.Lead, words []string) error {
	for len(words) > 0 {
		n := min(len(words), maxRows)
		args := make([]any, 3, 3+n)
		args[0], args[1], args[2] = string(sc.Tenant()), string(l.ID), micros(l.CreatedAt)
		for _, w := range words[:n] {
			args = append(args, w)
		}
		if _, err := tx.exec(wordTexts[n], args...); err != nil {
			return fmt.Errorf("index lead: %w", err)
		}
		words = words[n:]
	}
	return nil
}

func (tx *Tx) removeWords(sc account.Scope, l *lead.Lead, words []string) error {
	for len(words) > 0 {
		n := min(len(words), maxRows)
		args := make([]any, 3, 3+n)
		args[0], args[1], args[2] = string(sc.Tenant()), string(l.ID), micros(l.CreatedAt)
		for _, w := range words[:n] {
			args = append(args, w)
		}
		if _, err := tx.exec(unwordTexts[n], args...); err != nil {
			return fmt.Errorf("unindex lead: %w", err)
		}
		words = words[n:]
	}
	return nil
}

func (tx *Tx) addTags(sc account.Scope, l *lead.Lead, tags []string) error {
	for _, t := range tags {
		tx.AddCount(sc, countTag+lead.Fold(t), 1)
	}
	for len(tags) > 0 {
		n := min(len(tags), maxRows)
		args := make([]any, 3, 3+n)
		args[0], args[1], args[2] = string(sc.Tenant()), string(l.ID), micros(l.CreatedAt)
		for _, t := range tags[:n] {
			args = append(args, lead.Fold(t))
		}
		if _, err := tx.exec(tagTexts[n], args...); err != nil {
			return fmt.Errorf("tag lead: %w", err)
		}
		tags = tags[n:]
	}
	return nil
}

func (tx *Tx) removeTags(sc account.Scope, l *lead.Lead, tags []string) error {
	if len(tags) == 0 {
		return nil
	}
	folded := make([]string, len(tags))
	for i, t := range tags {
		folded[i] = lead.Fold(t)
		tx.AddCount(sc, countTag+folded[i], -1)
	}
	_, err := tx.exec("DELETE FROM lead_tags WHERE tenant_id=$1 AND lead_id=$2 AND lead_created_at=$3 AND tag_folded IN "+tx.list("$4"),
		string(sc.Tenant()), string(l.ID), micros(l.CreatedAt), jsonText(folded))
	return err
}

// countTag is the prefix of the maintained totals of leads by tag.
const countTag = "tag:"

// TagCount is a tag in its folded spelling and how many live leads have it.
type TagCount struct {
	Tag   string
	Leads int64
}

// Tags lists the tenant's tags with their counts, from the maintained totals. Index: tenant_counters' key.
func (r *Reader) Tags(sc account.Scope, after string, limit int) ([]TagCount, error) {
	return queryAll(r, func(rw row) (c TagCount, err error) {
		err = rw.Scan(&c.Tag, &c.Leads)
		c.Tag = strings.TrimPrefix(c.Tag, countTag)
		return
	}, `SELECT counter, CAST(SUM(n) AS BIGINT) FROM tenant_counters WHERE tenant_id=$1 AND counter>$2 AND counter<$3 GROUP BY counter HAVING SUM(n)>0
		ORDER BY counter LIMIT $4`, string(sc.Tenant()), countTag+after, countTag+"\U0010FFFF", limit)
}

// FindIdentities says whose identities these are, in their order: live leads', or those of leads that were deleted or
// merged away. Indexes: lead_identities_live, lead_identities_gone.
func (r *Reader) FindIdentities(sc account.Scope, ids []lead.Identity, live bool) ([]lead.FoundIdentity, error) {
	text := findGone
	if live {
		text = findLive
	}
	var out []lead.FoundIdentity
	for _, id := range ids {
		found, err := queryAll(r, scanString, text, string(sc.Tenant()), id.Kind, id.Value)
		if err != nil {
			return nil, err
		}
		for _, leadID := range found {
			out = append(out, lead.FoundIdentity{Identity: id, LeadID: lead.ID(leadID)})
		}
	}
	return out, nil
}

const (
	findLive = "SELECT lead_id FROM lead_identities WHERE tenant_id=$1 AND kind=$2 AND value=$3 AND live=1"
	findGone = "SELECT lead_id FROM lead_identities WHERE tenant_id=$1 AND kind=$2 AND value=$3 AND live=0 ORDER BY lead_id DESC LIMIT 1"
)

// ClaimIdentities gives identities to a lead. It returns those that another live lead has, which are not moved, and
// those that a deleted or merged-away lead had: on PostgreSQL it waits for a transaction that is just claiming one.
func (tx *Tx) ClaimIdentities(sc account.Scope, id lead.ID, ids []lead.Identity) (taken []lead.Identity, gone []lead.FoundIdentity, err error) {
	for _, i := range ids {
		before, err := queryOne(tx.Reader, scanString, claimIdentity, string(sc.Tenant()), string(id), i.Kind, i.Value)
		switch {
		case err == ErrNotFound:
			taken = append(taken, i)
		case err != nil:
			return nil, nil, fmt.Errorf("claim identity: %w", err)
		case before != "":
			gone = append(gone, lead.FoundIdentity{Identity: i, LeadID: lead.ID(before)})
		}
	}
	return taken, gone, nil
}

// claimIdentity gives no row when a live lead has the value. Indexes: lead_identities_live, lead_identities_gone.
const claimIdentity = `INSERT INTO lead_identities (tenant_id, lead_id, kind, value, live) VALUES ($1,$2,$3,$4,1) ON CONFLICT DO NOTHING
	RETURNING COALESCE((SELECT MAX(g.lead_id) FROM lead_identities g WHERE g.tenant_id=$1 AND g.kind=$3 AND g.value=$4 AND g.live=0), '')`

// DropIdentities takes kinds of identity from a lead.
func (tx *Tx) DropIdentities(sc account.Scope, id lead.ID, kinds []string) error {
	for _, k := range kinds {
		if _, err := tx.exec("DELETE FROM lead_identities WHERE tenant_id=$1 AND lead_id=$2 AND kind=$3", string(sc.Tenant()), string(id), k); err != nil {
			return fmt.Errorf("drop identity: %w", err)
		}
	}
	return nil
}

// releaseIdentities keeps a deleted lead's identities findable without blocking anybody.
func (tx *Tx) releaseIdentities(sc account.Scope, id lead.ID) error {
	_, err := tx.exec("UPDATE lead_identities SET live=0 WHERE tenant_id=$1 AND lead_id=$2", string(sc.Tenant()), string(id))
	return err
}
