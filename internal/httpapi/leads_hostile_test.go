package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// TestLeads_HostileTextsNeverBreakTheServer puts what databases choke on into every text of every route.
func TestLeads_HostileTextsNeverBreakTheServer(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		id := makeLead(t, s, `{"email":"a@example.com","notes":"n"}`)
		note := do(t, s, "admin", "POST", "/api/leads/"+id+"/notes", `{"body":"n"}`).want(200).json()["id"].(string)
		task := do(t, s, "admin", "POST", "/api/tasks", `{"title":"t"}`).want(200).json()["id"].(string)
		bodies := map[string][]string{
			"POST /api/leads": nil, "PUT /api/leads/" + id: nil, "PATCH /api/leads/" + id: nil, "PUT /api/leads/" + id + "/debug": nil,
			"POST /api/leads/" + id + "/notes": {`{"body":%s}`}, "PUT /api/leads/" + id + "/notes/" + note: {`{"body":%s}`}, "POST /api/leads/" + id + "/tags": {`{"tags":[%s]}`},
			"POST /api/tasks": {`{"title":%s}`, `{"title":"t","body":%s}`, `{"title":"t","owner_id":%s}`, `{"title":"t","due":%s}`}, "PATCH /api/tasks/" + task: {`{"title":%s}`, `{"owner_id":%s}`, `{"status":%s}`, `{"due":%s}`},
			"POST /api/leads/" + id + "/score": {`{"points":1,"reason":%s}`}, "POST /api/fields": {`{"key":%s,"type":"text"}`, `{"key":"k","type":"choice","choices":[%s]}`, `{"key":"k2","type":"text","label":%s}`, `{"key":"k3","type":"json","default":%s}`},
			"PUT /api/leads/rules":        {`{"statuses":[%s],"identity":["email"]}`, `{"statuses":["new"],"identity":[],"role_names":[%s]}`, `{"statuses":["new"],"identity":[],"required":[%s]}`, `{"statuses":["new"],"identity":[],"region":%s}`},
			"POST /api/leads/deduplicate": {`{"strategy":%s}`, `{"leads":[%s]}`}, "POST /api/leads/bulk": {`{"leads":[%s]}`, `{"leads":[{"email":%s},{"external_id":%s}]}`},
		}
		for _, f := range []string{"external_id", "first_name", "email", "phone", "company", "source", "status", "owner_id", "notes", "timezone", "language"} {
			for _, route := range []string{"POST /api/leads", "PUT /api/leads/" + id, "PATCH /api/leads/" + id, "PUT /api/leads/" + id + "/debug"} {
				bodies[route] = append(bodies[route], `{"`+f+`":%s}`)
			}
		}
		for _, f := range []string{`{"tags":[%s]}`, `{"tags_remove":[%s]}`, `{"custom_fields":{"k":%s}}`, `{"custom_fields":{"j":{"x":%s}}}`, `{"custom_fields":{%s:1}}`, `{%s:1}`} {
			bodies["PUT /api/leads/"+id] = append(bodies["PUT /api/leads/"+id], f)
		}
		texts := []string{`"\u0000"`, `"a\u0000b"`, `"\ud800"`, "\"\xff\"", `"\u001f"`, `"\u2028"`, `"' OR 1=1 --"`, `"<script>alert(1)</script>"`, `"{{ x }}"`, `"\u202egnp.exe"`, `"%"`, `"` + strings.Repeat("é", 20_000) + `"`, `1e999`, `-1`, `[[]]`, `{"a":null}`, `true`}
		for route, shapes := range bodies {
			method, path, _ := strings.Cut(route, " ")
			for _, shape := range shapes {
				for _, text := range texts {
					r := do(t, s, "admin", method, path, strings.ReplaceAll(shape, "%s", text))
					if r.Status >= 500 || r.Status != 200 && r.Header.Get("Content-Type") != "application/problem+json" {
						t.Errorf("%s %.60s with %.20q: %d %s", route, shape, text, r.Status, r.Body)
					}
				}
			}
		}
		do(t, s, "admin", "GET", "/api/leads?limit=500", "").want(200)
		do(t, s, "admin", "GET", "/api/leads/"+id, "").want(200)
		noFindings(t, s)
	})
}

