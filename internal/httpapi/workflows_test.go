package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"

	"leadloom/internal/secret"
	"leadloom/internal/service"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// eachWorkflowServer runs f against a server on each engine. Jobs are taken and not worked.
func eachWorkflowServer(t *testing.T, f func(t *testing.T, s *testServer)) {
	t.Helper()
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		box := secret.NewBox(bytes.Repeat([]byte{7}, 32))
		svc := service.New(service.Deps{Store: st, Secrets: box})
		api := New(Deps{Services: svc, Secrets: box, Version: "test", Instance: st.InstanceID(), Authenticate: testCredentials})
		st.SetInserter(noQueue{})
		s := &testServer{httptest.NewServer(api.Handler()), api, svc, st}
		t.Cleanup(s.Close)
		f(t, s)
	})
}

const tagWorkflow = `{"name":"Tag","triggers":[{"id":"new","type":"lead.created","sources":["website"]}],"entry":{"reentry":"always"},"start":"tag","nodes":{"tag":{"type":"action.add_tag","config":{"tag":"x"},"next":"end"}},"layout":{"tag":[1,2]}}`

func makeWorkflow(t *testing.T, s *testServer, def string) string {
	t.Helper()
	r := do(t, s, "admin", "POST", "/api/workflows", def).want(200)
	id, _ := r.json()["id"].(string)
	if r.Header.Get("Location") != "/api/workflows/"+id || r.Header.Get("ETag") != `"1"` {
		t.Errorf("a created workflow needs Location and ETag: %v", r.Header)
	}
	return id
}

// has fails unless the reply has every key.
func (r *reply) has(keys ...string) map[string]any {
	r.t.Helper()
	m := r.want(200).json()
	for _, k := range keys {
		if _, ok := m[k]; !ok {
			r.t.Errorf("no %q in %s", k, r.Body)
		}
	}
	return m
}

