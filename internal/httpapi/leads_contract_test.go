package httpapi

import (
	"context"
	"fmt"
	"maps"
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
