package store

import (
	"context"
	"errors"
	"fmt"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/failpoint"
)

// sealChunk is how many events one transaction of the sealer takes; reading and hashing happen outside of it.
const sealChunk = 4000

const recordColumns = "commit_epoch, commit_order, tenant_id, id, at, type, COALESCE(lead_id,''), COALESCE(subject_id,''), actor_kind, actor_id, actor_name," +
	" cause, COALESCE(data,''), COALESCE(changes,''), COALESCE(request_id,''), COALESCE(erased_digest,'')"

func scanRecord(r row) (e event.Record, err error) {
	err = r.Scan(&e.CommitEpoch, &e.CommitOrder, &e.Tenant, &e.ID, &e.At, &e.Type, &e.Lead, &e.Subject, &e.ActorKind, &e.ActorID, &e.ActorName,
		&e.Cause, &e.Data, &e.Changes, &e.Request, &e.Erased)
	return
}

// mark is a point in the order of commits.
type mark struct{ epoch, order int64 }

func scanMark(r row) (m mark, err error) { err = r.Scan(&m.epoch, &m.order); return }

func (m mark) before(o mark) bool {
	return m.epoch < o.epoch || m.epoch == o.epoch && m.order < o.order
}

// horizon is the point up to which the order is final: no transaction that is still open can put an event before it.
func (r *Reader) horizon() (mark, error) {
	if r.s.pg != nil {
		return queryOne(r, scanMark, `SELECT commit_epoch, CAST(CAST(pg_snapshot_xmin(pg_current_snapshot()) AS text) AS bigint) FROM instance WHERE only_row=1`)
	}
	return queryOne(r, scanMark, `SELECT commit_epoch, (SELECT COALESCE(MAX(commit_order),0)+1 FROM events) FROM instance WHERE only_row=1`)
}

const recordsSQLite = "SELECT " + recordColumns + " FROM events WHERE commit_order >= $1 AND commit_order < $2 ORDER BY commit_order LIMIT $3"

// records reads events in commit order, from <= place < to. SQLite has one epoch.
func (r *Reader) records(from, to mark, limit int) ([]event.Record, error) {
	if r.s.pg == nil {
		return queryAll(r, scanRecord, recordsSQLite, from.order, to.order, limit)
	}
	return queryAll(r, scanRecord, "SELECT "+recordColumns+" FROM events WHERE (commit_epoch, commit_order) >= ($1,$2) AND (commit_epoch, commit_order) < ($3,$4)"+
		" ORDER BY commit_epoch, commit_order, id LIMIT $5", from.epoch, from.order, to.epoch, to.order, limit)
}

// unsealed reads the next chunk whose end does not cut a transaction's events in two.
func (r *Reader) unsealed(from, to mark) ([]event.Record, error) {
	es, err := r.records(from, to, sealChunk)
	if err != nil || len(es) < sealChunk {
		return es, err
	}
	last := mark{es[len(es)-1].CommitEpoch, es[len(es)-1].CommitOrder}
	cut := len(es)
	for cut > 0 && es[cut-1].CommitEpoch == last.epoch && es[cut-1].CommitOrder == last.order {
		cut--
	}
	if cut > 0 {
		return es[:cut], nil
	}
	return r.records(last, mark{last.epoch, last.order + 1}, 1<<31-1) // one transaction larger than a chunk
}

var errSealedElsewhere = errors.New("store: another node has sealed these events")

