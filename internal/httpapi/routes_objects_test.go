package httpapi

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/riverqueue/river"
)

// noQueue takes jobs and forgets them: the walk asks who may do what, not what comes of it.
type noQueue struct{}

func (noQueue) InsertTx(context.Context, any, []river.InsertManyParams) error { return nil }
func (noQueue) Wake([]string)                                                 {}

// missingNames are names of the right form that nobody has, where a parameter is no id; words are parameters that mean
// the same in every tenant.
var (
	missingNames = map[string]string{
		"/api/suppressions/{address}": "nobody@example.org",
		"/api/fields/{key}":           "nothing",
	}
	words = map[string]string{
		"/api/crm/{crm}":             "generic",
		"/api/leads/{id}/tags/{tag}": "vip",
	}
)

// missing is what nobody has for the parameter at the end of the prefix.
func missing(prefix string) string {
	if w, ok := words[prefix]; ok {
		return w
	}
	if n, ok := missingNames[prefix]; ok {
		return n
	}
	return missingID
}

// validBodies get past validation, so that the look-up is reached.
var validBodies = map[string]string{
	"PUT /api/users/{id}/role":         `{"role":"guest"}`,
	"POST /api/users/{id}/activate":    `{}`,
	"POST /api/users/{id}/deactivate":  `{}`,
	"PUT /api/leads/{id}":              `{"first_name":"Eve"}`,
	"PATCH /api/leads/{id}":            `{"first_name":"Eve"}`,
	"POST /api/leads/{id}/restore":     `{}`,
	"POST /api/leads/{id}/notes":       `{"body":"hello"}`,
	"POST /api/leads/{id}/merge":       `{"lead_ids":["lead-1"]}`,
	"PUT /api/leads/{id}/notes/{note}": `{"body":"hello"}`,
	"POST /api/leads/{id}/tags":        `{"tags":["vip"]}`,
	"PATCH /api/tasks/{id}":            `{"title":"Call"}`,
	"PUT /api/campaigns/{id}":          `{"name":"Autumn"}`,
	"POST /api/campaigns/{id}/start":   `{}`,
	"POST /api/campaigns/{id}/pause":   `{}`,
	"POST /api/campaigns/{id}/resume":  `{}`,
	"POST /api/campaigns/{id}/cancel":  `{}`,
	"PUT /api/templates/{id}":          `{"name":"Other"}`,
	"PATCH /api/connections/{id}":      `{"api_url":"https://other.example.org"}`,
	"POST /api/connections/{id}/pause": `{}`,
	"POST /api/workflows/{id}/execute": `{}`,
	"POST /api/runs/{id}/cancel":       `{}`,
	"POST /api/runs/{id}/retry":        `{}`,
}

// validQueries do the same for routes that need something in the query.
var validQueries = map[string]string{
	"DELETE /api/suppressions/{address}": "?reason=asked+for+it",
}

// ownObjects makes an object of each noun in the first tenant and gives its id by the path up to the parameter.
func ownObjects(t testing.TB, s *accountServer, admin string) map[string]string {
	t.Helper()
	keyID, _ := s.key(t, admin, "")
	own := map[string]string{
		"/api/users/{id}":         s.userID(t, admin, "guest"),
		"/api/auth/keys/{key_id}": keyID,
	}
	for prefix, w := range words {
		own[prefix] = w
	}
	created := func(prefix, path, body, field string) string {
		m := s.as(t, admin, "POST", path, body).want(200).json()
		id, _ := m[field].(string)
		if id == "" {
			t.Fatalf("POST %s gave no %s: %v", path, field, m)
		}
		own[prefix] = id
		return id
	}
	listed := func(prefix, path, array string) {
		rows, _ := s.as(t, admin, "GET", path, "").want(200).json()[array].([]any)
		if len(rows) == 0 {
			t.Fatalf("GET %s has no %s", path, array)
		}
		own[prefix] = rows[0].(map[string]any)["id"].(string)
	}
	listed("/api/audit/events/{event_id}", "/api/audit/events", "events")

	lead := created("/api/leads/{id}", "/api/leads", `{"email":"ada@example.org","first_name":"Ada","tags":["vip"]}`, "id")
	created("/api/leads/{id}/notes/{note}", "/api/leads/"+lead+"/notes", `{"body":"met at the fair"}`, "id")
	created("/api/tasks/{id}", "/api/tasks", `{"title":"Call","lead_id":"`+lead+`"}`, "id")
	created("/api/fields/{key}", "/api/fields", `{"key":"budget","type":"integer"}`, "key")
	created("/api/bulks/{id}", "/api/leads/bulk", manyLeads(1001), "job_id")

	campaign := created("/api/campaigns/{id}", "/api/campaigns", `{"name":"Spring","subject":"Hi","html":"<p>Hello</p>","recipients":["ada@example.org"]}`, "id")
	own["/api/email/campaign/{id}"] = campaign
	created("/api/templates/{id}", "/api/templates", `{"name":"Welcome","subject":"Hi","html":"<p>Hello</p>"}`, "id")
	s.as(t, admin, "POST", "/api/suppressions", `{"address":"gone@example.org"}`).want(200)
	own["/api/suppressions/{address}"] = "gone@example.org"
	created("/api/email/messages/{id}", "/api/email/send", `{"to":"ada@example.org","subject":"Hi","body":"Hello"}`, "execution_id")

	s.as(t, admin, "POST", "/api/crm/config", `{"crm_type":"generic","api_url":"https://crm.example.org","api_key":"planted"}`).want(200)
	listed("/api/connections/{id}", "/api/connections", "connections")
	wf := created("/api/workflows/{id}", "/api/workflows", `{"name":"Walk","start":"tag","nodes":{"tag":{"type":"action.add_tag","config":{"tag":"x"},"next":"end"}}}`, "id")
	created("/api/runs/{id}", "/api/workflows/trigger", `{"workflow_id":"`+wf+`","lead_id":"`+lead+`"}`, "execution_id")
	own["/api/crm/salesforce/lead/{id}"], own["/api/crm/hubspot/contact/{id}"] = lead, lead
	return own
}

// manyLeads is a bulk that is large enough to become a job.
func manyLeads(n int) string {
	var b strings.Builder
	b.WriteString(`{"leads":[`)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"email":"lead-%d@example.org"}`, i)
	}
	b.WriteString(`]}`)
	return b.String()
}
