package service

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/event"
	"leadloom/internal/lead"
	"leadloom/internal/store"
)

// record writes what came of a batch in one transaction: links, problems, dirty rows, who waited for them and how the
// connection stands.
func (d *drain) record(ctx context.Context, con *crm.Connection, mp *crm.Mapping, p crm.Plan, verdicts []crm.Verdict, stop *connector.Error) (after crm.Standing, err error) {
	err = d.st.Write(ctx, func(tx *store.Tx) error {
		now, err := tx.Connection(d.sc, con.ID)
		if errors.Is(err, store.ErrNotFound) {
			return nil // removed meanwhile: nothing is left to record
		}
		if err != nil {
			return err
		}
		b := &batchRecord{drain: d, tx: tx, con: con, mapping: mp, outdated: now.MappingVersion != mp.Version, failed: map[lead.ID]string{}}
		if err := b.all(p, verdicts); err != nil {
			return err
		}
		if stop != nil && stop.Class == connector.ClassThrottled && stop.Code != "budget" {
			if err := b.block(stop); err != nil {
				return err
			}
		}
		after, err = b.standing(now, verdicts, stop)
		return err
	})
	return after, err
}

// batchRecord collects one batch's rows, so that each kind is one statement.
type batchRecord struct {
	*drain
	tx      *store.Tx
	con     *crm.Connection
	mapping *crm.Mapping
	// The mapping or the address was changed during the call: rows stay, because the marking of every lead that the
	// change queued may have passed them already.
	outdated bool
	links    []*crm.Link
	drop     []store.Sent
	inStep   []lead.ID
	failed   map[lead.ID]string
	good     int
}

func (b *batchRecord) all(p crm.Plan, verdicts []crm.Verdict) error {
	for _, row := range p.Gone {
		b.drop = append(b.drop, store.Sent{LeadID: row.LeadID, Version: row.LeadVersion, Marked: store.SentAt(row)})
		b.inStep = append(b.inStep, row.LeadID)
	}
	for _, it := range p.Same {
		b.sent(it, connector.Result{}, it.Link.Base)
	}
	for _, v := range p.Refused {
		if err := b.refused(v); err != nil {
			return err
		}
	}
	for _, v := range verdicts {
		if err := b.verdict(v); err != nil {
			return err
		}
	}
	if err := b.tx.SaveLinks(b.sc, b.con.ID, b.links); err != nil {
		return err
	}
	if b.outdated {
		b.drop = nil
	}
	if err := b.tx.DropDirty(b.sc, b.con.ID, b.drop); err != nil {
		return err
	}
	if _, err := b.tx.CloseProblems(b.sc, b.con.ID, b.inStep, crm.ProblemResolved); err != nil {
		return err
	}
	answered := b.inStep
	for id := range b.failed {
		answered = append(answered, id)
	}
	return b.wakeWaiters(b.tx, b.sc, b.con, answered, b.failed)
}

// sent notes that the CRM has this version of the lead.
func (b *batchRecord) sent(it crm.Item, res connector.Result, base map[string]any) {
	link := &crm.Link{LeadID: it.Lead.ID, RemoteID: res.ID, RemoteURL: res.URL, RemoteStamp: res.Stamp, SyncedVersion: it.Lead.Version,
		MappingVersion: b.mapping.Version, Base: base, SentHash: it.Hash}
	b.links = append(b.links, link)
	b.drop = append(b.drop, store.Sent{LeadID: it.Lead.ID, Version: it.Lead.Version, Marked: store.SentAt(it.Dirty)})
	b.inStep = append(b.inStep, it.Lead.ID)
}

func (b *batchRecord) verdict(v crm.Verdict) error {
	it := v.Item
	if v.Err == nil {
		b.good++
		if v.Result.Created && it.Link != nil && len(it.Record.Fields) < len(it.Values) {
			return b.sendWhole(it) // the record had vanished there: what was made from the changed fields alone is not whole
		}
		b.sent(it, v.Result, it.Values)
		data, err := json.Marshal(map[string]any{"connection_id": b.con.ID, "crm_type": b.con.Type, "connection": b.con.Name, "remote_id": v.Result.ID, "created": v.Result.Created, "version": it.Lead.Version})
		if err != nil {
			return err
		}
		_, err = b.tx.AppendEvent(b.sc, event.Event{Type: event.CRMPushed, LeadID: string(it.Lead.ID), Subject: string(b.con.ID), Data: data})
		return err
	}
	switch v.Err.Class {
	case connector.ClassRetry, connector.ClassAmbiguous:
		if it.Dirty.Attempts+1 >= crm.MaxAttempts {
			return b.refused(v)
		}
		until := b.tx.Now().Add(crm.Backoff(it.Dirty.Attempts+1, string(it.Lead.ID), v.Err.After))
		return b.tx.DelayDirty(b.sc, b.con.ID, it.Lead.ID, until, 1)
	case connector.ClassGone:
		if b.con.Settings.OnGone == "recreate" && it.Link != nil && it.Link.Base != nil { // once: the second refusal is a problem
			return b.sendWhole(it)
		}
		if b.con.Settings.OnGone == "stop" {
			b.sent(it, connector.Result{}, it.Values)
			return nil
		}
	case connector.ClassMoved:
		if v.Err.RemoteID != "" {
			b.sent(it, connector.Result{ID: v.Err.RemoteID}, nil)
			return nil
		}
	}
	return b.refused(v)
}

