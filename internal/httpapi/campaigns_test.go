package httpapi

import (
	"strings"
	"testing"

	"leadloom/internal/queue"
)

// connectQueue lets the server insert jobs; none is run.
func connectQueue(t *testing.T, s *testServer) {
	t.Helper()
	reg := queue.NewRegistry()
	s.svc.Jobs(reg)
	o := queue.Options{SQLite: s.st.SQLite(), Registry: reg, InsertOnly: true}
	if err := queue.MigrateUp(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	s.st.SetInserter(q)
}

func TestCampaigns_DraftToSchedule(t *testing.T) {
	s := newServer(t)
	c := do(t, s, "admin", "POST", "/api/campaigns", `{"name":"Spring","subject":"Hi {{ lead.first_name | default: 'you' }}","html":"<p>Hello</p>","recipients":["anna@example.com",{"email":"ben@example.com","first_name":"Ben"}]}`).want(200)
	id := c.json()["id"].(string)
	if c.json()["status"] != "draft" || c.Header.Get("ETag") != `"1"` || c.Header.Get("Location") != "/api/campaigns/"+id {
		t.Errorf("created: %v %s", c.Header, c.Body)
	}
	list := do(t, s, "guest", "GET", "/api/campaigns", "").want(200).json()
	if list["total"] != 1.0 || list["timestamp"] == nil || len(list["campaigns"].([]any)) != 1 {
		t.Errorf("list = %v", list)
	}
	do(t, s, "admin", "GET", "/api/campaigns/"+id, "").want(200)
	do(t, s, "admin@t-two", "GET", "/api/campaigns/"+id, "").problem(404, "not_found")
	do(t, s, "guest", "POST", "/api/campaigns/"+id+"/start", "").problem(403, "forbidden")
	do(t, s, "admin", "POST", "/api/campaigns/"+id+"/pause", "").problem(409, "campaign_state")
	do(t, s, "admin", "PUT", "/api/campaigns/"+id, `{"name":"Autumn"}`, "If-Match", `"9"`).problem(412, "stale")
	up := do(t, s, "admin", "PUT", "/api/campaigns/"+id, `{"name":"Autumn","topic":null}`, "If-Match", `"1"`).want(200)
	if up.json()["name"] != "Autumn" || up.Header.Get("ETag") != `"2"` {
		t.Errorf("updated = %s", up.Body)
	}
	if f := do(t, s, "admin", "POST", "/api/campaigns/"+id+"/schedule", `{"at":"2001-01-01T00:00:00Z"}`).problem(422, "validation_failed"); f["at"] != "in_the_past" {
		t.Errorf("problems = %v", f)
	}
}

func TestCampaigns_BadInputNamesEveryField(t *testing.T) {
	s := newServer(t)
	f := do(t, s, "admin", "POST", "/api/campaigns", `{"name":"","subject":"a\r\nBcc: x@example.com","html":"{{ lead.nick }}","from":"nobody","throttle":{"per_minute":-1},"audience":{"condition":{"field":"x"}}}`).problem(422, "validation_failed")
	for _, path := range []string{"name", "subject", "html", "from", "throttle.per_minute"} {
		if f[path] == "" {
			t.Errorf("no problem for %s in %v", path, f)
		}
	}
	if do(t, s, "admin", "GET", "/api/campaigns", "").want(200).json()["total"] != 0.0 {
		t.Error("a refused campaign was stored")
	}
	c := do(t, s, "admin", "POST", "/api/campaigns", `{"name":"Empty"}`).want(200).json()["id"].(string)
	f = do(t, s, "admin", "POST", "/api/campaigns/"+c+"/start", "").problem(422, "validation_failed")
	if f["subject"] != "required" || f["body"] != "required" || f["audience"] != "required" {
		t.Errorf("problems = %v", f)
	}
	do(t, s, "admin", "GET", "/api/campaigns?cursor=zzz", "").problem(422, "validation_failed")
}

func TestCampaignMetrics_OutsideResultsCountOnce(t *testing.T) {
	s := newServer(t)
	id := do(t, s, "admin", "POST", "/api/campaigns", `{"name":"Ads"}`).want(200).json()["id"].(string)
	path := "/api/campaigns/" + id + "/metrics"
	m := do(t, s, "guest", "GET", path, "").want(200).json()["metrics"].(map[string]any)
	if m["sent"] != 0.0 || m["open_rate"] != nil {
		t.Errorf("empty metrics = %v, want a null rate", m)
	}
	body := `{"events":[{"type":"sent","count":10,"event_id":"e1"},{"type":"opened","count":4,"event_id":"e2"}]}`
	for range 2 {
		m = do(t, s, "manager", "POST", path, body).want(200).json()["metrics"].(map[string]any)
	}
	if m["sent"] != 10.0 || m["opened"] != 4.0 || m["open_rate"] != 0.4 {
		t.Errorf("after the same events twice: %v", m)
	}
	for range 2 {
		m = do(t, s, "manager", "POST", path, `{"metrics":{"opens":6,"click_rate":0.3}}`).want(200).json()["metrics"].(map[string]any)
	}
	if m["opened"] != 10.0 {
		t.Errorf("after the same totals twice: %v", m)
	}
	f := do(t, s, "manager", "POST", path, `{"metrics":{"opened":-1,"likes":3},"events":[{"type":"sent","count":-2}]}`).problem(422, "validation_failed")
	if f["metrics.opened"] != "out_of_range" || f["metrics.likes"] != "unknown_value" || f["events[0].count"] != "out_of_range" {
		t.Errorf("problems = %v", f)
	}
	do(t, s, "guest", "POST", path, body).problem(403, "forbidden")
	do(t, s, "manager@t-two", "POST", path, body).problem(404, "not_found")
	stats := do(t, s, "guest", "GET", "/api/email/campaign/"+id+"/stats", "").want(200).json()
	if stats["campaign_id"] != id || stats["sent"] != 10.0 || stats["opened"] != 10.0 {
		t.Errorf("stats = %v", stats)
	}
}

func TestEmailSend_QueuesAndKeepsTheKey(t *testing.T) {
	s := newServer(t)
	connectQueue(t, s)
	body := `{"to":"Anna <anna@example.com>","subject":"Hi","body":"<p>Hello</p>","template":null}`
	first := do(t, s, "admin", "POST", "/api/email/send", body, "Idempotency-Key", "k1").want(200)
	again := do(t, s, "admin", "POST", "/api/email/send", body, "Idempotency-Key", "k1").want(200)
	a, b := first.json(), again.json()
	if a["status"] != "queued" || a["execution_id"] == "" || a["lead_id"] == "" || a["timestamp"] == nil || a["execution_id"] != b["execution_id"] {
		t.Errorf("replies %v and %v", a, b)
	}
	msg := do(t, s, "guest", "GET", "/api/email/messages/"+a["execution_id"].(string), "").want(200).json()
	if msg["state"] != "pending" || msg["to"] != "anna@example.com" {
		t.Errorf("message = %v", msg)
	}
	do(t, s, "admin@t-two", "GET", "/api/email/messages/"+a["execution_id"].(string), "").problem(404, "not_found")
	for _, bad := range []string{`{"to":"anna@example.com\r\nBcc: x@example.com","subject":"a","body":"b"}`, `{"to":"nobody","subject":"a","body":"b"}`} {
		if f := do(t, s, "admin", "POST", "/api/email/send", bad).problem(422, "validation_failed"); f["to"] == "" {
			t.Errorf("%s: %v", bad, f)
		}
	}
	if f := do(t, s, "admin", "POST", "/api/email/send", `{"to":"a@example.com","subject":"x\r\ny: z","body":"b"}`).problem(422, "validation_failed"); f["subject"] != "control_character" {
		t.Errorf("problems = %v", f)
	}
}

func TestEmailCampaign_CreatesAndSchedulesAtOnce(t *testing.T) {
	s := newServer(t)
	connectQueue(t, s)
	r := do(t, s, "admin", "POST", "/api/email/campaign", `{"name":"News","subject":"Hello","template":"<h1>Hi {{ lead.first_name }}</h1>","recipients":["a@example.com","b@example.com"]}`).want(200).json()
	if r["campaign_id"] == "" || r["status"] != "scheduled" || r["name"] != "News" {
		t.Errorf("reply = %v", r)
	}
	do(t, s, "admin", "POST", "/api/email/campaign", `{"name":"News","subject":"Hello","template":"nothing-there","recipients":["a@example.com"]}`).problem(422, "validation_failed")
	do(t, s, "guest", "POST", "/api/email/campaign", `{"name":"News"}`).problem(403, "forbidden")
}

func TestTemplates_RoundTrip(t *testing.T) {
	s := newServer(t)
	r := do(t, s, "admin", "POST", "/api/templates", `{"name":"Welcome","subject":"Hi","html":"<p>{{ lead.first_name }}</p>"}`).want(200)
	id := r.json()["id"].(string)
	if f := do(t, s, "admin", "POST", "/api/templates", `{"name":"WELCOME","subject":"Hi","text":"x"}`).problem(422, "validation_failed"); f["name"] != "taken" {
		t.Errorf("problems = %v", f)
	}
	if f := do(t, s, "admin", "PUT", "/api/templates/"+id, `{"html":"{% include 'x' %}"}`).problem(422, "validation_failed"); f["html"] != "unknown_tag" {
		t.Errorf("problems = %v", f)
	}
	do(t, s, "admin", "PUT", "/api/templates/"+id, `{"subject":"Hello"}`, "If-Match", `"1"`).want(200)
	do(t, s, "admin", "PUT", "/api/templates/"+id, `{"subject":"Hello!"}`, "If-Match", `"1"`).problem(412, "stale")
	if l := do(t, s, "guest", "GET", "/api/email/templates", "").want(200); !strings.Contains(l.Body, `"Welcome"`) {
		t.Errorf("list = %s", l.Body)
	}
	do(t, s, "admin@t-two", "GET", "/api/templates/"+id, "").problem(404, "not_found")
	do(t, s, "guest", "DELETE", "/api/templates/"+id, "").problem(403, "forbidden")
	do(t, s, "admin", "DELETE", "/api/templates/"+id, "").want(200)
	do(t, s, "admin", "GET", "/api/templates/"+id, "").problem(404, "not_found")
}
