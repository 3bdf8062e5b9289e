package scale

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/url"
	"strings"
	"testing"

	"leadloom/test/live"
)

// leg is one kind of request. within is the limit of its p99 at a million leads, in ms; 0 for none.
type leg struct {
	name   string
	within float64
	next   request
}

const limit = 50 // ms, architecture.md §7

// legs are what is measured, on a tenant made by w.
func legs(t testing.TB, srv *live.Server, w *world, run string) []leg {
	t.Helper()
	get := func(path string, query ...string) request {
		v := url.Values{}
		for i := 0; i+1 < len(query); i += 2 {
			v.Set(query[i], query[i+1])
		}
		if len(v) > 0 {
			path += "?" + v.Encode()
		}
		return func(int, int) (string, string, string) { return "GET", path, "" }
	}
	list := func(query ...string) request { return get("/api/leads", query...) }
	random := func(c, n int) int { return rand.New(rand.NewPCG(uint64(c), uint64(n))).IntN(w.size) }
	of := func(f func(i int) (string, string, string)) request {
		return func(c, n int) (string, string, string) { return f(random(c, n)) }
	}
	deep := cursorAfter(t, srv, "/api/leads?limit=50&skip=9950&count=none")
	return []leg{
		{"list: first page", limit, list()},
		{"list: page after 10,000", limit, list("cursor", deep)},
		{"list: skip 5,000 of old clients", 0, list("skip", "5000")},
		{"list: by updated_at", limit, list("sort", "-updated_at")},
		{"list: by score", limit, list("sort", "-score")},
		{"list: by owner", limit, list("sort", "owner")},
		{"list: by owner, from high to low", limit, list("sort", "-owner")},
		{"filter: common status", limit, list("status", "working")},
		{"filter: rare status", limit, list("status", "lost")},
		{"filter: common source", limit, list("source", "website")},
		{"filter: rare source", limit, list("source", "展会")},
		{"filter: common tag", limit, list("tag", "topic 1")},
		{"filter: rare tag", limit, list("tag", "topic 290")},
		{"filter: owner", limit, list("owner", w.owners[0].ID)},
		{"filter: e-mail", limit, of(func(i int) (string, string, string) {
			return list("email", w.story(i).in.Email.Or("nobody@example.com"))(0, 0)
		})},
		{"filter: status and source", limit, list("status", "lost", "source", "展会")},
		{"filter: status, source, owner, tag", limit, list("status", "converted", "source", "webinar", "owner", w.owners[3].ID, "tag", "topic 9")},
		{"filter: rare status by score", limit, list("status", "lost", "sort", "-score")},
		{"filter: rare source by updated_at", limit, list("source", "展会", "sort", "updated_at")},
		{"filter: rare tag by score", limit, list("tag", "topic 290", "sort", "-score")},
		{"filter: common tag by owner", limit, list("tag", "topic 1", "sort", "owner")},
		{"search: common word", limit, list("q", "maria")},
		{"search: less common word", limit, list("q", "clinic wolf")},
		{"search: rare word", limit, of(func(i int) (string, string, string) { return list("q", w.story(i).in.LastName.Or("x"))(0, 0) })},
		{"search: first and last name", limit, of(func(i int) (string, string, string) {
			in := w.story(i).in
			return list("q", in.FirstName.Or("")+" "+in.LastName.Or(""))(0, 0)
		})},
		{"search: two common words that rarely meet", limit, list("q", "anna 伟")},
		{"search: two letters", limit, list("q", "ma")},
		{"search: prefix", limit, list("q", "schm")},
		{"search: Cyrillic", limit, list("q", "смир")},
		{"search: Han", limit, list("q", "田中")},
		{"search: phone", limit, list("q", "+49 170 000")},
		{"search: no hit", limit, list("q", "qqzzx")},
		{"search: word and status", limit, list("q", "maria", "status", "lost")},
		{"search: word by score", limit, list("q", "maria", "sort", "-score")},
		{"lead by id", limit, of(func(i int) (string, string, string) { return "GET", "/api/leads/" + w.id(i), "" })},
		{"timeline", limit, of(func(i int) (string, string, string) { return "GET", "/api/leads/" + w.id(i) + "/timeline", "" })},
		{"tags with counts", 0, get("/api/tags")},
		{"dashboard of 30 days", 0, get("/api/analytics/dashboard", "days", "30")},
		{"update: name", limit, of(func(i int) (string, string, string) {
			return "PUT", "/api/leads/" + w.id(i), fmt.Sprintf(`{"first_name":"Up%d"}`, rand.IntN(1e6))
		})},
		{"update: status", limit, of(func(i int) (string, string, string) {
			return "PUT", "/api/leads/" + w.id(i), fmt.Sprintf(`{"status":%q}`, statuses[rand.IntN(len(statuses))])
		})},
		{"create", limit, func(c, n int) (string, string, string) {
			return "POST", "/api/leads", person(run, c, n)
		}},
		{"bulk of 100", 0, func(c, n int) (string, string, string) {
			rows := make([]string, 100)
			for i := range rows {
				rows[i] = person(run+"b", c, 1000*n+i)
			}
			return "POST", "/api/leads/bulk", `{"leads":[` + strings.Join(rows, ",") + `]}`
		}},
	}
}

func person(run string, c, n int) string {
	return fmt.Sprintf(`{"first_name":"Ada","last_name":"Lovelace","email":"%s.%d.%d@new.example","company":"Analytical Engines","source":"website","custom_fields":{"budget":1200,"city":"London"}}`, run, c, n)
}

// cursorAfter asks for a page and gives the cursor behind it.
func cursorAfter(t testing.TB, srv *live.Server, path string) string {
	t.Helper()
	var page struct {
		Next *string `json:"next_cursor"`
	}
	srv.Must(&page, "GET", path, nil)
	if page.Next == nil { // a tenant with fewer leads: any cursor
		srv.Must(&page, "GET", "/api/leads?limit=50", nil)
	}
	if page.Next == nil {
		t.Fatal("a list of 50 leads has no second page: the tenant was not made")
	}
	return *page.Next
}

// walk follows a list to its end and counts its leads, and the pages that were cut off before they were full.
func walk(t testing.TB, srv *live.Server, query string) (leads, cut int) {
	t.Helper()
	for cursor := ""; ; {
		var page struct {
			Leads []json.RawMessage `json:"leads"`
			Next  *string           `json:"next_cursor"`
		}
		srv.Must(&page, "GET", "/api/leads?count=none&limit=500&"+query+"&cursor="+url.QueryEscape(cursor), nil)
		if leads += len(page.Leads); page.Next == nil {
			return leads, cut
		}
		if len(page.Leads) < 500 {
			cut++
		}
		cursor = *page.Next
	}
}
