package service

import (
	"errors"
	"fmt"
	"slices"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/optional"
	"leadloom/internal/store"
)

// upsert creates a lead, or updates the one that its identities name. The identities are claimed first: the unique
// index decides between concurrent creates of one person, and a free claim needs no look-up.
func (c *core) upsert(tx *store.Tx, sc account.Scope, in *lead.Input) (*LeadChange, error) {
	rules, err := c.leadRules(tx, sc)
	if err != nil {
		return nil, err
	}
	draft, err := rules.New(in)
	if err != nil {
		return c.upsertKnown(tx, sc, rules, in, err)
	}
	draft.Lead.ID = lead.ID(tx.NewID())
	ids := rules.Identities(draft.Lead)
	taken, gone, err := tx.ClaimIdentities(sc, draft.Lead.ID, ids)
	if err != nil {
		return nil, err
	}
	owner, others, err := c.recognise(tx, sc, taken, gone)
	switch {
	case err != nil:
		return nil, err
	case owner != nil:
		if err := tx.DropIdentities(sc, draft.Lead.ID, kinds(ids)); err != nil {
			return nil, err
		}
		if owner.Live() {
			return c.upsertInto(tx, sc, rules, owner, others, in)
		}
		return c.restore(tx, sc, rules, owner, in)
	case len(taken) > 0: // a unique custom field: it refuses, it does not recognise
		return nil, identityTaken(taken)
	}
	return c.createOrShare(tx, sc, rules, draft, in)
}

// upsertKnown is for an input that makes no lead of its own: it may still be an update of a known one.
func (c *core) upsertKnown(tx *store.Tx, sc account.Scope, rules *lead.Rules, in *lead.Input, refused error) (*LeadChange, error) {
	ids := rules.IdentitiesOf(in)
	if len(ids) == 0 {
		return nil, refused
	}
	owner, others, err := c.recognise(tx, sc, ids, nil)
	if err != nil {
		return nil, err
	}
	if owner == nil || !owner.Live() {
		return nil, refused
	}
	return c.upsertInto(tx, sc, rules, owner, others, in)
}

// recognise finds the lead that the strongest identity names, and other leads that weaker ones name. taken are the
// identities that some live lead has; without any, those of deleted or merged-away leads (gone) may name one.
func (c *core) recognise(tx *store.Tx, sc account.Scope, taken []lead.Identity, gone []lead.FoundIdentity) (owner *lead.Lead, others []lead.FoundIdentity, err error) {
	found := gone
	if len(taken) > 0 {
		look := slices.DeleteFunc(slices.Clone(taken), func(i lead.Identity) bool { return !i.Recognises() })
		if found, err = tx.FindIdentities(sc, look, true); err != nil {
			return nil, nil, err
		}
	}
	for _, f := range found {
		switch {
		case !f.Recognises():
		case owner == nil:
			if owner, err = c.returning(tx, sc, f.LeadID); err != nil {
				return nil, nil, err
			}
		case f.LeadID != owner.ID && len(taken) > 0:
			others = append(others, f)
		}
	}
	return owner, others, nil
}

// returning reads a recognised lead: live, deleted less than 30 days ago, or the survivor of one merged away; nil
// when it cannot come back.
func (c *core) returning(tx *store.Tx, sc account.Scope, id lead.ID) (*lead.Lead, error) {
	l, err := tx.Lead(sc, id)
	for range longestChain {
		if errors.Is(err, store.ErrNotFound) {
			return nil, nil
		}
		if err != nil || l.MergedInto == "" {
			break
		}
		l, err = tx.Lead(sc, l.MergedInto)
	}
	if err != nil {
		return nil, err
	}
	if l.Live() || l.MergedInto == "" && tx.Now().Sub(l.DeletedAt) <= restorable {
		return l, nil
	}
	return nil, nil
}

// upsertInto updates a recognised live lead. What identifies another lead stays with that one, and the suspicion
// that both are one person is recorded.
func (c *core) upsertInto(tx *store.Tx, sc account.Scope, rules *lead.Rules, owner *lead.Lead, others []lead.FoundIdentity, in *lead.Input) (*LeadChange, error) {
	patched := *in
	for _, o := range others {
		switch o.Kind {
		case lead.KindExternal:
			patched.ExternalID = optional.Optional[string]{}
		case lead.KindEmail:
			patched.Email = optional.Optional[string]{}
		case lead.KindPhone:
			patched.Phone = optional.Optional[string]{}
		}
	}
	res, err := apply(rules, sc, owner, &patched)
	if err != nil {
		return nil, err
	}
	out, err := c.save(tx, sc, rules, owner, res)
	if err != nil || len(others) == 0 {
		if err == nil {
			out.Outcome = lead.Updated
		}
		return out, err
	}
	out.Outcome = lead.DuplicateSuspected
	for _, o := range others {
		out.Suspected = append(out.Suspected, o.LeadID)
		out.Warnings = append(out.Warnings, fault.Field{Path: o.Kind, Code: "belongs_to_another",
			Message: fmt.Sprintf("Lead %s has this value; it stayed there. Merge the two if they are one person.", o.LeadID)})
	}
	return out, c.suspect(tx, sc, out)
}

