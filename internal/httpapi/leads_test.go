package httpapi

import (
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
)

// makeLead posts a lead and returns its id.
func makeLead(t *testing.T, s *testServer, body string) string {
	t.Helper()
	return do(t, s, "admin", "POST", "/api/leads", body).want(200).json()["id"].(string)
}

func lead1(t *testing.T, r *reply) map[string]any {
	t.Helper()
	m, ok := r.json()["data"].(map[string]any)
	if !ok {
		t.Fatalf("no data in %s", r.Body)
	}
	return m
}

func TestCreateLead_AnswersTheStoredLead(t *testing.T) {
	s := newServer(t)
	r := do(t, s, "admin", "POST", "/api/leads", `{"first_name":" Ada ","last_name":"Lovelace","email":"Ada@Example.COM","phone":"+44 20 7946 0958","tags":["VIP","vip","new"],"surprise":1,"score":99}`).want(200)
	m := r.json()
	if m["status"] != "success" || m["outcome"] != "created" || m["crm_id"] != nil || m["id"] == "" {
		t.Errorf("envelope %s", r.Body)
	}
	l := lead1(t, r)
	if l["first_name"] != "Ada" || l["email"] != "Ada@example.com" || l["status"] != "new" || l["score"] != 0.0 || l["version"] != 1.0 || fmt.Sprint(l["tags"]) != "[VIP new]" {
		t.Errorf("lead %v", l)
	}
	if r.Header.Get("Location") != "/api/leads/"+m["id"].(string) || r.Header.Get("ETag") != `"1"` {
		t.Errorf("headers %v", r.Header)
	}
	if !strings.Contains(r.Body, `"read_only"`) || !strings.Contains(r.Body, `"unknown_field"`) {
		t.Errorf("ignored keys are not in warnings: %s", r.Body)
	}
	got := do(t, s, "admin", "GET", "/api/leads/"+m["id"].(string), "").want(200).json()
	if got["email"] != "Ada@example.com" || fmt.Sprint(got["crm"]) != "map[]" || fmt.Sprint(got["custom_fields"]) != "map[]" {
		t.Errorf("got %v", got)
	}
}

func TestCreateLead_IsAnUpsertByEmailAndExternalID(t *testing.T) {
	s := newServer(t)
	id := makeLead(t, s, `{"email":"ada@example.com","first_name":"Ada"}`)
	r := do(t, s, "admin", "POST", "/api/leads", `{"email":"ADA@example.com","company":"Engines"}`).want(200)
	if m := r.json(); m["id"] != id || m["outcome"] != "updated" || lead1(t, r)["first_name"] != "Ada" || lead1(t, r)["company"] != "Engines" {
		t.Errorf("second create: %s", r.Body)
	}
	other := makeLead(t, s, `{"external_id":"x-1","email":"bob@example.com"}`)
	r = do(t, s, "admin", "POST", "/api/leads", `{"external_id":"x-1","email":"ada@example.com","last_name":"B"}`).want(200)
	if m := r.json(); m["id"] != other || m["outcome"] != "duplicate_suspected" || lead1(t, r)["email"] != "bob@example.com" {
		t.Errorf("two identities of two leads: %s", r.Body)
	}
	if n := do(t, s, "admin", "GET", "/api/leads", "").want(200).json()["total"]; n != 2.0 {
		t.Errorf("total %v, want 2", n)
	}
	if n := do(t, s, "admin@t-two", "GET", "/api/leads", "").want(200).json()["total"]; n != 0.0 {
		t.Errorf("another tenant sees %v leads", n)
	}
}

func TestCreateLead_ParallelCreatesOfOnePersonMakeOneLead(t *testing.T) {
	s := newServer(t)
	var wg sync.WaitGroup
	for i := range 40 {
		wg.Go(func() {
			do(t, s, "admin", "POST", "/api/leads", fmt.Sprintf(`{"email":"one@example.com","first_name":"N%d"}`, i)).want(200)
		})
	}
	wg.Wait()
	if n := do(t, s, "admin", "GET", "/api/leads", "").json()["total"]; n != 1.0 {
		t.Errorf("total %v, want 1", n)
	}
}

