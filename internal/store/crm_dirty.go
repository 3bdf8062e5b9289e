package store

import (
	"fmt"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/lead"
)

// eachObject is a FROM item with the column "value", one row per object in a JSON array parameter; value ->> 'key'
// reads a text on both engines.
func (r *Reader) eachObject(param string) string {
	if r.s.pg != nil {
		return "jsonb_array_elements(CAST(" + param + " AS jsonb)) AS each(value)"
	}
	return "json_each(" + param + ")"
}

func idTexts(ids []lead.ID) string { return jsonText(ids) }

// renewDirty is what marking does to a row that is there: see MarkDirty.
const renewDirty = `ON CONFLICT (tenant_id, connection_id, lead_id) DO UPDATE SET reason=excluded.reason, attempts=0,
		lead_version = CASE WHEN excluded.lead_version > crm_dirty.lead_version THEN excluded.lead_version ELSE crm_dirty.lead_version END,
		forced = CASE WHEN excluded.forced = 1 THEN 1 ELSE crm_dirty.forced END,
		hops = CASE WHEN excluded.hops > crm_dirty.hops THEN excluded.hops ELSE crm_dirty.hops END,
		not_before = CASE WHEN excluded.not_before < crm_dirty.not_before THEN excluded.not_before ELSE crm_dirty.not_before END,
		marked_at = CASE WHEN excluded.forced = 1 THEN excluded.marked_at ELSE crm_dirty.marked_at END`

// MarkDirty notes that a connection must be sent a lead. A row that is there keeps its place when it is due, loses its
// back-off, and stays forced once it was.
func (tx *Tx) MarkDirty(sc account.Scope, id crm.ConnectionID, d crm.Dirty) error {
	forced := 0
	if d.Forced {
		forced = 1
	}
	_, err := tx.exec(`INSERT INTO crm_dirty (tenant_id, connection_id, lead_id, lead_version, reason, forced, hops, not_before, attempts, marked_at)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,0,$9)
		`+renewDirty,
		string(sc.Tenant()), string(id), string(d.LeadID), d.LeadVersion, d.Reason, forced, d.Hops, micros(d.NotBefore), micros(tx.Now()))
	if err != nil {
		return fmt.Errorf("mark a lead for a connection: %w", err)
	}
	return nil
}

// MarkLeads marks the given leads, as far as they are live, to be sent at once whether or not they seem to have changed.
func (tx *Tx) MarkLeads(sc account.Scope, id crm.ConnectionID, leads []lead.ID, reason string) error {
	_, err := tx.exec(`INSERT INTO crm_dirty (tenant_id, connection_id, lead_id, lead_version, reason, forced, hops, not_before, attempts, marked_at)
		SELECT tenant_id, $2, id, version, $4, 1, 0, 0, 0, $5 FROM leads WHERE tenant_id=$1 AND deleted_at=0 AND id IN `+tx.list("$3")+`
		`+renewDirty, string(sc.Tenant()), string(id), idTexts(leads), reason, micros(tx.Now()))
	if err != nil {
		return fmt.Errorf("mark leads for a connection: %w", err)
	}
	return nil
}

// MarkAllDirty marks at most limit live leads after the given one, in order of id, and returns the last of them ("" at
// the end). Rows that are marked already stay as they are.
func (tx *Tx) MarkAllDirty(sc account.Scope, id crm.ConnectionID, after lead.ID, reason string, limit int) (lead.ID, error) {
	last, err := queryOne(tx.Reader, scanString, `SELECT COALESCE(MAX(id), '') FROM (SELECT id FROM leads WHERE tenant_id=$1 AND id > $2 ORDER BY id LIMIT $3) AS page`,
		string(sc.Tenant()), string(after), limit)
	if err != nil || last == "" {
		return "", err
	}
	_, err = tx.exec(`INSERT INTO crm_dirty (tenant_id, connection_id, lead_id, lead_version, reason, forced, hops, not_before, attempts, marked_at)
		SELECT tenant_id, $2, id, version, $5, 0, 0, $6, 0, $6 FROM leads WHERE tenant_id=$1 AND id > $3 AND id <= $4 AND deleted_at = 0
		ON CONFLICT (tenant_id, connection_id, lead_id) DO NOTHING`,
		string(sc.Tenant()), string(id), string(after), last, reason, micros(tx.Now()))
	if err != nil {
		return "", fmt.Errorf("mark leads for a connection: %w", err)
	}
	return lead.ID(last), nil
}

const dirtyColumns = "lead_id, lead_version, reason, forced, hops, not_before, attempts, marked_at"

