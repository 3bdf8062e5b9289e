package service

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/store"
)

// dedupeMost is how many groups one call looks at.
const dedupeMost = 1_000

// DedupeRequest asks for duplicates: of the posted rows, or, without rows, of the stored leads.
type DedupeRequest struct {
	Rows     []json.RawMessage
	Strategy string // email or phone
	Merge    bool   // join stored duplicates; else only say what would be joined
}

// DedupeGroup is leads judged to be one person; the survivor is the oldest, or the first posted.
type DedupeGroup struct {
	Strategy  string    `json:"strategy"`
	Value     string    `json:"value"`
	Survivor  lead.ID   `json:"survivor,omitempty"`
	LeadIDs   []lead.ID `json:"lead_ids,omitempty"`
	Indexes   []int     `json:"indexes,omitempty" doc:"Positions in the posted list."`
	MergedIDs []lead.ID `json:"merged_ids,omitempty"`
}

// Dedupe is the result: groups, and for posted rows those that stay.
type Dedupe struct {
	Unique     int64
	Duplicates int64
	Merged     int64
	Rows       []json.RawMessage // the posted rows without duplicates
	Groups     []DedupeGroup
	More       bool // there are more groups than one call looks at
	At         time.Time
}

// Deduplicate finds exact duplicates and, when asked, merges the stored ones: each group in a transaction of its own,
// decided again on the rows that it reads there.
func (s *Leads) Deduplicate(ctx ctxT, sc account.Scope, req DedupeRequest) (*Dedupe, error) {
	switch req.Strategy {
	case lead.KindEmail, lead.KindPhone:
	case "fuzzy":
		return nil, fault.Invalid("strategy", "not_yet_available", "Fuzzy matching is not available yet. Send email or phone.")
	default:
		return nil, fault.Invalid("strategy", "unknown_strategy", "Send email or phone.")
	}
	if req.Rows != nil {
		return s.dedupePosted(ctx, sc, req)
	}
	if sc.Idempotency != nil { // the key's result and all merges commit together
		return write(ctx, s.core, sc, func(tx *store.Tx) (*Dedupe, error) {
			out, err := s.duplicates(tx.Reader, sc, req.Strategy)
			if err != nil {
				return nil, err
			}
			if out.At = tx.Now(); !req.Merge {
				return out, nil
			}
			return out, out.merge(func(survivor, other lead.ID) (bool, error) {
				return s.mergeExact(tx, sc, survivor, other, req.Strategy)
			})
		})
	}
	out, err := s.duplicates(s.st.Read(ctx), sc, req.Strategy)
	if err != nil || !req.Merge {
		return out, err
	}
	return out, out.merge(func(survivor, other lead.ID) (bool, error) {
		return write(ctx, s.core, sc, func(tx *store.Tx) (bool, error) { return s.mergeExact(tx, sc, survivor, other, req.Strategy) })
	})
}

// duplicates finds groups of stored leads that share a value, at most dedupeMost.
func (s *Leads) duplicates(r *store.Reader, sc account.Scope, strategy string) (*Dedupe, error) {
	rules, err := s.committedRules(r, sc)
	if err != nil {
		return nil, err
	}
	total, err := r.Count(sc, store.CountLeads)
	if err != nil {
		return nil, err
	}
	out := &Dedupe{Groups: []DedupeGroup{}, At: s.now()}
	for after, more := "", true; more && !out.More; {
		groups, err := r.Duplicates(sc, strategy, after, dedupeMost)
		if err != nil {
			return nil, err
		}
		more = len(groups) == dedupeMost
		for _, g := range groups {
			after = g.Value
			if strategy == lead.KindEmail && rules.IsRole(g.Value) {
				continue
			}
			if out.More = len(out.Groups) == dedupeMost; out.More {
				break
			}
			out.Groups = append(out.Groups, DedupeGroup{Strategy: strategy, Value: g.Value, Survivor: g.IDs[0], LeadIDs: g.IDs})
			out.Duplicates += int64(len(g.IDs) - 1)
		}
	}
	out.Unique = total - out.Duplicates
	return out, nil
}

