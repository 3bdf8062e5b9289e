package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/lead"
	"leadloom/internal/store"
)

// keysOf are a JSON object's keys in order.
func keysOf(m map[string]any) string { return strings.Join(slices.Sorted(maps.Keys(m)), " ") }

// dump is every row of every table but those that change by themselves, as text.
func dump(t *testing.T, st *store.Store) map[string]string {
	t.Helper()
	ctx := context.Background()
	query := func(sql string) (out [][]any) {
		if db := st.SQLite(); db != nil {
			rows, err := db.QueryContext(ctx, sql)
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			columns, _ := rows.Columns()
			for rows.Next() {
				values, into := make([]any, len(columns)), make([]any, len(columns))
				for i := range values {
					into[i] = &values[i]
				}
				if err := rows.Scan(into...); err != nil {
					t.Fatal(err)
				}
				out = append(out, values)
			}
			return out
		}
		rows, err := st.Postgres().Query(ctx, sql)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			values, err := rows.Values()
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, values)
		}
		return out
	}
	tables := "SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite_%'"
	if st.SQLite() == nil {
		tables = "SELECT table_name::text FROM information_schema.tables WHERE table_schema = current_schema()"
	}
	out := map[string]string{}
	for _, row := range query(tables) {
		name := fmt.Sprint(row[0])
		var lines []string
		for _, r := range query("SELECT * FROM " + name) {
			lines = append(lines, fmt.Sprint(r...))
		}
		slices.Sort(lines)
		out[name] = strings.Join(lines, "\n")
	}
	if len(out) < 20 {
		t.Fatalf("only %d tables were found", len(out))
	}
	return out
}

// countingQueue notes the jobs that commit.
type countingQueue struct {
	noQueue
	mu   sync.Mutex
	jobs []string
}

func (q *countingQueue) InsertTx(_ context.Context, _ any, jobs []river.InsertManyParams) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, j := range jobs {
		q.jobs = append(q.jobs, j.Args.Kind())
	}
	return nil
}

// TestLeads_OldClientsSeeTheirShapes: the replies have exactly the keys that the contract names, and new ones that it
// allows.
func TestLeads_OldClientsSeeTheirShapes(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		unset := `{"first_name":"Ada","last_name":null,"email":"ada@example.com","phone":null,"company":null,"source":null,"status":null,"custom_fields":null,"notes":null,"tags":null,"owner_id":null}`
		r := do(t, s, "admin", "POST", "/api/leads", unset).want(200)
		m := r.json()
		if keysOf(m) != "crm_id data id message outcome status timestamp" || m["status"] != "success" || m["outcome"] != "created" || m["crm_id"] != nil {
			t.Errorf("create: %s", r.Body)
		}
		id := m["id"].(string)
		const shape = "company created_at crm custom_fields email first_name id last_name owner_id phone score source status tags updated_at version"
		if l := lead1(t, r); keysOf(l) != shape || l["id"] != id {
			t.Errorf("lead: %s\nwant %s", keysOf(l), shape)
		}
		r = do(t, s, "admin", "PUT", "/api/leads/"+id, unset).want(200)
		if m := r.json(); keysOf(m) != "crm_id data id message outcome status timestamp" || m["status"] != "updated" || m["id"] != id || lead1(t, r)["version"] != 1.0 {
			t.Errorf("PUT with every unset field null: %s", r.Body)
		}
		m = do(t, s, "admin", "PUT", "/api/leads/"+id+"/debug", `{"company":"C"}`).want(200).json()
		if m["valid"] != true || fmt.Sprint(m["errors"]) != "[]" || fmt.Sprint(m["changes"]) != "map[company:map[from:<nil> to:C]]" {
			t.Errorf("debug: %v", m)
		}
		m = do(t, s, "admin", "GET", "/api/leads", "").want(200).json()
		if keysOf(m) != "leads limit next_cursor skip total" || m["total"] != 1.0 || m["skip"] != 0.0 || m["limit"] != 50.0 || m["next_cursor"] != nil {
			t.Errorf("list: %v", m)
		}
		if l := m["leads"].([]any)[0].(map[string]any); keysOf(l) != shape {
			t.Errorf("listed lead: %s", keysOf(l))
		}
		m = do(t, s, "admin", "POST", "/api/leads/bulk", `{"leads":[{"email":"b@example.com"},{"email":"bad"}]}`).want(200).json()
		for _, k := range []string{"status", "processed", "lead_ids", "results"} {
			if _, ok := m[k]; !ok {
				t.Errorf("bulk lacks %s: %v", k, m)
			}
		}
		row := m["results"].([]any)[0].(map[string]any)
		if keysOf(row) != "errors id index outcome" || fmt.Sprint(row["errors"]) != "[]" {
			t.Errorf("bulk row: %v", row)
		}
		for _, path := range []string{"/api/leads/deduplicate", "/api/dedup"} {
			m = do(t, s, "admin", "POST", path, `{"leads":[{"email":"a@example.com"},{"email":"A@example.com"}],"strategy":"email"}`).want(200).json()
			for _, k := range []string{"status", "unique_count", "duplicates_found", "merged_leads", "unique_leads", "groups"} {
				if _, ok := m[k]; !ok {
					t.Errorf("%s lacks %s: %v", path, k, m)
				}
			}
			if m["unique_count"] != 1.0 || m["duplicates_found"] != 1.0 {
				t.Errorf("%s: %v", path, m)
			}
		}
		m = do(t, s, "admin", "DELETE", "/api/leads/"+id, "").want(200).json()
		if keysOf(m) != "lead_id status" || m["status"] != "deleted" || m["lead_id"] != id {
			t.Errorf("delete: %v", m)
		}
	})
}