// TestWorkflows_OldClients sends what existing clients send and reads what they read.
func TestWorkflows_OldClients(t *testing.T) {
	eachWorkflowServer(t, func(t *testing.T, s *testServer) {
		id := makeWorkflow(t, s, tagWorkflow)
		if never := do(t, s, "guest", "GET", "/api/workflows/"+id+"/status", "").has("last_run"); never["last_run"] != nil { // do compares with the document
			t.Errorf("the last run of a workflow that never ran: %v", never)
		}
		lead := do(t, s, "admin", "POST", "/api/leads", `{"email":"ada@example.com"}`).want(200).json()["id"].(string)
		shape := []string{"id", "workflow_id", "execution_id", "status", "message", "timestamp"}
		for _, c := range [][2]string{
			{"/api/workflows/trigger", `{"workflow_id":"` + id + `","lead_id":"` + lead + `"}`},
			{"/api/workflows/trigger", `{"workflow_id":"` + id + `","lead_data":{"first_name":"Ben","email":"ben@example.com","source":"website","nonsense":true},"custom_context":{"campaign":"spring","n":12345678901234567890},"priority":"high"}`},
			{"/api/workflows/trigger", `{"workflow_id":"` + id + `","lead_id":"` + lead + `","lead_data":null,"custom_context":null}`},
			{"/api/workflows/trigger", `{"workflow_id":"` + id + `","lead_id":null,"lead_data":{"email":"eve@example.com"}}`},
			{"/api/workflows", `{"workflow_id":"` + id + `","lead_id":null,"lead_data":{"email":"eve@example.com","first_name":null},"custom_context":null}`},
			{"/api/workflows", `{"workflow_id":"` + id + `","lead_id":"` + lead + `","lead_data":null}`},
			{"/api/workflows/" + id + "/execute", `{"lead_id":"` + lead + `"}`},
			{"/api/workflows/" + id + "/execute", `{"lead_data":{"email":"ada@example.com","company":"Engines"}}`},
		} {
			r := do(t, s, "admin", "POST", c[0], c[1])
			m := r.has(shape...)
			if m["status"] != "triggered" || m["workflow_id"] != id || m["id"] != m["execution_id"] || r.Header.Get("Location") != "/api/runs/"+m["id"].(string) {
				t.Errorf("POST %s %s: %s", c[0], c[1], r.Body)
			}
		}
		status := do(t, s, "guest", "GET", "/api/workflows/"+id+"/status", "").has("workflow_id", "status", "last_run", "counts", "execution_id")
		if status["status"] != "active" || status["counts"].(map[string]any)["running"] != 8.0 || status["counts"].(map[string]any)["parked"] != 0.0 {
			t.Errorf("status %v, want 8 running runs", status)
		}
		run := status["execution_id"].(string)
		if m := do(t, s, "guest", "GET", "/api/workflows/"+run+"/status", "").has("counts"); m["status"] != "running" || m["workflow_id"] != id || m["execution_id"] != run {
			t.Errorf("status by execution: %v", m)
		}
		list := do(t, s, "guest", "GET", "/api/workflows/"+id+"/runs?limit=3&status=running", "").has("runs", "next_cursor")
		if rows := list["runs"].([]any); len(rows) != 3 || rows[0].(map[string]any)["context"] != nil {
			t.Errorf("runs %v, want three without their variables", rows)
		}
		next := do(t, s, "guest", "GET", "/api/workflows/"+id+"/runs?limit=500&status=running&cursor="+list["next_cursor"].(string), "").has("runs")
		if n := len(next["runs"].([]any)); n != 5 {
			t.Errorf("the second page has %d runs, want 5", n)
		}
		if n := len(do(t, s, "guest", "GET", "/api/workflows/"+id+"/runs?limit=2&lead_id="+lead+"&status=finished", "").has("runs")["runs"].([]any)); n != 0 {
			t.Errorf("%d finished runs of the lead", n)
		}
		var big string
		for _, r := range append(list["runs"].([]any), next["runs"].([]any)...) {
			if d := do(t, s, "guest", "GET", "/api/runs/"+r.(map[string]any)["id"].(string), ""); strings.Contains(d.Body, "12345678901234567890") {
				big = d.Body
			}
		}
		if !strings.Contains(big, `"campaign":"spring"`) || !strings.Contains(big, `"steps":[]`) || !strings.Contains(big, `"workflow_name":"Tag"`) {
			t.Errorf("no run shows its variables as they were sent: %s", big)
		}
		do(t, s, "admin", "POST", "/api/runs/"+run+"/retry", `{}`).problem(409, "not_parked")
		if m := do(t, s, "admin", "POST", "/api/runs/"+run+"/cancel", "").has("id", "status", "reason"); m["status"] != "cancelled" {
			t.Errorf("cancelled: %v", m)
		}
		do(t, s, "admin", "POST", "/api/runs/"+run+"/cancel", `{"reason":"again"}`).problem(409, "run_over")
		for verb, want := range map[string]string{"pause": "paused", "resume": "active"} {
			if m := do(t, s, "admin", "POST", "/api/workflows/"+verb, `{"workflow_id":"`+id+`","reason":"old clients send more"}`).has("workflow_id", "status", "timestamp"); m["status"] != want {
				t.Errorf("%s: %v", verb, m)
			}
			do(t, s, "admin", "POST", "/api/workflows/resume", `{"workflow_id":"`+id+`"}`).want(200)
		}
		if m := do(t, s, "guest", "GET", "/api/workflows/active", "").has("total", "workflows"); m["total"] != 1.0 {
			t.Errorf("active: %v", m)
		}
		if m := do(t, s, "guest", "GET", "/api/workflows", "").has("total", "workflows"); m["total"] != 1.0 {
			t.Errorf("list: %v", m)
		}
		if n := len(do(t, s, "guest", "GET", "/api/builder/templates", "").has("templates")["templates"].([]any)); n < 4 {
			t.Errorf("%d templates, want at least 4", n)
		}
		if m := do(t, s, "guest", "GET", "/api/workflows/schema", "").has("$schema", "$defs"); m["type"] != "object" {
			t.Errorf("schema: %v", m["type"])
		}
		if m := do(t, s, "admin", "DELETE", "/api/workflows/"+id, "").has("workflow_id"); m["status"] != "deleted" {
			t.Errorf("deleted: %v", m)
		}
		do(t, s, "admin", "GET", "/api/workflows/"+id, "").problem(404, "not_found")
		do(t, s, "admin", "GET", "/api/runs/"+run, "").want(200)
	})
}

