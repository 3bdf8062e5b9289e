package httpapi

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/store"
)

// noFindings runs every check of the database's invariants.
func noFindings(t *testing.T, s *testServer) {
	t.Helper()
	in := account.NewInstance("test")
	for _, name := range store.Checks() {
		if name == "runs_move" || name == "rows_have_a_tenant" || strings.HasPrefix(name, "event_chain") { // there is no queue here and no tenant, and nothing is sealed
			continue
		}
		found, err := s.st.Read(context.Background()).Check(in, name)
		if err != nil || len(found) > 0 {
			t.Errorf("check %s: %v (%v)", name, found, err)
		}
	}
}

func TestLeads_TwoEditorsOfTwoFieldsBothSurvive(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		id := makeLead(t, s, `{"email":"a@example.com"}`)
		fields := []string{"first_name", "last_name", "company", "source", "notes", "external_id"}
		var wg sync.WaitGroup
		for _, f := range fields {
			wg.Go(func() { do(t, s, "admin", "PUT", "/api/leads/"+id, `{"`+f+`":"x"}`).want(200) })
			wg.Go(func() {
				do(t, s, "admin", "PUT", "/api/leads/"+id, `{"custom_fields":{"f_`+f+`":"x"},"tags_add":["`+f+`"]}`).want(200)
			})
		}
		wg.Wait()
		l := do(t, s, "admin", "GET", "/api/leads/"+id, "").json()
		for _, f := range fields {
			if l[f] != "x" || l["custom_fields"].(map[string]any)["f_"+f] != "x" {
				t.Errorf("%s was lost: %v", f, l)
			}
		}
		if len(l["tags"].([]any)) != len(fields) || l["version"] != float64(1+2*len(fields)) {
			t.Errorf("tags %v, version %v", l["tags"], l["version"])
		}
		noFindings(t, s)
	})
}

func TestCreateLead_AHundredParallelCreatesMakeOneLead(t *testing.T) {
	for name, body := range map[string]string{"by email": `{"email":"one@example.com","first_name":"Ada"}`, "by external id": `{"external_id":"x","first_name":"Ada"}`, "at a role address": `{"email":"info@example.com","first_name":"Ada"}`} {
		t.Run(name, func(t *testing.T) {
			eachServer(t, func(t *testing.T, s *testServer) {
				var wg sync.WaitGroup
				for range 100 {
					wg.Go(func() { do(t, s, "admin", "POST", "/api/leads", body).want(200) })
				}
				wg.Wait()
				if n := do(t, s, "admin", "GET", "/api/leads", "").json()["total"]; n != 1.0 {
					t.Errorf("total %v, want 1", n)
				}
				noFindings(t, s)
			})
		})
	}
}

func TestCreateLead_RoleAddressesReachACompanyAndIdentifyNobody(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		ada := makeLead(t, s, `{"email":"info@example.com","first_name":"Ada"}`)
		r := do(t, s, "admin", "POST", "/api/leads", `{"email":"INFO@example.com","first_name":"Bob"}`).want(200).json()
		bob := r["id"]
		if bob == ada || r["outcome"] != "duplicate_suspected" || fmt.Sprint(r["suspected_duplicates"]) != "["+ada+"]" {
			t.Errorf("another name at a role address: %v", r)
		}
		for body, want := range map[string]any{`{"email":"info@example.com","first_name":"Bob","company":"C"}`: bob, `{"email":"info@example.com","first_name":"ada"}`: ada, `{"email":"info@example.com","source":"s"}`: ada} {
			if r := do(t, s, "admin", "POST", "/api/leads", body).want(200).json(); r["id"] != want || r["outcome"] != "updated" {
				t.Errorf("%s went to %v (%v), want %v", body, r["id"], r["outcome"], want)
			}
		}
		if n := do(t, s, "admin", "GET", "/api/leads", "").json()["total"]; n != 2.0 {
			t.Errorf("total %v, want 2", n)
		}
	})
}

func TestCreateLead_TheStrongerIdentityWinsWhateverItsKind(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		do(t, s, "admin", "PUT", "/api/leads/rules", `{"statuses":["new"],"identity":["phone","email","external_id"],"region":"DE"}`).want(200)
		a := makeLead(t, s, `{"phone":"0170 1234567"}`)
		b := makeLead(t, s, `{"external_id":"x-1","email":"b@example.com"}`)
		r := do(t, s, "admin", "POST", "/api/leads", `{"phone":"+49 170 1234567","email":"b@example.com","external_id":"x-1","first_name":"N"}`).want(200)
		if m := r.json(); m["id"] != a || m["outcome"] != "duplicate_suspected" || fmt.Sprint(m["suspected_duplicates"]) != "["+b+" "+b+"]" && fmt.Sprint(m["suspected_duplicates"]) != "["+b+"]" {
			t.Errorf("reply %s", r.Body)
		}
		if l := lead1(t, r); l["email"] != "" || l["external_id"] != nil || l["first_name"] != "N" {
			t.Errorf("an identity of another lead was moved: %v", l)
		}
	})
}

