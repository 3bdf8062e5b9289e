package httpapi

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestFields_AreTypedUniqueAndRequired(t *testing.T) {
	s := newServer(t)
	do(t, s, "manager", "POST", "/api/fields", `{"key":"budget","type":"integer"}`).problem(403, "forbidden")
	do(t, s, "admin", "POST", "/api/fields", `{"key":"budget","type":"integer","min":0,"max":100,"colour":"red"}`).problem(422, "validation_failed")
	do(t, s, "admin", "POST", "/api/fields", `{"key":"budget","type":"integer","min":0,"max":100}`).want(200)
	do(t, s, "admin", "POST", "/api/fields", `{"key":"budget","type":"text"}`).problem(409, "field_exists")
	got := do(t, s, "admin", "POST", "/api/fields", `{"key":"Bad Key","type":"choice"}`).problem(422, "validation_failed")
	if got["key"] != "bad_key" || got["choices"] != "required" {
		t.Errorf("fields %v", got)
	}
	do(t, s, "admin", "POST", "/api/fields", `{"key":"tier","type":"choice","choices":["Gold","Silver"],"default":"Silver"}`).want(200)
	do(t, s, "admin", "POST", "/api/fields", `{"key":"member_no","type":"text","unique":true,"required_for_status":["converted"]}`).want(200)

	r := do(t, s, "admin", "POST", "/api/leads", `{"email":"a@example.com","custom_fields":{"budget":"5","tier":"lead","budgt":1}}`)
	got = r.problem(422, "validation_failed")
	if got["custom_fields.budget"] != "wrong_type" || got["custom_fields.tier"] != "unknown_choice" || got["custom_fields.budgt"] != "unknown_field" {
		t.Errorf("fields %v", got)
	}
	if !strings.Contains(r.Body, "the nearest is budget") {
		t.Errorf("the nearest known name is not told: %s", r.Body)
	}
	a := makeLead(t, s, `{"email":"a@example.com","custom_fields":{"budget":5,"member_no":"M1"}}`)
	if l := do(t, s, "admin", "GET", "/api/leads/"+a, "").json(); fmt.Sprint(l["custom_fields"]) != "map[budget:5 member_no:M1 tier:Silver]" {
		t.Errorf("custom fields %v", l["custom_fields"])
	}
	l := lead1(t, do(t, s, "admin", "PUT", "/api/leads/"+a, `{"custom_fields":{"tier":"gold","budget":null}}`).want(200))
	if fmt.Sprint(l["custom_fields"]) != "map[budget:5 member_no:M1 tier:Gold]" {
		t.Errorf("merged %v", l["custom_fields"])
	}
	l = lead1(t, do(t, s, "admin", "PUT", "/api/leads/"+a, `{"custom_fields":{"budget":""}}`).want(200))
	if fmt.Sprint(l["custom_fields"]) != "map[member_no:M1 tier:Gold]" {
		t.Errorf("an empty text did not clear: %v", l["custom_fields"])
	}
	if got := do(t, s, "admin", "POST", "/api/leads", `{"email":"b@example.com","custom_fields":{"member_no":"m1"}}`).problem(409, "identity_taken"); got["custom_fields.member_no"] != "taken" {
		t.Errorf("unique: %v", got)
	}
	if got := do(t, s, "admin", "POST", "/api/leads", `{"email":"b@example.com","status":"converted"}`).problem(422, "validation_failed"); got["custom_fields.member_no"] != "required" {
		t.Errorf("required: %v", got)
	}
	f := do(t, s, "guest", "GET", "/api/fields/tier", "").want(200)
	if f.json()["type"] != "choice" || f.json()["default"] != "Silver" {
		t.Errorf("field %s", f.Body)
	}
	do(t, s, "admin", "PUT", "/api/fields/tier", `{"type":"text"}`).problem(422, "validation_failed")
	do(t, s, "admin", "PUT", "/api/fields/tier", `{"label":"Tier","choices":["Gold"]}`, "If-Match", `"9"`).problem(412, "stale")
	do(t, s, "admin", "PUT", "/api/fields/tier", `{"label":"Tier","choices":["Gold"]}`, "If-Match", f.Header.Get("ETag")).want(200)
	do(t, s, "admin@t-two", "GET", "/api/fields/tier", "").problem(404, "not_found")
	do(t, s, "admin", "DELETE", "/api/fields/tier", "").want(200)
	do(t, s, "admin", "DELETE", "/api/fields/tier", "").problem(404, "not_found")
	if n := do(t, s, "guest", "GET", "/api/fields", "").json()["total"]; n != 2.0 {
		t.Errorf("total %v", n)
	}
}

