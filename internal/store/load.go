package store

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/lead"
)

// Past is new leads of a tenant with everything that has happened to them, in the order of time.
type Past struct {
	Leads      []*lead.Lead
	Identities [][]lead.Identity // of each lead, as its tenant's rules name them
	Events     []event.Event     // complete: with id, time and actor, oldest first
	Scores     []ScoreRow
	Notes      []Note
}

// Load stores a past in one transaction as the verbs of the product would have left it, the sealed chain included. It
// is for test data of a size at which the verbs would take hours: nobody is asked who a lead is, no workflow starts and
// no CRM is told. Nobody else may be writing.
func (s *Store) Load(ctx context.Context, _ account.Instance, sc account.Scope, p *Past) error {
	return s.Write(ctx, func(tx *Tx) error {
		if tx.s.pg == nil {
			if _, err := tx.exec("PRAGMA cache_size=-1000000"); err != nil { // pages that several rows of the past go to are written once
				return err
			}
		}
		if err := tx.loadLeads(ctx, sc, p); err != nil {
			return err
		}
		if err := tx.loadEvents(ctx, sc, p.Events); err != nil {
			return err
		}
		scores, notes := make([][]any, len(p.Scores)), make([][]any, len(p.Notes))
		for i := range p.Scores {
			scores[i] = scoreRow(sc, &p.Scores[i])
		}
		for i := range p.Notes {
			notes[i] = noteRow(sc, &p.Notes[i])
		}
		if err := tx.load(ctx, "score_ledger", scoreTable, scores); err != nil {
			return err
		}
		if err := tx.load(ctx, "notes", "tenant_id, "+noteColumns, notes); err != nil || tx.s.pg == nil {
			return err
		}
		_, err := tx.exec("ANALYZE leads, lead_words, lead_tags, lead_identities, lead_stages, tenant_counters, events, score_ledger, notes") // as autovacuum would within minutes
		return err
	})
}

// load inserts rows, in the order of their first texts, which most tables' keys begin with.
func (tx *Tx) load(ctx context.Context, table, columns string, rows [][]any) error {
	names := strings.FieldsFunc(columns, func(r rune) bool { return strings.ContainsRune(", \t\n", r) })
	if tx.s.pg != nil {
		_, err := tx.raw.(pgx.Tx).CopyFrom(ctx, pgx.Identifier{table}, names, pgx.CopyFromRows(rows))
		return mapError(err)
	}
	params := make([]string, len(names))
	for i := range params {
		params[i] = fmt.Sprintf("$%d", i+1)
	}
	text := "INSERT INTO " + table + " (" + columns + ") VALUES (" + strings.Join(params, ",") + ")"
	for _, row := range rows {
		if _, err := tx.exec(text, row...); err != nil {
			return fmt.Errorf("load %s: %w", table, err)
		}
	}
	return nil
}

// loadLeads writes the leads with their identities, words, tags and totals. Rows go in the order of their table's key.
func (tx *Tx) loadLeads(ctx context.Context, sc account.Scope, p *Past) error {
	tenant := string(sc.Tenant())
	leads := make([][]any, len(p.Leads))
	var identities, words, tags, stages [][]any
	reached := stagesReached(p.Leads, p.Events)
	for i, l := range p.Leads {
		own, stage := lead.Words(l), reached[l.ID]
		if tx.countLead(sc, l, stage, 1); stage > StageNone {
			stages = append(stages, []any{tenant, string(l.ID), stage})
		}
		leads[i] = leadRow(sc, l, own)
		for _, w := range own {
			words = append(words, []any{tenant, w, micros(l.CreatedAt), string(l.ID)})
		}
		for _, t := range l.Tags {
			tags = append(tags, []any{tenant, lead.Fold(t), micros(l.CreatedAt), string(l.ID)})
			tx.AddCount(sc, countTag+lead.Fold(t), 1)
		}
		for _, id := range p.Identities[i] {
			identities = append(identities, []any{tenant, string(l.ID), id.Kind, id.Value, int64(1)})
		}
	}
	for _, t := range []struct {
		table, columns string
		rows           [][]any
		key            int // the column that the rows are sorted by, 0 for none
	}{
		{"leads", leadTable, leads, 0},
		{"lead_identities", "tenant_id, lead_id, kind, value, live", identities, 3},
		{"lead_words", "tenant_id, word, lead_created_at, lead_id", words, 1},
		{"lead_tags", "tenant_id, tag_folded, lead_created_at, lead_id", tags, 1},
		{"lead_stages", "tenant_id, lead_id, stage", stages, 1},
	} {
		if t.key > 0 {
			slices.SortStableFunc(t.rows, func(a, b []any) int { return cmp.Compare(a[t.key].(string), b[t.key].(string)) })
		}
		if err := tx.load(ctx, t.table, t.columns, t.rows); err != nil {
			return err
		}
	}
	return nil
}

// loadEvents writes events, each at a place of its own in the order of commits, and seals them.
func (tx *Tx) loadEvents(ctx context.Context, sc account.Scope, events []event.Event) error {
	if len(events) == 0 {
		return nil
	}
	from, err := queryOne(tx.Reader, scanMark, `SELECT commit_epoch, commit_order FROM seal_state WHERE only_row=1`+tx.lock())
	if err != nil {
		return err
	}
	last, err := queryOne(tx.Reader, scanInt, `SELECT COALESCE(MAX(commit_order),0) FROM events`)
	if err != nil {
		return err
	}
	earlier, err := tx.records(from, mark{tx.s.epoch, last + 1}, 1<<31-1) // what the sealer has not come to yet
	if err != nil {
		return err
	}
	rows, records := make([][]any, len(events)), make([]event.Record, len(events))
	for i := range events {
		row := tx.eventRow(sc, &events[i])
		rows[i], records[i] = append(row, last+1+int64(i)), recordOf(row)
		records[i].CommitOrder = last + 1 + int64(i)
	}
	if err := tx.load(ctx, "events", eventTable+", commit_order", rows); err != nil {
		return err
	}
	for chunk := range slices.Chunk(append(earlier, records...), sealChunk) {
		for _, b := range cutBlocks(chunk) {
			if err := tx.appendBlock(b.Block, b.digests); err != nil {
				return err
			}
		}
	}
	_, err = tx.exec(`UPDATE seal_state SET commit_epoch=$1, commit_order=$2, sealed_at=$3 WHERE only_row=1`, tx.s.epoch, last+int64(len(events))+1, micros(tx.Now()))
	return err
}

// recordOf is a row of eventTable as scanRecord would read it.
func recordOf(row []any) event.Record {
	text := func(i int) string { s, _ := row[i].(string); return s }
	return event.Record{CommitEpoch: row[0].(int64), Tenant: text(1), ID: text(2), At: row[3].(int64), Type: text(4), Lead: text(5), Subject: text(6),
		ActorKind: text(7), ActorID: text(8), ActorName: text(9), Cause: text(10), Data: text(11), Changes: text(12), Request: text(13)}
}