func TestCreateLead_ReportsEveryProblemAtOnce(t *testing.T) {
	s := newServer(t)
	do(t, s, "admin", "POST", "/api/fields", `{"key":"budget","type":"integer"}`).want(200)
	got := do(t, s, "admin", "POST", "/api/leads",
		`{"email":"no address","first_name":7,"status":"happy","phone":"4.91E+11","timezone":"Mars","tags":["ok",3],"custom_fields":{"budgte":1}}`).problem(422, "validation_failed")
	want := map[string]string{"email": "not_an_address", "first_name": "wrong_type", "status": "unknown_status", "phone": "scientific_notation",
		"timezone": "unknown_timezone", "tags[1]": "wrong_type", "custom_fields.budgte": "unknown_field"}
	for path, code := range want {
		if got[path] != code {
			t.Errorf("%s: got %q, want %q", path, got[path], code)
		}
	}
	if len(got) != len(want) {
		t.Errorf("got %v", got)
	}
	do(t, s, "admin", "POST", "/api/leads", `{"email":`).problem(400, "malformed")
	do(t, s, "admin", "POST", "/api/leads", `[]`).problem(422, "validation_failed")
	do(t, s, "admin", "POST", "/api/leads", `{}`).problem(422, "validation_failed")
	if n := do(t, s, "admin", "GET", "/api/leads", "").json()["total"]; n != 0.0 {
		t.Errorf("something was written: total %v", n)
	}
	do(t, s, "guest", "POST", "/api/leads", `{"email":"a@example.com"}`).problem(403, "forbidden")
	do(t, s, "", "POST", "/api/leads", `{"email":"a@example.com"}`).problem(401, "no_credential")
}

func TestUpdateLead_NullAndAbsentKeepEmptyClears(t *testing.T) {
	s := newServer(t)
	id := makeLead(t, s, `{"first_name":"Ada","last_name":"L","email":"ada@example.com","company":"C","tags":["a"]}`)
	r := do(t, s, "admin", "PUT", "/api/leads/"+id, `{"first_name":null,"email":null,"phone":null,"tags":null,"custom_fields":null,"status":null,"company":"","last_name":"King"}`).want(200)
	l := lead1(t, r)
	if l["first_name"] != "Ada" || l["email"] != "ada@example.com" || l["company"] != "" || l["last_name"] != "King" || fmt.Sprint(l["tags"]) != "[a]" || l["version"] != 2.0 || r.json()["status"] != "updated" {
		t.Errorf("lead %v", l)
	}
	r = do(t, s, "admin", "PUT", "/api/leads/"+id, `{"last_name":"King","first_name":"Ada"}`).want(200)
	if lead1(t, r)["version"] != 2.0 || r.Header.Get("ETag") != `"2"` {
		t.Errorf("a change of nothing made a version: %s", r.Body)
	}
	got := do(t, s, "admin", "PUT", "/api/leads/"+id, `{"last_name":"Z","email":"x@","status":1}`).problem(422, "validation_failed")
	if got["email"] != "bad_domain" || got["status"] != "wrong_type" {
		t.Errorf("fields %v", got)
	}
	if l := do(t, s, "admin", "GET", "/api/leads/"+id, "").json(); l["last_name"] != "King" || l["version"] != 2.0 {
		t.Errorf("half of a bad update was written: %v", l)
	}
	do(t, s, "admin", "PUT", "/api/leads/"+id, `{}`).want(200)
	do(t, s, "admin", "PUT", "/api/leads/nobody", `{"last_name":"Z"}`).problem(404, "not_found")
	do(t, s, "admin@t-two", "PUT", "/api/leads/"+id, `{"last_name":"Z"}`).problem(404, "not_found")
	do(t, s, "guest", "PUT", "/api/leads/"+id, `{"last_name":"Z"}`).problem(403, "forbidden")
	other := makeLead(t, s, `{"email":"bob@example.com"}`)
	if got := do(t, s, "admin", "PUT", "/api/leads/"+other, `{"email":"ada@example.com"}`).problem(409, "identity_taken"); got["email"] != "taken" {
		t.Errorf("fields %v", got)
	}
}