// TestWorkflows_ATemplateCanBePublished and is what old clients then trigger with a new lead.
func TestWorkflows_ATemplateCanBePublished(t *testing.T) {
	eachWorkflowServer(t, func(t *testing.T, s *testServer) {
		var out struct {
			Templates []struct {
				ID         string
				Definition json.RawMessage
			}
		}
		if err := json.Unmarshal([]byte(do(t, s, "guest", "GET", "/api/builder/templates", "").want(200).Body), &out); err != nil {
			t.Fatal(err)
		}
		for i, tpl := range out.Templates {
			id := makeWorkflow(t, s, string(tpl.Definition))
			body := fmt.Sprintf(`{"workflow_id":%q,"lead_data":{"email":"new-%d@example.com","first_name":"New"}}`, id, i)
			if m := do(t, s, "admin", "POST", "/api/workflows/trigger", body).has("execution_id"); m["execution_id"] == "" {
				t.Errorf("%s: %v", tpl.ID, m)
			}
		}
	})
}

func TestWorkflows_IfMatchAndPartialPut(t *testing.T) {
	eachWorkflowServer(t, func(t *testing.T, s *testServer) {
		id := makeWorkflow(t, s, tagWorkflow)
		path := "/api/workflows/" + id
		up := do(t, s, "admin", "PUT", path, `{"name":"Other","description":null,"layout":{"tag":[3,4]}}`, "If-Match", `"1"`).want(200)
		m := up.json()
		if m["name"] != "Other" || m["version"] != 2.0 || up.Header.Get("ETag") != `"2"` || m["definition"].(map[string]any)["nodes"] == nil {
			t.Errorf("a partial PUT must keep what it does not name: %s", up.Body)
		}
		stale := do(t, s, "admin", "PUT", path, `{"name":"Late"}`, "If-Match", `"1"`)
		stale.problem(412, "stale")
		if current := stale.json()["current"].(map[string]any); current["name"] != "Other" || current["definition"] == nil {
			t.Errorf("a stale PUT must show the workflow as it is: %s", stale.Body)
		}
		do(t, s, "admin", "DELETE", path, "", "If-Match", `"1"`).problem(412, "stale")
		if same := do(t, s, "admin", "PUT", path, `{"name":"Other","layout":{"tag":[5,6]}}`, "If-Match", `"2"`).want(200); same.json()["version"] != 2.0 || same.Header.Get("ETag") != `"3"` {
			t.Errorf("a layout makes no version, and an ETag: %s", same.Body)
		}
		if got := do(t, s, "guest", "GET", path, "").want(200); got.Header.Get("ETag") != `"3"` || !strings.Contains(got.Body, "[5,6]") {
			t.Errorf("%v %s", got.Header, got.Body)
		}
		do(t, s, "admin", "DELETE", path, "", "If-Match", `"3"`).want(200)
	})
}

func TestWorkflows_IdempotencyKey(t *testing.T) {
	eachWorkflowServer(t, func(t *testing.T, s *testServer) {
		id := makeWorkflow(t, s, tagWorkflow)
		body := `{"workflow_id":"` + id + `","lead_data":{"email":"ada@example.com"}}`
		first := do(t, s, "admin", "POST", "/api/workflows/trigger", body, "Idempotency-Key", "k-1").want(200)
		again := do(t, s, "admin", "POST", "/api/workflows/trigger", body, "Idempotency-Key", "k-1").want(200)
		if first.json()["execution_id"] != again.json()["execution_id"] || again.Header.Get("Idempotency-Replayed") != "true" || again.Header.Get("Location") != first.Header.Get("Location") {
			t.Errorf("a repeat is another run: %s %s", first.Body, again.Body)
		}
		if f := do(t, s, "admin", "POST", "/api/workflows/trigger", `{"workflow_id":"`+id+`"}`, "Idempotency-Key", "k-1").problem(422, "validation_failed"); f["Idempotency-Key"] != "idempotency_key_reused" {
			t.Errorf("%v", f)
		}
		a := do(t, s, "admin", "POST", "/api/workflows", tagWorkflow, "Idempotency-Key", "k-2").want(200)
		b := do(t, s, "admin", "POST", "/api/workflows", tagWorkflow, "Idempotency-Key", "k-2").want(200)
		if a.Body != b.Body {
			t.Errorf("a repeated create answers otherwise:\n%s\n%s", a.Body, b.Body)
		}
		if n := do(t, s, "admin", "GET", "/api/workflows/"+id+"/status", "").json()["counts"].(map[string]any)["running"]; n != 1.0 {
			t.Errorf("%v runs, want 1", n)
		}
	})
}