// sendWhole forgets what was agreed, so that the next round sends every field; the row stays dirty.
func (b *batchRecord) sendWhole(it crm.Item) error {
	b.links = append(b.links, &crm.Link{LeadID: it.Lead.ID, RemoteID: "", SyncedVersion: it.Link.SyncedVersion, MappingVersion: 0})
	return b.tx.MarkDirty(b.sc, b.con.ID, crm.Dirty{LeadID: it.Lead.ID, LeadVersion: it.Lead.Version, Reason: "recreate", Forced: true})
}

// refused opens a problem for the lead and takes its row off, so that it holds up nobody.
func (b *batchRecord) refused(v crm.Verdict) error {
	it, message := v.Item, crm.HidePerson(v.Err.Message, v.Item.Lead)
	b.drop = append(b.drop, store.Sent{LeadID: it.Lead.ID, Version: it.Lead.Version, Marked: store.SentAt(it.Dirty)})
	b.failed[it.Lead.ID] = message
	p := &crm.Problem{ConnectionID: b.con.ID, LeadID: it.Lead.ID, Class: v.Err.Class, Code: v.Err.Code, Field: v.Err.Field, Message: message,
		LeadVersion: it.Lead.Version, MappingVersion: b.mapping.Version, RetryOn: crm.RetryCauses(v.Err.Class)}
	if err := b.tx.SaveProblem(b.sc, p); err != nil {
		return err
	}
	data, err := json.Marshal(map[string]any{"connection_id": b.con.ID, "crm_type": b.con.Type, "connection": b.con.Name, "code": p.Code, "field": p.Field, "message": p.Message})
	if err != nil {
		return err
	}
	_, err = b.tx.AppendEvent(b.sc, event.Event{Type: event.CRMProblem, LeadID: string(it.Lead.ID), Subject: string(b.con.ID), Data: data})
	return err
}

// block empties the account's budget, so that every node waits.
func (b *batchRecord) block(e *connector.Error) error {
	budget, err := b.tx.Budget(b.sc, b.con.QuotaKey)
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	wait := e.After
	if wait <= 0 {
		wait = crm.ThrottleWait
	}
	return b.tx.SaveBudget(b.sc, budget.Block(b.tx.Now().Add(wait)))
}

// standing moves the connection's state. now is its row as of this transaction: a save or pause that happened during
// the call wins over what the call found out.
func (b *batchRecord) standing(now *crm.Connection, verdicts []crm.Verdict, stop *connector.Error) (crm.Standing, error) {
	before := now.Standing()
	if now.Version != b.con.Version || !now.Sends() {
		return before, nil
	}
	after := before
	var synced time.Time
	if b.good > 0 {
		synced = b.tx.Now()
	}
	switch unclear, answered := judged(verdicts); {
	case answered > 0:
		after = before.AfterSuccess()
	case unclear != nil: // it takes calls and does nothing with them: the leads wait, and the connection says so
		after = crm.Standing{State: crm.StateDegraded, Code: unclear.Code, Reason: unclear.Message, Failures: before.Failures + 1}
	}
	if stop != nil {
		after = after.AfterStop(stop, string(b.con.ID), b.tx.Now())
	}
	sc := account.SystemScope(b.sc.Tenant(), "crm.drain")
	return after, b.setState(b.tx, sc, now, before, after, synced)
}

// judged counts the verdicts that are an answer, be it a refusal; unclear is one that is none.
func judged(verdicts []crm.Verdict) (unclear *connector.Error, answered int) {
	for _, v := range verdicts {
		if v.Err != nil && (v.Err.Class == connector.ClassRetry || v.Err.Class == connector.ClassAmbiguous) {
			unclear = v.Err
		} else {
			answered++
		}
	}
	return unclear, answered
}