func TestFields_UnknownKeysBecomeFieldsUnlessForbidden(t *testing.T) {
	s := newServer(t)
	id := makeLead(t, s, `{"email":"a@example.com","custom_fields":{"city":"London","budget":1200.5,"vip":true,"raw":{"a":[1]},"empty":null,"address1":"x","address2":"y"}}`)
	if l := do(t, s, "admin", "GET", "/api/leads/"+id, "").json(); fmt.Sprint(l["custom_fields"]) != "map[address1:x address2:y budget:1200.5 city:London raw:map[a:[1]] vip:true]" {
		t.Errorf("custom fields %v", l["custom_fields"])
	}
	for key, typ := range map[string]string{"city": "text", "budget": "number", "vip": "boolean", "raw": "json"} {
		if f := do(t, s, "admin", "GET", "/api/fields/"+key, "").want(200).json(); f["type"] != typ {
			t.Errorf("%s: type %v, want %s", key, f["type"], typ)
		}
	}
	if got := do(t, s, "admin", "PUT", "/api/leads/"+id, `{"custom_fields":{"budgte":1,"vip":"yes","Bad Key":1}}`).problem(422, "validation_failed"); got["custom_fields.budgte"] != "unknown_field" || got["custom_fields.vip"] != "wrong_type" || got["custom_fields.Bad Key"] != "unknown_field" {
		t.Errorf("fields %v", got)
	}
	do(t, s, "admin", "PUT", "/api/leads/rules", `{"statuses":["new"],"identity":["email"]}`).want(200)
	if got := do(t, s, "admin", "PUT", "/api/leads/"+id, `{"custom_fields":{"other":1}}`).problem(422, "validation_failed"); got["custom_fields.other"] != "unknown_field" {
		t.Errorf("fields %v", got)
	}
	do(t, s, "admin", "GET", "/api/fields/other", "").problem(404, "not_found")
}

func TestLeadRules_StatusesAreTheTenants(t *testing.T) {
	s := newServer(t)
	body := `{"statuses":["fresh","done"],"identity":["email","phone"],"required":["last_name"],"region":"DE","allow_unknown_fields":true}`
	do(t, s, "manager", "PUT", "/api/leads/rules", body).problem(403, "forbidden")
	do(t, s, "admin", "PUT", "/api/leads/rules", `{"statuses":[],"identity":["name"]}`).problem(422, "validation_failed")
	do(t, s, "admin", "PUT", "/api/leads/rules", body).want(200)
	if got := do(t, s, "admin", "POST", "/api/leads", `{"status":"new","email":"a@example.com"}`).problem(422, "validation_failed"); got["status"] != "unknown_status" || got["last_name"] != "required" {
		t.Errorf("fields %v", got)
	}
	id := makeLead(t, s, `{"last_name":"A","phone":"0170 1234567","custom_fields":{"colour":"red"}}`)
	r := do(t, s, "admin", "POST", "/api/leads", `{"last_name":"B","phone":"+491701234567"}`).want(200)
	if r.json()["id"] != id || lead1(t, r)["last_name"] != "B" || lead1(t, r)["status"] != "fresh" {
		t.Errorf("a phone number in the identity rule recognises nobody: %s", r.Body)
	}
	if lead1(t, do(t, s, "admin@t-two", "POST", "/api/leads", `{"email":"a@example.com"}`).want(200))["status"] != "new" {
		t.Error("another tenant has these rules")
	}
}

func TestTags_AddRemoveAndCount(t *testing.T) {
	s := newServer(t)
	id := makeLead(t, s, `{"email":"a@example.com","tags":["One"]}`)
	l := lead1(t, do(t, s, "admin", "POST", "/api/leads/"+id+"/tags", `{"tags":["ONE","Two"]}`).want(200))
	if fmt.Sprint(l["tags"]) != "[One Two]" {
		t.Errorf("tags %v", l["tags"])
	}
	l = lead1(t, do(t, s, "admin", "DELETE", "/api/leads/"+id+"/tags/one", "").want(200))
	if fmt.Sprint(l["tags"]) != "[Two]" {
		t.Errorf("tags %v", l["tags"])
	}
	if m := do(t, s, "guest", "GET", "/api/tags", "").want(200).json(); fmt.Sprint(m["tags"]) != "[map[leads:1 tag:two]]" {
		t.Errorf("tags %v", m)
	}
	do(t, s, "admin", "POST", "/api/leads/"+id+"/tags", `{"tags":[]}`).problem(422, "validation_failed")
	do(t, s, "admin", "POST", "/api/leads/nobody/tags", `{"tags":["a"]}`).problem(404, "not_found")
	do(t, s, "guest", "POST", "/api/leads/"+id+"/tags", `{"tags":["a"]}`).problem(403, "forbidden")
}

