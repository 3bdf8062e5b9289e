package httpapi

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestFields_OfEveryType takes for each type what is right, what is normalised and what is refused.
func TestFields_OfEveryType(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		do(t, s, "admin", "PUT", "/api/leads/rules", `{"statuses":["new"],"identity":["email"],"region":"DE"}`).want(200)
		id := makeLead(t, s, `{"email":"a@example.com"}`)
		for _, c := range []struct{ typ, more, good, stored, bad, code string }{
			{"text", `"max_length":5`, `" Köln "`, `Köln`, `"123456"`, "too_long"}, {"long_text", ``, `"a\nb"`, "a\nb", `5`, "wrong_type"}, {"integer", `"min":1,"max":9`, `7`, `7`, `10`, "out_of_range"},
			{"number", ``, `0.10`, `0.1`, `"1"`, "wrong_type"}, {"boolean", ``, `false`, `false`, `0`, "wrong_type"}, {"date", ``, `"2028-02-29"`, `2028-02-29`, `"2027-02-29"`, "not_a_date"},
			{"datetime", ``, `"2026-03-31T14:00:00+02:00"`, `2026-03-31T12:00:00Z`, `"2026-03-31"`, "not_a_time"}, {"choice", `"choices":["Gold","Silver"]`, `"gold"`, `Gold`, `"lead"`, "unknown_choice"},
			{"multi_choice", `"choices":["A","B"]`, `["b","a","B"]`, `[B A]`, `["c"]`, "unknown_choice"}, {"url", ``, `"https://a.example/x"`, `https://a.example/x`, `"javascript:alert(1)"`, "not_a_url"},
			{"email", ``, `"X@MÜNCHEN.de"`, `X@xn--mnchen-3ya.de`, `"x@"`, "bad_domain"}, {"phone", ``, `"0170 1234567"`, `+491701234567`, `"4.9E+11"`, "scientific_notation"},
			{"json", ``, `{"a":[1,{"b":null}]}`, `map[a:[1 map[b:<nil>]]]`, `{"a":"\u0000"}`, "control_character"},
		} {
			more := c.more
			if more != "" {
				more = "," + more
			}
			do(t, s, "admin", "POST", "/api/fields", `{"key":"f_`+c.typ+`","type":"`+c.typ+`"`+more+`}`).want(200)
			l := lead1(t, do(t, s, "admin", "PUT", "/api/leads/"+id, `{"custom_fields":{"f_`+c.typ+`":`+c.good+`}}`).want(200))
			if got := fmt.Sprint(l["custom_fields"].(map[string]any)["f_"+c.typ]); got != c.stored {
				t.Errorf("%s: %s is stored as %s, want %s", c.typ, c.good, got, c.stored)
			}
			path := "custom_fields.f_" + c.typ
			if c.typ == "multi_choice" {
				path += "[0]"
			}
			if got := do(t, s, "admin", "PUT", "/api/leads/"+id, `{"custom_fields":{"f_`+c.typ+`":`+c.bad+`}}`).problem(422, "validation_failed"); got[path] != c.code {
				t.Errorf("%s: %s gives %v, want %s", c.typ, c.bad, got, c.code)
			}
			l = lead1(t, do(t, s, "admin", "PATCH", "/api/leads/"+id, `{"custom_fields":{"f_`+c.typ+`":null}}`).want(200))
			if _, still := l["custom_fields"].(map[string]any)["f_"+c.typ]; still {
				t.Errorf("%s: null does not clear: %v", c.typ, l["custom_fields"])
			}
		}
		do(t, s, "admin", "POST", "/api/fields", `{"key":"buddy","type":"user"}`).want(200)
		if got := do(t, s, "admin", "PUT", "/api/leads/"+id, `{"owner_id":"u-none","custom_fields":{"buddy":"u-none"}}`).problem(422, "validation_failed"); got["custom_fields.buddy"] != "unknown_user" || got["owner_id"] != "unknown_user" {
			t.Errorf("users: %v", got)
		}
		do(t, s, "admin", "POST", "/api/fields", `{"key":"large","type":"integer","default":9007199254740993}`).want(200)
		if r := do(t, s, "admin", "GET", "/api/leads/"+makeLead(t, s, `{"email":"b@example.com"}`), ""); !strings.Contains(r.Body, `"large":9007199254740993`) {
			t.Errorf("a large default lost digits: %s", r.Body)
		}
		if got := do(t, s, "admin", "POST", "/api/fields", `{"key":"bad","type":"integer","default":"x"}`).problem(422, "validation_failed"); got["default"] != "wrong_type" {
			t.Errorf("default: %v", got)
		}
		if m := do(t, s, "admin", "POST", "/api/fields", `{"key":"none","type":"integer","default":null}`).want(200).json(); m["default"] != nil {
			t.Errorf("a default of null: %v", m)
		}
	})
}

