package store

import (
	"time"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

// Note is a text that somebody wrote about a lead. A deleted one keeps its row without its text.
type Note struct {
	ID                              string
	LeadID                          lead.ID
	Body                            string
	Author                          account.Actor
	Version                         int64
	CreatedAt, UpdatedAt, DeletedAt time.Time
}

const noteColumns = "id, lead_id, body, author_kind, author_id, author_name, version, created_at, updated_at, deleted_at"

func scanNote(r row) (*Note, error) {
	var n Note
	var leadID, kind string
	var created, updated, deleted int64
	if err := r.Scan(&n.ID, &leadID, &n.Body, &kind, &n.Author.ID, &n.Author.Name, &n.Version, &created, &updated, &deleted); err != nil {
		return nil, err
	}
	n.LeadID, n.Author.Kind = lead.ID(leadID), account.ActorKind(kind)
	n.CreatedAt, n.UpdatedAt, n.DeletedAt = fromMicros(created), fromMicros(updated), fromMicros(deleted)
	return &n, nil
}

// Note reads one note of a lead.
func (r *Reader) Note(sc account.Scope, leadID lead.ID, id string) (*Note, error) {
	return queryOne(r, scanNote, "SELECT "+noteColumns+" FROM notes WHERE tenant_id=$1 AND id=$2 AND lead_id=$3"+r.lock(), string(sc.Tenant()), id, string(leadID))
}

// Notes lists a lead's notes, newest first; before is the last id of the page before, "" for the first. Index:
// notes_by_lead.
func (r *Reader) Notes(sc account.Scope, leadID lead.ID, before string, limit int) ([]*Note, error) {
	if before == "" {
		before = "~"
	}
	return queryAll(r, scanNote, "SELECT "+noteColumns+" FROM notes WHERE tenant_id=$1 AND lead_id=$2 AND id<$3 ORDER BY id DESC LIMIT $4",
		string(sc.Tenant()), string(leadID), before, limit)
}

// InsertNote stores a note written now by the scope's actor.
func (tx *Tx) InsertNote(sc account.Scope, leadID lead.ID, body string) (*Note, error) {
	n := &Note{ID: tx.NewID(), LeadID: leadID, Body: body, Author: sc.Actor, Version: 1, CreatedAt: tx.now, UpdatedAt: tx.now}
	_, err := tx.exec(insertNote, noteRow(sc, n)...)
	return n, err
}

const insertNote = "INSERT INTO notes (tenant_id, " + noteColumns + ") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11)"

func noteRow(sc account.Scope, n *Note) []any {
	return []any{string(sc.Tenant()), n.ID, string(n.LeadID), n.Body, string(n.Author.Kind), n.Author.ID, n.Author.Name, n.Version,
		micros(n.CreatedAt), micros(n.UpdatedAt), micros(n.DeletedAt)}
}

// UpdateNote stores a changed body, or a deletion when DeletedAt is set.
func (tx *Tx) UpdateNote(sc account.Scope, n *Note) error {
	n.Version, n.UpdatedAt = n.Version+1, tx.now
	done, err := tx.exec("UPDATE notes SET body=$3, version=$4, updated_at=$5, deleted_at=$6 WHERE tenant_id=$1 AND id=$2",
		string(sc.Tenant()), n.ID, n.Body, n.Version, micros(tx.now), micros(n.DeletedAt))
	if err == nil && done == 0 {
		return ErrNotFound
	}
	return err
}
