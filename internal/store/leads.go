package store

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/lead"
)

// unit separates the texts of a lead inside one result column: fetching and converting twenty columns a row is most
// of what a list of leads costs. No text of a lead can hold it, because control characters are refused on the way in
// and JSON escapes them.
const unit = "\x1f"

// leadTexts are the text columns that are read together, in the order of scanLead.
var leadTexts = []string{"id", "external_id", "first_name", "last_name", "email", "phone", "phone_e164", "company", "source", "status",
	"owner_id", "tags", "custom_fields", "timezone", "language", "merged_into", "notes"}

// leadColumns reads a lead from the table under the alias l.
var leadColumns = "l.version, l.score, l.created_at, l.updated_at, l.deleted_at, l." + strings.Join(leadTexts, "||'"+unit+"'||l.")

func scanLead(r row) (*lead.Lead, error) {
	var l lead.Lead
	var created, updated, deleted int64
	var text string
	if err := r.Scan(&l.Version, &l.Score, &created, &updated, &deleted, &text); err != nil {
		return nil, err
	}
	l.CreatedAt, l.UpdatedAt, l.DeletedAt = fromMicros(created), fromMicros(updated), fromMicros(deleted)
	next := func() (s string) {
		s, text, _ = strings.Cut(text, unit)
		return s
	}
	l.ID, l.ExternalID, l.FirstName, l.LastName = lead.ID(next()), next(), next(), next()
	l.Email, l.Phone, l.PhoneE164, l.Company = next(), next(), next(), next()
	l.Source, l.Status, l.OwnerID = next(), next(), next()
	l.Tags = scanTags(next())
	l.CustomFields = json.RawMessage(next())
	l.Timezone, l.Language, l.MergedInto = next(), next(), lead.ID(next())
	l.Notes = text
	return &l, nil
}