func TestNotes_KeepTheirHistory(t *testing.T) {
	s := newServer(t)
	id := makeLead(t, s, `{"email":"a@example.com","notes":"first\nline"}`)
	n := do(t, s, "salesperson", "POST", "/api/leads/"+id+"/notes", `{"body":"called"}`).want(200).json()
	if n["body"] != "called" || n["author"].(map[string]any)["id"] != "u-salesperson" {
		t.Errorf("note %v", n)
	}
	path := "/api/leads/" + id + "/notes/" + n["id"].(string)
	do(t, s, "salesperson", "PUT", path, `{"body":"called twice"}`, "If-Match", `"7"`).problem(412, "stale")
	do(t, s, "salesperson", "PUT", path, `{"body":"called twice"}`).want(200)
	do(t, s, "salesperson", "PUT", path, `{"body":"  "}`).problem(422, "validation_failed")
	if m := do(t, s, "guest", "GET", "/api/leads/"+id+"/notes?limit=1", "").want(200).json(); len(m["notes"].([]any)) != 1 || m["next_cursor"] == nil || m["notes"].([]any)[0].(map[string]any)["body"] != "called twice" {
		t.Errorf("notes %v", m)
	}
	do(t, s, "salesperson", "DELETE", path, "").want(200)
	do(t, s, "salesperson", "DELETE", path, "").problem(404, "not_found")
	m := do(t, s, "guest", "GET", "/api/leads/"+id+"/notes", "").want(200).json()
	if l := m["notes"].([]any); len(l) != 2 || l[0].(map[string]any)["deleted"] != true || l[0].(map[string]any)["body"] != "" || l[1].(map[string]any)["body"] != "first\nline" {
		t.Errorf("notes %v", m)
	}
	do(t, s, "guest", "POST", "/api/leads/"+id+"/notes", `{"body":"x"}`).problem(403, "forbidden")
	do(t, s, "admin@t-two", "GET", "/api/leads/"+id+"/notes", "").problem(404, "not_found")
}

func TestTimeline_TellsWhatHappenedNewestFirst(t *testing.T) {
	s := newServer(t)
	id := makeLead(t, s, `{"email":"a@example.com"}`)
	do(t, s, "admin", "PUT", "/api/leads/"+id, `{"status":"qualified","tags":["x"]}`).want(200)
	do(t, s, "admin", "PUT", "/api/leads/"+id, `{"status":"qualified"}`).want(200)
	do(t, s, "admin", "POST", "/api/leads/"+id+"/score", `{"points":40,"reason":"asked for a price"}`).want(200)
	do(t, s, "admin", "POST", "/api/leads/"+id+"/score", `{"points":-10,"reason":"silent"}`).want(200)
	var types []string
	next := ""
	for range 10 {
		m := do(t, s, "guest", "GET", "/api/leads/"+id+"/timeline?limit=2"+next, "").want(200).json()
		for _, e := range m["events"].([]any) {
			types = append(types, e.(map[string]any)["type"].(string))
		}
		if m["next_cursor"] == nil {
			break
		}
		next = "&cursor=" + m["next_cursor"].(string)
	}
	if got := strings.Join(types, " "); got != "score.changed score.changed lead.tagged lead.status_changed lead.updated lead.created" {
		t.Errorf("timeline: %s", got)
	}
	m := do(t, s, "guest", "GET", "/api/leads/"+id+"/timeline?types=lead.status_changed", "").want(200).json()
	if e := m["events"].([]any); len(e) != 1 || fmt.Sprint(e[0].(map[string]any)["changes"]) != "map[status:map[from:new to:qualified]]" {
		t.Errorf("filtered: %v", m)
	}
	m = do(t, s, "guest", "GET", "/api/leads/"+id+"/score", "").want(200).json()
	if m["score"] != 30.0 || len(m["ledger"].([]any)) != 2 {
		t.Errorf("score %v", m)
	}
	do(t, s, "admin", "POST", "/api/leads/"+id+"/score", `{"points":1,"reason":""}`).problem(422, "validation_failed")
	do(t, s, "guest", "POST", "/api/leads/"+id+"/score", `{"points":1,"reason":"x"}`).problem(403, "forbidden")
	do(t, s, "guest@t-two", "GET", "/api/leads/"+id+"/timeline", "").problem(404, "not_found")
}