func TestIdempotency_HoldsOverARestart(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		for _, c := range []struct{ path, body, other string }{
			{"/api/leads", `{"first_name":"Ada"}`, `{"first_name":"Eve"}`}, {"/api/leads/bulk", `{"leads":[{"first_name":"Ada"},{"email":"bad"}]}`, `{"leads":[{"first_name":"Eve"}]}`},
			{"/api/tasks", `{"title":"Call"}`, `{"title":"Mail"}`}, {"/api/leads/deduplicate", `{"strategy":"phone","dry_run":false}`, `{"strategy":"email","dry_run":false}`},
			{"/api/fields", `{"key":"size","type":"integer"}`, `{"key":"size2","type":"integer"}`}, {"/api/dedup", `{"leads":[{"email":"a@example.com"}]}`, `{"leads":[]}`},
		} {
			if c.path == "/api/leads/deduplicate" {
				makeLead(t, s, `{"phone":"+49 170 1234567"}`)
				makeLead(t, s, `{"phone":"+49 170 1234567"}`)
			}
			first := do(t, s, "admin", "POST", c.path, c.body, "Idempotency-Key", "k").want(200)
			after := serverOn(t, s.st)
			again := do(t, after, "admin", "POST", c.path, c.body, "Idempotency-Key", "k").want(200)
			if c.path != "/api/dedup" && again.Body != first.Body || again.Header.Get("Idempotency-Replayed") != "true" || first.Header.Get("Idempotency-Replayed") != "" || again.Header.Get("Location") != first.Header.Get("Location") {
				t.Errorf("%s: first %s\nagain %s", c.path, first.Body, again.Body)
			}
			if got := do(t, after, "admin", "POST", c.path, c.other, "Idempotency-Key", "k").problem(422, "validation_failed"); got["Idempotency-Key"] != "idempotency_key_reused" {
				t.Errorf("%s with another body: %v", c.path, got)
			}
		}
		// another caller's key is another key, and a refusal does not use one up
		do(t, s, "manager", "POST", "/api/leads", `{"first_name":"Eve"}`, "Idempotency-Key", "k").want(200)
		do(t, s, "admin", "POST", "/api/leads", `{"status":"x"}`, "Idempotency-Key", "k2").problem(422, "validation_failed")
		do(t, s, "admin", "POST", "/api/leads", `{"first_name":"Ida"}`, "Idempotency-Key", "k2").want(200)
		do(t, s, "admin", "POST", "/api/leads", `{"first_name":"Ida"}`, "Idempotency-Key", strings.Repeat("k", 256)).problem(422, "validation_failed")
		var wg sync.WaitGroup
		got := make([]string, 20)
		for i := range got {
			wg.Go(func() {
				got[i] = do(t, s, "admin", "POST", "/api/leads", `{"first_name":"Twin"}`, "Idempotency-Key", "twins").want(200).json()["id"].(string)
			})
		}
		wg.Wait()
		if slices.Sort(got); len(slices.Compact(got)) != 1 {
			t.Errorf("parallel twins gave %v", got)
		}
	})
}

// TestBulk_TwoAtOnceOverTheSamePeople in opposite orders: neither fails, and nobody is there twice.
func TestBulk_TwoAtOnceOverTheSamePeople(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		up, down := make([]string, 150), make([]string, 150)
		for i := range up {
			up[i] = fmt.Sprintf(`{"email":"p%d@example.com","external_id":"x%d","tags_add":["t%d"]}`, i, i, i%3)
			down[len(down)-1-i] = up[i]
		}
		var wg sync.WaitGroup
		for _, rows := range [][]string{up, down, up, down} {
			wg.Go(func() {
				m := do(t, s, "admin", "POST", "/api/leads/bulk", `{"leads":[`+strings.Join(rows, ",")+`]}`).want(200).json()
				if m["status"] != "success" || len(m["lead_ids"].([]any)) != 150 {
					t.Errorf("%v %v", m["status"], m["outcomes"])
				}
			})
		}
		wg.Wait()
		if n := do(t, s, "admin", "GET", "/api/leads?limit=1", "").json()["total"]; n != 150.0 {
			t.Errorf("total %v, want 150", n)
		}
		noFindings(t, s)
	})
}