func TestUpdateLead_StaleIfMatchIsRefusedWithTheCurrentLead(t *testing.T) {
	s := newServer(t)
	id := makeLead(t, s, `{"email":"ada@example.com"}`)
	do(t, s, "admin", "PUT", "/api/leads/"+id, `{"first_name":"Ada"}`, "If-Match", `"1"`).want(200)
	r := do(t, s, "admin", "PUT", "/api/leads/"+id, `{"first_name":"Eve"}`, "If-Match", `"1"`)
	r.problem(412, "stale")
	if cur, _ := r.json()["current"].(map[string]any); cur["first_name"] != "Ada" || cur["version"] != 2.0 {
		t.Errorf("current %v", cur)
	}
	do(t, s, "admin", "DELETE", "/api/leads/"+id, "", "If-Match", `"1"`).problem(412, "stale")
}

func TestUpdateLead_DryRunWritesNothing(t *testing.T) {
	s := newServer(t)
	id := makeLead(t, s, `{"email":"ada@example.com","first_name":"Ada"}`)
	for _, path := range []string{"/api/leads/" + id + "?dry_run=true", "/api/leads/" + id + "/debug"} {
		m := do(t, s, "admin", "PUT", path, `{"first_name":"Eve"}`).want(200).json()
		if m["valid"] != true || fmt.Sprint(m["changes"]) != "map[first_name:map[from:Ada to:Eve]]" || fmt.Sprint(m["errors"]) != "[]" {
			t.Errorf("%s: %v", path, m)
		}
		m = do(t, s, "admin", "PUT", path, `{"email":"@","status":"x"}`).want(200).json()
		if m["valid"] != false || len(m["errors"].([]any)) != 2 {
			t.Errorf("%s: %v", path, m)
		}
	}
	if m := do(t, s, "admin", "POST", "/api/leads?dry_run=true", `{"email":"new@example.com"}`).want(200).json(); m["valid"] != true || m["outcome"] != "created" {
		t.Errorf("create: %v", m)
	}
	do(t, s, "admin", "PUT", "/api/leads/nobody/debug", `{}`).problem(404, "not_found")
	l := do(t, s, "admin", "GET", "/api/leads", "").json()
	if l["total"] != 1.0 || l["leads"].([]any)[0].(map[string]any)["version"] != 1.0 {
		t.Errorf("a rehearsal wrote: %v", l)
	}
}

func TestPatchLead_NullClears(t *testing.T) {
	s := newServer(t)
	do(t, s, "admin", "POST", "/api/fields", `{"key":"budget","type":"integer"}`).want(200)
	id := makeLead(t, s, `{"email":"ada@example.com","first_name":"Ada","tags":["a"],"custom_fields":{"budget":5}}`)
	l := lead1(t, do(t, s, "admin", "PATCH", "/api/leads/"+id, `{"first_name":null,"tags":null,"custom_fields":{"budget":null}}`, "Content-Type", "application/merge-patch+json").want(200))
	if l["first_name"] != "" || fmt.Sprint(l["tags"]) != "[]" || fmt.Sprint(l["custom_fields"]) != "map[]" || l["email"] != "ada@example.com" {
		t.Errorf("lead %v", l)
	}
}