func TestLeads_ShowTheirIDInTheCRM(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","api_url":"https://crm.example.com","api_key":"planted"}`).want(200)
		con := do(t, s, "admin", "GET", "/api/connections", "").json()["connections"].([]any)[0].(map[string]any)["id"].(string)
		id := makeLead(t, s, `{"email":"a@example.com"}`)
		err := s.st.Write(context.Background(), func(tx *store.Tx) error {
			return tx.SaveLinks(account.SystemScope("t-one", "test"), crm.ConnectionID(con), []*crm.Link{{LeadID: lead.ID(id), RemoteID: "r-1", SyncedVersion: 1, SyncedAt: tx.Now()}})
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range []*reply{do(t, s, "admin", "PUT", "/api/leads/"+id, `{"company":"C"}`), do(t, s, "admin", "POST", "/api/leads", `{"email":"a@example.com"}`)} {
			if r.want(200).json()["crm_id"] != "r-1" || lead1(t, r)["crm"].(map[string]any)[con].(map[string]any)["remote_id"] != "r-1" {
				t.Errorf("reply %s", r.Body)
			}
		}
	})
}

// TestLeads_RehearsalsAndRefusalsWriteNothing compares every table and the jobs before and after.
func TestLeads_RehearsalsAndRefusalsWriteNothing(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		q := &countingQueue{}
		s.st.SetInserter(q)
		do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","api_url":"https://crm.example.com","api_key":"planted"}`).want(200)
		do(t, s, "admin", "POST", "/api/workflows", `{"name":"Tag","triggers":[{"id":"t1","type":"lead.created"},{"id":"t2","type":"lead.updated","fields":["*"]}],"start":"tag","nodes":{"tag":{"type":"action.add_tag","config":{"tag":"x"},"next":"end"}}}`).want(200)
		id := makeLead(t, s, `{"email":"a@example.com","phone":"+49 170 1234567","custom_fields":{"known":1}}`)
		other := makeLead(t, s, `{"email":"b@example.com","phone":"+49 170 1234567","notes":"n"}`)
		if len(q.jobs) == 0 {
			t.Fatal("leads start no jobs here: the comparison would prove nothing")
		}
		before, jobs := dump(t, s.st), len(q.jobs)
		body := `{"email":"a@example.com","first_name":"Eve","notes":"new","tags":["t"],"status":"qualified","custom_fields":{"fresh":1,"other":"x"}}`
		for _, c := range []struct{ method, path, body string }{
			{"POST", "/api/leads?dry_run=true", body}, {"POST", "/api/leads?dry_run=true", strings.Replace(body, "a@", "new@", 1)}, {"PUT", "/api/leads/" + id + "?dry_run=true", body},
			{"PUT", "/api/leads/" + id + "/debug", body}, {"PATCH", "/api/leads/" + id + "?dry_run=true", body}, {"POST", "/api/leads/" + id + "/merge?dry_run=true", `{"lead_ids":["` + other + `"]}`},
			{"POST", "/api/leads/deduplicate", `{"strategy":"phone"}`}, {"POST", "/api/leads/deduplicate", `{"strategy":"phone","dry_run":true}`}, {"POST", "/api/dedup", `{"leads":[` + body + `]}`},
		} {
			do(t, s, "admin", c.method, c.path, c.body).want(200)
		}
		for _, c := range []struct {
			method, path, body string
			status             int
		}{
			{"POST", "/api/leads", `{"email":"new@example.com","status":"x","custom_fields":{"fresh":1}}`, 422}, {"PUT", "/api/leads/" + id, `{"first_name":"Eve","email":"b@example.com","custom_fields":{"fresh":1}}`, 409},
			{"PUT", "/api/leads/" + id, `{"first_name":"Eve","owner_id":"u-none"}`, 422}, {"PATCH", "/api/leads/" + id, `{"first_name":"Eve","timezone":"Mars"}`, 422},
			{"PUT", "/api/leads/" + id, `{"first_name":"Eve"`, 400}, {"POST", "/api/leads/" + id + "/merge", `{"lead_ids":["` + other + `","nobody"]}`, 422},
			{"POST", "/api/leads/" + id + "/tags", `{"tags":["ok",""]}`, 422}, {"POST", "/api/leads/" + id + "/notes", `{"body":""}`, 422}, {"POST", "/api/leads/" + id + "/score", `{"points":0,"reason":"x"}`, 422},
			{"POST", "/api/leads/" + id + "/score", `{"points":-9223372036854775808,"reason":"x"}`, 422}, {"POST", "/api/leads/" + id + "/score", `{"points":9223372036854775807,"reason":"x"}`, 422},
		} {
			if r := do(t, s, "admin", c.method, c.path, c.body); r.Status != c.status {
				t.Errorf("%s %s %s: %d, want %d\n%s", c.method, c.path, c.body, r.Status, c.status, r.Body)
			}
		}
		after := dump(t, s.st)
		for table := range before {
			if before[table] != after[table] {
				t.Errorf("%s changed:\n%s\n->\n%s", table, before[table], after[table])
			}
		}
		if len(q.jobs) != jobs {
			t.Errorf("jobs were queued: %v", q.jobs[jobs:])
		}
	})
}