// merge joins each group's leads into its survivor and notes which were joined.
func (d *Dedupe) merge(pair func(survivor, other lead.ID) (bool, error)) error {
	for i := range d.Groups {
		g := &d.Groups[i]
		for _, other := range g.LeadIDs[1:] {
			merged, err := pair(g.Survivor, other)
			if err != nil {
				return err
			}
			if merged {
				d.Merged++
				g.MergedIDs = append(g.MergedIDs, other)
			}
		}
	}
	return nil
}

// mergeExact merges other into survivor if both are live and still share the value.
func (c *core) mergeExact(tx *store.Tx, sc account.Scope, survivor, other lead.ID, strategy string) (bool, error) {
	pair := map[lead.ID]*lead.Lead{}
	for _, id := range slices.Sorted(slices.Values([]lead.ID{survivor, other})) { // rows are locked in the order of ids
		l, err := tx.Lead(sc, id)
		if err != nil {
			return false, notFound(err, "lead", string(id))
		}
		pair[id] = l
	}
	a, b := pair[survivor], pair[other]
	same := lead.FoldEmail(a.Email) == lead.FoldEmail(b.Email)
	if strategy == lead.KindPhone {
		same = a.PhoneE164 == b.PhoneE164
	}
	if !a.Live() || !b.Live() || !same {
		return false, nil
	}
	_, err := c.merge(tx, sc, a, b, "exact "+strategy)
	return true, err
}

// mergeMost is how many leads one call may merge into another.
const mergeMost = 100

// Merge joins leads into the one that e names, whatever they have in common: a person has decided. One that was merged
// into it before is passed over, so that a repeat does no harm.
func (s *Leads) Merge(ctx ctxT, sc account.Scope, e LeadEdit, others []lead.ID) (*LeadChange, error) {
	if len(others) == 0 || len(others) > mergeMost {
		return nil, fault.Invalid("lead_ids", "wrong_length", fmt.Sprintf("Send the ids of 1 to %d leads to merge into this one.", mergeMost))
	}
	fn := func(tx *store.Tx) (*LeadChange, error) {
		survivor, err := s.liveLead(tx.Reader, sc, e.ID)
		if err != nil {
			return nil, err
		}
		if !e.IfMatch.Holds(survivor.Version) {
			return nil, fault.Stale(survivor)
		}
		join, err := s.joinable(tx, sc, survivor, others)
		if err != nil {
			return nil, err
		}
		out := &LeadChange{Lead: survivor, Outcome: lead.Unchanged}
		for _, other := range join {
			if out.Lead, err = s.merge(tx, sc, out.Lead, other, "manual"); err != nil {
				return nil, err
			}
			out.Outcome, out.Merged = lead.Updated, append(out.Merged, other.ID)
		}
		out.Changes = lead.Diff(survivor, out.Lead)
		if survivor.ID != e.ID {
			out.RedirectedFrom = e.ID
		}
		return out, nil
	}
	if e.DryRun {
		return s.rehearse(ctx, fn)
	}
	return s.commit(ctx, sc, fn)
}

// joinable reads the leads to merge into survivor; ids that make no sense are refused together.
func (c *core) joinable(tx *store.Tx, sc account.Scope, survivor *lead.Lead, ids []lead.ID) ([]*lead.Lead, error) {
	var join []*lead.Lead
	var problems []fault.Field
	bad := func(i int, code, message string) {
		problems = append(problems, fault.Field{Path: fmt.Sprintf("lead_ids[%d]", i), Code: code, Message: message})
	}
	for i, id := range ids {
		l, err := c.liveLead(tx.Reader, sc, id)
		switch {
		case fault.HasCode(err, "deleted"):
			bad(i, "deleted", "This lead was deleted. Restore it first, or leave it out.")
		case fault.IsKind(err, fault.KindNotFound):
			bad(i, "unknown_lead", "There is no such lead. Send the id of another one, or leave it out.")
		case err != nil:
			return nil, err
		case id == survivor.ID:
			bad(i, "same_lead", "A lead cannot be merged into itself. Leave it out.")
		case l.ID == survivor.ID || slices.ContainsFunc(join, func(o *lead.Lead) bool { return o.ID == l.ID }):
		default:
			join = append(join, l)
		}
	}
	return join, fault.InvalidFields(problems).OrNil()
}

