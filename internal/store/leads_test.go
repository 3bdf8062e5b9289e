package store_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

var (
	one = account.SystemScope("t-one", "test")
	two = account.SystemScope("t-two", "test")
)

func writeLead(t *testing.T, st *store.Store, fn func(*store.Tx) error) {
	t.Helper()
	if err := st.Write(ctx, fn); err != nil {
		t.Fatal(err)
	}
}

// newLead stores a lead built by the rules.
func newLead(t *testing.T, st *store.Store, sc account.Scope, body string) *lead.Lead {
	t.Helper()
	in, err := lead.Decode([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	rules := lead.DefaultRules()
	res, err := rules.New(in)
	if err != nil {
		t.Fatal(err)
	}
	writeLead(t, st, func(tx *store.Tx) error {
		res.Lead.ID = lead.ID(tx.NewID())
		taken, _, err := tx.ClaimIdentities(sc, res.Lead.ID, rules.Identities(res.Lead))
		if err != nil || len(taken) > 0 {
			return fmt.Errorf("claim: %v %v", taken, err)
		}
		return tx.InsertLead(sc, res.Lead)
	})
	return res.Lead
}

func find(t *testing.T, st *store.Store, sc account.Scope, f store.LeadFilter) ([]lead.ID, int64) {
	t.Helper()
	r := st.Read(ctx)
	f.Words = lead.QueryWords(f.Q)
	if f.Limit == 0 {
		f.Limit = 100
	}
	p, err := r.PlanLeads(sc, f)
	if err != nil {
		t.Fatal(err)
	}
	leads, _, err := r.Leads(sc, p)
	if err != nil {
		t.Fatal(err)
	}
	total, _, err := r.CountLeads(sc, p)
	if err != nil {
		t.Fatal(err)
	}
	ids := []lead.ID{}
	for _, l := range leads {
		ids = append(ids, l.ID)
	}
	return ids, total
}

func TestLeads_RoundTripEveryField(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		want := newLead(t, st, one, `{"external_id":"x","first_name":"Zoë","last_name":"O'Neil \"q\"","email":"z@example.com","phone":"+49 170 1234567","company":"A|B","source":"Web",
			"status":"working","notes":"a\nb\u00a0c","timezone":"Europe/Berlin","language":"de","tags":["a\"b","c,d","é"]}`)
		got, err := st.Read(ctx).Lead(one, want.ID)
		if err != nil {
			t.Fatal(err)
		}
		if fmt.Sprintf("%+v", *got) != fmt.Sprintf("%+v", *want) {
			t.Errorf("got  %+v\nwant %+v", *got, *want)
		}
		if _, err := st.Read(ctx).Lead(two, want.ID); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("another tenant: %v, want ErrNotFound", err)
		}
	})
}

func TestLeads_UpdateMovesWordsTagsAndTotals(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		l := newLead(t, st, one, `{"first_name":"Ada","email":"ada@example.com","tags":["Old","Both"]}`)
		newLead(t, st, two, `{"first_name":"Ada","email":"ada@example.com","tags":["Old"]}`)
		writeLead(t, st, func(tx *store.Tx) error {
			before, err := tx.Lead(one, l.ID)
			if err != nil {
				return err
			}
			after := before.Clone()
			after.FirstName, after.Tags = "Eve", []string{"Both", "New"}
			return tx.UpdateLead(one, before, after)
		})
		for q, want := range map[string]int{"ada": 1, "eve": 1, "ev": 1, "new": 1, "old": 0, "ada@": 1, "example.com": 1, "x": 0} {
			if ids, total := find(t, st, one, store.LeadFilter{Q: q}); len(ids) != want || total != int64(want) {
				t.Errorf("q=%s: %v of %d, want %d", q, ids, total, want)
			}
		}
		for tag, want := range map[string]int{"OLD": 0, "both": 1, "new": 1} {
			if ids, _ := find(t, st, one, store.LeadFilter{Tag: tag}); len(ids) != want {
				t.Errorf("tag=%s: %v, want %d", tag, ids, want)
			}
		}
		tags, err := st.Read(ctx).Tags(one, "", 10)
		if err != nil || fmt.Sprint(tags) != "[{both 1} {new 1}]" {
			t.Errorf("tags %v (%v)", tags, err)
		}
		if _, total := find(t, st, one, store.LeadFilter{}); total != 1 {
			t.Errorf("total %d, want 1", total)
		}
	})
}