// TestLeads_ARehearsalLeavesNoRules: definitions that a rehearsal would make must not be checked against later, under
// the version that the next change of the rules gets.
func TestLeads_ARehearsalLeavesNoRules(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		do(t, s, "admin", "POST", "/api/fields", `{"key":"gone","type":"text"}`).want(200)
		id := makeLead(t, s, `{"email":"a@example.com"}`)
		do(t, s, "admin", "POST", "/api/leads?dry_run=true", `{"email":"b@example.com","custom_fields":{"aaa":1,"bbb":2}}`).want(200)
		do(t, s, "admin", "DELETE", "/api/fields/gone", "").want(200)
		l := lead1(t, do(t, s, "admin", "PUT", "/api/leads/"+id, `{"custom_fields":{"aaa":"a text"}}`).want(200))
		if fmt.Sprint(l["custom_fields"]) != "map[aaa:a text]" {
			t.Errorf("custom fields %v", l["custom_fields"])
		}
		do(t, s, "admin", "GET", "/api/fields/bbb", "").problem(404, "not_found")
	})
}

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

// noFindings runs every check of the database's invariants.
func noFindings(t *testing.T, s *testServer) {
	t.Helper()
	in := account.NewInstance("test")
	for _, name := range store.Checks() {
		if name == "runs_move" || strings.HasPrefix(name, "event_chain") { // there is no queue here, and nothing is sealed
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