func TestDeleteLead_IsGoneRestoredAndBlocksNobody(t *testing.T) {
	s := newServer(t)
	id := makeLead(t, s, `{"email":"ada@example.com","first_name":"Ada","tags":["x"]}`)
	do(t, s, "salesperson", "DELETE", "/api/leads/"+id, "").problem(403, "forbidden")
	do(t, s, "admin@t-two", "DELETE", "/api/leads/"+id, "").problem(404, "not_found")
	if m := do(t, s, "admin", "DELETE", "/api/leads/"+id, "").want(200).json(); m["status"] != "deleted" || m["lead_id"] != id {
		t.Errorf("reply %v", m)
	}
	do(t, s, "admin", "GET", "/api/leads/"+id, "").problem(404, "deleted")
	do(t, s, "admin", "DELETE", "/api/leads/"+id, "").problem(404, "deleted")
	for _, q := range []string{"", "?q=ada", "?tag=x", "?email=ada@example.com"} {
		if m := do(t, s, "admin", "GET", "/api/leads"+q, "").want(200).json(); m["total"] != 0.0 || len(m["leads"].([]any)) != 0 {
			t.Errorf("%s still lists it: %v", q, m)
		}
	}
	bob := makeLead(t, s, `{"email":"bob@example.com"}`)
	do(t, s, "admin", "PUT", "/api/leads/"+bob, `{"email":"ada@example.com"}`).want(200)
	r := do(t, s, "admin", "POST", "/api/leads/"+id+"/restore", "").want(200)
	if lead1(t, r)["email"] != "" || lead1(t, r)["first_name"] != "Ada" || r.json()["warnings"].([]any)[0].(map[string]any)["code"] != "belongs_to_another" {
		t.Errorf("restored over another's e-mail: %s", r.Body)
	}
	if tl := do(t, s, "admin", "GET", "/api/leads/"+id+"/timeline?types=lead.restored", "").Body; !strings.Contains(tl, `"email":{"from":"ada@example.com","to":null}`) {
		t.Errorf("the timeline does not tell what was lost: %s", tl)
	}
	do(t, s, "admin", "DELETE", "/api/leads/"+bob, "").want(200)
	m := do(t, s, "admin", "POST", "/api/leads", `{"email":"ADA@example.com","last_name":"New"}`).want(200).json()
	if m["id"] != bob || m["outcome"] != "updated" || m["restored"] != true {
		t.Errorf("create over a deleted lead: %v", m)
	}
	if m := do(t, s, "admin", "GET", "/api/leads?q=new", "").json(); m["total"] != 1.0 {
		t.Errorf("the restored lead is not found: %v", m)
	}
}

func TestListLeads_FiltersSearchAndPages(t *testing.T) {
	s := newServer(t)
	for i := range 25 {
		makeLead(t, s, fmt.Sprintf(`{"email":"p%d@example.com","first_name":"Zoë","last_name":"Nr%d","source":"%s","status":"%s","tags":["%s"],"phone":"+49 170 %07d"}`,
			i, i, []string{"Web", "Fair"}[i%2], []string{"new", "qualified"}[i%2], []string{"Hot", "cold"}[i%2], 1234500+i))
	}
	for q, want := range map[string]int{"": 25, "?source=WEB": 13, "?status=qualified": 12, "?tag=hot": 13, "?email=P3@example.com": 1, "?owner=u-1": 0, "?q=zoe": 25,
		"?q=zoe+nr7": 1, "?q=nr1": 11, "?q=0049+170+12345": 25, "?q=p24@": 1, "?q=nobody": 0, "?source=web&tag=hot&status=new&q=nr2": 4, "?tag=hot&sort=updated_at": 13, "?q=%25": 0} {
		m := do(t, s, "guest", "GET", "/api/leads"+q, "").want(200).json()
		if int(m["total"].(float64)) != want || len(m["leads"].([]any)) != want {
			t.Errorf("%s: total %v, %d leads, want %d", q, m["total"], len(m["leads"].([]any)), want)
		}
	}
	for _, sort := range []string{"", "&sort=created_at", "&sort=-updated_at", "&sort=score", "&tag=hot", "&q=zoe", "&status=new"} {
		seen := map[string]bool{}
		next := ""
		for range 20 {
			m := do(t, s, "guest", "GET", "/api/leads?limit=4"+sort+next, "").want(200).json()
			for _, l := range m["leads"].([]any) {
				id := l.(map[string]any)["id"].(string)
				if seen[id] {
					t.Errorf("%s: %s came twice", sort, id)
				}
				seen[id] = true
			}
			if m["next_cursor"] == nil {
				break
			}
			next = "&cursor=" + m["next_cursor"].(string)
		}
		if want := map[string]int{"&tag=hot": 13, "&status=new": 13}[sort]; len(seen) != max(want, 0) && len(seen) != 25 {
			t.Errorf("%s: %d leads seen", sort, len(seen))
		}
	}
	skip := do(t, s, "guest", "GET", "/api/leads?skip=20&limit=10", "").want(200).json()
	if len(skip["leads"].([]any)) != 5 || skip["next_cursor"] != nil {
		t.Errorf("skip: %v", skip)
	}
	cursor := do(t, s, "guest", "GET", "/api/leads?limit=4", "").json()["next_cursor"].(string)
	do(t, s, "guest", "GET", "/api/leads?limit=4&status=new&cursor="+cursor, "").problem(422, "validation_failed")
	do(t, s, "guest@t-two", "GET", "/api/leads?limit=4&cursor="+cursor, "").problem(422, "validation_failed")
	for _, bad := range []string{"?limit=0", "?limit=501", "?limit=x", "?skip=10001", "?skip=-1", "?sort=name", "?segment=s", "?cursor=zz"} {
		do(t, s, "guest", "GET", "/api/leads"+bad, "").problem(422, "validation_failed")
	}
}

