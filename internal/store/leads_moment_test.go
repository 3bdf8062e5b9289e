package store_test

import (
	"testing"
	"time"

	"leadloom/internal/lead"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// A lead's change is stored at the moment that its caller is given, which its events bear: one instant for several
// changes in one transaction, and after a clock that went back a day one that does not seem older than what was read.
func TestLeads_AChangeIsOfTheMomentItGives(t *testing.T) {
	storetest.EachDB(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		shift := time.Duration(0)
		st := open(func() time.Time { return time.Now().Add(shift) })
		l := newLead(t, st, one, `{"email":"moment@example.com","last_name":"M"}`)
		last := l.UpdatedAt
		change := func(what string, fn func(tx *store.Tx, before *lead.Lead) (*lead.Lead, error)) {
			t.Helper()
			var given, now time.Time
			writeLead(t, st, func(tx *store.Tx) error {
				before, err := tx.Lead(one, l.ID)
				if err != nil {
					return err
				}
				after, err := fn(tx, before)
				if err == nil {
					given, now = after.UpdatedAt, tx.Now()
				}
				return err
			})
			have, err := st.Read(ctx).Lead(one, l.ID)
			if err != nil || !have.UpdatedAt.Equal(given) {
				t.Errorf("%s was given as of %s and is stored as of %s (%v)", what, given, have.UpdatedAt, err)
			}
			if shift == 0 && !given.Equal(now) {
				t.Errorf("%s is of %s, its transaction of %s", what, given, now)
			}
			if !given.After(last) {
				t.Errorf("%s is of %s, the change before it of %s", what, given, last)
			}
			last = given
		}
		to := func(tx *store.Tx, before *lead.Lead, company string) (*lead.Lead, error) {
			after := before.Clone()
			after.Company = company
			return after, tx.UpdateLead(one, before, after)
		}
		twice := func(tx *store.Tx, before *lead.Lead) (*lead.Lead, error) {
			between, err := to(tx, before, "A")
			if err != nil {
				return nil, err
			}
			return to(tx, between, "B")
		}
		change("the second of two changes", twice)
		shift = -24 * time.Hour
		change("the second of two changes, a day back", twice)
		change("a deletion, a day back", func(tx *store.Tx, before *lead.Lead) (*lead.Lead, error) { return tx.DeleteLead(one, before, "") })
		change("its return, a day back", func(tx *store.Tx, before *lead.Lead) (*lead.Lead, error) { return tx.RestoreLead(one, before) })
	})
}
