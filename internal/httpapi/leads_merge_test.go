package httpapi

import (
	"fmt"
	"strings"
	"testing"
)

// TestLeads_StaleRepliesShowTheResource, also those of rehearsals.
func TestLeads_StaleRepliesShowTheResource(t *testing.T) {
	s := newServer(t)
	id := makeLead(t, s, `{"email":"a@example.com","first_name":"Ada"}`)
	note := do(t, s, "admin", "POST", "/api/leads/"+id+"/notes", `{"body":"n"}`).want(200).json()["id"].(string)
	task := do(t, s, "admin", "POST", "/api/tasks", `{"title":"t"}`).want(200).json()["id"].(string)
	do(t, s, "admin", "POST", "/api/fields", `{"key":"budget","type":"integer"}`).want(200)
	other := makeLead(t, s, `{"email":"b@example.com"}`)
	for path, c := range map[string][3]string{
		"PUT /api/leads/" + id:                       {`{"first_name":"Eve"}`, "first_name", "Ada"},
		"PATCH /api/leads/" + id:                     {`{"first_name":"Eve"}`, "first_name", "Ada"},
		"PUT /api/leads/" + id + "?dry_run=true":     {`{"first_name":"Eve"}`, "first_name", "Ada"},
		"PUT /api/leads/" + id + "/debug":            {`{"first_name":"Eve"}`, "first_name", "Ada"},
		"DELETE /api/leads/" + id:                    {``, "first_name", "Ada"},
		"POST /api/leads/" + id + "/tags":            {`{"tags":["x"]}`, "first_name", "Ada"},
		"POST /api/leads/" + id + "/merge":           {`{"lead_ids":["` + other + `"]}`, "first_name", "Ada"},
		"PUT /api/leads/" + id + "/notes/" + note:    {`{"body":"x"}`, "body", "n"},
		"DELETE /api/leads/" + id + "/notes/" + note: {``, "body", "n"},
		"PATCH /api/tasks/" + task:                   {`{"title":"x"}`, "title", "t"},
		"PUT /api/fields/budget":                     {`{"label":"x"}`, "key", "budget"},
	} {
		method, path, _ := strings.Cut(path, " ")
		r := do(t, s, "admin", method, path, c[0], "If-Match", `"77"`)
		r.problem(412, "stale")
		if current, _ := r.json()["current"].(map[string]any); current[c[1]] != c[2] {
			t.Errorf("%s %s: current %v, want %s=%s", method, path, current, c[1], c[2])
		}
		for _, weak := range []string{`W/"77"`, `"x"`, `""`, "junk"} {
			if r := do(t, s, "admin", method, path, c[0], "If-Match", weak); r.Status != 412 {
				t.Errorf("%s %s with If-Match %s: %d", method, path, weak, r.Status)
			}
		}
	}
	do(t, s, "admin", "PUT", "/api/leads/"+id, `{"first_name":"Eve"}`, "If-Match", `"9", "1"`).want(200)
	do(t, s, "admin", "PUT", "/api/leads/"+id, `{"first_name":"Ida"}`, "If-Match", `*`).want(200)
}

