package service

import (
	"encoding/json"
	"fmt"
	"slices"

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
	r := s.st.Read(ctx)
	rules, err := s.leadRules(r, sc)
	if err != nil {
		return nil, err
	}
	if req.Rows != nil {
		return dedupeRows(rules, req)
	}
	groups, err := r.Duplicates(sc, req.Strategy, "", dedupeMost+1)
	if err != nil {
		return nil, err
	}
	total, err := r.Count(sc, store.CountLeads)
	if err != nil {
		return nil, err
	}
	out := &Dedupe{Groups: []DedupeGroup{}, More: len(groups) > dedupeMost}
	for _, g := range groups[:min(len(groups), dedupeMost)] {
		if req.Strategy == lead.KindEmail && rules.IsRole(g.Value) {
			continue
		}
		out.Groups = append(out.Groups, DedupeGroup{Strategy: req.Strategy, Value: g.Value, Survivor: g.IDs[0], LeadIDs: g.IDs})
		out.Duplicates += int64(len(g.IDs) - 1)
	}
	out.Unique = total - out.Duplicates
	if req.Merge {
		return out, s.mergeGroups(ctx, sc, req.Strategy, out)
	}
	return out, nil
}

func (s *Leads) mergeGroups(ctx ctxT, sc account.Scope, strategy string, out *Dedupe) error {
	sc.Idempotency = nil // each group commits by itself, and a repeat finds nothing left to do
	for i := range out.Groups {
		g := &out.Groups[i]
		for _, other := range g.LeadIDs[1:] {
			merged, err := write(ctx, s.core, sc, func(tx *store.Tx) (bool, error) { return s.mergeExact(tx, sc, g.Survivor, other, strategy) })
			if err != nil {
				return err
			}
			if merged {
				out.Merged++
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
	return true, c.merge(tx, sc, a, b, "exact "+strategy)
}

// merge joins other into survivor: what hangs on it moves, identities that the survivor lacks are taken over, and
// other's id leads to the survivor from then on.
func (c *core) merge(tx *store.Tx, sc account.Scope, survivor, other *lead.Lead, reason string) error {
	rules, err := c.leadRules(tx.Reader, sc)
	if err != nil {
		return err
	}
	gone, err := tx.DeleteLead(sc, other, survivor.ID)
	if err != nil {
		return err
	}
	m := &store.Merge{Reason: reason, Survivor: survivor, Merged: other}
	if err := tx.MoveToSurvivor(sc, m); err != nil {
		return err
	}
	after := lead.Merge(survivor, other)
	changes := lead.Diff(survivor, after)
	if len(changes) > 0 {
		if err := c.moveIdentities(tx, sc, rules, survivor, after); err != nil {
			return err
		}
		if err := tx.UpdateLead(sc, survivor, after); err != nil {
			return err
		}
	}
	ev := event.Event{Type: event.LeadMerged, Subject: m.ID, Changes: changes, Data: data(map[string]any{"merge_id": m.ID, "merged_id": other.ID, "reason": reason})}
	if err := c.tell(tx, sc, ev, survivor, after); err != nil {
		return err
	}
	ev = event.Event{Type: event.LeadMerged, Subject: m.ID, Data: data(map[string]any{"merge_id": m.ID, "survivor_id": survivor.ID, "reason": reason})}
	return c.tell(tx, sc, ev, other, gone)
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
