package httpapi

import (
	"context"
	"strings"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/lead"
	"leadloom/internal/outbound"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// withQueue lets a server's transactions enqueue jobs; none is run.
func withQueue(t *testing.T, s *testServer) {
	t.Helper()
	reg := queue.NewRegistry()
	s.svc.Jobs(reg)
	o := queue.Options{SQLite: s.st.SQLite(), Registry: reg, InsertOnly: true, TestOnly: true}
	if err := queue.MigrateUp(context.Background(), o); err != nil {
		t.Fatal(err)
	}
	c, err := queue.Open(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	s.st.SetInserter(c)
	s.svc.Leads.Outbound = outbound.New(outbound.Policy{Instance: s.st.InstanceID()})
	t.Cleanup(s.svc.Leads.Outbound.Close)
}

func TestConfigureCRM_OldClientsGet200AndHonestWarnings(t *testing.T) {
	s := newServer(t)
	withQueue(t, s)
	if m := do(t, s, "admin", "GET", "/api/crm/status", "").want(200).json(); m["status"] != "not_configured" {
		t.Errorf("status before any configuration: %v", m["status"])
	}
	for _, kind := range []string{"salesforce", "hubspot", "pipedrive", "zoho", "dynamics", "airtable", "google_sheets", "generic"} {
		m := do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"`+kind+`","api_url":"https://crm.example.com","api_key":"planted-key-0123456789","mapping":{"email":"mail"},"authentication":null,"surprise":1}`).want(200).json()
		if m["status"] != "configured" || m["crm_type"] != kind {
			t.Errorf("%s: %v", kind, m)
		}
		if warned := len(m["warnings"].([]any)) > 0; warned != (kind != "generic") {
			t.Errorf("%s: warnings %v; only a kind that this release cannot talk to is warned about", kind, m["warnings"])
		}
	}
	list := do(t, s, "admin", "GET", "/api/connections?limit=3", "").want(200)
	if strings.Contains(list.Body, "planted-key") {
		t.Error("a reply shows the API key")
	}
	next := list.json()["next_cursor"].(string)
	if n := len(do(t, s, "admin", "GET", "/api/connections?limit=10&cursor="+next, "").want(200).json()["connections"].([]any)); n != 5 {
		t.Errorf("the second page has %d connections; want 5", n)
	}
	do(t, s, "admin", "GET", "/api/connections?cursor=nonsense", "").problem(422, "validation_failed")
	if m := do(t, s, "admin", "GET", "/api/connections", "", "Test-Caller", "admin@t-two").want(200).json(); len(m["connections"].([]any)) != 0 {
		t.Error("another tenant sees connections")
	}
}

func TestConfigureCRM_RefusesWhatIsWrong(t *testing.T) {
	s := newServer(t)
	withQueue(t, s)
	fields := do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"excel","api_url":"nowhere"}`).problem(422, "validation_failed")
	if fields["crm_type"] != "unknown_value" || fields["api_url"] != "not_an_address" {
		t.Errorf("fields %v; want both at once", fields)
	}
	do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","api_url":"https://crm.example.com","mapping":[{"ours":"nothing","theirs":"x"}]}`).problem(422, "validation_failed")
	do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":`).problem(400, "malformed")
	do(t, s, "salesperson", "POST", "/api/crm/config", `{"crm_type":"generic"}`).problem(403, "forbidden")
	if n := do(t, s, "admin", "GET", "/api/connections", "").want(200).json()["connections"].([]any); len(n) != 0 {
		t.Errorf("a refused configuration stored something: %v", n)
	}
}

func TestConnections_ForbiddenAddressIsRefusedOnNewRoutes(t *testing.T) {
	s := newServer(t)
	withQueue(t, s)
	for url, code := range map[string]string{"https://169.254.169.254/latest": "address_not_allowed", "https://10.0.0.1/": "address_not_allowed", "http://crm.example.com/": "bad_url"} {
		if f := do(t, s, "admin", "POST", "/api/connections", `{"crm_type":"generic","name":"x","api_url":"`+url+`"}`).problem(422, "validation_failed"); f["api_url"] != code {
			t.Errorf("%s: %v; want %s", url, f, code)
		}
	}
	do(t, s, "admin", "POST", "/api/connections", `{"crm_type":"generic","name":"x","api_url":"https://crm.example.com","unknown":1}`).want(422)
	m := do(t, s, "admin", "POST", "/api/connections", `{"crm_type":"generic","name":"x","api_url":"https://crm.example.com","credentials":{"api_key":"0123456789abcdef"}}`).want(200)
	id := m.json()["id"].(string)
	if m.Header.Get("ETag") != `"1"` || m.json()["credentials_hint"] != "…cdef" {
		t.Errorf("ETag %s, hint %v", m.Header.Get("ETag"), m.json()["credentials_hint"])
	}
	do(t, s, "admin", "POST", "/api/connections", `{"crm_type":"generic","name":"x","api_url":"https://crm.example.com"}`).problem(409, "name_taken")
	do(t, s, "admin", "PATCH", "/api/connections/"+id, `{"api_url":"https://other.example.com"}`, "If-Match", `"9"`).problem(412, "stale")
	moved := do(t, s, "admin", "PATCH", "/api/connections/"+id, `{"api_url":"https://other.example.com"}`, "If-Match", `"1"`).want(200).json()
	if moved["credentials_set"] != false {
		t.Error("a changed address kept the credentials: they would leak to the new host")
	}
	do(t, s, "admin", "POST", "/api/connections/"+id+"/pause", "").want(200)
	if m := do(t, s, "admin", "GET", "/api/connections/"+id, "").want(200).json(); m["state"] != "paused" {
		t.Errorf("state %v after a pause", m["state"])
	}
	do(t, s, "admin", "POST", "/api/connections/"+id+"/resume", "").want(200)
	do(t, s, "admin", "POST", "/api/connections/"+id+"/test", "").want(200)
	if m := do(t, s, "admin", "GET", "/api/connections/"+id+"/problems", "").want(200).json(); len(m["problems"].([]any)) != 0 {
		t.Errorf("problems %v", m)
	}
	do(t, s, "admin", "POST", "/api/connections/"+id+"/problems/retry", "").want(200)
	for _, call := range [][2]string{{"GET", ""}, {"GET", "/problems"}, {"POST", "/pause"}, {"POST", "/test"}, {"POST", "/problems/retry"}} {
		do(t, s, "", call[0], "/api/connections/"+id+call[1], "", "Test-Caller", "admin@t-two").problem(404, "not_found")
	}
}

func TestSyncCRM_QueuesAndRefuses(t *testing.T) {
	s := newServer(t)
	withQueue(t, s)
	do(t, s, "admin", "POST", "/api/crm/generic/sync", `{"lead_id":"x"}`).problem(409, "not_configured")
	do(t, s, "admin", "POST", "/api/crm/excel/sync", `{"lead_id":"x"}`).problem(404, "not_found")
	do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","api_url":"https://crm.example.com"}`).want(200)
	do(t, s, "admin", "POST", "/api/crm/generic/sync", `{"lead_ids":["x"]}`).problem(422, "validation_failed")
	id := do(t, s, "admin", "POST", "/api/leads", `{"email":"a@example.com"}`).want(200).json()["id"].(string)
	m := do(t, s, "admin", "POST", "/api/crm/generic/sync", `{"lead_id":"`+id+`"}`).want(200).json()
	if m["status"] != "queued" || m["queued"] != float64(1) {
		t.Errorf("sync: %v", m)
	}
	if m := do(t, s, "admin", "POST", "/api/crm/generic/sync", "").want(200).json(); m["all"] != true {
		t.Errorf("sync of everything: %v", m)
	}
	do(t, s, "admin", "GET", "/api/crm/salesforce/lead/"+id, "").problem(404, "not_found")
}

func TestConfigureCRM_CredentialsNeverComeBack(t *testing.T) {
	s := newServer(t)
	withQueue(t, s)
	for url, code := range map[string]string{"https://user:planted@crm.example.com": "credentials_in_address", "https://crm.example.com/api?key=planted": "query_in_address", "https://crm.example.com/#planted": "query_in_address"} {
		for path, body := range map[string]string{"/api/crm/config": `{"crm_type":"salesforce","api_url":"` + url + `"}`, "/api/connections": `{"crm_type":"generic","name":"x","api_url":"` + url + `"}`} {
			r := do(t, s, "admin", "POST", path, body)
			if f := r.problem(422, "validation_failed"); f["api_url"] != code || strings.Contains(r.Body, "planted") {
				t.Errorf("%s %s: %v", path, url, r.Body)
			}
		}
	}
	for name := range map[string]bool{"X-Api-Key": true, "Cookie": true, "X-Auth-Token": true, "Authorization": true, "Host": true} {
		f := do(t, s, "admin", "POST", "/api/connections", `{"crm_type":"generic","name":"x","api_url":"https://crm.example.com","settings":{"headers":{"`+name+`":"planted"}}}`).problem(422, "validation_failed")
		if f["settings.headers."+name] != "not_allowed" {
			t.Errorf("header %s: %v; want it refused, for headers are shown", name, f)
		}
	}
	secrets := `"username":"planted-user","password":"planted-pass","client_id":"planted-id","client_secret":"planted-client","webhook_secret":"planted-hook","api_key":"planted-key"`
	do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","api_url":"https://crm.example.com","authentication":{"auth":"basic",`+secrets+`}}`).want(200)
	m := do(t, s, "admin", "POST", "/api/connections", `{"crm_type":"generic","name":"two","api_url":"https://crm.example.com","credentials":{`+secrets+`}}`).want(200)
	for _, path := range []string{"/api/connections", "/api/connections/" + m.json()["id"].(string), "/api/crm/status", "/api/audit/events"} {
		if body := do(t, s, "admin", "GET", path, "").want(200).Body; strings.Contains(strings.ReplaceAll(body, "…-key", ""), "planted") {
			t.Errorf("GET %s shows a credential: %s", path, body)
		}
	}
	if strings.Contains(m.Body, "planted") {
		t.Errorf("the reply shows a credential: %s", m.Body)
	}
}

func TestConfigureCRM_SaysWhatItDidNotStore(t *testing.T) {
	s := newServer(t)
	withQueue(t, s)
	m := do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"salesforce","authentication":{"type":"oauth2","username":"u","security_token":"planted","client_id":"c","domain":null}}`).want(200)
	if !strings.Contains(m.Body, "security_token") || strings.Contains(m.Body, "planted") || strings.Contains(m.Body, "domain") {
		t.Errorf("%s; want the name of what was not stored, without its value", m.Body)
	}
	st := do(t, s, "admin", "GET", "/api/crm/status", "").want(200).json()
	if st["status"] != "error" || st["connector_type"] != "salesforce" || !strings.Contains(st["message"].(string), "later release") {
		t.Errorf("status %v; want an honest word on a kind that cannot be talked to yet", st)
	}
	do(t, s, "admin", "POST", "/api/crm/salesforce/sync", `{}`).problem(409, "kind_not_available")
	m = do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":" Generic ","api_url":"https://crm.example.com","authentication":{"type":"API_KEY","api_key":"k"},"mapping":{}}`).want(200)
	if w := m.json()["warnings"].([]any); len(w) != 0 {
		t.Errorf("warnings %v; want none", w)
	}
	do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","authentication":{"batch_size":"many"}}`).problem(422, "validation_failed")
	do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","authentication":{"password":7}}`).problem(422, "validation_failed")
}