func TestTasks_CreateChangeList(t *testing.T) {
	s := newServer(t)
	id := makeLead(t, s, `{"email":"a@example.com"}`)
	r := do(t, s, "salesperson", "POST", "/api/leads/"+id+"/tasks", `{"title":" Call ","due":"2020-03-31"}`).want(200)
	task := r.json()
	if task["title"] != "Call" || task["due"] != "2020-03-31" || task["overdue"] != true || task["status"] != "open" || task["lead_id"] != id {
		t.Errorf("task %v", task)
	}
	path := "/api/tasks/" + task["id"].(string)
	got := do(t, s, "salesperson", "PATCH", path, `{"title":"","owner_id":"u-none"}`).problem(422, "validation_failed")
	if got["title"] != "required" || got["owner_id"] != "unknown_user" {
		t.Errorf("fields %v", got)
	}
	do(t, s, "salesperson", "PATCH", path, `{"status":"lost"}`).problem(422, "validation_failed")
	do(t, s, "salesperson", "PATCH", path, `{"due":"soon"}`).problem(422, "validation_failed")
	m := do(t, s, "salesperson", "PATCH", path, `{"status":"done","due":null}`).want(200).json()
	if m["status"] != "done" || m["done_at"] == nil || m["due"] != nil || m["version"] != 2.0 {
		t.Errorf("task %v", m)
	}
	do(t, s, "salesperson", "POST", "/api/tasks", `{"title":"Sweep"}`).want(200)
	for q, want := range map[string]int{"/api/tasks": 2, "/api/tasks?status=open": 1, "/api/tasks?owner=me": 0, "/api/leads/" + id + "/tasks": 1} {
		if n := len(do(t, s, "guest", "GET", q, "").want(200).json()["tasks"].([]any)); n != want {
			t.Errorf("%s: %d tasks, want %d", q, n, want)
		}
	}
	do(t, s, "guest", "POST", "/api/tasks", `{"title":"x"}`).problem(403, "forbidden")
	do(t, s, "salesperson", "POST", "/api/tasks", `{"title":"x","lead_id":"nobody"}`).problem(404, "not_found")
	do(t, s, "admin@t-two", "GET", path, "").problem(404, "not_found")
}

func TestBulk_DecidesEachRowAlone(t *testing.T) {
	s := newServer(t)
	m := do(t, s, "admin", "POST", "/api/leads/bulk", `{"leads":[{"email":"a@example.com","first_name":"A"},{"email":"bad"},{"email":"A@example.com","last_name":"B"},7,{"email":"c@example.com"}]}`).want(200).json()
	if m["status"] != "partial" || m["processed"] != 5.0 || len(m["lead_ids"].([]any)) != 3 || fmt.Sprint(m["outcomes"]) != "map[created:2 invalid:2 updated:1]" {
		t.Errorf("reply %v", m)
	}
	rows := m["results"].([]any)
	bad := rows[1].(map[string]any)["errors"].([]any)[0].(map[string]any)
	if bad["path"] != "leads[1].email" || bad["code"] != "not_an_address" || rows[3].(map[string]any)["errors"].([]any)[0].(map[string]any)["path"] != "leads[3]" {
		t.Errorf("rows %v", rows)
	}
	if rows[0].(map[string]any)["id"] != rows[2].(map[string]any)["id"] {
		t.Error("two rows of one person made two leads")
	}
	l := do(t, s, "admin", "GET", "/api/leads", "").json()
	if l["total"] != 2.0 || len(l["leads"].([]any)) != 2 {
		t.Errorf("list %v", l)
	}
	do(t, s, "admin", "POST", "/api/leads/bulk", `{"leads":[]}`).problem(422, "validation_failed")
	do(t, s, "admin", "POST", "/api/leads/bulk", `{"leads":"x"}`).problem(422, "validation_failed")
	do(t, s, "guest", "POST", "/api/leads/bulk", `{"leads":[{}]}`).problem(403, "forbidden")
	var b strings.Builder
	for i := range 450 {
		fmt.Fprintf(&b, `,{"email":"n%d@example.com"}`, i)
	}
	body := `{"leads":[` + b.String()[1:] + `]}`
	one := do(t, s, "admin", "POST", "/api/leads/bulk", body, "Idempotency-Key", "b").want(200)
	two := do(t, s, "admin", "POST", "/api/leads/bulk", body, "Idempotency-Key", "b").want(200)
	if fmt.Sprint(one.json()["lead_ids"]) != fmt.Sprint(two.json()["lead_ids"]) || one.json()["status"] != "success" {
		t.Error("a repeated bulk gave other leads")
	}
	if n := do(t, s, "admin", "GET", "/api/leads", "").json()["total"]; n != 452.0 {
		t.Errorf("total %v", n)
	}
	do(t, s, "admin", "GET", "/api/bulks/none", "").problem(404, "not_found")
}