func TestCreateLead_IdempotencyKeyReplays(t *testing.T) {
	s := newServer(t)
	a := do(t, s, "admin", "POST", "/api/leads", `{"first_name":"Ada"}`, "Idempotency-Key", "k1").want(200)
	b := do(t, s, "admin", "POST", "/api/leads", `{"first_name":"Ada"}`, "Idempotency-Key", "k1").want(200)
	if a.json()["id"] != b.json()["id"] || b.Header.Get("Idempotency-Replayed") != "true" || b.Header.Get("ETag") != a.Header.Get("ETag") {
		t.Errorf("first %s\nsecond %s", a.Body, b.Body)
	}
	do(t, s, "admin", "POST", "/api/leads", `{"first_name":"Eve"}`, "Idempotency-Key", "k1").problem(422, "validation_failed")
	if n := do(t, s, "admin", "GET", "/api/leads", "").json()["total"]; n != 1.0 {
		t.Errorf("total %v, want 1", n)
	}
}

func TestLeads_NoColumnCanBeMassAssigned(t *testing.T) {
	s := newServer(t)
	body, err := json.Marshal(map[string]any{"email": "a@example.com", "id": "chosen", "tenant_id": "t-two", "score": 5, "version": 9, "created_at": "2001-01-01T00:00:00Z",
		"updated_at": "2001-01-01T00:00:00Z", "deleted_at": 1, "merged_into": "x", "phone_e164": "+49", "crm": map[string]any{"x": 1}, "search_text": "q", "email_folded": "z"})
	if err != nil {
		t.Fatal(err)
	}
	r := do(t, s, "admin", "POST", "/api/leads", string(body)).want(200)
	l := lead1(t, r)
	if l["id"] == "chosen" || l["score"] != 0.0 || l["version"] != 1.0 || strings.HasPrefix(l["created_at"].(string), "2001") || l["phone_e164"] != nil {
		t.Errorf("lead %v", l)
	}
	do(t, s, "admin@t-two", "GET", "/api/leads/"+l["id"].(string), "").problem(404, "not_found")
	if got := do(t, s, "admin", "PUT", "/api/leads/"+l["id"].(string), `{"owner_id":"u-of-nobody"}`).problem(422, "validation_failed"); got["owner_id"] != "unknown_user" {
		t.Errorf("owner: %v", got)
	}
}
