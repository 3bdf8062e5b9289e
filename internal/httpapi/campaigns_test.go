package httpapi

import (
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/queue"
	"leadloom/internal/store"
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
	if f := do(t, s, "admin", "POST", "/api/campaigns", `{"name":"Spring","subject":"Hi {{ data.who }}"}`).problem(422, "validation_failed"); f["subject"] != "unknown_variable" {
		t.Errorf("a campaign has no data: %v", f)
	}
	c := do(t, s, "admin", "POST", "/api/campaigns", `{"name":"Empty"}`).want(200).json()["id"].(string)
	f = do(t, s, "admin", "POST", "/api/campaigns/"+c+"/start", "").problem(422, "validation_failed")
	if f["subject"] != "required" || f["body"] != "required" || f["audience"] != "required" {
		t.Errorf("problems = %v", f)
	}
	do(t, s, "admin", "GET", "/api/campaigns?cursor=zzz", "").problem(422, "validation_failed")
}

// TestCampaigns_ReplyCanBeSentBack: what GET shows is what PUT takes, and changes nothing, also where the reply leaves
// a long list out.
func TestCampaigns_ReplyCanBeSentBack(t *testing.T) {
	s := newServer(t)
	var people strings.Builder
	for i := range 25 {
		fmt.Fprintf(&people, `,"p%d@example.com"`, i)
	}
	do(t, s, "admin", "POST", "/api/templates", `{"name":"Welcome","subject":"From the template","html":"<p>T</p>"}`).want(200)
	id := do(t, s, "admin", "POST", "/api/campaigns", `{"name":"Spring","template":"welcome","subject":"Own","tags":["x"],"throttle":{"per_minute":9},"audience":{"tags":["vip"]},"recipients":[`+people.String()[1:]+`]}`).want(200).json()["id"].(string)
	before := do(t, s, "admin", "GET", "/api/campaigns/"+id, "").want(200)
	again := do(t, s, "admin", "PUT", "/api/campaigns/"+id, before.Body).want(200)
	if again.Header.Get("ETag") != `"1"` {
		t.Errorf("sending the reply back made a change:\n%s\n%s", before.Body, again.Body)
	}
	c := do(t, s, "admin", "PUT", "/api/campaigns/"+id, `{"template":"","audience":{"tags":null,"exclude_tags":["lost"]},"content":{"text":"Hello"}}`).want(200).json()
	content, audience := c["content"].(map[string]any), c["audience"].(map[string]any)
	if content["subject"] != "Own" || content["text"] != "Hello" || content["template_id"] != nil {
		t.Errorf("content = %v, want the own subject kept, the text set, the template let go", content)
	}
	if audience["named"] != 25.0 || audience["tags"].([]any)[0] != "vip" || audience["exclude_tags"].([]any)[0] != "lost" {
		t.Errorf("audience = %v, want the rest kept", audience)
	}
	c = do(t, s, "admin", "PUT", "/api/campaigns/"+id, `{"content":"<p>as old clients send it</p>","recipients":["only@example.com"],"audience":{"tags":[]}}`).want(200).json()
	if c["content"].(map[string]any)["html"] != "<p>as old clients send it</p>" || c["audience"].(map[string]any)["named"] != 1.0 || c["audience"].(map[string]any)["tags"] != nil {
		t.Errorf("campaign = %v", c)
	}
}

