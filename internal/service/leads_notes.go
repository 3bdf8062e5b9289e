package service

import (
	"slices"
	"strings"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/store"
)

// addNote puts a note on a lead's timeline.
func (c *core) addNote(tx *store.Tx, sc account.Scope, id lead.ID, body string) error {
	_, err := c.writeNote(tx, sc, id, body)
	return err
}

func (c *core) writeNote(tx *store.Tx, sc account.Scope, id lead.ID, body string) (*store.Note, error) {
	body, err := lead.CheckNote("body", body)
	if err != nil {
		return nil, err
	}
	n, err := tx.InsertNote(sc, id, body)
	if err != nil {
		return nil, err
	}
	_, err = tx.AppendEvent(sc, event.Event{Type: event.NoteAdded, LeadID: string(id), Subject: n.ID, Data: data(map[string]string{"note_id": n.ID, "body": n.Body})})
	return n, err
}

// AddNote writes a note about a lead.
func (s *Leads) AddNote(ctx ctxT, sc account.Scope, id lead.ID, body string) (*store.Note, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*store.Note, error) {
		l, err := s.liveLead(tx.Reader, sc, id)
		if err != nil {
			return nil, err
		}
		return s.writeNote(tx, sc, l.ID, body)
	})
}

// Notes lists a lead's notes, newest first; deleted ones come without their text.
func (s *Leads) Notes(ctx ctxT, sc account.Scope, id lead.ID, before string, limit int) ([]*store.Note, error) {
	r := s.st.Read(ctx)
	l, err := s.liveLead(r, sc, id)
	if err != nil {
		return nil, err
	}
	return r.Notes(sc, l.ID, before, limit)
}

// NoteEdit names a note of a lead, under a precondition.
type NoteEdit struct {
	LeadID  lead.ID
	ID      string
	IfMatch IfMatch
}

// EditNote replaces a note's text; the old one stays in the event.
func (s *Leads) EditNote(ctx ctxT, sc account.Scope, e NoteEdit, body string) (*store.Note, error) {
	body, err := lead.CheckNote("body", body)
	if err != nil {
		return nil, err
	}
	return s.changeNote(ctx, sc, e, event.NoteEdited, func(tx *store.Tx, n *store.Note) { n.Body = body })
}

// DeleteNote removes a note's text and leaves a stub.
func (s *Leads) DeleteNote(ctx ctxT, sc account.Scope, e NoteEdit) error {
	_, err := s.changeNote(ctx, sc, e, event.NoteDeleted, func(tx *store.Tx, n *store.Note) { n.Body, n.DeletedAt = "", tx.Now() })
	return err
}

func (s *Leads) changeNote(ctx ctxT, sc account.Scope, e NoteEdit, typ event.Type, change func(*store.Tx, *store.Note)) (*store.Note, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*store.Note, error) {
		l, err := s.liveLead(tx.Reader, sc, e.LeadID)
		if err != nil {
			return nil, err
		}
		n, err := tx.Note(sc, l.ID, e.ID)
		if err == nil && !n.DeletedAt.IsZero() {
			err = store.ErrNotFound
		}
		if err != nil {
			return nil, notFound(err, "note", e.ID)
		}
		if !e.IfMatch.Holds(n.Version) {
			return nil, fault.Stale(nil)
		}
		old := n.Body
		change(tx, n)
		if n.Body == old {
			return n, nil
		}
		if err := tx.UpdateNote(sc, n); err != nil {
			return nil, err
		}
		_, err = tx.AppendEvent(sc, event.Event{Type: typ, LeadID: string(l.ID), Subject: n.ID, Changes: map[string]event.Change{"body": {From: old, To: n.Body}}})
		return n, err
	})
}

// Timeline lists what happened to a lead and to those merged into it, newest first. types filters by event type or,
// with a trailing dot, by its noun; before is the last id of the page before.
func (s *Leads) Timeline(ctx ctxT, sc account.Scope, id lead.ID, types []string, before string, limit int) ([]event.Event, error) {
	r := s.st.Read(ctx)
	l, err := s.liveLead(r, sc, id)
	if err != nil {
		return nil, err
	}
	merged, err := r.MergedInto(sc, l.ID)
	if err != nil {
		return nil, err
	}
	events, err := r.Timeline(sc, append([]lead.ID{l.ID}, merged...), types, before, limit)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(events, func(a, b event.Event) int { return strings.Compare(b.ID, a.ID) })
	return events[:min(len(events), limit)], nil
}

// Score lists a lead's ledger, newest first, with its sum.
func (s *Leads) Score(ctx ctxT, sc account.Scope, id lead.ID, before string, limit int) (int64, []*store.ScoreRow, error) {
	r := s.st.Read(ctx)
	l, err := s.liveLead(r, sc, id)
	if err != nil {
		return 0, nil, err
	}
	rows, err := r.Scores(sc, l.ID, before, limit)
	return l.Score, rows, err
}

// GivePoints adds points to a lead by hand, with a reason.
func (s *Leads) GivePoints(ctx ctxT, sc account.Scope, id lead.ID, points int64, reason string) (*lead.Lead, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*lead.Lead, error) {
		l, err := s.liveLead(tx.Reader, sc, id)
		if err != nil {
			return nil, err
		}
		if err := s.addScore(tx, sc, l.ID, points, reason, sc.RequestID); err != nil {
			return nil, err
		}
		return tx.Lead(sc, l.ID)
	})
}

// maxPoints bounds one row and a lead's sum, so that sums never overflow.
const maxPoints = 1_000_000_000

// addScore adds points to a lead's ledger and score; sourceID says what gave them.
func (c *core) addScore(tx *store.Tx, sc account.Scope, id lead.ID, points int64, reason, sourceID string) error {
	before, err := c.liveLead(tx.Reader, sc, id)
	if err != nil {
		return err
	}
	_, err = c.addScoreTo(tx, sc, before, store.ScoreRow{Points: points, Reason: reason, SourceID: sourceID})
	return err
}

// addScoreTo is addScore for a live lead that was read in this transaction; it returns the lead after it.
func (c *core) addScoreTo(tx *store.Tx, sc account.Scope, before *lead.Lead, row store.ScoreRow) (after *lead.Lead, err error) {
	if row.Points == 0 {
		return before, nil
	}
	if row.Reason, err = lead.CheckNote("reason", row.Reason); err != nil {
		return nil, err
	}
	after = before.Clone()
	within := func(n int64) bool { return n >= -maxPoints && n <= maxPoints }
	if after.Score += row.Points; !within(row.Points) || !within(after.Score) {
		return nil, fault.Invalid("points", "out_of_range", "Send points that keep the lead's score between -1000000000 and 1000000000.")
	}
	row.LeadID = before.ID
	if err := tx.AddScore(sc, &row); err != nil {
		return nil, err
	}
	if err := tx.UpdateLead(sc, before, after); err != nil {
		return nil, err
	}
	ev := event.Event{Type: event.ScoreChanged, Data: data(map[string]any{"points": row.Points, "reason": row.Reason, "source_id": row.SourceID}), Changes: lead.Diff(before, after)}
	return after, c.tell(tx, sc, ev, before, after)
}
