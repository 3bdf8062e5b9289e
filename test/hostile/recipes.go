package hostile

import "encoding/json"

// recipes are bodies that get deep into the server, where the document alone says too little; WORD and ID are replaced.
var recipes = map[string][]string{
	"POST /api/leads":      {`{"email":"WORD@example.invalid","first_name":"WORD","tags":["vip"],"custom_fields":{"budget":7},"phone":"+491701234567"}`, `{"external_id":"WORD","notes":"n","timezone":"Europe/Berlin","language":"de"}`},
	"POST /api/leads/bulk": {`{"leads":[{"email":"WORD@example.invalid"},{"external_id":"WORD"},{"email":"WORD@example.invalid","tags":["a","b"]}]}`},
	"POST /api/workflows": {
		`{"name":"WORD","start":"a","triggers":[{"type":"lead.created"}],"nodes":{"a":{"type":"action.add_tag","config":{"tag":"x"},"next":"end"}}}`,
		`{"name":"WORD","start":"a","triggers":[{"type":"lead.updated"}],"entry":{"condition":{"field":"score","op":">","value":3}},"nodes":{"a":{"type":"branch","config":{"if":{"all":[{"tag":"vip"},{"field":"email","op":"contains","value":"a"}]}},"yes":"b","no":"end"},"b":{"type":"action.set_field","config":{"field":"status","value":"working"},"next":"w"},"w":{"type":"wait","config":{"for":"2d"},"next":"end"}}}`,
		`{"name":"WORD","start":"h","triggers":[{"type":"schedule","cron":"0 9 * * 1-5","zone":"Europe/Berlin"}],"nodes":{"h":{"type":"action.http","config":{"url":"https://WORD.invalid/{{ lead.id }}","method":"POST","body":{"a":"{{ lead.email }}"}},"next":"end"}}}`},
	"POST /api/workflows/trigger":      {`{"workflow_id":"ID","lead_id":"ID","custom_context":{"a":1.50}}`, `{"workflow_id":"ID","lead_data":{"email":"WORD@example.invalid"}}`},
	"POST /api/campaigns":              {`{"name":"WORD","subject":"Hi {{ lead.first_name | default: \"you\" }}","html":"<p>{{ lead.email }}</p>","recipients":["WORD@example.invalid",{"email":"WORD@example.invalid","first_name":"x"}]}`, `{"name":"WORD","subject":"s","html":"<p>x</p>","audience":{"tags":["vip"],"condition":{"field":"score","op":">=","value":0},"exclude_tags":["no"]}}`, `{"name":"WORD","subject":"s","text":"t","html":"<p>t</p>","audience":{"lead_ids":["ID","ID"]}}`},
	"POST /api/email/campaign":         {`{"name":"WORD","subject":"s","content":"<p>x</p>","recipients":["WORD@example.invalid"]}`},
	"POST /api/campaigns/{id}/metrics": {`{"event_id":"WORD","sent":10,"opens":3}`, `{"results":[{"event_id":"WORD","type":"open","count":2}]}`},
	"POST /api/campaigns/webhook":      {`{"events":[{"event_id":"WORD","campaign_id":"ID","type":"open","email":"WORD@example.invalid"}]}`},
	"POST /api/connections":            {`{"type":"generic","name":"WORD","api_url":"https://WORD.invalid/api","secrets":{"api_key":"WORD"},"mapping":[{"ours":"email","theirs":"e"}]}`},
	"POST /api/crm/config":             {`{"crm_type":"generic","name":"WORD","api_url":"https://WORD.invalid/","api_key":"WORD","authentication":{"type":"api_key","headers":{"X-A":"b"}},"mapping":{"email":"e","custom_fields.budget":"b"}}`},
	"POST /api/fields":                 {`{"key":"WORD","type":"text","max_length":10}`, `{"key":"WORD","type":"choice","choices":["a","b"],"default":"a"}`, `{"key":"WORD","type":"json"}`},
	"POST /api/templates":              {`{"name":"WORD","subject":"Hi {{ lead.first_name }}","html":"{% for t in lead.tags %}{{ t }}{% endfor %}"}`},
	"POST /api/email/send":             {`{"to":"WORD@example.invalid","subject":"Hi","body":"Hello {{ lead.first_name }}"}`},
	"POST /api/tasks":                  {`{"title":"WORD","lead_id":"ID","due":"2030-01-01"}`},
	"POST /api/leads/{id}/tasks":       {`{"title":"WORD"}`},
	"POST /api/leads/{id}/notes":       {`{"body":"WORD"}`},
	"POST /api/leads/{id}/merge":       {`{"lead_ids":["ID"]}`},
	"POST /api/leads/deduplicate":      {`{"leads":[{"email":"WORD@example.invalid"},{"email":"WORD@example.invalid"}],"strategy":"email"}`, `{}`},
	"PUT /api/leads/rules":             {`{"statuses":["new","working","won","lost"],"identity":["external_id","email"],"region":"DE"}`},
	"POST /api/crm/{crm}/sync":         {`{"lead_ids":["ID"]}`, `{"filter":{"tag":"vip"}}`},
	"POST /api/auth/keys":              {`{"name":"WORD","scopes":["lead:read"],"expires_in_days":1}`},
	"POST /api/suppressions":           {`{"address":"WORD@example.invalid","reason":"asked"}`},
}

// rare are operations that cost a password's hash or change what all others meet; each is tried, but seldom.
var rare = map[string]bool{
	"POST /api/auth/login": true, "POST /api/auth/setup": true, "PUT /api/auth/password": true, "POST /api/users": true, "POST /api/tenants": true, "POST /api/auth/refresh": true,
	"PUT /api/leads/rules": true, "POST /api/leads/deduplicate": true, "POST /api/dedup": true, "GET /docs": true, "GET /openapi.json": true, "GET /api/docs": true, "GET /api/openapi.json": true,
}

// left out: GET /admin/jobs/ and the pages with forms, which are not in the document. No operation ends the process, and
// none makes work without end.

// recipe is a body for an operation, from a recipe or from its schema.
func (g *generator) bodyFor(o *operation) any {
	if list := recipes[o.String()]; len(list) > 0 && g.IntN(4) > 0 {
		var v any
		if err := json.Unmarshal([]byte(pick(g, list...)), &v); err == nil {
			return g.filled(v)
		}
	}
	return g.valid(o.body, "", 0)
}

// filled replaces WORD and ID in all texts.
func (g *generator) filled(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			v[k] = g.filled(x)
		}
		return v
	case []any:
		for i, x := range v {
			v[i] = g.filled(x)
		}
		return v
	case string:
		if v == "ID" {
			return g.pool.id(g)
		}
		return replaceWord(g, v)
	}
	return v
}
