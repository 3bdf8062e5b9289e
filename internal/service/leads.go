package service

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/store"
)

type ctxT = context.Context

// longestChain is how many merges in a row an id is followed through.
const longestChain = 100

// restorable is how long a deleted lead comes back when it is created again.
const restorable = 30 * 24 * time.Hour

// Leads are the verbs on leads.
type Leads struct{ *core }

// LeadChange is what a create, update, patch or dry run did or would do.
type LeadChange struct {
	Lead           *lead.Lead
	Outcome        lead.Outcome
	Restored       bool                    `json:",omitempty"` // a deleted lead came back
	Suspected      []lead.ID               `json:",omitempty"` // leads that may be the same person
	Merged         []lead.ID               `json:",omitempty"` // leads that were joined into this one
	RedirectedFrom lead.ID                 `json:",omitempty"` // the merged-away id that was asked for
	Warnings       []fault.Field           `json:",omitempty"`
	Changes        map[string]event.Change `json:",omitempty"`
	At             time.Time               // when it happened; a replay tells the first time
}

// errDryRun rolls a rehearsal back.
var errDryRun = errors.New("service: dry run")

// Create upserts a lead by the tenant's identity rule. With dryRun the same is decided and nothing is written.
func (s *Leads) Create(ctx ctxT, sc account.Scope, in *lead.Input, dryRun bool) (*LeadChange, error) {
	if dryRun {
		return s.rehearse(ctx, func(tx *store.Tx) (*LeadChange, error) { return s.upsert(tx, sc, in) })
	}
	return s.commit(ctx, sc, func(tx *store.Tx) (*LeadChange, error) { return s.upsert(tx, sc, in) })
}

// LeadEdit names an update: which lead, under which precondition, and whether it is only rehearsed.
type LeadEdit struct {
	ID      lead.ID
	IfMatch IfMatch
	DryRun  bool
}

// Update changes a lead; absent and null fields stay. A merged-away id acts on its survivor and says so.
func (s *Leads) Update(ctx ctxT, sc account.Scope, e LeadEdit, in *lead.Input) (*LeadChange, error) {
	fn := func(tx *store.Tx) (*LeadChange, error) {
		before, err := s.liveLead(tx.Reader, sc, e.ID)
		if err != nil {
			return nil, err
		}
		if !e.IfMatch.Holds(before.Version) {
			return nil, fault.Stale(before)
		}
		out, err := s.change(tx, sc, before, in)
		if err == nil && before.ID != e.ID {
			out.RedirectedFrom = e.ID
		}
		return out, err
	}
	if e.DryRun {
		return s.rehearse(ctx, fn)
	}
	return s.commit(ctx, sc, fn)
}

// commit is write for changes of a lead.
func (s *Leads) commit(ctx ctxT, sc account.Scope, fn func(*store.Tx) (*LeadChange, error)) (*LeadChange, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*LeadChange, error) {
		c, err := fn(tx)
		if err != nil {
			return nil, err
		}
		c.At = tx.Now()
		return c, nil
	})
}

func (s *Leads) rehearse(ctx ctxT, fn func(*store.Tx) (*LeadChange, error)) (out *LeadChange, err error) {
	err = s.st.Write(ctx, func(tx *store.Tx) error {
		if out, err = fn(tx); err != nil {
			return err
		}
		return errDryRun
	})
	if errors.Is(err, errDryRun) {
		return out, nil
	}
	return nil, err
}

// Get reads a lead. For a merged-away id it returns the survivor: compare the ids.
func (s *Leads) Get(ctx ctxT, sc account.Scope, id lead.ID) (*lead.Lead, error) {
	return s.liveLead(s.st.Read(ctx), sc, id)
}

// Delete takes a lead out of everything for 30 days, after which it is gone. Its identities block nobody meanwhile.
func (s *Leads) Delete(ctx ctxT, sc account.Scope, e LeadEdit) (lead.ID, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (lead.ID, error) {
		before, err := s.liveLead(tx.Reader, sc, e.ID)
		if err != nil {
			return "", err
		}
		if !e.IfMatch.Holds(before.Version) {
			return "", fault.Stale(before)
		}
		after, err := tx.DeleteLead(sc, before, "")
		if err != nil {
			return "", notFound(err, "lead", string(e.ID))
		}
		return before.ID, s.tell(tx, sc, event.Event{Type: event.LeadDeleted}, before, after)
	})
}

