package store

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/testpg"
)

// eachEngine is storetest.Each for tests inside the package, which that one cannot import.
func eachEngine(t *testing.T, f func(t *testing.T, st *Store)) {
	t.Run("sqlite", func(t *testing.T) {
		f(t, openForPlans(t, Options{Path: filepath.Join(t.TempDir(), "lists.db")}))
	})
	t.Run("postgres", func(t *testing.T) { f(t, openForPlans(t, Options{PostgresURL: testpg.URL(t), PoolSize: 4})) })
}

var listScope = account.SystemScope("t-one", "test")

// listed stores a lead whose columns come from its number, so that every filter finds some.
func listed(t *testing.T, st *Store, sc account.Scope, i int) *lead.Lead {
	t.Helper()
	pick := func(n int, from ...string) string { return from[n%len(from)] }
	l := &lead.Lead{FirstName: pick(i, "Ada", "Adam", "Zoë"), LastName: pick(i/2, "Lovelace", "Love", ""), Status: pick(i/3, "new", "lost"), Source: pick(i/5, "Web", "", "fair"),
		OwnerID: pick(i/2, "u", "", "v", "u"), Email: pick(i, "a@example.com", "", fmt.Sprintf("p%d@example.com", i)), CustomFields: json.RawMessage("{}"), Score: int64(i % 4)}
	if i%3 == 0 {
		l.Tags = []string{"VIP", "x"}
	}
	err := st.Write(context.Background(), func(tx *Tx) error {
		tx.At(time.Date(2026, 1, 1, 0, i/2, 0, 0, time.UTC)) // pairs are of one instant
		return tx.InsertLead(sc, l)
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func (f LeadFilter) holds(l *lead.Lead) bool {
	words := lead.Words(l)
	for _, w := range f.Words {
		if !slices.ContainsFunc(words, func(have string) bool { return strings.HasPrefix(have, w) }) {
			return false
		}
	}
	return (f.Status == "" || l.Status == f.Status) && (f.Source == "" || lead.Fold(l.Source) == f.Source) && (f.Owner == "" || l.OwnerID == f.Owner) &&
		(f.Email == "" || l.Email == f.Email) && (f.Tag == "" || l.HasTag(f.Tag))
}

// before is the order of a list, as behaviours 3.7 has it.
func (f LeadFilter) before(a, b *lead.Lead) int {
	if f.Sort == sortOwner && (a.OwnerID == "") != (b.OwnerID == "") {
		return cmp.Compare(b.OwnerID, a.OwnerID) // those without one last, both ways
	}
	var c int
	switch f.Sort {
	case sortOwner:
		c = cmp.Or(cmp.Compare(a.OwnerID, b.OwnerID), a.CreatedAt.Compare(b.CreatedAt))
	case "score":
		c = cmp.Compare(a.Score, b.Score)
	case "updated_at":
		c = a.UpdatedAt.Compare(b.UpdatedAt)
	default:
		c = a.CreatedAt.Compare(b.CreatedAt)
	}
	if c = cmp.Or(c, cmp.Compare(a.ID, b.ID)); !f.Ascending {
		return -c
	}
	return c
}

func ids(leads []*lead.Lead) string {
	out := make([]string, len(leads))
	for i, l := range leads {
		out[i] = string(l.ID)
	}
	return strings.Join(out, " ")
}

// TestLeads_EveryPlanGivesTheSameRows reads each filter in each order by each way that the planner may choose, and
// compares with the rules.
func TestLeads_EveryPlanGivesTheSameRows(t *testing.T) {
	eachEngine(t, func(t *testing.T, st *Store) {
		var all []*lead.Lead
		for i := range 40 {
			all = append(all, listed(t, st, listScope, i))
		}
		listed(t, st, account.SystemScope("t-two", "test"), 0)
		r := st.Read(context.Background())
		for _, f := range listFilters() {
			var matching []*lead.Lead
			for _, l := range all {
				if f.holds(l) {
					matching = append(matching, l)
				}
			}
			for _, w := range waysTo(f) {
				for _, f.Sort = range LeadSorts {
					for _, f.Ascending = range []bool{true, false} {
						slices.SortFunc(matching, f.before)
						walkPages(t, r, f, w, matching)
					}
				}
			}
		}
	})
}

// short makes a plan's pages end after so few rows that each list is cut off several times.
func short(p *LeadPlan) *LeadPlan {
	p.most = min(p.most, 5)
	return p
}

func walkPages(t *testing.T, r *Reader, f LeadFilter, w way, want []*lead.Lead) {
	t.Helper()
	f.Limit = 7
	for name, plan := range map[string]func() *LeadPlan{
		"by cursor": func() *LeadPlan { return w.plan(r.s.dialect, "t-one", f) },
		"by all that a part finds": func() *LeadPlan {
			p := w.plan(r.s.dialect, "t-one", f)
			whole, err := r.whole(p)
			if err != nil {
				t.Fatal(err)
			}
			if whole == nil { // no part: the order's own index
				return p
			}
			return whole
		},
		"by cut pages": func() *LeadPlan { return short(w.plan(r.s.dialect, "t-one", f)) },
	} {
		f.After = nil
		var got []*lead.Lead
		for range 40 {
			page, next, err := r.Leads(listScope, plan())
			if err != nil {
				t.Fatalf("%+v: %v", f, err)
			}
			got = append(got, page...)
			if f.After = next; next == nil && len(page) < f.Limit {
				break
			}
			if next == nil {
				at := f.Position(page[len(page)-1])
				f.After = &at
			}
		}
		if ids(got) != ids(want) {
			t.Fatalf("%+v %s, %s: got %s\nwant %s", f, w.name, name, ids(got), ids(want))
		}
	}
	for _, skip := range []int{0, 3, 13, 30, 100} {
		f.After, f.Skip = nil, skip
		page, _, err := r.Leads(listScope, w.plan(r.s.dialect, "t-one", f))
		if err != nil {
			t.Fatalf("%+v: %v", f, err)
		}
		rest := want[min(skip, len(want)):]
		if rest = rest[:min(f.Limit, len(rest))]; ids(page) != ids(rest) {
			t.Fatalf("%+v %s, by skip: got %s\nwant %s", f, w.name, ids(page), ids(rest))
		}
	}
	plan := w.plan(r.s.dialect, "t-one", f)
	if plan.most > 0 {
		plan.most = 40 // what is looked at for a total
	}
	if plan.known = -1; plan.counter != "" && plan.counter != CountLeads { // the counts that these plans were given are no real ones
		plan.counter = ""
	}
	if n, estimate, err := r.CountLeads(listScope, plan); err != nil || n != int64(len(want)) || estimate {
		t.Fatalf("%+v: total %d %v (%v), want %d", f, n, estimate, err, len(want))
	}
}

// TestLeads_APageGoesOnByAllThatAPartFinds, look after look, when the first one has found nothing.
func TestLeads_APageGoesOnByAllThatAPartFinds(t *testing.T) {
	eachEngine(t, func(t *testing.T, st *Store) {
		const n = 1_200
		if err := st.Write(context.Background(), func(tx *Tx) error {
			for i := range n { // the older 700 are from the web, the newer 700 are u's: 200 are both
				tx.At(time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC))
				l := &lead.Lead{Status: "new", Email: fmt.Sprintf("p%d@example.com", i), CustomFields: json.RawMessage("{}")}
				if i < 700 {
					l.Source = "web"
				}
				if i >= 500 {
					l.OwnerID = "u"
				}
				if err := tx.InsertLead(listScope, l); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		page := func(f LeadFilter, allowed bool) ([]*lead.Lead, *LeadPosition) {
			t.Helper()
			if st.further = (allowance{}); !allowed {
				st.further.begin(st.now())
			}
			r := st.Read(context.Background())
			p, err := r.PlanLeads(listScope, f)
			if err != nil {
				t.Fatal(err)
			}
			leads, next, err := r.Leads(listScope, p)
			if err != nil {
				t.Fatal(err)
			}
			return leads, next
		}
		f := LeadFilter{Source: "web", Owner: "u", Limit: 150}
		leads, next := page(f, true)
		if len(leads) != 150 || next != nil || leads[0].Email != "p699@example.com" || leads[149].Email != "p550@example.com" {
			t.Fatalf("%d leads, next %v", len(leads), next)
		}
		at := f.Position(leads[149])
		f.After = &at
		if leads, next = page(f, true); len(leads) != 50 || next != nil || leads[49].Email != "p500@example.com" {
			t.Errorf("the rest: %d leads, next %v", len(leads), next)
		}
		f.After, f.Skip = nil, 190
		if leads, next = page(f, true); len(leads) != 10 || next != nil {
			t.Errorf("after 190: %d leads, next %v", len(leads), next)
		}
		f.Skip = 0
		found := 0
		for range 20 { // nobody may go on: short pages lead to the end as well
			leads, next = page(f, false)
			if found += len(leads); next == nil && len(leads) < f.Limit {
				break
			}
			if f.After = next; next == nil {
				at = f.Position(leads[len(leads)-1])
				f.After = &at
			}
		}
		if found != 200 {
			t.Errorf("by short pages: %d leads, want 200", found)
		}
	})
}

// TestLeads_TheRarerWordIsWalked where both have more matches than are counted, whichever comes first in the alphabet; totals
// are exact as far as the docs say.
func TestLeads_TheRarerWordIsWalked(t *testing.T) {
	eachEngine(t, func(t *testing.T, st *Store) {
		if err := st.Write(context.Background(), func(tx *Tx) error {
			for i := range rarePart*fewMatches + 200 {
				tx.At(time.Date(2026, 1, 1, 0, 0, i, 0, time.UTC))
				l := &lead.Lead{FirstName: "Anna", Status: "new", CustomFields: json.RawMessage("{}")}
				if i%3 == 0 {
					l.LastName = "Zoe"
				}
				if i%60 == 0 {
					l.Company = "Berta"
				}
				if i%100 == 1 {
					l.Tags = []string{"Beta", "Zeta"} // more words with the same beginnings
				}
				if err := tx.InsertLead(listScope, l); err != nil {
					return err
				}
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
		for q, walked := range map[string]string{"anna zoe": "zoe", "zoe anna": "zoe", "zoe berta": "berta"} {
			f := LeadFilter{Q: q, Words: lead.QueryWords(q), Limit: 10}
			r := st.Read(context.Background())
			p, err := r.PlanLeads(listScope, f)
			if err != nil {
				t.Fatal(err)
			}
			if got := p.args[1]; got != walked || !p.probed {
				t.Errorf("%s: %v is walked (%s, %v), want %s", q, got, p.from, p.drive, walked)
			}
			leads, _, err := r.Leads(listScope, p)
			if n, estimate, cerr := r.CountLeads(listScope, p); err != nil || cerr != nil || len(leads) != 10 || n < 10 || !estimate && q != "zoe berta" {
				t.Errorf("%s: %d leads (%v), a total of %d, at least %v (%v)", q, len(leads), err, n, estimate, cerr)
			}
		}
		for _, c := range []struct {
			f        LeadFilter
			total    int64
			estimate bool
		}{
			{LeadFilter{Q: "anna"}, wordMatches, true}, {LeadFilter{Q: "anna", Sort: "score"}, wordMatches, true}, {LeadFilter{Q: "zoe"}, 667, false}, {LeadFilter{Q: "berta"}, 34, false},
			{LeadFilter{Q: "be", Sort: "score"}, 34 + 20, false}, {LeadFilter{Q: "be"}, 34 + 20, false}, {LeadFilter{Q: "z", Sort: "score"}, 298, true}, {LeadFilter{Q: "z"}, 667 + 20 - 6, false},
		} {
			c.f.Words, c.f.Limit = lead.QueryWords(c.f.Q), 10
			r := st.Read(context.Background())
			p, err := r.PlanLeads(listScope, c.f)
			if err != nil {
				t.Fatal(err)
			}
			if _, _, err := r.Leads(listScope, p); err != nil {
				t.Fatalf("%+v: %v", c.f, err)
			}
			if n, estimate, err := r.CountLeads(listScope, p); err != nil || n != c.total || estimate != c.estimate {
				t.Errorf("%+v: a total of %d, at least %v (%v), want %d, %v", c.f, n, estimate, err, c.total, c.estimate)
			}
		}
	})
}

// TestLeads_PagingWhileRowsAreInserted: what was there at the first page comes exactly once.
func TestLeads_PagingWhileRowsAreInserted(t *testing.T) {
	eachEngine(t, func(t *testing.T, st *Store) {
		there := map[lead.ID]int{}
		for i := range 60 {
			there[listed(t, st, listScope, i).ID] = 0
		}
		n := 60
		for _, sort := range LeadSorts {
			for _, up := range []bool{true, false} {
				seen := map[lead.ID]int{}
				f := LeadFilter{Sort: sort, Ascending: up, Limit: 6}
				for {
					p, err := st.Read(context.Background()).PlanLeads(listScope, f)
					if err != nil {
						t.Fatal(err)
					}
					page, _, err := st.Read(context.Background()).Leads(listScope, p)
					if err != nil {
						t.Fatal(err)
					}
					for _, l := range page {
						if seen[l.ID]++; seen[l.ID] > 1 {
							t.Errorf("%s up=%v: %s came twice", sort, up, l.ID)
						}
					}
					if len(page) < f.Limit {
						break
					}
					at := f.Position(page[len(page)-1])
					f.After = &at
					if len(seen) < 40 { // some that sort before the position, some behind it
						listed(t, st, listScope, n%60)
						n += 31
					}
				}
				for id := range there {
					if seen[id] == 0 {
						t.Errorf("%s up=%v: %s was skipped", sort, up, id)
					}
				}
			}
		}
	})
}

// TestLeads_AnExactIDOrAddressWins over what it is a prefix of.
func TestLeads_AnExactIDOrAddressWins(t *testing.T) {
	eachEngine(t, func(t *testing.T, st *Store) {
		var exact *lead.Lead
		for i, address := range []string{"ada@example.com", "ada@example.community", "Ada@example.com.au"} {
			l := &lead.Lead{Email: address, Status: "new", CustomFields: json.RawMessage("{}")}
			if err := st.Write(context.Background(), func(tx *Tx) error { return tx.InsertLead(listScope, l) }); err != nil {
				t.Fatal(err)
			}
			if i == 0 {
				exact = l
			}
		}
		for q, want := range map[string]int{"ada@example.com": 1, string(exact.ID): 1, "ada@example.co": 3, "ada@example.comm": 1, "bob@example.com": 0} {
			f := LeadFilter{Q: q, Words: lead.QueryWords(q), Address: q, Limit: 10}
			r := st.Read(context.Background())
			p, err := r.PlanLeads(listScope, f)
			if err != nil {
				t.Fatal(err)
			}
			got, _, err := r.Leads(listScope, p)
			if err != nil || len(got) != want {
				t.Errorf("%s: %d leads (%v), want %d", q, len(got), err, want)
			}
			if n, _, err := r.CountLeads(listScope, p); err != nil || n != int64(want) {
				t.Errorf("%s: total %d (%v), want %d", q, n, err, want)
			}
		}
	})
}

// TestAllowance_ComesBackWithTime: one page at a time looks further, few in a row, and more by the second, whatever the
// clock does.
func TestAllowance_ComesBackWithTime(t *testing.T) {
	var a allowance
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	took := func(at time.Time) (n int) {
		for a.begin(at) {
			if a.begin(at) {
				t.Error("two pages at once")
			}
			a.end()
			n++
		}
		return n
	}
	if n := took(now); n != pagesInARow {
		t.Errorf("%d pages in a row, want %d", n, pagesInARow)
	}
	if n := took(now.Add(time.Second)); n != pagesPerSecond {
		t.Errorf("%d pages after a second, want %d", n, pagesPerSecond)
	}
	if n := took(now.Add(-time.Hour)); n != 0 {
		t.Errorf("%d pages after the clock went back, want none", n)
	}
	if n := took(now.Add(time.Hour)); n != pagesInARow {
		t.Errorf("%d pages after an hour, want %d", n, pagesInARow)
	}
	later := now.Add(2 * time.Hour)
	if !a.begin(later) || !a.rest() || a.rest() {
		t.Error("the first page in a while may take all that is left, once")
	}
	a.end()
	if a.begin(later) {
		t.Error("a page was given what another had taken")
	}
}