// TestFields_AreNotRemovedWhileUsed: the reply names who uses one.
func TestFields_AreNotRemovedWhileUsed(t *testing.T) {
	eachServer(t, func(t *testing.T, s *testServer) {
		for _, key := range []string{"size", "size_2"} {
			do(t, s, "admin", "POST", "/api/fields", `{"key":"`+key+`","type":"integer"}`).want(200)
		}
		wf := do(t, s, "admin", "POST", "/api/workflows", `{"name":"W","start":"n","nodes":{"n":{"type":"branch.condition","config":{"condition":{"field":"custom_fields.size","op":">","value":3}},"exits":{"yes":"end","no":"end"}}}}`)
		if wf.Status != 200 {
			wf = do(t, s, "admin", "POST", "/api/workflows", `{"name":"W","start":"n","nodes":{"n":{"type":"action.set_field","config":{"field":"custom_fields.size","value":3},"next":"end"}}}`)
		}
		workflow := wf.want(200).json()["id"].(string)
		template := do(t, s, "admin", "POST", "/api/templates", `{"name":"T","subject":"{{ lead.custom_fields.size }}","html":"<p>x</p>"}`).want(200).json()["id"].(string)
		do(t, s, "admin", "POST", "/api/crm/config", `{"crm_type":"generic","api_url":"https://crm.example.com","api_key":"planted","mapping":[{"ours":"email","theirs":"email"},{"ours":"custom_fields.size","theirs":"size"}]}`).want(200)
		con := do(t, s, "admin", "GET", "/api/connections", "").json()["connections"].([]any)[0].(map[string]any)["id"].(string)
		got := do(t, s, "admin", "DELETE", "/api/fields/size", "").problem(409, "field_in_use")
		for _, use := range []string{"workflow " + workflow, "template " + template, "connection " + con} {
			if got[use] != "uses_field" {
				t.Errorf("%s is not named: %v", use, got)
			}
		}
		if len(got) != 3 {
			t.Errorf("uses %v", got)
		}
		do(t, s, "admin", "GET", "/api/fields/size", "").want(200)
		do(t, s, "admin", "DELETE", "/api/fields/size_2", "").want(200) // named by nobody, though its name begins alike
	})
}

// TestDeleteLead_AfterThirtyDaysItIsFinal by virtual time.
func TestDeleteLead_AfterThirtyDaysItIsFinal(t *testing.T) {
	s := newAccountServer(t, cheapHash)
	admin := s.login(t, "admin")
	id := s.as(t, admin, "POST", "/api/leads", `{"email":"ada@example.com","first_name":"Ada"}`).want(200).json()["id"].(string)
	s.as(t, admin, "DELETE", "/api/leads/"+id, "").want(200)
	_, key := s.key(t, admin, "")
	s.clock.add(30*24*time.Hour + time.Minute)
	s.as(t, key, "POST", "/api/leads/"+id+"/restore", "").problem(404, "not_found")
	m := s.as(t, key, "POST", "/api/leads", `{"email":"ada@example.com"}`).want(200).json()
	if m["id"] == id || m["outcome"] != "created" || m["restored"] != nil {
		t.Errorf("a lead came back after its time: %v", m)
	}
}
