package store

import (
	"encoding/json"
	"fmt"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

// Batch is a bulk of leads that a job works through, chunk by chunk.
type Batch struct {
	ID         string
	Status     string // queued, running, finished, failed
	Total      int64
	Processed  int64
	Outcomes   map[string]int64
	Actor      account.Actor
	UserID     account.UserID
	RequestID  string
	CreatedAt  time.Time
	UpdatedAt  time.Time
	FinishedAt time.Time
}

const batchColumns = "id, status, total, processed, outcomes, actor, user_id, request_id, created_at, updated_at, finished_at"

func scanBatch(r row) (*Batch, error) {
	var b Batch
	var outcomes, actor, user string
	var created, updated, finished int64
	if err := r.Scan(&b.ID, &b.Status, &b.Total, &b.Processed, &outcomes, &actor, &user, &b.RequestID, &created, &updated, &finished); err != nil {
		return nil, err
	}
	b.UserID = account.UserID(user)
	b.CreatedAt, b.UpdatedAt, b.FinishedAt = fromMicros(created), fromMicros(updated), fromMicros(finished)
	if err := json.Unmarshal([]byte(outcomes), &b.Outcomes); err != nil {
		return nil, err
	}
	return &b, json.Unmarshal([]byte(actor), &b.Actor)
}

// InsertBatch stores a bulk with its rows in chunks of size.
func (tx *Tx) InsertBatch(sc account.Scope, rows []json.RawMessage, size int) (*Batch, error) {
	b := &Batch{ID: tx.NewID(), Status: "queued", Total: int64(len(rows)), Outcomes: map[string]int64{}, Actor: sc.Actor, UserID: sc.UserID,
		RequestID: sc.RequestID, CreatedAt: tx.now, UpdatedAt: tx.now}
	_, err := tx.exec("INSERT INTO lead_batches (tenant_id, "+batchColumns+") VALUES ($1,$2,$3,$4,0,'{}',$5,$6,$7,$8,$8,0)",
		string(sc.Tenant()), b.ID, b.Status, b.Total, jsonText(b.Actor), string(b.UserID), b.RequestID, micros(tx.now))
	if err != nil {
		return nil, fmt.Errorf("insert batch: %w", err)
	}
	for first := 0; first < len(rows); first += size {
		chunk := rows[first:min(first+size, len(rows))]
		if _, err := tx.exec(`INSERT INTO lead_batch_chunks (tenant_id, batch_id, first_row, rows_json, results_json) VALUES ($1,$2,$3,$4,'')`,
			string(sc.Tenant()), b.ID, first, jsonText(chunk)); err != nil {
			return nil, fmt.Errorf("insert batch chunk: %w", err)
		}
	}
	return b, nil
}

// Batch reads a bulk.
func (r *Reader) Batch(sc account.Scope, id string) (*Batch, error) {
	return queryOne(r, scanBatch, "SELECT "+batchColumns+" FROM lead_batches WHERE tenant_id=$1 AND id=$2"+r.lock(), string(sc.Tenant()), id)
}

// BatchChunk is some consecutive rows of a bulk.
type BatchChunk struct {
	FirstRow int
	Rows     []json.RawMessage
}

// NextChunk is the first chunk that was not worked yet; ErrNotFound when all were. Index: the key.
func (r *Reader) NextChunk(sc account.Scope, batch string, after int) (*BatchChunk, error) {
	return queryOne(r, func(rw row) (*BatchChunk, error) {
		var c BatchChunk
		var rows string
		if err := rw.Scan(&c.FirstRow, &rows); err != nil {
			return nil, err
		}
		return &c, json.Unmarshal([]byte(rows), &c.Rows)
	}, `SELECT first_row, rows_json FROM lead_batch_chunks WHERE tenant_id=$1 AND batch_id=$2 AND first_row>=$3 ORDER BY first_row LIMIT 1`,
		string(sc.Tenant()), batch, after)
}

// SaveChunk stores a chunk's results in place of its rows, and the batch's progress.
func (tx *Tx) SaveChunk(sc account.Scope, b *Batch, firstRow int, results string) error {
	if _, err := tx.exec(`UPDATE lead_batch_chunks SET rows_json='', results_json=$4 WHERE tenant_id=$1 AND batch_id=$2 AND first_row=$3`,
		string(sc.Tenant()), b.ID, firstRow, results); err != nil {
		return err
	}
	return tx.SaveBatch(sc, b)
}

// SaveBatch stores a batch's progress and state.
func (tx *Tx) SaveBatch(sc account.Scope, b *Batch) error {
	b.UpdatedAt = tx.now
	_, err := tx.exec(`UPDATE lead_batches SET status=$3, processed=$4, outcomes=$5, updated_at=$6, finished_at=$7 WHERE tenant_id=$1 AND id=$2`,
		string(sc.Tenant()), b.ID, b.Status, b.Processed, jsonText(b.Outcomes), micros(tx.now), micros(b.FinishedAt))
	return err
}

// ChunkResults reads results of whole chunks from a row on, in order.
func (r *Reader) ChunkResults(sc account.Scope, batch string, from, limit int) ([]string, error) {
	return queryAll(r, scanString, `SELECT results_json FROM lead_batch_chunks WHERE tenant_id=$1 AND batch_id=$2 AND first_row>=$3 AND results_json<>'' ORDER BY first_row LIMIT $4`,
		string(sc.Tenant()), batch, from, limit)
}

// identityLocks is how many locks all identities of a tenant share: PostgreSQL has room for some thousands at once.
const identityLocks = 256

// LockIdentities makes transactions that write many leads wait for each other before their first row where they may
// meet in one person: in the order of their rows they would wait in a circle. SQLite's writer is alone anyway.
func (tx *Tx) LockIdentities(sc account.Scope, ids func() []lead.Identity) error {
	if tx.s.pg == nil {
		return nil
	}
	var texts []string
	for _, i := range ids() {
		texts = append(texts, i.Kind+" "+i.Value)
	}
	if len(texts) == 0 {
		return nil
	}
	_, err := tx.exec(lockIdentities, string(sc.Tenant()), jsonText(texts), identityLocks)
	return err
}

const lockIdentities = `SELECT pg_advisory_xact_lock(n) FROM (SELECT DISTINCT hashtextextended($1, 7235419003) # (hashtextextended(each.value, 0) & ($3 - 1)) AS n
	FROM jsonb_array_elements_text(CAST($2 AS jsonb)) AS each(value) ORDER BY n) AS ordered`

// Merge is the record of one merge, enough to undo it.
type Merge struct {
	ID, Reason       string
	Survivor, Merged *lead.Lead // as they were
	Moved            map[string][]string
}

// mergeTables are the tables of this room whose rows move to the survivor. Events stay where they happened: a
// timeline reads those of merged leads too.
var mergeTables = []string{"notes", "tasks", "score_ledger"}

// MoveToSurvivor gives the merged lead's notes, tasks and score rows to the survivor and records what moved.
func (tx *Tx) MoveToSurvivor(sc account.Scope, m *Merge) error {
	m.ID, m.Moved = tx.NewID(), map[string][]string{}
	for _, table := range mergeTables {
		ids, err := queryAll(tx.Reader, scanString, "UPDATE "+table+" SET lead_id=$3 WHERE tenant_id=$1 AND lead_id=$2 RETURNING id",
			string(sc.Tenant()), string(m.Merged.ID), string(m.Survivor.ID))
		if err != nil {
			return fmt.Errorf("merge %s: %w", table, err)
		}
		if len(ids) > 0 {
			m.Moved[table] = ids
		}
	}
	_, err := tx.exec(`INSERT INTO merges (tenant_id, id, survivor_id, merged_id, reason, survivor_before, merged_before, moved, merged_at, undone_at)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,0)`, string(sc.Tenant()), m.ID, string(m.Survivor.ID), string(m.Merged.ID), m.Reason,
		jsonText(m.Survivor), jsonText(m.Merged), jsonText(m.Moved), micros(tx.now))
	return err
}
