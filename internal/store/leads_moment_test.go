package store_test

import (
	"testing"
	"time"

	"leadloom/internal/event"
	"leadloom/internal/lead"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// Every change of a lead has events of its moment (leadloom check, invariant 2): several changes in one transaction, and
// changes after a clock that went back a day, which must not seem older than what was read before.
func TestLeads_ChangesAndTheirEventsAreOfOneMoment(t *testing.T) {
	storetest.EachDB(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		shift := time.Duration(0)
		st := open(func() time.Time { return time.Now().Add(shift) })
		l := newLead(t, st, one, `{"email":"moment@example.com","last_name":"M"}`)
		told := func(tx *store.Tx, typ event.Type) error {
			_, err := tx.AppendEvent(one, event.Event{Type: typ, LeadID: string(l.ID)})
			return err
		}
		change := func(company string) func(*store.Tx) error {
			return func(tx *store.Tx) error {
				before, err := tx.Lead(one, l.ID)
				if err != nil {
					return err
				}
				after := before.Clone()
				after.Company = company
				if err := tx.UpdateLead(one, before, after); err != nil {
					return err
				}
				return told(tx, event.LeadUpdated)
			}
		}
		last := l.UpdatedAt
		is := func(what string, forward bool) {
			t.Helper()
			have, err := st.Read(ctx).Lead(one, l.ID)
			if err != nil {
				t.Fatal(err)
			}
			events, err := st.Read(ctx).Timeline(one, []lead.ID{l.ID}, nil, "", 1)
			if err != nil || len(events) != 1 || !events[0].At.Equal(have.UpdatedAt) {
				t.Errorf("%s: the lead changed at %s, its last event is %+v (%v)", what, have.UpdatedAt, events, err)
			}
			if forward && !have.UpdatedAt.After(last) {
				t.Errorf("%s: changed at %s, before that at %s", what, have.UpdatedAt, last)
			}
			last = have.UpdatedAt
		}
		two := func(tx *store.Tx) error {
			if err := change("A")(tx); err != nil {
				return err
			}
			return change("B")(tx)
		}
		writeLead(t, st, two)
		is("two changes in one transaction", false)
		shift = -24 * time.Hour
		writeLead(t, st, two)
		is("two changes in one transaction, a day back", true)
		writeLead(t, st, func(tx *store.Tx) error {
			before, err := tx.Lead(one, l.ID)
			if err != nil {
				return err
			}
			if _, err = tx.DeleteLead(one, before, ""); err != nil {
				return err
			}
			return told(tx, event.LeadDeleted)
		})
		is("a deletion, a day back", true)
		writeLead(t, st, func(tx *store.Tx) error {
			before, err := tx.Lead(one, l.ID)
			if err != nil {
				return err
			}
			if _, err = tx.RestoreLead(one, before); err != nil {
				return err
			}
			return told(tx, event.LeadRestored)
		})
		is("its return, a day back", true)
	})
}
