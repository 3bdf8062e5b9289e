package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

const (
	bulkChunk = 200     // rows in one transaction
	bulkNow   = 1_000   // rows that a request writes itself; above it a job does
	bulkMost  = 100_000 // rows of one request
)

// BulkResult is what became of one row.
type BulkResult struct {
	Index    int           `json:"index"`
	ID       lead.ID       `json:"id,omitempty"`
	Outcome  lead.Outcome  `json:"outcome"`
	Restored bool          `json:"restored,omitempty"`
	Errors   []fault.Field `json:"errors"`
}

// Bulk is what became of all rows, or the batch that a job works through.
type Bulk struct {
	Results []BulkResult
	Batch   *store.Batch
	At      time.Time // when it was done; a replay tells the first time
}

// BulkUpsert upserts leads row by row: a bad row refuses itself alone. Up to 1,000 rows are written in transactions
// of 200 before it returns; more become a job.
func (s *Leads) BulkUpsert(ctx ctxT, sc account.Scope, rows []json.RawMessage) (*Bulk, error) {
	if len(rows) == 0 || len(rows) > bulkMost {
		return nil, fault.Invalid("leads", "wrong_length", fmt.Sprintf("Send a list of 1 to %d leads; this has %d.", bulkMost, len(rows)))
	}
	if len(rows) > bulkNow {
		return write(ctx, s.core, sc, func(tx *store.Tx) (*Bulk, error) {
			b, err := tx.InsertBatch(sc, rows, bulkChunk)
			if err != nil {
				return nil, err
			}
			return &Bulk{Batch: b, At: tx.Now()}, tx.Enqueue(bulkArgs{Tenant: string(sc.Tenant()), Batch: b.ID}, nil)
		})
	}
	if sc.Idempotency != nil { // the key's result and all rows commit together
		return write(ctx, s.core, sc, func(tx *store.Tx) (*Bulk, error) {
			results, err := s.upsertRows(tx, sc, 0, rows)
			return &Bulk{Results: results, At: tx.Now()}, err
		})
	}
	out := &Bulk{At: s.now()}
	for first := 0; first < len(rows); first += bulkChunk {
		chunk := rows[first:min(first+bulkChunk, len(rows))]
		results, err := write(ctx, s.core, sc, func(tx *store.Tx) ([]BulkResult, error) { return s.upsertRows(tx, sc, first, chunk) })
		if err != nil {
			return nil, err
		}
		out.Results = append(out.Results, results...)
	}
	return out, nil
}

// upsertRows decides each row alone, in order, so that rows with one identity apply one after the other.
func (c *core) upsertRows(tx *store.Tx, sc account.Scope, first int, rows []json.RawMessage) ([]BulkResult, error) {
	results, ins, errs := make([]BulkResult, len(rows)), make([]*lead.Input, len(rows)), make([]error, len(rows))
	for i, raw := range rows {
		ins[i], errs[i] = lead.Decode(raw)
	}
	if err := c.lockRows(tx, sc, ins); err != nil {
		return nil, err
	}
	for i := range rows {
		r := BulkResult{Index: first + i, Outcome: lead.Invalid, Errors: []fault.Field{}}
		err := errs[i]
		if err == nil {
			var ch *LeadChange
			err = tx.Nested(func() error {
				ch, err = c.upsert(tx, sc, ins[i])
				return err
			})
			if err == nil {
				r.ID, r.Outcome, r.Restored = ch.Lead.ID, ch.Outcome, ch.Restored
			}
		}
		if err != nil {
			f := fault.As(err)
			if f == nil || f.Kind != fault.KindInvalid && f.Kind != fault.KindConflict && f.Kind != fault.KindMalformed {
				return nil, err
			}
			r.Errors = lead.Prefix(fmt.Sprintf("leads[%d].", r.Index), rowProblems(f))
		}
		results[i] = r
	}
	return results, nil
}

// lockRows lets bulks over the same people wait for each other at their beginning.
func (c *core) lockRows(tx *store.Tx, sc account.Scope, ins []*lead.Input) error {
	rules, err := c.leadRules(tx, sc)
	if err != nil {
		return err
	}
	return tx.LockIdentities(sc, func() (ids []lead.Identity) {
		for _, in := range ins {
			if in != nil {
				ids = append(ids, rules.IdentitiesOf(in)...)
			}
		}
		return ids
	})
}

func rowProblems(f *fault.Error) []fault.Field {
	if len(f.Fields) > 0 {
		return f.Fields
	}
	return []fault.Field{{Code: f.Code, Message: f.Message}}
}

