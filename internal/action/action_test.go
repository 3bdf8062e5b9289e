package action_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"leadloom/internal/action"
	"leadloom/internal/action/actiontest"
	"leadloom/internal/workflow"
)

// TestConformance: a new action is a line here.
func TestConformance(t *testing.T) {
	long := strings.Repeat("x", 65)
	actiontest.Run(t, action.NewRegistry(), []actiontest.Case{
		{Type: "action.set_field", Good: `{"field":"company","value":"{{ lead.first_name | upcase }}"}`, Did: []string{"set company to ADA"}, Bad: []actiontest.Bad{
			{`{"value":"x"}`, ".field", "required"}, {`{"field":"compny","value":"x"}`, ".field", "unknown_field"}, {`{"field":"score","value":"1"}`, ".field", "unknown_field"},
			{`{"field":"custom_fields.","value":"1"}`, ".field", "unknown_field"}, {`{"field":"company"}`, ".value", "required"}, {`{"field":"company","value":null}`, ".value", "required"},
			{`{"field":"company","value":5}`, ".value", "wrong_type"}, {`{"field":"company","value":"x","clear":true}`, ".value", "unexpected"},
			{`{"field":"company","value":"{{ lead.frist_name }}"}`, ".value", "bad_merge_field"}, {`{"field":"company","value":"{{ lead.company"}`, ".value", "bad_merge_field"}}},
		{Type: "action.add_tag", Good: `{"tag":"a","tags":["b"]}`, Did: []string{"tags +[a b] -[]"}, Bad: []actiontest.Bad{
			{`{}`, ".tag", "required"}, {`{"tags":[""]}`, ".tags", "bad_tag"}, {`{"tag":"` + long + `"}`, ".tags", "bad_tag"}}},
		{Type: "action.remove_tag", Good: `{"tags":["b"]}`, Did: []string{"tags +[] -[b]"}, Bad: []actiontest.Bad{{`{}`, ".tag", "required"}}},
		{Type: "action.add_score", Good: `{"points":-5,"reason":"left"}`, Did: []string{`score -5 because "left"`}, Bad: []actiontest.Bad{
			{`{}`, ".points", "out_of_range"}, {`{"points":1000001}`, ".points", "out_of_range"}, {`{"points":1.5}`, ".points", "wrong_type"}, {`{"points":1,"reason":"` + strings.Repeat("x", 201) + `"}`, ".reason", "too_long"}}},
		{Type: "action.assign_owner", Good: `{"owner":"user-2"}`, Did: []string{"owner user-2"}, Bad: []actiontest.Bad{{`{}`, ".owner", "required"}}},
		{Type: "action.create_task", Good: `{"title":"Call {{ lead.first_name }}","due":"2h","owner":"user-2"}`, Did: []string{`task "Call Ada" for "user-2" due 2026-01-02T14:00:00Z`}, Bad: []actiontest.Bad{
			{`{}`, ".title", "required"}, {`{"title":"x","due":"soon"}`, ".due", "bad_duration"}, {`{"title":"{{ x }}"}`, ".title", "bad_merge_field"}}},
		{Type: "action.http", Good: `{"url":"https://x.example/a/{{ lead.company }}?q={{ lead.company | url }}","body":{"n":1.50,"list":["{{ lead.id }}",null]},"headers":{"X-Lead":"{{ lead.id }}"}}`,
			Did: []string{`POST https://x.example/a/Engines%20%26%20Co?q=Engines%20%26%20Co {"list":["lead-1",null],"n":1.50} map[X-Lead:lead-1]`}, Bad: []actiontest.Bad{
				{`{}`, ".url", "required"}, {`{"url":"x.example"}`, ".url", "bad_url"}, {`{"url":"ftp://x.example"}`, ".url", "bad_url"}, {`{"url":"https://{{ lead.company }}/"}`, ".url", "bad_url"},
				{`{"url":"https://x{{ lead.company }}.example/"}`, ".url", "bad_url"}, {`{"url":"HTTPS://x{{ lead.company }}.example/"}`, ".url", "bad_url"}, {`{"url":"https://x.example:{{ lead.phone }}/"}`, ".url", "bad_url"},
				{`{"url":"https://x.example\\{{ lead.phone }}"}`, ".url", "bad_url"}, {`{"url":"https://u:p@x.example"}`, ".url", "secret_in_definition"}, {`{"url":"https://x.example","method":"TRACE"}`, ".method", "unknown_value"},
				{`{"url":"https://x.example","headers":{"X-Api-Key":"x"}}`, ".headers.X-Api-Key", "secret_in_definition"}, {`{"url":"https://x.example","headers":{"Idempotency-Key":"x"}}`, ".headers.Idempotency-Key", "not_allowed"},
				{`{"url":"https://x.example","headers":{"Host":"x"}}`, ".headers.Host", "not_allowed"}, {`{"url":"https://x.example","headers":{"X Y":"x"}}`, ".headers.X Y", "bad_header"},
				{`{"url":"https://x.example","headers":{"X-A":"{{ a }}"}}`, ".headers.X-A", "bad_merge_field"}, {`{"url":"https://x.example","body":{"a":["{{ b }}"]}}`, ".body.a[0]", "bad_merge_field"},
				{`{"url":"https://x.example","body":"` + strings.Repeat("x", 64<<10) + `"}`, ".body", "too_large"}, {`{"url":"https://x.example","body":` + strings.Repeat("[", 33) + strings.Repeat("]", 33) + `}`, ".body" + strings.Repeat("[0]", 32), "too_deep"}, {`{"url":"https://x.example","save":{"A":"$.x"}}`, ".save.A", "bad_path"},
				{`{"url":"https://x.example","save":{"a":"x"}}`, ".save.a", "bad_path"}, {`{"url":"https://x.example","timeout_seconds":31}`, ".timeout_seconds", "out_of_range"},
				{`{"url":"https://x.example","on_unknown":"hope"}`, ".on_unknown", "unknown_value"}}},
		{Type: "action.send_email", Good: `{"to":"team@example.com","subject":"New: {{ lead.first_name }}","text":"x"}`, Did: []string{`mail to "team@example.com": New: {{ lead.first_name }}`}, Bad: []actiontest.Bad{
			{`{"to":"nobody"}`, ".to", "not_an_address"}, {`{"body":"x"}`, ".subject", "required"}, {`{"subject":"x"}`, ".body", "required"}, {`{"subject":"{% for %}","body":"x"}`, ".subject", "bad_template"},
			{`{"subject":"x","body":"{% include 'y' %}"}`, ".body", "bad_template"}, {`{"subject":"x","text":"{{"}`, ".text", "bad_template"}}},
		{Type: "action.sync_crm", Good: `{"connection":"con-1"}`, Did: []string{`sync "con-1"`}},
	})
}