func TestLeads_StaleUpdateFails(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		l := newLead(t, st, one, `{"email":"a@example.com"}`)
		err := st.Write(ctx, func(tx *store.Tx) error {
			before := l.Clone()
			before.Version = 7
			after := before.Clone()
			after.FirstName = "X"
			return tx.UpdateLead(one, before, after)
		})
		if err == nil {
			t.Error("an update of a version that was not there succeeded")
		}
	})
}

func TestLeads_DeletedOneIsNowhereAndBlocksNobody(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		l := newLead(t, st, one, `{"first_name":"Ada","email":"ada@example.com","tags":["x"]}`)
		writeLead(t, st, func(tx *store.Tx) error {
			before, err := tx.Lead(one, l.ID)
			if err != nil {
				return err
			}
			_, err = tx.DeleteLead(one, before, "")
			return err
		})
		for _, f := range []store.LeadFilter{{}, {Q: "ada"}, {Tag: "x"}, {Email: "ada@example.com"}, {Q: string(l.ID)}} {
			if ids, total := find(t, st, one, f); len(ids) != 0 || total != 0 {
				t.Errorf("%+v finds %v of %d", f, ids, total)
			}
		}
		email := []lead.Identity{{Kind: lead.KindEmail, Value: "ada@example.com"}}
		if gone, err := st.Read(ctx).FindIdentities(one, email, false); err != nil || len(gone) != 1 || gone[0].LeadID != l.ID {
			t.Errorf("a deleted lead's identity: %v %v", gone, err)
		}
		again := newLead(t, st, one, `{"email":"ADA@example.com"}`)
		if live, err := st.Read(ctx).FindIdentities(one, email, true); err != nil || len(live) != 1 || live[0].LeadID != again.ID {
			t.Errorf("the new lead's identity: %v %v", live, err)
		}
	})
}