// bulkArgs are the arguments of the job leads.bulk.
type bulkArgs struct {
	Tenant string `json:"tenant" river:"unique"`
	Batch  string `json:"batch" river:"unique"`
}

// Kind implements river.JobArgs.
func (bulkArgs) Kind() string { return "leads.bulk" }

// jobs registers the workers of leads.
func (s *Leads) jobs(reg *queue.Registry) {
	queue.Register(reg, queue.Kind{Queue: queue.QueueBulk, Timeout: 30 * time.Minute, Attempts: 12}, s.workBatch)
	queue.Register(reg, queue.Kind{Queue: queue.QueueBulk, Timeout: 30 * time.Minute, Attempts: 12}, s.identitiesJob)
}

// workBatch works through a bulk. What ends its last attempt shows as the bulk's failure; an operator may have the job
// tried again, and it goes on where it stood.
func (s *Leads) workBatch(ctx context.Context, job queue.Job[bulkArgs]) error {
	err := s.workChunks(ctx, job)
	if err == nil || !job.Last() {
		return err
	}
	sc := account.SystemScope(account.TenantID(job.Args.Tenant), "leads.bulk")
	return errors.Join(err, s.st.Write(context.WithoutCancel(ctx), func(tx *store.Tx) error {
		b, err := tx.Batch(sc, job.Args.Batch)
		if err != nil || b.Status == "finished" {
			return err
		}
		b.Status, b.FinishedAt = "failed", tx.Now()
		return tx.SaveBatch(sc, b)
	}))
}

// workChunks takes one chunk per transaction; results and progress commit with the leads, so that a crash repeats
// nothing and loses nothing.
func (s *Leads) workChunks(ctx context.Context, job queue.Job[bulkArgs]) error {
	system := account.SystemScope(account.TenantID(job.Args.Tenant), "leads.bulk")
	for {
		done := false
		err := s.st.Write(ctx, func(tx *store.Tx) error {
			b, err := tx.Batch(system, job.Args.Batch)
			if err != nil {
				return err
			}
			sc := system.As(b.Actor, account.Cause{})
			sc.RequestID, sc.UserID = b.RequestID, b.UserID
			chunk, err := tx.NextChunk(sc, b.ID, int(b.Processed))
			if errors.Is(err, store.ErrNotFound) {
				done = true
				b.Status, b.FinishedAt = "finished", tx.Now()
				if err := tx.SaveBatch(sc, b); err != nil {
					return err
				}
				return job.Finish(tx)
			}
			if err != nil {
				return err
			}
			return s.workChunk(tx, sc, b, chunk)
		})
		if err != nil || done {
			return err
		}
		failpoint.Hit(failpoint.BulkChunk)
	}
}

func (s *Leads) workChunk(tx *store.Tx, sc account.Scope, b *store.Batch, chunk *store.BatchChunk) error {
	results, err := s.upsertRows(tx, sc, chunk.FirstRow, chunk.Rows)
	if err != nil {
		return err
	}
	for _, r := range results {
		if r.Outcome == lead.Unchanged {
			r.Outcome = lead.Updated
		}
		b.Outcomes[string(r.Outcome)]++
	}
	failpoint.Hit(failpoint.BulkRows)
	text, err := json.Marshal(results)
	if err != nil {
		return fault.Internal("write the results of a bulk", err)
	}
	b.Status, b.FinishedAt, b.Processed = "running", time.Time{}, int64(chunk.FirstRow+len(chunk.Rows))
	return tx.SaveChunk(sc, b, chunk.FirstRow, string(text))
}

// Batch reads a bulk's progress and, from a row on, the results that are there.
func (s *Leads) Batch(ctx ctxT, sc account.Scope, id string, from, limit int) (*store.Batch, []BulkResult, error) {
	r := s.st.Read(ctx)
	b, err := r.Batch(sc, id)
	if err != nil {
		return nil, nil, notFound(err, "bulk", id)
	}
	texts, err := r.ChunkResults(sc, id, from/bulkChunk*bulkChunk, limit/bulkChunk+2)
	if err != nil {
		return nil, nil, err
	}
	var out []BulkResult
	for _, t := range texts {
		var chunk []BulkResult
		if err := json.Unmarshal([]byte(t), &chunk); err != nil {
			return nil, nil, fault.Internal("read the results of a bulk", err)
		}
		out = append(out, chunk...)
	}
	out = slices.DeleteFunc(out, func(r BulkResult) bool { return r.Index < from })
	return b, out[:min(len(out), limit)], nil
}