func TestDeduplicate_FindsAndMergesExactOnes(t *testing.T) {
	s := newServer(t)
	a := makeLead(t, s, `{"email":"a@example.com","phone":"+49 170 1234567","first_name":"Ada","notes":"n1"}`)
	b := makeLead(t, s, `{"email":"b@example.com","phone":"0049 1701234567","last_name":"L","tags":["x"]}`)
	do(t, s, "admin", "POST", "/api/leads/"+b+"/notes", `{"body":"of b"}`).want(200)
	do(t, s, "admin", "POST", "/api/leads/"+b+"/score", `{"points":5,"reason":"r"}`).want(200)
	makeLead(t, s, `{"email":"c@example.com"}`)
	do(t, s, "admin", "POST", "/api/leads/deduplicate", `{"strategy":"fuzzy"}`).problem(422, "validation_failed")
	do(t, s, "guest", "POST", "/api/leads/deduplicate", `{"strategy":"phone"}`).problem(403, "forbidden")
	m := do(t, s, "admin", "POST", "/api/leads/deduplicate", `{"strategy":"phone"}`).want(200).json()
	if m["dry_run"] != true || m["duplicates_found"] != 1.0 || m["merged_leads"] != 0.0 || m["unique_count"] != 2.0 {
		t.Errorf("dry run %v", m)
	}
	if n := do(t, s, "admin", "GET", "/api/leads", "").json()["total"]; n != 3.0 {
		t.Errorf("a dry run merged: total %v", n)
	}
	m = do(t, s, "admin", "POST", "/api/leads/deduplicate", `{"strategy":"phone","dry_run":false}`).want(200).json()
	if m["merged_leads"] != 1.0 {
		t.Errorf("merge %v", m)
	}
	s.Client().CheckRedirect = noRedirect
	r := do(t, s, "admin", "GET", "/api/leads/"+b, "").want(308)
	if r.Header.Get("Location") != "/api/leads/"+a {
		t.Errorf("location %q", r.Header.Get("Location"))
	}
	l := do(t, s, "admin", "GET", "/api/leads/"+a, "").want(200).json()
	if l["last_name"] != "L" || l["email"] != "a@example.com" || l["score"] != 5.0 || fmt.Sprint(l["tags"]) != "[x]" {
		t.Errorf("survivor %v", l)
	}
	if n := len(do(t, s, "admin", "GET", "/api/leads/"+a+"/notes", "").json()["notes"].([]any)); n != 2 {
		t.Errorf("%d notes, want both leads'", n)
	}
	if got := do(t, s, "admin", "GET", "/api/leads/"+a+"/timeline", "").Body; !strings.Contains(got, "lead.merged") || !strings.Contains(got, "of b") {
		t.Errorf("timeline lacks the merged lead's past: %s", got)
	}
	r = do(t, s, "admin", "PUT", "/api/leads/"+b, `{"company":"C"}`).want(200)
	if r.json()["id"] != a || r.json()["redirected_from"] != b {
		t.Errorf("an update of the merged id: %s", r.Body)
	}
	r = do(t, s, "admin", "POST", "/api/leads", `{"email":"b@example.com","source":"again"}`).want(200)
	if r.json()["id"] != a {
		t.Errorf("the merged lead's e-mail recognises nobody: %s", r.Body)
	}
	m = do(t, s, "guest", "POST", "/api/dedup", `{"leads":[{"email":"x@example.com"},{"email":"X@example.com"},{"email":"info@example.com"},{"email":"info@example.com"}],"strategy":"email"}`).want(200).json()
	if m["unique_count"] != 3.0 || m["duplicates_found"] != 1.0 || len(m["unique_leads"].([]any)) != 3 {
		t.Errorf("posted list %v", m)
	}
	do(t, s, "guest", "GET", "/api/dedup/config", "").want(200)
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