func TestMerge_JoinsWhatAPersonChose(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		s.Client().CheckRedirect = noRedirect
		a := makeLead(t, s, `{"email":"a@example.com","first_name":"Ada","tags":["one"]}`)
		b := makeLead(t, s, `{"email":"b@example.com","last_name":"L","company":"C","tags":["two"],"custom_fields":{"size":3}}`)
		c := makeLead(t, s, `{"external_id":"x-9","phone":"+49 170 1234567"}`)
		gone, foreign := makeLead(t, s, `{"email":"g@example.com"}`), do(t, s, "admin@t-two", "POST", "/api/leads", `{"email":"f@example.com"}`).json()["id"].(string)
		do(t, s, "admin", "DELETE", "/api/leads/"+gone, "").want(200)
		for _, id := range []string{a, b, c} {
			do(t, s, "admin", "POST", "/api/leads/"+id+"/score", `{"points":5,"reason":"r"}`).want(200)
			do(t, s, "admin", "POST", "/api/leads/"+id+"/notes", `{"body":"of it"}`).want(200)
			do(t, s, "admin", "POST", "/api/leads/"+id+"/tasks", `{"title":"Call"}`).want(200)
		}
		path := "/api/leads/" + a + "/merge"
		got := do(t, s, "admin", "POST", path, fmt.Sprintf(`{"lead_ids":[%q,%q,%q,%q,"nobody"]}`, b, a, gone, foreign)).problem(422, "validation_failed")
		if fmt.Sprint(got) != "map[lead_ids[1]:same_lead lead_ids[2]:deleted lead_ids[3]:unknown_lead lead_ids[4]:unknown_lead]" {
			t.Errorf("problems %v", got)
		}
		do(t, s, "admin", "POST", path, `{"lead_ids":[]}`).problem(422, "validation_failed")
		do(t, s, "admin", "POST", path, `{}`).problem(422, "validation_failed")
		do(t, s, "guest", "POST", path, `{"lead_ids":["`+b+`"]}`).problem(403, "forbidden")
		do(t, s, "admin@t-two", "POST", path, `{"lead_ids":["`+foreign+`"]}`).problem(404, "not_found")
		do(t, s, "admin", "GET", "/api/leads/"+b, "").want(200) // nothing of a half-wrong merge was done
		m := do(t, s, "admin", "POST", path+"?dry_run=true", `{"lead_ids":["`+b+`"]}`).want(200).json()
		if m["valid"] != true || fmt.Sprint(m["changes"].(map[string]any)["company"]) != "map[from:<nil> to:C]" {
			t.Errorf("rehearsal %v", m)
		}

		first := do(t, s, "admin", "POST", "/api/leads/"+b+"/merge", `{"lead_ids":["`+c+`"]}`, "Idempotency-Key", "m").want(200)
		again := do(t, s, "admin", "POST", "/api/leads/"+b+"/merge", `{"lead_ids":["`+c+`"]}`, "Idempotency-Key", "m").want(200)
		if fmt.Sprint(first.json()["merged_ids"]) != "["+c+"]" || again.Body != first.Body {
			t.Errorf("first %s\nagain %s", first.Body, again.Body)
		}
		l := lead1(t, do(t, s, "admin", "POST", path, `{"lead_ids":["`+c+`","`+b+`"]}`).want(200)) // c stands for b now
		if l["email"] != "a@example.com" || l["last_name"] != "L" || l["company"] != "C" || l["external_id"] != "x-9" || l["phone_e164"] != "+491701234567" || l["score"] != 15.0 ||
			fmt.Sprint(l["tags"]) != "[one two]" || fmt.Sprint(l["custom_fields"]) != "map[size:3]" {
			t.Errorf("survivor %v", l)
		}
		r := do(t, s, "admin", "POST", path, `{"lead_ids":["`+b+`"]}`).want(200)
		if r.json()["merged_ids"] != nil || lead1(t, r)["version"] != l["version"] {
			t.Errorf("a repeated merge did something: %s", r.Body)
		}
		for _, id := range []string{b, c} {
			if to := do(t, s, "admin", "GET", "/api/leads/"+id, "").want(308).Header.Get("Location"); to != "/api/leads/"+a {
				t.Errorf("%s leads to %s", id, to)
			}
			if m := do(t, s, "admin", "PUT", "/api/leads/"+id, `{"source":"s"}`).want(200).json(); m["id"] != a || m["redirected_from"] != id {
				t.Errorf("PUT of a merged id: %v", m)
			}
		}
		for _, body := range []string{`{"email":"b@example.com"}`, `{"external_id":"x-9"}`} {
			if m := do(t, s, "admin", "POST", "/api/leads", body).want(200).json(); m["id"] != a || m["outcome"] != "updated" {
				t.Errorf("%s recognises %v", body, m["id"])
			}
		}
		for what, want := range map[string]int{"notes": 3, "tasks": 3} {
			if n := len(do(t, s, "admin", "GET", "/api/leads/"+a+"/"+what, "").json()[what].([]any)); n != want {
				t.Errorf("%d %s, want %d", n, what, want)
			}
		}
		if n := len(do(t, s, "admin", "GET", "/api/leads/"+a+"/timeline?types=lead.created", "").json()["events"].([]any)); n != 3 {
			t.Errorf("the timeline tells of %d creations, want those of both merged leads too", n)
		}
		if m := do(t, s, "admin", "GET", "/api/leads", "").json(); m["total"] != 1.0 {
			t.Errorf("total %v", m["total"])
		}
		m = do(t, s, "admin", "DELETE", "/api/leads/"+c, "").want(200).json()
		if m["lead_id"] != a || m["redirected_from"] != c {
			t.Errorf("delete %v", m)
		}
		noFindings(t, s)
	})
}