// merge joins other into survivor and returns what that is then: what hangs on other moves, identities that the
// survivor lacks are taken over, and other's id leads to the survivor from then on.
func (c *core) merge(tx *store.Tx, sc account.Scope, survivor, other *lead.Lead, reason string) (*lead.Lead, error) {
	rules, err := c.leadRules(tx, sc)
	if err != nil {
		return nil, err
	}
	gone, err := tx.DeleteLead(sc, other, survivor.ID)
	if err != nil {
		return nil, err
	}
	m := &store.Merge{Reason: reason, Survivor: survivor, Merged: other}
	if err := tx.MoveToSurvivor(sc, m); err != nil {
		return nil, err
	}
	after := lead.Merge(survivor, other)
	changes := lead.Diff(survivor, after)
	if len(changes) > 0 {
		if err := c.moveIdentities(tx, sc, rules, survivor, after); err != nil {
			return nil, err
		}
		if err := tx.UpdateLead(sc, survivor, after); err != nil {
			return nil, err
		}
	}
	ev := event.Event{Type: event.LeadMerged, Subject: m.ID, Changes: changes, Data: data(map[string]any{"merge_id": m.ID, "merged_id": other.ID, "reason": reason})}
	if err := c.tell(tx, sc, ev, survivor, after); err != nil {
		return nil, err
	}
	ev = event.Event{Type: event.LeadMerged, Subject: m.ID, Data: data(map[string]any{"merge_id": m.ID, "survivor_id": survivor.ID, "reason": reason})}
	return after, c.tell(tx, sc, ev, other, gone)
}

// dedupePosted looks at posted rows. An Idempotency-Key is bound to them all the same, though nothing else is stored.
func (s *Leads) dedupePosted(ctx ctxT, sc account.Scope, req DedupeRequest) (*Dedupe, error) {
	if sc.Idempotency != nil {
		if _, err := write(ctx, s.core, sc, func(*store.Tx) (bool, error) { return true, nil }); err != nil {
			return nil, err
		}
	}
	rules, err := s.committedRules(s.st.Read(ctx), sc)
	if err != nil {
		return nil, err
	}
	out, err := dedupeRows(rules, req)
	if err != nil {
		return nil, err
	}
	out.At = s.now()
	return out, nil
}

// dedupeRows groups posted rows; nothing is stored.
func dedupeRows(rules *lead.Rules, req DedupeRequest) (*Dedupe, error) {
	if len(req.Rows) > bulkMost {
		return nil, fault.Invalid("leads", "wrong_length", fmt.Sprintf("Send at most %d leads.", bulkMost))
	}
	leads := make([]*lead.Lead, len(req.Rows))
	var problems []fault.Field
	for i, raw := range req.Rows {
		in, err := lead.Decode(raw)
		if f := fault.As(err); f != nil {
			problems = append(problems, lead.Prefix(fmt.Sprintf("leads[%d].", i), rowProblems(f))...)
			continue
		}
		leads[i] = rules.Sketch(in)
	}
	if len(problems) > 0 {
		return nil, fault.InvalidFields(problems)
	}
	out := &Dedupe{Groups: []DedupeGroup{}, Rows: []json.RawMessage{}}
	drop := map[int]bool{}
	for _, g := range rules.GroupExact(leads, req.Strategy) {
		out.Groups = append(out.Groups, DedupeGroup{Strategy: g.Kind, Value: g.Value, Indexes: g.Members})
		for _, i := range g.Members[1:] {
			drop[i] = true
		}
	}
	for i, raw := range req.Rows {
		if !drop[i] {
			out.Rows = append(out.Rows, raw)
		}
	}
	out.Unique, out.Duplicates = int64(len(out.Rows)), int64(len(drop))
	return out, nil
}