func TestLeadIn_AnswersFromWhatIsStored(t *testing.T) {
	s := newServer(t)
	withQueue(t, s)
	id := do(t, s, "admin", "POST", "/api/leads", `{"email":"a@example.com"}`).want(200).json()["id"].(string)
	for kind, path := range map[string]string{"salesforce": "/api/crm/salesforce/lead/", "hubspot": "/api/crm/hubspot/contact/"} {
		con := do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"`+kind+`"}`).want(200).json()["connection_id"].(string)
		do(t, s, "admin", "GET", path+id, "").problem(404, "not_found")
		sc := account.SystemScope("t-one", "test")
		if err := s.st.Write(t.Context(), func(tx *store.Tx) error {
			return tx.SaveLinks(sc, crm.ConnectionID(con), []*crm.Link{{LeadID: lead.ID(id), RemoteID: "remote-" + kind, SyncedVersion: 1, MappingVersion: 1, Base: map[string]any{"Email": "a@example.com"}}})
		}); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{id, "remote-" + kind} {
			m := do(t, s, "salesperson", "GET", path+name, "").want(200).json()
			if m["id"] != "remote-"+kind || m["lead_id"] != id || m["crm_type"] != kind || m["state"] != "synced" || m["data"].(map[string]any)["Email"] != "a@example.com" {
				t.Errorf("%s: %v", name, m)
			}
		}
		do(t, s, "", "GET", path+id, "", "Test-Caller", "admin@t-two").problem(404, "not_found")
		view := do(t, s, "admin", "GET", "/api/leads/"+id, "").want(200).json()["crm"].(map[string]any)[con].(map[string]any)
		if view["remote_id"] != "remote-"+kind || view["synced_version"] != 1.0 || view["crm_type"] != kind {
			t.Errorf("the lead shows %v", view)
		}
	}
}

func TestConnections_AreRemoved(t *testing.T) {
	s := newServer(t)
	withQueue(t, s)
	id := do(t, s, "admin", "POST", "/api/connections", `{"crm_type":"generic","name":"x","api_url":"https://crm.example.com"}`).want(200).json()["id"].(string)
	do(t, s, "salesperson", "DELETE", "/api/connections/"+id, "").problem(403, "forbidden")
	do(t, s, "", "DELETE", "/api/connections/"+id, "", "Test-Caller", "admin@t-two").problem(404, "not_found")
	do(t, s, "admin", "DELETE", "/api/connections/"+id, "", "If-Match", `"7"`).problem(412, "stale")
	do(t, s, "admin", "DELETE", "/api/connections/"+id, "", "If-Match", `"1"`).want(200)
	do(t, s, "admin", "DELETE", "/api/connections/"+id, "").problem(404, "not_found")
	if m := do(t, s, "admin", "GET", "/api/crm/status", "").want(200).json(); m["status"] != "not_configured" {
		t.Errorf("status %v", m)
	}
}

func TestSyncCRM_Filters(t *testing.T) {
	s := newServer(t)
	withQueue(t, s)
	do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","api_url":"https://crm.example.com"}`).want(200)
	for _, l := range []string{`{"email":"a@example.com","source":"fair"}`, `{"email":"b@example.com","source":"fair","tags":["vip"]}`, `{"email":"c@example.com"}`} {
		do(t, s, "admin", "POST", "/api/leads", l).want(200)
	}
	for filter, want := range map[string]float64{`{"source":"fair"}`: 2, `{"source":"fair","tag":"vip"}`: 1, `{"email":"c@example.com"}`: 1, `{"source":"nowhere"}`: 0, `{"source":"fair","owner":null}`: 2} {
		if m := do(t, s, "admin", "POST", "/api/crm/generic/sync", `{"filter":`+filter+`}`).want(200).json(); m["queued"] != want || m["all"] != false {
			t.Errorf("%s: %v; want %v leads", filter, m, want)
		}
	}
	for body, path := range map[string]string{`{"filter":{"colour":"red"}}`: "filter.colour", `{"filter":{"source":7}}`: "filter.source", `{"filter":{}}`: "filter", `{"lead_id":""}`: "lead_id", `{"lead_id":"x","filter":{"source":"fair"}}`: "filter"} {
		if f := do(t, s, "admin", "POST", "/api/crm/generic/sync", body).problem(422, "validation_failed"); f[path] == "" {
			t.Errorf("%s: %v; want a word on %s", body, f, path)
		}
	}
	if m := do(t, s, "admin", "POST", "/api/crm/generic/sync", `{"lead_ids":[]}`).want(200).json(); m["queued"] != 0.0 || m["all"] != false {
		t.Errorf("an empty list: %v; want nothing sent, not everything", m)
	}
}