// Restore brings a deleted lead back within its 30 days.
func (s *Leads) Restore(ctx ctxT, sc account.Scope, id lead.ID) (*LeadChange, error) {
	return s.commit(ctx, sc, func(tx *store.Tx) (*LeadChange, error) {
		l, err := tx.Lead(sc, id)
		if err != nil || l.MergedInto != "" || !l.Live() && tx.Now().Sub(l.DeletedAt) > restorable {
			return nil, notFound(errOr(err, store.ErrNotFound), "lead", string(id))
		}
		if l.Live() {
			return &LeadChange{Lead: l, Outcome: lead.Unchanged}, nil
		}
		rules, err := s.leadRules(tx, sc)
		if err != nil {
			return nil, err
		}
		return s.restore(tx, sc, rules, l, &lead.Input{})
	})
}

func errOr(err, fallback error) error {
	if err != nil {
		return err
	}
	return fallback
}

// liveLead reads a lead by id and follows merges to the survivor. A deleted one is a 404 that says so.
func (c *core) liveLead(r *store.Reader, sc account.Scope, id lead.ID) (*lead.Lead, error) {
	for range longestChain {
		l, err := r.Lead(sc, id)
		if err != nil {
			return nil, notFound(err, "lead", string(id))
		}
		switch {
		case l.MergedInto != "":
			id = l.MergedInto
		case !l.DeletedAt.IsZero():
			f := fault.NotFound("lead", string(id))
			f.Code, f.Message = "deleted", "This lead was deleted."
			if sc.Can(account.LeadDelete) {
				f.Message += " Within 30 days POST /api/leads/" + string(id) + "/restore brings it back."
			}
			return nil, f
		default:
			return l, nil
		}
	}
	return nil, fault.NotFound("lead", string(id))
}

// upsertLead is Create inside a transaction, for workflows, e-mail and imports.
func (c *core) upsertLead(tx *store.Tx, sc account.Scope, in lead.Input) (*lead.Lead, lead.Outcome, error) {
	out, err := c.upsert(tx, sc, &in)
	if err != nil {
		return nil, "", err
	}
	return out.Lead, out.Outcome, nil
}

// changeLead is Update inside a transaction. before equals after when nothing changed.
func (c *core) changeLead(tx *store.Tx, sc account.Scope, id lead.ID, in lead.Input) (before, after *lead.Lead, err error) {
	if before, err = c.liveLead(tx.Reader, sc, id); err != nil {
		return nil, nil, err
	}
	out, err := c.change(tx, sc, before, &in)
	if err != nil {
		return nil, nil, err
	}
	return before, out.Lead, nil
}

// change applies an input to a live lead that was read in this transaction and writes it with its consequences.
func (c *core) change(tx *store.Tx, sc account.Scope, before *lead.Lead, in *lead.Input) (*LeadChange, error) {
	rules, err := c.leadRules(tx, sc)
	if err != nil {
		return nil, err
	}
	res, err := apply(rules, sc, before, in)
	if err != nil {
		return nil, err
	}
	return c.save(tx, sc, rules, before, res)
}

// apply lets machines of ours set custom fields that are read-only for the API.
func apply(rules *lead.Rules, sc account.Scope, before *lead.Lead, in *lead.Input) (*lead.Result, error) {
	switch sc.Actor.Kind {
	case account.ActorWorkflow, account.ActorSystem, account.ActorConnection:
		return rules.ApplyTrusted(before, in)
	}
	return rules.Apply(before, in)
}

func (c *core) save(tx *store.Tx, sc account.Scope, rules *lead.Rules, before *lead.Lead, res *lead.Result) (*LeadChange, error) {
	out := &LeadChange{Lead: res.Lead, Outcome: lead.Updated, Warnings: res.Warnings, Changes: lead.Diff(before, res.Lead)}
	if len(out.Changes) == 0 {
		out.Lead, out.Outcome = before, lead.Unchanged
		return out, nil
	}
	if err := c.checkUsers(tx, sc, rules, out.Changes); err != nil {
		return nil, err
	}
	if err := c.defineNew(tx, sc, res.NewFields); err != nil {
		return nil, err
	}
	if err := c.moveIdentities(tx, sc, rules, before, res.Lead); err != nil {
		return nil, err
	}
	if err := tx.UpdateLead(sc, before, res.Lead); err != nil {
		return nil, err
	}
	return out, c.tellChange(tx, sc, before, res.Lead, out.Changes)
}

// moveIdentities gives up what the lead is no longer known by and claims what is new. Another lead's is refused.
func (c *core) moveIdentities(tx *store.Tx, sc account.Scope, rules *lead.Rules, before, after *lead.Lead) error {
	old, now := rules.Identities(before), rules.Identities(after)
	var drop []string
	var claim []lead.Identity
	for _, i := range old {
		if !slices.Contains(now, i) {
			drop = append(drop, i.Kind)
		}
	}
	for _, i := range now {
		if !slices.Contains(old, i) {
			claim = append(claim, i)
		}
	}
	if err := tx.DropIdentities(sc, before.ID, drop); err != nil {
		return err
	}
	taken, _, err := tx.ClaimIdentities(sc, before.ID, claim)
	if err != nil {
		return err
	}
	return identityTaken(taken)
}