func TestCampaigns_StatesAndWhatIsPossible(t *testing.T) {
	s := newServer(t)
	connectQueue(t, s)
	id := do(t, s, "admin", "POST", "/api/campaigns", `{"name":"Spring","subject":"Hi","body":"Hello","recipients":["a@example.com"]}`).want(200).json()["id"].(string)
	path := "/api/campaigns/" + id
	refused := func(method, act, body, state, possible string) {
		t.Helper()
		r := do(t, s, "admin", method, path+act, body)
		r.problem(409, "campaign_state")
		if d := r.json()["detail"].(string); !strings.Contains(d, "is "+state) || !strings.Contains(d, "possible now: "+possible+".") {
			t.Errorf("%s %s: %q, want the state %s and that %s are possible", method, act, d, state, possible)
		}
	}
	refused("POST", "/resume", "", "draft", "schedule, start, edit, delete")
	for body, code := range map[string]string{`{}`: "required", `{"at":null}`: "required", `{"at":"tomorrow"}`: "wrong_type", `{"at":"0001-01-01T00:00:00Z"}`: "in_the_past", `{"at":"2999-01-01T00:00:00Z"}`: "out_of_range"} {
		if f := do(t, s, "admin", "POST", path+"/schedule", body).problem(422, "validation_failed"); f["at"] != code {
			t.Errorf("schedule %s: %v, want %s", body, f, code)
		}
	}
	at := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	c := do(t, s, "admin", "POST", path+"/schedule", `{"at":"`+at+`"}`).want(200).json()
	if c["status"] != "scheduled" || c["schedule"].(map[string]any)["at"] != at {
		t.Errorf("scheduled = %v", c)
	}
	refused("DELETE", "", "", "scheduled", "schedule, start, cancel, edit")
	if f := do(t, s, "admin", "PUT", path, `{"subject":""}`).problem(422, "validation_failed"); f["subject"] != "required" {
		t.Errorf("a scheduled campaign lost its subject: %v", f)
	}
	do(t, s, "admin", "POST", path+"/start", "{}").want(200)
	refused("PUT", "", `{"subject":"Other"}`, "preparing", "cancel")
	do(t, s, "admin", "PUT", path, `{"name":"Other"}`).want(200)
	refused("POST", "/pause", "", "preparing", "cancel")
	if c := do(t, s, "admin", "POST", path+"/cancel", "").want(200).json(); c["status"] != "cancelled" || c["finished_at"] == nil {
		t.Errorf("cancelled = %v", c)
	}
	refused("POST", "/cancel", "", "cancelled", "delete")
	do(t, s, "admin", "DELETE", path, "").want(200)
	do(t, s, "admin", "GET", path, "").problem(404, "not_found")
}