func (c *core) suspect(tx *store.Tx, sc account.Scope, out *LeadChange) error {
	return c.tellOnly(tx, sc, event.Event{Type: event.DuplicateSuspect, Data: data(map[string]any{"other_lead_ids": out.Suspected})}, out.Lead, out.Lead)
}

// createOrShare stores a new lead, unless its only address is a shared mailbox whose lead may be the same person.
func (c *core) createOrShare(tx *store.Tx, sc account.Scope, rules *lead.Rules, draft *lead.Result, in *lead.Input) (*LeadChange, error) {
	out := &LeadChange{Lead: draft.Lead, Outcome: lead.Created, Warnings: draft.Warnings}
	if folded := lead.FoldEmail(draft.Lead.Email); folded != "" && rules.IsRole(folded) {
		others, err := tx.LeadsByRoleAddress(sc, folded)
		if err != nil {
			return nil, err
		}
		switch other := lead.MostAlike(draft.Lead, others); {
		case len(others) == 0:
		case other != nil && draft.Lead.ExternalID == "":
			if err := tx.DropIdentities(sc, draft.Lead.ID, kinds(rules.Identities(draft.Lead))); err != nil {
				return nil, err
			}
			return c.upsertInto(tx, sc, rules, other, nil, in)
		default:
			out.Outcome, out.Suspected = lead.DuplicateSuspected, []lead.ID{others[0].ID}
		}
	}
	out.Changes = lead.Diff(nil, draft.Lead)
	if err := c.checkUsers(tx, sc, rules, out.Changes); err != nil {
		return nil, err
	}
	if err := c.defineNew(tx, sc, draft.NewFields); err != nil {
		return nil, err
	}
	if err := tx.InsertLead(sc, draft.Lead); err != nil {
		return nil, err
	}
	if err := c.tell(tx, sc, event.Event{Type: event.LeadCreated, Changes: out.Changes}, nil, draft.Lead); err != nil {
		return nil, err
	}
	if draft.Lead.Notes != "" {
		if err := c.addNote(tx, sc, draft.Lead.ID, draft.Lead.Notes); err != nil {
			return nil, err
		}
	}
	if len(out.Suspected) > 0 {
		return out, c.suspect(tx, sc, out)
	}
	return out, nil
}

// restore brings a deleted lead back with new values. It takes what identities nobody else has meanwhile.
func (c *core) restore(tx *store.Tx, sc account.Scope, rules *lead.Rules, gone *lead.Lead, in *lead.Input) (*LeadChange, error) {
	back, err := tx.RestoreLead(sc, gone)
	if err != nil {
		return nil, err
	}
	ids := rules.Identities(back)
	if err := tx.DropIdentities(sc, back.ID, kinds(ids)); err != nil {
		return nil, err
	}
	taken, _, err := tx.ClaimIdentities(sc, back.ID, ids)
	if err != nil {
		return nil, err
	}
	freed := back.Clone()
	var lost []fault.Field
	for _, i := range taken {
		lost = append(lost, fault.Field{Path: i.Kind, Code: "belongs_to_another", Message: "Another lead has this value now; it was not restored. Merge the two if they are one person."})
		switch i.Kind {
		case lead.KindExternal:
			freed.ExternalID = ""
		case lead.KindEmail:
			freed.Email = ""
		case lead.KindPhone:
			freed.Phone, freed.PhoneE164 = "", ""
		default:
			return nil, identityTaken(taken)
		}
	}
	if len(taken) > 0 {
		if err := tx.UpdateLead(sc, back, freed); err != nil {
			return nil, err
		}
		back = freed
	}
	if err := c.tell(tx, sc, event.Event{Type: event.LeadRestored, Changes: lead.Diff(gone, back)}, gone, back); err != nil {
		return nil, err
	}
	res, err := apply(rules, sc, back, in)
	if err != nil {
		return nil, err
	}
	out, err := c.save(tx, sc, rules, back, res)
	if err != nil {
		return nil, err
	}
	out.Outcome, out.Restored, out.Warnings = lead.Updated, true, append(lost, out.Warnings...)
	return out, nil
}

func kinds(ids []lead.Identity) []string {
	out := make([]string, len(ids))
	for i, id := range ids {
		out[i] = id.Kind
	}
	return out
}