func TestTimeline_FiltersByKindAndPages(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		id := makeLead(t, s, `{"email":"a@example.com","notes":"one"}`)
		for i := range 5 {
			do(t, s, "admin", "POST", "/api/leads/"+id+"/notes", fmt.Sprintf(`{"body":"n%d"}`, i)).want(200)
		}
		do(t, s, "admin", "POST", "/api/leads/"+id+"/tasks", `{"title":"Call"}`).want(200)
		do(t, s, "admin", "PUT", "/api/leads/"+id, `{"tags":["a"],"status":"working"}`).want(200)
		do(t, s, "admin", "PUT", "/api/leads/"+id, `{"tags":["b"]}`).want(200)
		for types, want := range map[string]int{"note.": 6, "note.added": 6, "task.": 1, "lead.": 7, "lead.tagged,lead.untagged": 3, "note.,+task.created": 7, "score.": 0, "": 14} {
			seen, next := map[string]bool{}, ""
			for range 20 {
				m := do(t, s, "guest", "GET", "/api/leads/"+id+"/timeline?limit=2&types="+types+next, "").want(200).json()
				for _, e := range m["events"].([]any) {
					event := e.(map[string]any)["id"].(string)
					if seen[event] {
						t.Errorf("%s came twice", event)
					}
					seen[event] = true
				}
				if m["next_cursor"] == nil {
					break
				}
				next = "&cursor=" + m["next_cursor"].(string)
			}
			if len(seen) != want {
				t.Errorf("types=%s: %d events, want %d", types, len(seen), want)
			}
		}
		for _, bad := range []string{"note", "lead.*", "a b.", "Lead.created"} {
			if got := do(t, s, "guest", "GET", "/api/leads/"+id+"/timeline?types="+strings.ReplaceAll(bad, " ", "+"), "").problem(422, "validation_failed"); got["types"] != "not_an_event_type" {
				t.Errorf("types=%s: %v", bad, got)
			}
		}
	})
}

func TestTasks_ReportAllProblemsAtOnce(t *testing.T) {
	s := newServer(t)
	id := do(t, s, "admin", "POST", "/api/tasks", `{"title":"t","due":"2030-01-01"}`).want(200).json()["id"].(string)
	for _, c := range []struct{ method, path, body string }{
		{"POST", "/api/tasks", `{"title":" ","due":"soon","owner_id":"u-none","body":"\u0000"}`}, {"PATCH", "/api/tasks/" + id, `{"title":" ","due":"soon","owner_id":"u-none","body":"\u0000"}`},
	} {
		if got := do(t, s, "admin", c.method, c.path, c.body).problem(422, "validation_failed"); fmt.Sprint(got) != "map[body:control_character due:not_a_time owner_id:unknown_user title:required]" {
			t.Errorf("%s: %v", c.method, got)
		}
	}
	for _, due := range []string{"0001-01-01", "1970-01-01", "0000-01-01T00:00:00Z"} {
		if got := do(t, s, "admin", "POST", "/api/tasks", `{"title":"t","due":"`+due+`"}`).problem(422, "validation_failed"); got["due"] != "out_of_range" {
			t.Errorf("due %s: %v", due, got)
		}
	}
	if m := do(t, s, "admin", "PATCH", "/api/tasks/"+id, `{"due":""}`).want(200).json(); m["due"] != nil {
		t.Errorf("an empty due time: %v", m)
	}
	do(t, s, "admin", "DELETE", "/api/tasks/"+id, "").problem(405, "method_not_allowed")
}