func identityTaken(taken []lead.Identity) error {
	if len(taken) == 0 {
		return nil
	}
	err := fault.Conflict("identity_taken", "Another lead has this value. Change that lead, or merge the two.")
	for _, i := range taken {
		err.Fields = append(err.Fields, fault.Field{Path: i.Kind, Code: "taken", Message: "Another lead here has this value. Send another one, or merge the two leads."})
	}
	return err
}

// checkUsers refuses users, as owner or in custom fields, who are no active users of the tenant.
func (c *core) checkUsers(tx *store.Tx, sc account.Scope, rules *lead.Rules, changes map[string]event.Change) error {
	var problems []fault.Field
	for _, path := range slices.Sorted(maps.Keys(changes)) {
		if !rules.IsUser(path) {
			continue
		}
		id, _ := changes[path].To.(string)
		switch err := c.checkOwner(tx, sc, "", id); {
		case err == nil:
		case !fault.IsKind(err, fault.KindInvalid):
			return err
		default:
			problems = append(problems, fault.Field{Path: path, Code: "unknown_user", Message: "Send the id of a user of this tenant, or an empty text for nobody."})
		}
	}
	return fault.InvalidFields(problems).OrNil()
}

// checkOwner refuses an owner who is no active user of the tenant.
func (c *core) checkOwner(tx *store.Tx, sc account.Scope, before, after string) error {
	if after == "" || after == before {
		return nil
	}
	if _, err := lead.CheckText("owner_id", after); err == nil {
		known, err := tx.IsMember(sc, account.UserID(after))
		if err != nil || known {
			return err
		}
	}
	return fault.Invalid("owner_id", "unknown_user", "Send the id of a user of this tenant, or an empty text for nobody.")
}

// tellChange appends the events of an update: one with all changes, and one for each kind of change that people wait
// for. A changed notes text also becomes a note of its own.
func (c *core) tellChange(tx *store.Tx, sc account.Scope, before, after *lead.Lead, changes map[string]event.Change) error {
	if err := c.tell(tx, sc, event.Event{Type: event.LeadUpdated, Changes: changes}, before, after); err != nil {
		return err
	}
	for _, special := range []struct {
		field string
		typ   event.Type
	}{{"status", event.LeadStatusChanged}, {"owner_id", event.LeadOwnerChanged}} {
		if ch, ok := changes[special.field]; ok {
			ev := event.Event{Type: special.typ, Changes: map[string]event.Change{special.field: ch}}
			if err := c.tellOnly(tx, sc, ev, before, after); err != nil {
				return err
			}
		}
	}
	if _, ok := changes["tags"]; ok {
		if err := c.tellTags(tx, sc, before, after); err != nil {
			return err
		}
	}
	if _, ok := changes["notes"]; ok && after.Notes != "" {
		return c.addNote(tx, sc, after.ID, after.Notes)
	}
	return nil
}

func (c *core) tellTags(tx *store.Tx, sc account.Scope, before, after *lead.Lead) error {
	for _, change := range []struct {
		typ  event.Type
		tags []string
	}{{event.LeadTagged, lead.Minus(after.Tags, before.Tags)}, {event.LeadUntagged, lead.Minus(before.Tags, after.Tags)}} {
		if len(change.tags) == 0 {
			continue
		}
		if err := c.tellOnly(tx, sc, event.Event{Type: change.typ, Data: data(map[string]any{"tags": change.tags})}, before, after); err != nil {
			return err
		}
	}
	return nil
}

// tell appends an event about a lead, starts what it triggers and marks the lead for the CRMs.
func (c *core) tell(tx *store.Tx, sc account.Scope, ev event.Event, before, after *lead.Lead) error {
	if err := c.tellOnly(tx, sc, ev, before, after); err != nil {
		return err
	}
	return c.markDirty(tx, sc, after, string(ev.Type))
}

// tellOnly is tell without the CRMs.
func (c *core) tellOnly(tx *store.Tx, sc account.Scope, ev event.Event, before, after *lead.Lead) error {
	ev.LeadID = string(after.ID)
	if after.UpdatedAt.After(tx.Now()) { // the clock went back: the event stays of the moment of its change
		ev.At = after.UpdatedAt
	}
	ev, err := tx.AppendEvent(sc, ev)
	if err != nil {
		return err
	}
	return c.matchTriggers(tx, sc, ev, before, after)
}

func data(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("service: event data is not JSON: " + err.Error())
	}
	return b
}