// SealEvents closes the final events that are in no block yet into one block per tenant, and returns how many there
// were; more is true when others wait.
func (s *Store) SealEvents(ctx context.Context, _ account.Instance) (sealed int, more bool, err error) {
	r := s.Read(ctx)
	from, err := queryOne(r, scanMark, `SELECT commit_epoch, commit_order FROM seal_state WHERE only_row=1`)
	if err != nil {
		return 0, false, err
	}
	to, err := r.horizon()
	if err != nil || !from.before(to) {
		return 0, false, err
	}
	es, err := r.unsealed(from, to)
	if err != nil || len(es) == 0 {
		return 0, false, err
	}
	blocks := cutBlocks(es)
	last := es[len(es)-1]
	err = s.Write(ctx, func(tx *Tx) error {
		now, err := queryOne(tx.Reader, scanMark, `SELECT commit_epoch, commit_order FROM seal_state WHERE only_row=1`+tx.lock())
		if err != nil {
			return err
		}
		if now != from {
			return errSealedElsewhere
		}
		for _, b := range blocks {
			if err := tx.appendBlock(b.Block, b.digests); err != nil {
				return err
			}
		}
		failpoint.Hit(failpoint.SealedBlock)
		_, err = tx.exec(`UPDATE seal_state SET commit_epoch=$1, commit_order=$2, sealed_at=$3 WHERE only_row=1`, last.CommitEpoch, last.CommitOrder+1, micros(tx.Now()))
		return err
	})
	if errors.Is(err, errSealedElsewhere) {
		return 0, true, nil
	}
	return len(es), len(es) >= sealChunk/2, err
}

type openBlock struct {
	event.Block
	digests []string
}

// cutBlocks groups a chunk by tenant; a block never spans two epochs.
func cutBlocks(es []event.Record) []*openBlock {
	type key struct {
		tenant string
		epoch  int64
	}
	var out []*openBlock
	at := map[key]*openBlock{}
	for _, e := range es {
		k := key{e.Tenant, e.CommitEpoch}
		b := at[k]
		if b == nil {
			b = &openBlock{Block: event.Block{Tenant: e.Tenant, CommitEpoch: e.CommitEpoch, FromOrder: e.CommitOrder}}
			at[k] = b
			out = append(out, b)
		}
		b.ToOrder = e.CommitOrder + 1
		b.Events++
		b.digests = append(b.digests, e.Digest())
	}
	return out
}

const blockColumns = "tenant_id, number, commit_epoch, from_order, to_order, first_seq, events, previous_hash, hash, sealed_at"

func scanBlock(r row) (b event.Block, err error) {
	err = r.Scan(&b.Tenant, &b.Number, &b.CommitEpoch, &b.FromOrder, &b.ToOrder, &b.FirstSeq, &b.Events, &b.PreviousHash, &b.Hash, &b.SealedAt)
	return
}

func (tx *Tx) appendBlock(b event.Block, digests []string) error {
	head, err := queryOne(tx.Reader, scanBlock, "SELECT "+blockColumns+" FROM event_blocks WHERE tenant_id=$1 ORDER BY number DESC LIMIT 1", b.Tenant)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return err
	}
	b.Number, b.FirstSeq, b.PreviousHash = head.Number+1, head.FirstSeq+head.Events, head.Hash
	if b.Number == 1 {
		b.FirstSeq = 1
	}
	b.Hash = b.ChainHash(digests)
	_, err = tx.exec("INSERT INTO event_blocks ("+blockColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)",
		b.Tenant, b.Number, b.CommitEpoch, b.FromOrder, b.ToOrder, b.FirstSeq, b.Events, b.PreviousHash, b.Hash, micros(tx.Now()))
	return err
}

const blockRecordsSQLite = "SELECT " + recordColumns + " FROM events WHERE commit_order >= $1 AND commit_order < $2 AND tenant_id||''=$3 ORDER BY commit_order" // the empty text keeps it on the row ids

func (r *Reader) blockRecords(b event.Block) ([]event.Record, error) {
	if r.s.pg == nil {
		return queryAll(r, scanRecord, blockRecordsSQLite, b.FromOrder, b.ToOrder, b.Tenant)
	}
	return queryAll(r, scanRecord, "SELECT "+recordColumns+" FROM events WHERE commit_epoch=$1 AND commit_order >= $2 AND commit_order < $3 AND tenant_id=$4"+
		" ORDER BY commit_order, id", b.CommitEpoch, b.FromOrder, b.ToOrder, b.Tenant)
}