func TestAssignOwner_OnlyIfEmptyLeavesAnOwnerAlone(t *testing.T) {
	a, problems, _ := action.NewRegistry().Compile("action.assign_owner", json.RawMessage(`{"owner":"user-2","only_if_empty":true}`), "")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w := actiontest.NewWorld()
	if res, err := a.Do(w); err != nil || len(w.Did()) != 0 || res.Output["changed"] != false {
		t.Errorf("%v %v %v", res, err, w.Did())
	}
}

// TestHTTP_ValuesCannotBreakOut: a lead's texts stay in their place of an address, header or body.
func TestHTTP_ValuesCannotBreakOut(t *testing.T) {
	a, problems, _ := action.NewRegistry().Compile("action.http", json.RawMessage(`{"url":"https://x.example/{{ lead.company }}?a={{ lead.company }}","headers":{"X-A":"{{ lead.company }}"},"body":{"a":"{{ lead.company }}"}}`), "")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	w := actiontest.NewWorld()
	w.Lead().Company = "a/../b?c=d&e#f\"\r\nX-Evil: \x00 ü"
	if _, err := a.Do(w); err != nil {
		t.Fatal(err)
	}
	want := "POST https://x.example/a%2F..%2Fb%3Fc%3Dd%26e%23f%22%0D%0AX-Evil%3A%20%00%20%C3%BC?a=a%2F..%2Fb%3Fc%3Dd%26e%23f%22%0D%0AX-Evil%3A%20%00%20%C3%BC " +
		`{"a":"a/../b?c=d\u0026e#f\"\r\nX-Evil: \u0000 ü"} map[X-A:a/../b?c=d&e#f"  X-Evil:   ü]`
	if got := w.Did()[0]; got != want {
		t.Errorf("\n%s, want\n%s", got, want)
	}
}