func TestClaimIdentities_OneOfManyConcurrentClaimsWins(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		var wg sync.WaitGroup
		won := make([]bool, 30)
		for i := range won {
			wg.Go(func() {
				err := st.Write(ctx, func(tx *store.Tx) error {
					taken, _, err := tx.ClaimIdentities(one, lead.ID(fmt.Sprint(i)), []lead.Identity{{Kind: lead.KindEmail, Value: "e@example.com"}})
					won[i] = len(taken) == 0
					return err
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		n := 0
		for _, w := range won {
			if w {
				n++
			}
		}
		if n != 1 {
			t.Errorf("%d claims won, want 1", n)
		}
	})
}

func TestNested_UndoesOnlyItsOwn(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		refused := errors.New("refused")
		writeLead(t, st, func(tx *store.Tx) error {
			tx.AddCount(one, "kept", 1)
			err := tx.Nested(func() error {
				tx.AddCount(one, "kept", 5)
				if _, err := tx.InsertNote(one, "l", "undone"); err != nil {
					return err
				}
				return refused
			})
			if !errors.Is(err, refused) {
				t.Errorf("got %v, want the inner error", err)
			}
			return tx.Nested(func() error {
				_, err := tx.InsertNote(one, "l", "kept")
				return err
			})
		})
		notes, err := st.Read(ctx).Notes(one, "l", "", 10)
		if err != nil || len(notes) != 1 || notes[0].Body != "kept" {
			t.Errorf("notes %v (%v)", notes, err)
		}
		if n, _ := st.Read(ctx).Count(one, "kept"); n != 1 {
			t.Errorf("count %d, want 1", n)
		}
	})
}

// Totals of lists are kept with every change, and a database from before they were kept counts them once.
func TestLeads_TotalsByStateSourceAndOwner(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		var all []*lead.Lead
		for i := range 7 {
			all = append(all, newLead(t, st, one, fmt.Sprintf(`{"email":"p%d@example.com","source":"Straße %d","owner_id":"u-%d"}`, i, i%2, i%3)))
		}
		newLead(t, st, one, `{"email":"bare@example.com"}`)
		newLead(t, st, two, `{"email":"p0@example.com","source":"straße 0","owner_id":"u-0"}`)
		writeLead(t, st, func(tx *store.Tx) error {
			after := all[0].Clone()
			after.Status, after.Source, after.OwnerID = "working", "STRASSE 1", ""
			if err := tx.UpdateLead(one, all[0], after); err != nil {
				return err
			}
			gone, err := tx.DeleteLead(one, all[1], "")
			if err != nil {
				return err
			}
			if _, err = tx.DeleteLead(one, all[2], ""); err != nil {
				return err
			}
			_, err = tx.RestoreLead(one, gone)
			return err
		})
		totals := func(when string) {
			t.Helper()
			for _, want := range []struct {
				f store.LeadFilter
				n int64
			}{{store.LeadFilter{Status: "new"}, 6}, {store.LeadFilter{Status: "WORKING"}, 1}, {store.LeadFilter{Status: "lost"}, 0}, {store.LeadFilter{Source: "strasse 0"}, 2},
				{store.LeadFilter{Source: "Straße 1"}, 4}, {store.LeadFilter{Owner: "u-0"}, 2}, {store.LeadFilter{Owner: "u-1"}, 2}, {store.LeadFilter{Owner: "u-2"}, 1},
				{store.LeadFilter{Owner: "u-1", Sort: "score"}, 2}, {store.LeadFilter{Owner: "u-1", Status: "new"}, 2}} {
				if ids, n := find(t, st, one, want.f); n != want.n || len(ids) != int(want.n) {
					t.Errorf("%s, %+v: %d leads and a total of %d, want %d", when, want.f, len(ids), n, want.n)
				}
			}
		}
		totals("kept")
		in := account.NewInstance("test")
		if err := st.MigrateDown(ctx, in, 8); err != nil {
			t.Fatal(err)
		}
		if n, err := st.Read(ctx).Count(one, "status:new"); err != nil || n != 0 {
			t.Fatalf("a total is left from a step that was taken back: %d %v", n, err)
		}
		if err := st.MigrateUp(ctx, in); err != nil {
			t.Fatal(err)
		}
		totals("counted by the migration")
	})
}

// A database whose words were split by older rules is searched by the new ones after its migration.
func TestLeads_MigrationSplitsWordsAnew(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		in := account.NewInstance("test")
		newLead(t, st, one, `{"last_name":"सिंह","company":"Ada"}`)
		gone := newLead(t, st, one, `{"last_name":"सिंह"}`)
		newLead(t, st, two, `{"last_name":"Smith"}`)
		writeLead(t, st, func(tx *store.Tx) error {
			_, err := tx.DeleteLead(one, gone, "")
			return err
		})
		rawExec(t, st, "UPDATE leads SET search_text=REPLACE(search_text, 'सिह', 'स ह')")
		rawExec(t, st, "INSERT INTO lead_words SELECT tenant_id, 'ह', lead_created_at, lead_id FROM lead_words WHERE word='सिह'")
		rawExec(t, st, "UPDATE lead_words SET word='स' WHERE word='सिह'")
		if ids, _ := find(t, st, one, store.LeadFilter{Q: "सिंह"}); len(ids) != 0 {
			t.Fatalf("the new words are found before the migration: %v", ids)
		}
		if err := st.MigrateDown(ctx, in, 9); err != nil {
			t.Fatal(err)
		}
		if err := st.MigrateUp(ctx, in); err != nil {
			t.Fatal(err)
		}
		for q, want := range map[string]int{"सिंह": 1, "सिं ada": 1, "ह": 0, "smith": 0} {
			if ids, n := find(t, st, one, store.LeadFilter{Q: q}); len(ids) != want || n != int64(want) {
				t.Errorf("%q: %v of %d, want %d", q, ids, n, want)
			}
		}
		for _, name := range []string{"words_are_those_of_leads", "leads_show_what_they_hold"} {
			if found, err := st.Read(ctx).Check(in, name); err != nil || len(found) > 0 {
				t.Errorf("%s after the migration: %v (%v)", name, found, err)
			}
		}
	})
}