// TestWorkflows_BadInput: nothing is a 5xx, everything names the field, nothing is written.
func TestWorkflows_BadInput(t *testing.T) {
	eachWorkflowServer(t, func(t *testing.T, s *testServer) {
		id := makeWorkflow(t, s, tagWorkflow)
		lead := do(t, s, "admin", "POST", "/api/leads", `{"email":"ada@example.com"}`).want(200).json()["id"].(string)
		run := do(t, s, "admin", "POST", "/api/workflows/trigger", `{"workflow_id":"`+id+`","lead_id":"`+lead+`"}`).want(200).json()["execution_id"].(string)
		theirs := do(t, s, "admin@t-two", "POST", "/api/workflows", tagWorkflow).want(200).json()["id"].(string)
		foreignLead := do(t, s, "admin@t-two", "POST", "/api/leads", `{"email":"ada@example.com"}`).want(200).json()["id"].(string)
		deep := func(open, end string, n int) string { return strings.Repeat(open, n) + "1" + strings.Repeat(end, n) }
		withNode := func(node string) string { return `{"name":"x","start":"n","nodes":{"n":` + node + `}}` }
		tr := "/api/workflows/trigger"
		for _, c := range []struct {
			method, path, body string
			status             int
			code, field        string // field is "path code", "" for none
		}{
			{"POST", tr, `{`, 400, "malformed", ""},
			{"POST", tr, `[]`, 422, "validation_failed", "body wrong_type"},
			{"POST", tr, `{}`, 422, "validation_failed", "workflow_id required"},
			{"POST", tr, `{"workflow_id":7}`, 422, "validation_failed", "workflow_id wrong_type"},
			{"POST", tr, `{"workflow_id":"` + id + `"}`, 422, "validation_failed", "lead_id required"},
			{"POST", tr, `{"workflow_id":"nope","lead_id":"` + lead + `"}`, 404, "not_found", ""},
			{"POST", tr, `{"workflow_id":"` + theirs + `","lead_id":"` + lead + `"}`, 404, "not_found", ""},
			{"POST", tr, `{"workflow_id":"\u0000","lead_id":"` + lead + `"}`, 404, "not_found", ""},
			{"POST", tr, `{"workflow_id":"` + id + `","lead_id":"nope"}`, 404, "not_found", ""},
			{"POST", tr, `{"workflow_id":"` + id + `","lead_id":"` + foreignLead + `"}`, 404, "not_found", ""},
			{"POST", tr, `{"workflow_id":"` + id + `","lead_id":5}`, 422, "validation_failed", "lead_id wrong_type"},
			{"POST", tr, `{"workflow_id":"` + id + `","lead_data":{"email":"nobody","phone":true}}`, 422, "validation_failed", "lead_data.email not_an_address"},
			{"POST", tr, `{"workflow_id":"` + id + `","lead_data":{"email":"nobody","phone":true}}`, 422, "validation_failed", "lead_data.phone wrong_type"},
			{"POST", tr, `{"workflow_id":"` + id + `","lead_data":[1]}`, 422, "validation_failed", ""},
			{"POST", tr, `{"workflow_id":"` + id + `","lead_id":"` + lead + `","custom_context":[1]}`, 422, "validation_failed", "custom_context wrong_type"},
			{"POST", tr, `{"workflow_id":"` + id + `","lead_id":"` + lead + `","custom_context":{"x":"` + strings.Repeat("x", 300<<10) + `"}}`, 422, "validation_failed", "custom_context context_too_large"},
			{"POST", tr, `{"workflow_id":"` + id + `","custom_context":` + deep("[", "]", 20000) + `}`, 0, "", ""},
			{"POST", tr, `{"workflow_id":"` + strings.Repeat("x", 2<<20) + `"}`, 413, "too_large", ""},
			{"POST", "/api/workflows", `{`, 400, "malformed", ""},
			{"POST", "/api/workflows", `null`, 422, "validation_failed", "nodes required"},
			{"POST", "/api/workflows", `"x"`, 422, "validation_failed", "body wrong_type"},
			{"POST", "/api/workflows", `{}`, 422, "validation_failed", "nodes required"},
			{"POST", "/api/workflows", `{"workflow_id":5}`, 422, "validation_failed", "workflow_id wrong_type"},
			{"POST", "/api/workflows", `{"workflow_id":"` + id + `","force":"yes"}`, 422, "validation_failed", "force wrong_type"},
			{"POST", "/api/workflows", `{"workflow_id":"` + id + `","custom_context":7}`, 422, "validation_failed", "custom_context wrong_type"},
			{"POST", "/api/workflows", `{"workflow_id":"nope","lead_data":{"email":"a@example.com"}}`, 404, "not_found", ""},
			{"POST", "/api/workflows", `{"nodes":{},"nam":"x"}`, 422, "validation_failed", "nam unknown_key"},
			{"POST", "/api/workflows", `{"name":"a\u0000b","start":"n","nodes":{"n":{"type":"action.add_tag","config":{"tag":"x"},"next":"end"}}}`, 422, "validation_failed", "name control_character"},
			{"POST", "/api/workflows", `{"name":"x","triggers":[{"id":"\u0000","type":"api"}],"start":"n","nodes":{"n":{"type":"action.add_tag","config":{"tag":"x"},"next":"end"}}}`, 422, "validation_failed", "triggers[0].id bad_id"},
			{"POST", "/api/workflows", withNode(`{"type":"action.add_tags","config":{},"next":"end"}`), 422, "validation_failed", "nodes.n.type unknown_action"},
			{"POST", "/api/workflows", withNode(`{"type":"action.add_tag","config":{"tga":"x"},"next":"end"}`), 422, "validation_failed", "nodes.n.config.tga unknown_key"},
			{"POST", "/api/workflows", withNode(`{"type":"action.add_tag","config":{"tag":["x"]},"next":"end"}`), 422, "validation_failed", "nodes.n.config.tag wrong_type"},
			{"POST", "/api/workflows", withNode(`{"type":"branch.if","config":{"condition":null},"exits":{"yes":"end","no":"end"}}`), 422, "validation_failed", "nodes.n.config.condition required"},
			{"POST", "/api/workflows", withNode(`{"type":"branch.if","config":{"condition":` + deep(`{"not":`, `}`, 5000) + `},"exits":{"yes":"end","no":"end"}}`), 422, "validation_failed", ""},
			{"POST", "/api/workflows", withNode(`{"type":"action.http","config":{"url":"https://x.example","body":` + deep("[", "]", 9000) + `},"next":"end"}`), 422, "validation_failed", ""},
			{"POST", "/api/workflows", withNode(deep(`{"config":`, `}`, 20000)), 0, "", ""},
			{"POST", "/api/workflows", `{"name":"x","nodes":{` + strings.Repeat(`"a":{},`, 100000) + `"b":{}}}`, 422, "validation_failed", ""},
			{"POST", "/api/workflows", `{"nodes":{},"` + strings.Repeat("k", 500<<10) + `":1}`, 422, "validation_failed", ""},
			{"POST", "/api/workflows", `{"nodes":"` + strings.Repeat("x", 2<<20) + `"}`, 413, "too_large", ""},
			{"GET", "/api/workflows/nope", "", 404, "not_found", ""},
			{"GET", "/api/workflows/" + theirs, "", 404, "not_found", ""},
			{"PUT", "/api/workflows/" + theirs, `{"name":"x"}`, 404, "not_found", ""},
			{"PUT", "/api/workflows/" + id, `[]`, 422, "validation_failed", "body wrong_type"},
			{"PUT", "/api/workflows/" + id, `{"start":"nope"}`, 422, "validation_failed", "start unknown_node"},
			{"PUT", "/api/workflows/" + id, `{"nodez":{}}`, 422, "validation_failed", "nodez unknown_key"},
			{"PUT", "/api/workflows/" + id, `{"goals":[{"condition":null}]}`, 422, "validation_failed", "goals[0].condition required"},
			{"DELETE", "/api/workflows/" + theirs, "", 404, "not_found", ""},
			{"POST", "/api/workflows/" + theirs + "/execute", `{"lead_id":"` + lead + `"}`, 404, "not_found", ""},
			{"POST", "/api/workflows/" + id + "/execute", "", 422, "validation_failed", "lead_id required"},
			{"POST", "/api/workflows/" + id + "/execute", `{"lead_id":"\u0000"}`, 0, "", ""},
			{"POST", "/api/workflows/pause", `{}`, 422, "validation_failed", "workflow_id required"},
			{"POST", "/api/workflows/pause", `{"workflow_id":null}`, 422, "validation_failed", "workflow_id wrong_type"},
			{"POST", "/api/workflows/pause", `{"workflow_id":"` + theirs + `"}`, 404, "not_found", ""},
			{"POST", "/api/workflows/resume", `{"workflow_id":"\u0000"}`, 0, "", ""},
			{"GET", "/api/workflows/nope/status", "", 404, "not_found", ""},
			{"GET", "/api/workflows/%00/status", "", 0, "", ""},
			{"GET", "/api/workflows/%ff%fe/status", "", 0, "", ""},
			{"GET", "/api/workflows/" + theirs + "/status", "", 404, "not_found", ""},
			{"GET", "/api/workflows?cursor=x", "", 422, "validation_failed", "cursor bad_cursor"},
			{"GET", "/api/workflows?limit=0", "", 422, "validation_failed", "limit out_of_range"},
			{"GET", "/api/workflows?limit=many", "", 422, "validation_failed", "limit wrong_type"},
			{"GET", "/api/workflows/" + theirs + "/runs", "", 404, "not_found", ""},
			{"GET", "/api/workflows/" + id + "/runs?status=done", "", 422, "validation_failed", "status not_allowed"},
			{"GET", "/api/workflows/" + id + "/runs?cursor=AAAA", "", 422, "validation_failed", "cursor bad_cursor"},
			{"GET", "/api/workflows/" + id + "/runs?lead_id=%00", "", 0, "", ""},
			{"GET", "/api/runs/nope", "", 404, "not_found", ""},
			{"GET", "/api/runs/" + run + "?after=-1", "", 422, "validation_failed", "after out_of_range"},
			{"POST", "/api/runs/nope/cancel", "", 404, "not_found", ""},
			{"POST", "/api/runs/" + run + "/cancel", `{"reason":"` + strings.Repeat("x", 501) + `"}`, 422, "validation_failed", "reason wrong_length"},
			{"POST", "/api/runs/" + run + "/cancel", `{"reason":"a\u0000b"}`, 422, "validation_failed", ""},
			{"POST", "/api/runs/" + run + "/cancel", `{"reasn":"x"}`, 422, "validation_failed", "reasn unknown_field"},
			{"POST", "/api/runs/nope/retry", `{}`, 404, "not_found", ""},
			{"POST", "/api/runs/" + run + "/retry", `{"skip":"yes"}`, 422, "validation_failed", "skip wrong_type"},
			{"POST", "/api/runs/" + run + "/retry", `{"skip":true,"repeat":true}`, 409, "not_parked", ""},
		} {
			r := do(t, s, "admin", c.method, c.path, c.body)
			name := c.method + " " + c.path + " " + c.body[:min(len(c.body), 90)]
			if c.status == 0 { // the engines differ in what they can store; neither fails
				if r.Status >= 500 || r.Status >= 400 && r.code() == "" {
					t.Errorf("%s: %d %s, want no failure of ours", name, r.Status, r.Body[:min(len(r.Body), 300)])
				}
				continue
			}
			var p Problem
			if err := json.Unmarshal([]byte(r.Body), &p); err != nil || r.Status != c.status || p.Code != c.code || p.Detail == "" || r.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("%s: %d %s, want %d %s", name, r.Status, r.Body[:min(len(r.Body), 300)], c.status, c.code)
				continue
			}
			if len(r.Body) > 64<<10 {
				t.Errorf("%s: the problem has %d bytes", name, len(r.Body))
			}
			found := c.field == ""
			for _, f := range p.Errors {
				found = found || f.Path+" "+f.Code == c.field && f.Message != ""
			}
			if !found {
				t.Errorf("%s: %+v, want %q", name, p.Errors, c.field)
			}
		}
		if m := do(t, s, "admin", "GET", "/api/workflows/"+id, "").want(200).json(); m["version"] != 1.0 || m["counts"].(map[string]any)["running"] != 1.0 {
			t.Errorf("bad input changed something: %v", m)
		}
		if m := do(t, s, "admin", "GET", "/api/workflows", "").want(200).json(); m["total"] != 1.0 {
			t.Errorf("bad input made workflows: %v", m["total"])
		}
		for _, path := range []string{"/api/workflows/schema", "/api/workflows/active", "/api/builder/templates"} {
			do(t, s, "", "GET", path, "").problem(401, "no_credential")
		}
	})
}