func TestBulk_RefusesABodyThatIsNoText(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		rows := strings.Repeat(`{"first_name":"a"},`, 1200)
		do(t, s, "admin", "POST", "/api/leads/bulk", `{"leads":[`+rows+"{\"first_name\":\"\xff\"}]}").problem(400, "invalid_utf8")
		m := do(t, s, "admin", "POST", "/api/leads/bulk", `{"leads":[`+rows+`{"first_name":"\u0000"}]}`).want(200).json()
		if m["status"] != "queued" || m["total"] != 1201.0 || m["status_url"] != "/api/bulks/"+m["job_id"].(string) || len(m["lead_ids"].([]any)) != 0 {
			t.Errorf("reply %v", m)
		}
		if m := do(t, s, "admin", "GET", m["status_url"].(string), "").want(200).json(); m["status"] != "queued" || m["processed"] != 0.0 || m["total"] != 1201.0 {
			t.Errorf("status %v", m)
		}
		do(t, s, "admin@t-two", "GET", m["status_url"].(string), "").problem(404, "not_found")
	})
}

// TestLeads_EveryColumnNameIsRefusedOrIgnored posts each column of the leads' table to each route that writes one.
func TestLeads_EveryColumnNameIsRefusedOrIgnored(t *testing.T) {
	s := newServer(t)
	rows, err := s.st.SQLite().Query("SELECT name FROM pragma_table_info('leads')")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	settable := []string{"external_id", "first_name", "last_name", "email", "phone", "company", "source", "status", "owner_id", "tags", "custom_fields", "notes", "timezone", "language"}
	body := map[string]any{"email": "a@example.com", "crm": 1, "crm_id": 1, "lead_id": "x", "role": "admin", "permissions": []string{"*"}}
	n := 0
	for rows.Next() {
		var name string
		if err := rows.Scan(&name); err != nil {
			t.Fatal(err)
		}
		if n++; !slices.Contains(settable, name) {
			body[name] = "7"
		}
	}
	if n < 20 {
		t.Fatalf("%d columns", n)
	}
	text, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	id := makeLead(t, s, string(text))
	for _, route := range []string{"PUT /api/leads/" + id, "PATCH /api/leads/" + id, "POST /api/leads"} {
		method, path, _ := strings.Cut(route, " ")
		r := do(t, s, "admin", method, path, string(text)).want(200)
		if l := lead1(t, r); l["id"] != id || l["version"] != 1.0 || l["score"] != 0.0 || l["phone_e164"] != nil || strings.HasPrefix(l["created_at"].(string), "7") {
			t.Errorf("%s set a column: %v", route, l)
		}
		if w := r.json()["warnings"].([]any); len(w) != len(body)-1 {
			t.Errorf("%s: %d warnings for %d keys: %v", route, len(w), len(body)-1, w)
		}
	}
	for _, path := range []string{"/api/leads/" + id + "/notes", "/api/tasks", "/api/leads/" + id + "/tags", "/api/fields", "/api/leads/" + id + "/score", "/api/leads/" + id + "/merge"} {
		if r := do(t, s, "admin", "POST", path, string(text)); r.Status != 422 {
			t.Errorf("%s took foreign keys: %d %s", path, r.Status, r.Body)
		}
	}
	do(t, s, "admin@t-two", "GET", "/api/leads/"+id, "").problem(404, "not_found")
}