// SealAge says when the chain was last closed, zero when never, and how many events of the instance are still open.
func (r *Reader) SealAge(_ account.Instance) (sealedAt, open int64, err error) {
	m, err := queryOne(r, scanMark, `SELECT commit_epoch, commit_order FROM seal_state WHERE only_row=1`)
	if err != nil {
		return 0, 0, err
	}
	if sealedAt, err = queryOne(r, scanInt, `SELECT sealed_at FROM seal_state WHERE only_row=1`); err != nil {
		return 0, 0, err
	}
	if r.s.pg == nil {
		open, err = queryOne(r, scanInt, `SELECT COUNT(*) FROM events WHERE commit_order >= $1`, m.order)
	} else {
		open, err = queryOne(r, scanInt, `SELECT COUNT(*) FROM events WHERE (commit_epoch, commit_order) >= ($1,$2)`, m.epoch, m.order)
	}
	return sealedAt, open, err
}

// verifyChain recomputes each block of each tenant and says what differs; limit bounds the findings.
func (r *Reader) verifyChain(_ account.Instance, limit int) ([]Finding, error) {
	tenants, err := queryAll(r, scanString, `SELECT DISTINCT tenant_id FROM event_blocks ORDER BY tenant_id`)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, t := range tenants {
		fs, err := r.verifyTenant(t, limit-len(out))
		if err != nil {
			return nil, err
		}
		if out = append(out, fs...); len(out) >= limit {
			break
		}
	}
	return out, nil
}

func (r *Reader) verifyTenant(tenant string, limit int) ([]Finding, error) {
	var out []Finding
	bad := func(b event.Block, format string, args ...any) {
		out = append(out, Finding{Tenant: tenant, ID: fmt.Sprintf("block %d", b.Number), Detail: fmt.Sprintf(format, args...)})
	}
	head := event.Block{FirstSeq: 1}
	for len(out) < limit {
		blocks, err := queryAll(r, scanBlock, "SELECT "+blockColumns+" FROM event_blocks WHERE tenant_id=$1 AND number>$2 ORDER BY number LIMIT 200", tenant, head.Number)
		if err != nil || len(blocks) == 0 {
			return out, err
		}
		for _, b := range blocks {
			switch {
			case b.Number != head.Number+1:
				bad(b, "%d blocks are missing before it", b.Number-head.Number-1)
			case b.PreviousHash != head.Hash:
				bad(b, "it does not follow from the block before it")
			case b.FirstSeq != head.FirstSeq+head.Events:
				bad(b, "its first event is number %d, not %d", b.FirstSeq, head.FirstSeq+head.Events)
			}
			head = b
			es, err := r.blockRecords(b)
			if err != nil {
				return nil, err
			}
			digests := make([]string, len(es))
			for i, e := range es {
				digests[i] = e.Digest()
			}
			if int64(len(es)) != b.Events {
				bad(b, "it was sealed with %d events and has %d now", b.Events, len(es))
			} else if b.ChainHash(digests) != b.Hash {
				bad(b, "an event between number %d and %d was changed after it was sealed", b.FirstSeq, b.FirstSeq+b.Events-1)
			}
		}
	}
	return out, nil
}

// EventSeal is an event's place in its tenant's chain; ErrNotFound while it is in no block yet.
type EventSeal struct {
	Seq    int64       `json:"seq"`
	Digest string      `json:"hash"`
	Block  event.Block `json:"block"`
}

// EventSeal finds it.
func (r *Reader) EventSeal(sc account.Scope, id string) (EventSeal, error) {
	e, err := queryOne(r, scanRecord, "SELECT "+recordColumns+" FROM events WHERE tenant_id=$1 AND id=$2", string(sc.Tenant()), id)
	if err != nil {
		return EventSeal{}, err
	}
	b, err := queryOne(r, scanBlock, "SELECT "+blockColumns+" FROM event_blocks WHERE tenant_id=$1 AND commit_epoch=$2 AND from_order<=$3 AND to_order>$3"+
		" ORDER BY from_order DESC LIMIT 1", string(sc.Tenant()), e.CommitEpoch, e.CommitOrder)
	if err != nil {
		return EventSeal{Digest: e.Digest()}, err
	}
	es, err := r.blockRecords(b)
	if err != nil {
		return EventSeal{}, err
	}
	out := EventSeal{Digest: e.Digest(), Block: b}
	for i, other := range es {
		if other.ID == id {
			out.Seq = b.FirstSeq + int64(i)
		}
	}
	return out, nil
}