// Addresses are found as before after the step that makes them words of their own is taken back, and made again.
func TestLeads_MigrationTellsAddressesFromNames(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		in := account.NewInstance("test")
		newLead(t, st, one, `{"first_name":"Anna","email":"anna.smith@mail.example","company":"Booking.com"}`)
		newLead(t, st, one, `{"email":"anna-b@other.example"}`)
		begun := func(prefix string) int64 {
			return rawCount(t, st, "SELECT COUNT(DISTINCT word) FROM lead_words WHERE word LIKE '"+prefix+"%'")
		}
		if n := begun("anna"); n != 1 {
			t.Fatalf("anna begins %d words", n)
		}
		if err := st.MigrateDown(ctx, in, 10); err != nil {
			t.Fatal(err)
		}
		if n, marked := begun("anna"), begun("@"); n != 3 || marked != 0 {
			t.Fatalf("before the step anna begins %d words, and %d begin with an @", n, marked)
		}
		if err := st.MigrateUp(ctx, in); err != nil {
			t.Fatal(err)
		}
		for q, want := range map[string]int{"anna": 2, "anna.smith@m": 1, "mail.example": 1, "other": 1, "booking.com": 1, "com": 1, "smith": 0} {
			if ids, n := find(t, st, one, store.LeadFilter{Q: q}); len(ids) != want || n != int64(want) {
				t.Errorf("%q: %v of %d, want %d", q, ids, n, want)
			}
		}
		if n := begun("anna"); n != 1 {
			t.Errorf("anna begins %d words after the migration", n)
		}
		for _, name := range []string{"words_are_those_of_leads", "leads_show_what_they_hold"} {
			if found, err := st.Read(ctx).Check(in, name); err != nil || len(found) > 0 {
				t.Errorf("%s after the migration: %v (%v)", name, found, err)
			}
		}
	})
}

func TestLeads_PagesAreWholeInEveryOrder(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		for i := range 23 {
			newLead(t, st, one, fmt.Sprintf(`{"email":"p%d@example.com","first_name":"Same","tags":["t"],"source":"s","phone":"+49 170 12345%02d"}`, i, i%3))
		}
		for _, f := range []store.LeadFilter{{}, {Ascending: true}, {Sort: "updated_at"}, {Sort: "score", Ascending: true}, {Tag: "t"}, {Tag: "t", Sort: "score"}, {Source: "S"}, {Q: "same"}, {Q: "same 49170"}} {
			seen := map[lead.ID]bool{}
			f.Limit, f.Words = 5, lead.QueryWords(f.Q)
			for range 10 {
				r := st.Read(ctx)
				p, err := r.PlanLeads(one, f)
				if err != nil {
					t.Fatal(err)
				}
				page, _, err := r.Leads(one, p)
				if err != nil {
					t.Fatalf("%+v: %v", f, err)
				}
				for _, l := range page {
					if seen[l.ID] {
						t.Errorf("%+v: %s twice", f, l.ID)
					}
					seen[l.ID] = true
				}
				if len(page) < 5 {
					break
				}
				at := f.Position(page[4])
				f.After = &at
			}
			if len(seen) != 23 {
				t.Errorf("%+v: %d of 23 seen", f, len(seen))
			}
		}
		groups, err := st.Read(ctx).Duplicates(one, lead.KindPhone, "", 10)
		if err != nil || len(groups) != 3 || len(groups[0].IDs) != 8 {
			t.Errorf("duplicates %v (%v)", groups, err)
		}
	})
}