func scanDirty(r row) (d crm.Dirty, err error) {
	var forced, before, marked int64
	err = r.Scan(&d.LeadID, &d.LeadVersion, &d.Reason, &forced, &d.Hops, &before, &d.Attempts, &marked)
	d.Forced, d.NotBefore, d.MarkedAt = forced == 1, fromMicros(before), fromMicros(marked)
	return d, err
}

const dueDirtySQL = "SELECT " + dirtyColumns + " FROM crm_dirty WHERE tenant_id=$1 AND connection_id=$2 AND not_before <= $3 ORDER BY not_before, lead_id LIMIT $4" // crm_dirty_due

// DueDirty reads the leads to send now, what a person asked for first, then oldest first.
func (r *Reader) DueDirty(sc account.Scope, id crm.ConnectionID, now time.Time, limit int) ([]crm.Dirty, error) {
	return queryAll(r, scanDirty, dueDirtySQL, string(sc.Tenant()), string(id), micros(now), limit)
}

// Dirty reads one lead's row.
func (r *Reader) Dirty(sc account.Scope, id crm.ConnectionID, l lead.ID) (crm.Dirty, error) {
	return queryOne(r, scanDirty, "SELECT "+dirtyColumns+" FROM crm_dirty WHERE tenant_id=$1 AND connection_id=$2 AND lead_id=$3", string(sc.Tenant()), string(id), string(l))
}

// CRMBacklog is how many leads wait for a connection and since when; it counts at most 100,000.
type CRMBacklog struct {
	Count  int64
	Oldest time.Time // zero when none
}

const backlogRowsSQL = "SELECT marked_at FROM crm_dirty WHERE tenant_id=$1 AND connection_id=$2 LIMIT 100000" // primary key

const backlogSQL = "SELECT COUNT(*), COALESCE(MIN(marked_at),0) FROM (" + backlogRowsSQL + ") AS waiting"

// CRMBacklog counts what waits for a connection.
func (r *Reader) CRMBacklog(sc account.Scope, id crm.ConnectionID) (CRMBacklog, error) {
	return queryOne(r, func(r row) (b CRMBacklog, err error) {
		var oldest int64
		err = r.Scan(&b.Count, &oldest)
		b.Oldest = fromMicros(oldest)
		return b, err
	}, backlogSQL, string(sc.Tenant()), string(id))
}

// Sent names a dirty row that is dealt with: it goes, unless the lead has changed since.
type Sent struct {
	LeadID  lead.ID `json:"l"`
	Version int64   `json:"v"`
	Marked  int64   `json:"m,omitempty"`
}

// DropDirty removes the rows whose lead has not changed beyond what was sent. A row that a person forced again in the
// meantime (another marked_at) stays.
func (tx *Tx) DropDirty(sc account.Scope, id crm.ConnectionID, items []Sent) error {
	if len(items) == 0 {
		return nil
	}
	_, err := tx.exec(`DELETE FROM crm_dirty WHERE tenant_id=$1 AND connection_id=$2 AND EXISTS (SELECT 1 FROM `+tx.eachObject("$3")+`
		WHERE value ->> 'l' = crm_dirty.lead_id AND CAST(value ->> 'v' AS BIGINT) >= crm_dirty.lead_version
		AND (crm_dirty.forced = 0 OR CAST(value ->> 'm' AS BIGINT) = crm_dirty.marked_at)) AND lead_id IN `+tx.list("$4"),
		string(sc.Tenant()), string(id), jsonText(items), idTexts(sentIDs(items)))
	if err != nil {
		return fmt.Errorf("drop dirty rows: %w", err)
	}
	return nil
}

func sentIDs(items []Sent) []lead.ID {
	out := make([]lead.ID, len(items))
	for i, s := range items {
		out[i] = s.LeadID
	}
	return out
}

// SentAt is the marked_at of a row, as Sent carries it.
func SentAt(d crm.Dirty) int64 { return micros(d.MarkedAt) }

// DelayDirty puts a row off after a failed attempt; count says whether the attempt counts.
func (tx *Tx) DelayDirty(sc account.Scope, id crm.ConnectionID, l lead.ID, until time.Time, count int) error {
	_, err := tx.exec(`UPDATE crm_dirty SET attempts = attempts + $4, not_before = $5 WHERE tenant_id=$1 AND connection_id=$2 AND lead_id=$3`,
		string(sc.Tenant()), string(id), string(l), count, micros(until))
	if err != nil {
		return fmt.Errorf("delay a dirty row: %w", err)
	}
	return nil
}
