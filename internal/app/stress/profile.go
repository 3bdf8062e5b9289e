package stress

import (
	"fmt"
	"math/rand/v2"
	"net/http"
)

// call is one request of the profile.
type call struct {
	method, path string
	body         []byte // JSON; nil for none
}

// endpoint is a kind of request with its share of the load and what a right reply looks like.
type endpoint struct {
	name     string
	weight   int
	status   int
	contains string // what the body of a right reply holds
	build    func(u *user) call
}

func get(path string) func(*user) call {
	return func(*user) call { return call{method: http.MethodGet, path: path} }
}

// profile is the load of the existing clients: what they call, how often, and what they expect.
var profile = []endpoint{
	{"POST /api/workflows/trigger", 10, 200, `"execution_id"`, func(u *user) call {
		return call{http.MethodPost, "/api/workflows/trigger", fmt.Appendf(nil,
			`{"workflow_id":"workflow-1","lead_data":%s,"custom_context":{"source":"stress"}}`, u.person())}
	}},
	{"GET /api/leads", 8, 200, `"leads"`, get("/api/leads?skip=0&limit=20")},
	{"GET /health", 5, 200, `"status"`, get("/health")},
	{"GET /api/workflows/{id}/status", 5, 200, `"workflow_id"`, get("/api/workflows/workflow-1/status")},
	{"POST /api/leads", 3, 200, `"id"`, func(u *user) call { return call{http.MethodPost, "/api/leads", u.person()} }},
	{"GET /api/auth/me", 3, 200, `"username"`, get("/api/auth/me")},
	{"GET /api/campaigns", 3, 200, `"campaigns"`, get("/api/campaigns")},
	{"GET /api/crm/status", 3, 200, `"status"`, get("/api/crm/status")},
	{"GET /health/detailed", 2, 200, `"status"`, get("/health/detailed")},
	{"GET /api/leads/{id}", 2, 200, `"email"`, func(u *user) call {
		return call{method: http.MethodGet, path: u.fixedLead()}
	}},
	{"GET /docs", 2, 200, "<", get("/docs")},
	{"PUT /api/leads/{id}", 1, 200, `"updated"`, func(u *user) call {
		return call{http.MethodPut, u.fixedLead(), fmt.Appendf(nil, // unset fields come as null, as the old clients send them
			`{"first_name":"Updated","last_name":"User%d","company":"Updated Corp","phone":null,"source":null,"status":null,"custom_fields":{"budget":%d}}`,
			u.rand.IntN(1000), 1000*(1+u.rand.IntN(50)))}
	}},
	{"GET /metrics", 1, 200, "# ", get("/metrics")},
	{"GET /api/auth/keys", 1, 200, "[", get("/api/auth/keys")},
	{"GET /api/campaigns/{id}/metrics", 1, 200, `"metrics"`, get("/api/campaigns/campaign-1/metrics")},
	{"POST /api/campaigns/{id}/metrics", 1, 200, `"campaign-1"`, func(u *user) call {
		return call{http.MethodPost, "/api/campaigns/campaign-1/metrics", fmt.Appendf(nil,
			`{"metrics":{"sent":10,"opened":%d,"clicked":%d}}`, u.rand.IntN(8), u.rand.IntN(4))}
	}},
	{"POST /api/crm/config", 1, 200, `"configured"`, func(u *user) call {
		return call{http.MethodPost, "/api/crm/config", fmt.Appendf(nil, `{"crm_type":"generic","api_url":%q,"api_key":"stress-key"}`, u.run.opt.CRMURL)}
	}},
	{"GET /api/openapi.json", 1, 200, `"openapi"`, get("/api/openapi.json")},
	{"GET /api/nonexistent", 1, 404, `"code"`, get("/api/nonexistent")},
}

var totalWeight = func() (sum int) {
	for _, e := range profile {
		sum += e.weight
	}
	return sum
}()

// choose picks an endpoint by weight.
func choose(r *rand.Rand) int {
	n := r.IntN(totalWeight)
	for i, e := range profile {
		if n -= e.weight; n < 0 {
			return i
		}
	}
	return len(profile) - 1
}

// fixedLead is the path of one of the three leads every demo has.
func (u *user) fixedLead() string { return fmt.Sprintf("/api/leads/lead-%d", 1+u.rand.IntN(3)) }

// person is a new lead, or one in ten times one that this user sent before, so that upserts happen too.
func (u *user) person() []byte {
	if u.sent == 0 || u.rand.IntN(10) > 0 {
		u.sent++
	}
	n := 1 + u.rand.IntN(u.sent)
	if u.rand.IntN(10) > 0 {
		n = u.sent
	}
	return fmt.Appendf(nil, `{"first_name":%q,"last_name":"Stress%d","email":"stress.%s.%d.%d@example.com","company":"Stress %d Ltd","source":"stress","custom_fields":{"budget":%d}}`,
		firstNames[n%len(firstNames)], n, u.run.id, u.number, n, u.number, 1000*(1+u.rand.IntN(50)))
}

var firstNames = []string{"Ada", "Bruno", "Chiara", "Dmitri", "Elif", "Farid", "Grace", "Hana", "Ivo", "Jun"}