// TestCampaigns_TextThatCanBeNone: controls in every text that reaches a header or the database.
func TestCampaigns_TextThatCanBeNone(t *testing.T) {
	s := newServer(t)
	for _, bad := range []string{`\r\nBcc: x@example.com`, `\u0000`, `\n`} {
		f := do(t, s, "admin", "POST", "/api/campaigns", `{"name":"a`+bad+`b","topic":"a`+bad+`b","from":"A`+bad+` <a@example.com>","reply_to":"A`+bad+` <a@example.com>","subject":"a`+bad+`b","html":"a\u0000b","text":"a\u0000b",
			"audience":{"recipients":["a`+bad+`b@example.com",{"email":"c@example.com","first_name":"a`+bad+`b"}],"lead_ids":["a`+bad+`b"],"tags":["a`+bad+`b"]}}`).problem(422, "validation_failed")
		for _, path := range []string{"name", "topic", "from", "reply_to", "subject", "html", "text", "audience.recipients[0].email", "audience.recipients[1].first_name", "audience.lead_ids[0]", "audience.tags[0]"} {
			if f[path] == "" {
				t.Errorf("%q in %s was taken: %v", bad, path, f)
			}
		}
		f = do(t, s, "admin", "POST", "/api/email/send", `{"to":"a@example.com`+bad+`x","subject":"a`+bad+`b","body":"b","from":"A`+bad+` <a@example.com>","reply_to":"A`+bad+` <a@example.com>"}`).problem(422, "validation_failed")
		if f["to"] == "" {
			t.Errorf("%q in to was taken: %v", bad, f)
		}
		f = do(t, s, "admin", "POST", "/api/email/send", `{"to":"a@example.com","subject":"a`+bad+`b","body":"b","from":"A`+bad+` <a@example.com>","reply_to":"A`+bad+` <a@example.com>"}`).problem(422, "validation_failed")
		for _, path := range []string{"subject", "from", "reply_to"} {
			if f[path] == "" {
				t.Errorf("%q in %s was taken: %v", bad, path, f)
			}
		}
		// by a value, not by the source
		do(t, s, "admin", "POST", "/api/email/send", `{"to":"a@example.com","subject":"{{ data.x }}","body":"b","data":{"x":"a`+bad+`b"}}`).problem(422, "validation_failed")
		do(t, s, "admin", "POST", "/api/templates", `{"name":"a`+bad+`b","subject":"a`+bad+`b","html":"a\u0000b"}`).problem(422, "validation_failed")
	}
	do(t, s, "admin", "POST", "/api/email/send", `{"to":"a@example.com","subject":"s","body":"{{ data.x }}","data":{"x":"a\u0000b"}}`).problem(422, "validation_failed")
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
	f := do(t, s, "manager", "POST", path, `{"metrics":{"opened":-1,"likes":3,"clicked":1.5},"events":[{"type":"sent","count":-2},{"type":"x","event_id":"a\u0000b","at":"2999-01-01T00:00:00Z"}]}`).problem(422, "validation_failed")
	for path, code := range map[string]string{"metrics.clicked": "not_an_integer", "events[1].type": "unknown_value", "events[1].event_id": "invalid", "events[1].at": "in_the_future"} {
		if f[path] != code {
			t.Errorf("%s: %s, want %s (%v)", path, f[path], code, f)
		}
	}
	if f := do(t, s, "manager", "POST", path, `{"metrics":{"click":1,"clicks":2}}`).problem(422, "validation_failed"); f["metrics.clicks"] != "given_twice" {
		t.Errorf("two totals of one thing: %v", f)
	}
	if f := do(t, s, "manager", "POST", path, `{"metrics":{"sent":10,"delivered":8,"bounced":3}}`).problem(422, "validation_failed"); f["metrics.sent"] != "impossible" {
		t.Errorf("more delivered and bounced than sent: %v", f)
	}
	do(t, s, "manager", "POST", path, `{"metrics":{"opened":null,"clicked":0,"open_rate":0.5},"events":null}`).want(200) // old clients send what is unset as null
	for _, body := range []string{`{`, `[]`, `{"metrics":[]}`, `{"metrics":{"opened":"many"}}`, `{"events":[{}]}`, `{"events":[{"type":"sent","count":1e30}]}`, `{}`, `null`} {
		if r := do(t, s, "manager", "POST", path, body); r.Status != 400 && r.Status != 422 {
			t.Errorf("%s: %d %s", body, r.Status, r.Body)
		}
	}
	m = do(t, s, "guest", "GET", path, "").want(200).json()["metrics"].(map[string]any)
	if m["opened"] != 10.0 || m["sent"] != 10.0 || m["bounced"] != 0.0 {
		t.Errorf("refused results were stored: %v", m)
	}
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

func TestCampaignWebhook_BadInput(t *testing.T) {
	s := newServer(t)
	path := "/api/campaigns/webhook"
	for _, body := range []string{`{`, `[]`, `{"events":[{}]}`, `{"events":[{"event_id":"","type":"open","message_id":"x"}]}`, `{"events":[{"event_id":"a\u0000","type":"open","message_id":"x"}]}`,
		`{"events":[{"event_id":"1","type":"danced","message_id":"x"}]}`, `{"events":[{"event_id":"1","type":"open","message_id":"x","at":"2999-01-01T00:00:00Z"}]}`, `{"events":[{"event_id":"1","type":"open","message_id":"x","at":"yesterday"}]}`,
		`{"events":[{"event_id":"1","type":"open","message_id":"x","reason":"a\u0000b"}]}`, `{"events":"all"}`, `{}`} {
		if r := do(t, s, "admin", "POST", path, body); r.Status != 400 && r.Status != 422 {
			t.Errorf("%s: %d %s", body, r.Status, r.Body)
		}
	}
	r := do(t, s, "admin", "POST", path, `{"events":[{"event_id":"1","type":"open","message_id":"<x.y@example.com>","at":null,"provider":"p"}]}`).want(200).json()
	if r["status"] != "received" || r["unmatched"] != 1.0 || r["recorded"] != 0.0 {
		t.Errorf("reply = %v", r)
	}
	do(t, s, "guest", "POST", path, `{"events":[]}`).problem(403, "forbidden")
	do(t, s, "", "POST", path, `{"events":[]}`).problem(401, "no_credential")
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

// TestEmail_OldClientsSendNulls: each key absent, null or wrong.
func TestEmail_OldClientsSendNulls(t *testing.T) {
	s := newServer(t)
	connectQueue(t, s)
	do(t, s, "admin", "POST", "/api/email/send", `{"to":"anna@example.com","subject":"Hi","body":"Hello","html":null,"text":null,"template":null,"lead_id":null,"from":null,"reply_to":null,"data":null,"priority":"high"}`).want(200)
	do(t, s, "admin", "POST", "/api/templates", `{"name":"Welcome","subject":"Hi {{ data.who }}","html":"<p>Hello</p>"}`).want(200)
	do(t, s, "admin", "POST", "/api/email/send", `{"to":"anna@example.com","subject":null,"body":null,"template":"welcome","data":{"who":"you"}}`).want(200)
	for body, field := range map[string]string{`{}`: "to", `{"to":null,"subject":"a","body":"b"}`: "to", `{"to":"a@example.com"}`: "subject", `{"to":"a@example.com","subject":"a"}`: "body", `{"to":1,"subject":"a","body":"b"}`: "to",
		`{"to":"a@example.com","template":"none"}`: "template", `{"to":"a@example.com","subject":"{{ lead.nick }}","body":"b"}`: "subject", `{"to":"a@example.com","subject":"a","body":"<p>{{ nick }}</p>"}`: "html",
		`{"to":"jürgen@example.com","subject":"a","body":"b"}`: "to"} {
		if f := do(t, s, "admin", "POST", "/api/email/send", body).problem(422, "validation_failed"); f[field] == "" {
			t.Errorf("%s: %v, want a problem of %s", body, f, field)
		}
	}
	do(t, s, "admin", "POST", "/api/email/send", `{"to":`).problem(400, "malformed")
	lead := do(t, s, "admin", "POST", "/api/leads", `{"email":"gone@example.com"}`).want(200).json()["id"].(string)
	do(t, s, "admin", "POST", "/api/email/send", `{"lead_id":"`+lead+`","subject":"a","body":"b"}`).want(200)
	do(t, s, "admin@t-two", "POST", "/api/email/send", `{"lead_id":"`+lead+`","subject":"a","body":"b"}`).problem(404, "not_found")
	do(t, s, "admin", "DELETE", "/api/leads/"+lead, "").want(200)
	do(t, s, "admin", "POST", "/api/email/send", `{"lead_id":"`+lead+`","subject":"a","body":"b"}`).problem(404, "not_found")

	do(t, s, "admin", "POST", "/api/email/campaign", `{"name":"N","subject":"S","template":"Hello there, all of you","body":null,"html":null,"text":null,"audience":null,"schedule_at":null,"recipients":["a@example.com"]}`).want(200)
	for body, field := range map[string]string{`{"name":"N","subject":"S","template":"<p>x</p>","recipients":null}`: "audience", `{"subject":"S"}`: "name", `{"name":"N","subject":"S","body":"b","recipients":["a@example.com"],"schedule_at":"2001-01-01T00:00:00Z"}`: "schedule_at",
		`{"name":"N","subject":"S","body":"b","recipients":["a@example.com"],"schedule_at":"0001-01-01T00:00:00Z"}`: "schedule_at", `{"name":"N","subject":"S","body":"b","recipients":[]}`: "audience", `{"name":null,"subject":"S"}`: "name"} {
		if f := do(t, s, "admin", "POST", "/api/email/campaign", body).problem(422, "validation_failed"); f[field] == "" {
			t.Errorf("%s: %v, want a problem of %s", body, f, field)
		}
	}
	do(t, s, "admin", "POST", "/api/email/campaign", `{"name":"N","subject":"S","body":"b","recipients":[1]}`).want(422)
	do(t, s, "guest", "GET", "/api/email/campaign/nothing/stats", "").problem(404, "not_found")
	do(t, s, "guest", "GET", "/api/campaigns/nothing/metrics", "").problem(404, "not_found")
}

func TestSuppressions_OneRowAReason(t *testing.T) {
	s := newServer(t)
	sc := account.SystemScope("t-one", "test")
	err := s.st.Write(t.Context(), func(tx *store.Tx) error {
		for _, kind := range []string{campaign.SuppressUnsubscribed, campaign.SuppressHard} {
			if _, err := tx.Suppress(sc, "anna@xn--bcher-kva.example", campaign.Suppression{Address: "anna@xn--bcher-kva.example", Kind: kind, Reason: "r", At: tx.Now()}); err != nil {
				return err
			}
		}
		_, err := tx.Suppress(sc, "erased@example.com", campaign.Suppression{Address: "erased@example.com", Kind: campaign.SuppressErased, At: tx.Now()})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if c := do(t, s, "admin", "POST", "/api/suppressions", `{"address":"anna@bücher.example","reason":"asked"}`).want(200).json(); c["kind"] != "manual" {
		t.Errorf("added = %v", c)
	}
	var seen []string
	for cursor := ""; ; {
		page := do(t, s, "guest", "GET", "/api/suppressions?limit=1&cursor="+cursor, "").want(200).json()
		for _, x := range page["suppressions"].([]any) {
			seen = append(seen, x.(map[string]any)["kind"].(string))
		}
		if cursor, _ = page["next_cursor"].(string); cursor == "" {
			break
		}
	}
	if fmt.Sprint(seen) != "[hard_bounce manual unsubscribed erased]" {
		t.Errorf("listed %v", seen)
	}
	path := "/api/suppressions/" + url.PathEscape("anna@bücher.example")
	do(t, s, "admin", "DELETE", path, "").problem(422, "validation_failed")
	do(t, s, "admin", "DELETE", path+"?kind=hard_bounce&reason=mailbox+is+back", "").want(200)
	do(t, s, "admin", "DELETE", path+"?kind=hard_bounce&reason=again", "").problem(404, "not_found")
	if n := len(do(t, s, "guest", "GET", "/api/suppressions", "").want(200).json()["suppressions"].([]any)); n != 3 {
		t.Errorf("%d reasons left, want 3: taking one off the list leaves the others in force", n)
	}
	do(t, s, "admin", "DELETE", path+"?reason=asked+us+to", "").want(200)
	do(t, s, "admin", "DELETE", "/api/suppressions/erased@example.com?reason=x", "").problem(409, "erased")
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