func TestListLeads_RefusesWhatItCannotDo(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		for i := range 5 {
			makeLead(t, s, fmt.Sprintf(`{"email":"p%d@münchen.de","phone":"+49 170 123450%d"}`, i, i))
		}
		for query, want := range map[string]string{
			"limit=0": "limit:out_of_range", "limit=501": "limit:out_of_range", "limit=x": "limit:wrong_type", "limit=1.5": "limit:wrong_type", "limit=99999999999999999999": "limit:wrong_type", "skip=-1": "skip:out_of_range",
			"skip=10001": "skip:out_of_range", "skip=x": "skip:wrong_type", "sort=first_name": "sort:unknown_sort", "sort=--score": "sort:unknown_sort", "segment=s-1": "segment:not_yet_available", "count=all": "count:not_allowed",
			"cursor=zz": "cursor:bad_cursor", "cursor=" + strings.Repeat("A", 60): "cursor:cursor_mismatch", "limit=0&skip=x": "limit:out_of_range skip:wrong_type", "q=" + strings.Repeat("x", 201): "q:wrong_length",
		} {
			r := do(t, s, "guest", "GET", "/api/leads?"+query, "")
			var got []string
			for path, code := range r.problem(422, "validation_failed") {
				got = append(got, path+":"+code)
			}
			if slices.Sort(got); strings.Join(got, " ") != want {
				t.Errorf("%.40s: %v, want %s\n%s", query, got, want, r.Body)
			}
		}
		next := do(t, s, "guest", "GET", "/api/leads?limit=2", "").json()["next_cursor"].(string)
		do(t, s, "guest", "GET", "/api/leads?limit=3&sort=-created_at&cursor="+next, "").want(200) // the same order, named
		for _, other := range []string{"status=new", "q=p1", "sort=created_at", "sort=score", "owner=u", "tag=x", "source=s", "email=p1@m.de"} {
			if got := do(t, s, "guest", "GET", "/api/leads?limit=2&"+other+"&cursor="+next, "").problem(422, "validation_failed"); got["cursor"] != "cursor_mismatch" {
				t.Errorf("%s with another list's cursor: %v", other, got)
			}
		}
		if got := do(t, s, "guest", "GET", "/api/leads?skip=1&cursor="+next, "").problem(422, "validation_failed"); got["skip"] != "with_cursor" {
			t.Errorf("skip and cursor: %v", got)
		}
		if m := do(t, s, "guest", "GET", "/api/leads?count=none&limit=1", "").json(); m["total"] != -1.0 || len(m["leads"].([]any)) != 1 {
			t.Errorf("count=none: %v", m)
		}
		for query, want := range map[string]float64{"email=P3@MÜNCHEN.de": 1, "email=p3@xn--mnchen-3ya.de": 1, "q=p3@münchen.de": 1, "q=0170/1234503": 1, "q=%2B49+170+12345": 5, "q=170+1234502": 1, "email=nobody@x.de": 0, "status=NEW": 5, "status=nonsense": 0} {
			if m := do(t, s, "guest", "GET", "/api/leads?"+query, "").want(200).json(); m["total"] != want {
				t.Errorf("%s: total %v, want %v", query, m["total"], want)
			}
		}
	})
}

func TestLeads_TakeOnlyJSON(t *testing.T) {
	s := newServer(t)
	id := makeLead(t, s, `{"email":"a@example.com"}`)
	for _, route := range []string{"POST /api/leads", "PUT /api/leads/" + id, "PATCH /api/leads/" + id, "POST /api/leads/bulk", "POST /api/leads/" + id + "/notes"} {
		method, path, _ := strings.Cut(route, " ")
		do(t, s, "admin", method, path, `a=b`, "Content-Type", "text/csv").problem(http.StatusUnsupportedMediaType, "unsupported_media_type")
		do(t, s, "admin", method, path, `{"a":`).problem(400, "malformed")
		do(t, s, "admin", method, path, "").problem(400, "malformed")
	}
	if r := do(t, s, "admin", "PUT", "/api/leads/"+id, `{"status":"x"}`).want(422); r.json()["instance"] != "/api/leads/"+id {
		t.Errorf("instance: %s", r.Body)
	}
	do(t, s, "admin", "POST", "/api/leads", `{"email":"b@example.com","notes":"`+strings.Repeat("x", 1<<20)+`"}`).problem(413, "too_large")
	do(t, s, "admin", "PUT", "/api/leads/"+id, `{}`).want(200)
	do(t, s, "admin", "PUT", "/api/leads/"+id, `null`).problem(422, "validation_failed")
}
