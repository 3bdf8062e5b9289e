package store

import (
	"fmt"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

// ScoreRow is one entry of a lead's score ledger.
type ScoreRow struct {
	ID        string
	LeadID    lead.ID
	Points    int64
	Reason    string
	SourceID  string // what gave them: a run, a rule, a user's request
	Actor     account.Actor
	CreatedAt time.Time
}

// AddScore appends a row to the ledger. The caller writes the lead's new score in the same transaction.
func (tx *Tx) AddScore(sc account.Scope, s *ScoreRow) error {
	s.ID, s.Actor, s.CreatedAt = tx.NewID(), sc.Actor, tx.now
	if _, err := tx.exec(insertScore, scoreRow(sc, s)...); err != nil {
		return fmt.Errorf("add score: %w", err)
	}
	return nil
}

const scoreTable = "tenant_id, id, lead_id, points, reason, source_id, actor_kind, actor_id, actor_name, created_at"

const insertScore = "INSERT INTO score_ledger (" + scoreTable + ") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)"

func scoreRow(sc account.Scope, s *ScoreRow) []any {
	return []any{string(sc.Tenant()), s.ID, string(s.LeadID), s.Points, s.Reason, s.SourceID, string(s.Actor.Kind), s.Actor.ID, s.Actor.Name, micros(s.CreatedAt)}
}

// Scores lists a lead's ledger, newest first. Index: score_ledger_by_lead.
func (r *Reader) Scores(sc account.Scope, id lead.ID, before string, limit int) ([]*ScoreRow, error) {
	if before == "" {
		before = "~"
	}
	return queryAll(r, func(rw row) (*ScoreRow, error) {
		var s ScoreRow
		var leadID, kind string
		var at int64
		err := rw.Scan(&s.ID, &leadID, &s.Points, &s.Reason, &s.SourceID, &kind, &s.Actor.ID, &s.Actor.Name, &at)
		s.LeadID, s.Actor.Kind, s.CreatedAt = lead.ID(leadID), account.ActorKind(kind), fromMicros(at)
		return &s, err
	}, `SELECT id, lead_id, points, reason, source_id, actor_kind, actor_id, actor_name, created_at FROM score_ledger
		WHERE tenant_id=$1 AND lead_id=$2 AND id<$3 ORDER BY id DESC LIMIT $4`, string(sc.Tenant()), string(id), before, limit)
}