// TestWorkflows_ListPagesByPosition and a cursor of one list does not open another.
func TestWorkflows_ListPagesByPosition(t *testing.T) {
	s := newServer(t)
	s.st.SetInserter(noQueue{})
	var ids []string
	for range 5 {
		ids = append(ids, makeWorkflow(t, s, tagWorkflow))
	}
	var got []string
	cursor := ""
	for page := 0; page < 5; page++ {
		m := do(t, s, "guest", "GET", "/api/workflows?limit=2&cursor="+cursor, "").has("workflows")
		for _, w := range m["workflows"].([]any) {
			got = append(got, w.(map[string]any)["id"].(string))
		}
		if cursor, _ = m["next_cursor"].(string); cursor == "" {
			break
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(ids) {
		t.Errorf("pages %v, want %v", got, ids)
	}
	first := do(t, s, "guest", "GET", "/api/workflows?limit=2", "").json()["next_cursor"].(string)
	do(t, s, "guest", "GET", "/api/workflows/"+ids[0]+"/runs?cursor="+first, "").problem(422, "validation_failed")
	do(t, s, "guest@t-two", "GET", "/api/workflows?cursor="+first, "").problem(422, "validation_failed")
}

// TestWorkflows_AKeyMayDoWhatItsScopeSays: one route, two rights, each for its own body.
func TestWorkflows_AKeyMayDoWhatItsScopeSays(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin := s.login(t, "admin")
	_, create := s.key(t, admin, `,"scopes":["workflow:create"]`)
	_, execute := s.key(t, admin, `,"scopes":["workflow:execute"]`)
	_, read := s.key(t, admin, `,"scopes":["workflow:read"]`)
	id := s.as(t, create, "POST", "/api/workflows", tagWorkflow).want(200).json()["id"].(string)
	lead := s.as(t, admin, "POST", "/api/leads", `{"email":"ada@example.com"}`).want(200).json()["id"].(string)
	body := `{"workflow_id":"` + id + `","lead_id":"` + lead + `"}`
	s.as(t, execute, "POST", "/api/workflows", body).want(200)
	s.as(t, execute, "POST", "/api/workflows", tagWorkflow).problem(403, "forbidden")
	s.as(t, create, "POST", "/api/workflows", body).problem(403, "forbidden")
	s.as(t, read, "POST", "/api/workflows", body).problem(403, "forbidden")
	s.as(t, execute, "POST", "/api/workflows/trigger", `{"workflow_id":"`+id+`","lead_data":{"email":"new@example.com"}}`).problem(403, "forbidden")
}

// TestRuns_ShowsWhatIsAboutToBeSent before anything has come of it.
func TestRuns_ShowsWhatIsAboutToBeSent(t *testing.T) {
	small, big := cutJSON(json.RawMessage(`{"a":1}`)), cutJSON(json.RawMessage(`"`+strings.Repeat("x", shownRequest)+`"`))
	if string(small.RawMessage) != `{"a":1}` || string(big.RawMessage) != fmt.Sprintf(`{"cut":true,"bytes":%d}`, shownRequest+2) {
		t.Errorf("%s and %s", small.RawMessage, big.RawMessage)
	}
}