func TestPick(t *testing.T) {
	reply := []byte(`{"id":12345678901234567890,"a":[{"b":[1,{"c":"x"}]}],"n":null}`)
	got := action.Pick(reply, map[string]string{"id": "$.id", "c": "$.a[0].b[1].c", "whole": "$", "none": "$.x.y", "null": "$.n", "far": "$.a[7]", "odd": "$.id[0]", "key": "$.a.b"})
	if fmt.Sprintf("%v %v %d", got["id"], got["c"], len(got)) != "12345678901234567890 x 3" {
		t.Errorf("%v", got)
	}
	for _, bad := range []string{``, `no json`, `{"id":`} {
		if got := action.Pick([]byte(bad), map[string]string{"id": "$.id"}); len(got) != 0 {
			t.Errorf("%q gives %v", bad, got)
		}
	}
}

// TestSchema_KnowsWhatTheReaderKnows: each node type, trigger and key of a configuration is in the published schema.
func TestSchema_KnowsWhatTheReaderKnows(t *testing.T) {
	r := action.NewRegistry()
	text, err := json.Marshal(workflow.Schema(r))
	if err != nil {
		t.Fatal(err)
	}
	var schema struct {
		Properties struct {
			Triggers struct {
				Items struct{ OneOf []map[string]any }
			}
			Nodes struct {
				AdditionalProperties struct {
					OneOf []struct {
						Properties struct {
							Type   struct{ Const string }
							Config struct{ Properties map[string]map[string]any }
							Exits  struct{ Properties map[string]any }
						}
					}
				}
			}
		}
	}
	if err := json.Unmarshal(text, &schema); err != nil {
		t.Fatal(err)
	}
	nodes := map[string]int{}
	for _, n := range schema.Properties.Nodes.AdditionalProperties.OneOf {
		nodes[n.Properties.Type.Const] = len(n.Properties.Config.Properties)
		for key, p := range n.Properties.Config.Properties {
			if p["description"] == nil && p["$ref"] == nil {
				t.Errorf("%s: %s is not explained", n.Properties.Type.Const, key)
			}
		}
	}
	for _, name := range append(r.Types(), workflow.TypeBranch, workflow.TypeWait) {
		if nodes[name] == 0 {
			t.Errorf("the schema has no node %s, or none of its keys: %v", name, nodes)
		}
	}
	if got, want := len(schema.Properties.Triggers.Items.OneOf), len(workflow.TriggerTypes()); got != want {
		t.Errorf("%d triggers, want %d", got, want)
	}
	for _, tpl := range workflow.Templates() { // what the schema forbids by name no template may use
		for key := range keysOf(t, tpl.Definition) {
			if !strings.Contains(string(text), `"`+key+`"`) {
				t.Errorf("the template %s uses %q, which the schema does not know", tpl.ID, key)
			}
		}
	}
}

func keysOf(t *testing.T, raw json.RawMessage) map[string]json.RawMessage {
	t.Helper()
	var m map[string]json.RawMessage
	if err := json.Unmarshal(raw, &m); err != nil {
		t.Fatal(err)
	}
	return m
}