// scanTags reads the JSON array that tagsText wrote; plain ones without a parser.
func scanTags(s string) []string {
	if len(s) < 4 {
		return nil
	}
	if !strings.Contains(s, `\`) {
		return strings.Split(s[2:len(s)-2], `","`)
	}
	var tags []string
	if json.Unmarshal([]byte(s), &tags) != nil {
		return nil
	}
	return tags
}

func tagsText(tags []string) string {
	if len(tags) == 0 {
		return "[]"
	}
	return jsonText(tags)
}

// Lead reads a lead by id, deleted and merged-away ones too: the caller decides what they mean. In a Tx the row is
// locked.
func (r *Reader) Lead(sc account.Scope, id lead.ID) (*lead.Lead, error) {
	return queryOne(r, scanLead, "SELECT "+leadColumns+" FROM leads l WHERE l.tenant_id=$1 AND l.id=$2"+r.lock(), string(sc.Tenant()), string(id))
}

// InsertLead stores a new lead with its words and tags. Its identities are claimed before by ClaimIdentities. The
// store sets version and times.
func (tx *Tx) InsertLead(sc account.Scope, l *lead.Lead) error {
	if l.ID == "" {
		l.ID = lead.ID(tx.NewID())
	}
	if l.CreatedAt.IsZero() {
		l.CreatedAt = tx.now
	}
	l.Version, l.UpdatedAt = max(l.Version, 1), tx.now
	words := lead.Words(l)
	if _, err := tx.exec(insertLead, leadRow(sc, l, words)...); err != nil {
		return fmt.Errorf("insert lead: %w", err)
	}
	stage := stageOf(l.Status)
	tx.countLead(sc, l, stage, 1)
	if err := tx.saveStage(sc, l.ID, stage); err != nil {
		return err
	}
	if err := tx.addWords(sc, l, words); err != nil {
		return err
	}
	return tx.addTags(sc, l, l.Tags)
}

// CountLeads is the maintained total of a tenant's live leads.
const CountLeads = "leads"

// leadRow is a lead as the columns of insertLead hold it.
func leadRow(sc account.Scope, l *lead.Lead, words []string) []any {
	return []any{string(sc.Tenant()), string(l.ID), l.ExternalID, l.FirstName, l.LastName, l.Email, lead.FoldEmail(l.Email), l.Phone,
		l.PhoneE164, l.Company, l.Source, lead.Fold(l.Source), l.Status, l.Score, l.OwnerID, tagsText(l.Tags), string(l.CustomFields), l.Notes,
		l.Timezone, l.Language, searchText(words), l.Version, micros(l.CreatedAt), micros(l.UpdatedAt), micros(l.DeletedAt), string(l.MergedInto)}
}

const leadTable = `tenant_id, id, external_id, first_name, last_name, email, email_folded, phone, phone_e164, company, source,
	source_folded, status, score, owner_id, tags, custom_fields, notes, timezone, language, search_text, version, created_at, updated_at, deleted_at, merged_into`

const insertLead = `INSERT INTO leads (` + leadTable + `)
	VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26)`

// searchText is " ada lovelace ada@example.com": a word is found in it as ' word%' wherever it stands.
func searchText(words []string) string {
	if len(words) == 0 {
		return ""
	}
	return " " + strings.Join(words, " ")
}

// UpdateLead writes what differs between two states of one live lead, and nothing else: columns, words, tags. It
// sets version and updated_at of after. The caller has locked the row by reading it in this Tx.
func (tx *Tx) UpdateLead(sc account.Scope, before, after *lead.Lead) error {
	after.Version, after.UpdatedAt = before.Version+1, tx.later(before.UpdatedAt)
	u := update{args: []any{string(sc.Tenant()), string(after.ID), before.Version, after.Version, micros(after.UpdatedAt)}}
	u.set("external_id", before.ExternalID, after.ExternalID)
	u.set("first_name", before.FirstName, after.FirstName)
	u.set("last_name", before.LastName, after.LastName)
	if u.set("email", before.Email, after.Email) {
		u.add("email_folded", lead.FoldEmail(after.Email))
	}
	u.set("phone", before.Phone, after.Phone)
	u.set("phone_e164", before.PhoneE164, after.PhoneE164)
	u.set("company", before.Company, after.Company)
	if u.set("source", before.Source, after.Source) {
		u.add("source_folded", lead.Fold(after.Source))
	}
	u.set("status", before.Status, after.Status)
	u.set("owner_id", before.OwnerID, after.OwnerID)
	u.set("tags", tagsText(before.Tags), tagsText(after.Tags))
	u.set("custom_fields", string(before.CustomFields), string(after.CustomFields))
	u.set("notes", before.Notes, after.Notes)
	u.set("timezone", before.Timezone, after.Timezone)
	u.set("language", before.Language, after.Language)
	if before.Score != after.Score {
		u.add("score", after.Score)
	}
	var gone, come []string
	if findableChanged(before, after) {
		old, now := lead.Words(before), lead.Words(after)
		gone, come = minus(old, now), minus(now, old)
		u.set("search_text", searchText(old), searchText(now))
	}
	n, err := tx.exec(u.sql(), u.args...)
	if err != nil {
		return fmt.Errorf("update lead: %w", err)
	}
	if n != 1 {
		return fmt.Errorf("update lead %s: version %d was not there", after.ID, before.Version)
	}
	if err := tx.recountLead(sc, before, after); err != nil {
		return err
	}
	if err := tx.removeWords(sc, after, gone); err != nil {
		return err
	}
	if err := tx.addWords(sc, after, come); err != nil {
		return err
	}
	if err := tx.removeTags(sc, after, lead.Minus(before.Tags, after.Tags)); err != nil {
		return err
	}
	return tx.addTags(sc, after, lead.Minus(after.Tags, before.Tags))
}

func findableChanged(a, b *lead.Lead) bool {
	return a.FirstName != b.FirstName || a.LastName != b.LastName || a.Company != b.Company || a.Email != b.Email ||
		a.Phone != b.Phone || a.PhoneE164 != b.PhoneE164 || strings.Join(a.Tags, unit) != strings.Join(b.Tags, unit)
}

// update collects the columns of one UPDATE of a lead. Few sets of columns occur, so that the statements stay cached.
type update struct {
	columns []string
	args    []any
}

func (u *update) add(column string, v any) {
	u.columns = append(u.columns, column)
	u.args = append(u.args, v)
}

func (u *update) set(column, before, after string) bool {
	if before == after {
		return false
	}
	u.add(column, after)
	return true
}

var updateTexts sync.Map // joined columns → SQL

func (u *update) sql() string {
	key := strings.Join(u.columns, ",")
	if s, ok := updateTexts.Load(key); ok {
		return s.(string)
	}
	var b strings.Builder
	b.WriteString("UPDATE leads SET version=$4, updated_at=$5")
	for i, c := range u.columns {
		fmt.Fprintf(&b, ", %s=$%d", c, i+6)
	}
	b.WriteString(" WHERE tenant_id=$1 AND id=$2 AND version=$3 AND deleted_at=0")
	s, _ := updateTexts.LoadOrStore(key, b.String())
	return s.(string)
}

// minus is the elements of sorted a that are not in sorted b.
func minus(a, b []string) []string {
	var out []string
	for _, s := range a {
		for len(b) > 0 && b[0] < s {
			b = b[1:]
		}
		if len(b) == 0 || b[0] != s {
			out = append(out, s)
		}
	}
	return out
}

// DeleteLead takes a live lead out of lists, search and identities; mergedInto names the survivor when that is why.
// before is the lead as read in this Tx.
func (tx *Tx) DeleteLead(sc account.Scope, before *lead.Lead, mergedInto lead.ID) (*lead.Lead, error) {
	after := before.Clone()
	after.Version, after.UpdatedAt, after.DeletedAt, after.MergedInto = before.Version+1, tx.later(before.UpdatedAt), tx.now, mergedInto
	n, err := tx.exec(`UPDATE leads SET version=$4, updated_at=$7, deleted_at=$5, merged_into=$6 WHERE tenant_id=$1 AND id=$2 AND version=$3 AND deleted_at=0`,
		string(sc.Tenant()), string(before.ID), before.Version, after.Version, micros(after.DeletedAt), string(mergedInto), micros(after.UpdatedAt))
	if err != nil {
		return nil, fmt.Errorf("delete lead: %w", err)
	}
	if n != 1 {
		return nil, ErrNotFound
	}
	stage, err := tx.leadStage(sc, before.ID)
	if err != nil {
		return nil, err
	}
	tx.countLead(sc, before, stage, -1)
	if err := tx.releaseIdentities(sc, before.ID); err != nil {
		return nil, err
	}
	if err := tx.removeWords(sc, before, lead.Words(before)); err != nil {
		return nil, err
	}
	return after, tx.removeTags(sc, before, before.Tags)
}

// RestoreLead makes a deleted lead live again; its identities are claimed by the caller.
func (tx *Tx) RestoreLead(sc account.Scope, before *lead.Lead) (*lead.Lead, error) {
	after := before.Clone()
	after.Version, after.UpdatedAt = before.Version+1, tx.later(before.UpdatedAt)
	after.DeletedAt, after.MergedInto = fromMicros(0), ""
	n, err := tx.exec(`UPDATE leads SET version=$4, updated_at=$5, deleted_at=0, merged_into='' WHERE tenant_id=$1 AND id=$2 AND version=$3 AND deleted_at>0`,
		string(sc.Tenant()), string(before.ID), before.Version, after.Version, micros(after.UpdatedAt))
	if err != nil {
		return nil, fmt.Errorf("restore lead: %w", err)
	}
	if n != 1 {
		return nil, ErrNotFound
	}
	stage, err := tx.leadStage(sc, after.ID)
	if err != nil {
		return nil, err
	}
	tx.countLead(sc, after, stage, 1)
	if err := tx.addWords(sc, after, lead.Words(after)); err != nil {
		return nil, err
	}
	return after, tx.addTags(sc, after, after.Tags)
}

// Timeline is a lead's events, newest first, those of leads merged into it included; before is the id of the last
// event of the page before, "" for the first page. Index: events_by_lead.
func (r *Reader) Timeline(sc account.Scope, ids []lead.ID, types []string, before string, limit int) ([]event.Event, error) {
	if before == "" {
		before = "~"
	}
	var out []event.Event
	filter, args := "", []any{string(sc.Tenant()), "", before, limit}
	if len(types) > 0 {
		filter, args = " AND (type IN "+r.list("$5"), append(args, jsonText(types))
		for _, t := range types {
			if strings.HasSuffix(t, ".") { // all of a noun
				args = append(args, t, t+"~")
				filter += fmt.Sprintf(" OR type>$%d AND type<$%d", len(args)-1, len(args))
			}
		}
		filter += ")"
	}
	for _, id := range ids {
		args[1] = string(id)
		page, err := queryAll(r, scanEvent, "SELECT "+eventColumns+" FROM events WHERE tenant_id=$1 AND lead_id=$2 AND id<$3"+filter+" ORDER BY id DESC LIMIT $4", args...)
		if err != nil {
			return nil, err
		}
		out = append(out, page...)
	}
	return out, nil
}

// MergedInto lists the leads that were merged into id. Index: leads_by_survivor.
func (r *Reader) MergedInto(sc account.Scope, id lead.ID) ([]lead.ID, error) {
	return queryAll(r, func(rw row) (id lead.ID, err error) {
		var s string
		err = rw.Scan(&s)
		return lead.ID(s), err
	}, "SELECT id FROM leads WHERE tenant_id=$1 AND merged_into=$2 AND merged_into<>''", string(sc.Tenant()), string(id))
}
