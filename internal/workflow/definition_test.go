package workflow_test

import (
	"encoding/json"
	"strings"
	"testing"

	"leadloom/internal/action"
	"leadloom/internal/fault"
	"leadloom/internal/workflow"
)

func compile(t testing.TB, raw string) (*workflow.Plan, []fault.Field) {
	t.Helper()
	d, problems := workflow.Parse(json.RawMessage(raw))
	if len(problems) > 0 {
		return nil, problems
	}
	return workflow.Compile(d, action.NewRegistry())
}

func mustCompile(t testing.TB, raw string) *workflow.Plan {
	t.Helper()
	p, problems := compile(t, raw)
	if len(problems) > 0 {
		t.Fatalf("refused: %v\n%s", problems, raw)
	}
	return p
}

// one wraps a single node, its ways out included, into a definition.
func one(node string) string {
	return `{"name":"x","start":"n1","nodes":{"n1":` + node + `}}`
}

func TestCompile_NamesEveryProblem(t *testing.T) {
	tag := `{"type":"action.add_tag","config":{"tag":"x"},"next":"end"}`
	for _, c := range []struct{ def, path, code string }{
		{`{"nodes":{}}`, "name", "required"},
		{`{"name":"x","nodess":{}}`, "nodess", "unknown_key"},
		{`{"name":5}`, "name", "wrong_type"},
		{`[]`, "", "wrong_type"},
		{`{"name":"x","nodes":{}}`, "start", "required"},
		{`{"name":"x","start":"zz","nodes":{"n1":` + tag + `}}`, "start", "unknown_node"},
		{one(`{"type":"action.add_tagg","config":{},"next":"end"}`), "nodes.n1.type", "unknown_action"},
		{one(`{"type":"action.add_tag","config":{"tags":"x"},"next":"end"}`), "nodes.n1.config.tags", "wrong_type"},
		{one(`{"type":"action.add_tag","config":{"tagg":"x"},"next":"end"}`), "nodes.n1.config.tagg", "unknown_key"},
		{one(`{"type":"action.add_tag","config":{"tag":"x"}}`), "nodes.n1.next", "required"},
		{one(`{"type":"action.add_tag","config":{"tag":"x"},"next":"n2"}`), "nodes.n1.next", "unknown_node"},
		{one(`{"type":"action.add_tag","config":{"tag":"x"},"next":"end","exits":{"yes":"end"}}`), "nodes.n1.exits.yes", "unknown_exit"},
		{one(`{"type":"action.add_tag","config":{"tag":"x"},"next":"n1"}`), "nodes.n1", "cycle_without_wait"},
		{one(`{"type":"action.add_tag","config":{"tag":"x"},"next":"end","on_error":{"retry":{"attempts":2}}}`), "nodes.n1.on_error.retry", "unexpected"},
		{one(`{"type":"action.set_field","config":{"field":"score","value":"1"},"next":"end"}`), "nodes.n1.config.field", "unknown_field"},
		{one(`{"type":"action.set_field","config":{"field":"status","value":7},"next":"end"}`), "nodes.n1.config.value", "wrong_type"},
		{one(`{"type":"action.add_score","config":{"points":0},"next":"end"}`), "nodes.n1.config.points", "out_of_range"},
		{one(`{"type":"action.create_task","config":{"title":"{{ bad }}"},"next":"end"}`), "nodes.n1.config.title", "bad_merge_field"},
		{one(`{"type":"action.http","config":{"url":"ftp://x"},"next":"end"}`), "nodes.n1.config.url", "bad_url"},
		{one(`{"type":"action.http","config":{"url":"https://{{ lead.company }}.example/"},"next":"end"}`), "nodes.n1.config.url", "bad_url"},
		{one(`{"type":"action.http","config":{"url":"https://x.example","headers":{"Authorization":"Bearer x"}},"next":"end"}`), "nodes.n1.config.headers.Authorization", "secret_in_definition"},
		{one(`{"type":"action.send_email","config":{"subject":"x"},"next":"end"}`), "nodes.n1.config.body", "required"},
		{one(`{"type":"action.send_email","config":{"subject":"x","body":"{% include 'y' %}"},"next":"end"}`), "nodes.n1.config.body", "bad_template"},
		{one(`{"type":"branch.if","config":{"condition":{"tag":"x"}},"exits":{"yes":"end"}}`), "nodes.n1.exits.no", "required"},
		{one(`{"type":"branch.if","config":{"condition":{"field":"scor","op":">","value":1}},"exits":{"yes":"end","no":"end"}}`), "nodes.n1.config.condition.field", "unknown_field"},
		{one(`{"type":"wait.duration","config":{"duration":"2 days"},"next":"end"}`), "nodes.n1.config.duration", "bad_duration"},
		{one(`{"type":"wait.duration","config":{"duration":"366d"},"next":"end"}`), "nodes.n1.config.duration", "bad_duration"},
		{`{"name":"x","start":"a","nodes":{"a":` + tag + `,"b":` + tag + `}}`, "nodes.b", "unreachable"},
		{`{"name":"x","start":"a","nodes":{"a":` + tag + `},"triggers":[{"type":"lead.create"}]}`, "triggers[0].type", "unknown_trigger"},
		{`{"name":"x","start":"a","nodes":{"a":` + tag + `},"triggers":[{"type":"lead.updated"}]}`, "triggers[0].fields", "required"},
		{`{"name":"x","start":"a","nodes":{"a":` + tag + `},"triggers":[{"type":"lead.created","cron":"x"}]}`, "triggers[0].cron", "unknown_key"},
		{`{"name":"x","start":"a","nodes":{"a":` + tag + `},"triggers":[{"type":"schedule","cron":"61 * * * *"}]}`, "triggers[0].cron", "bad_schedule"},
		{`{"name":"x","start":"a","nodes":{"a":` + tag + `},"triggers":[{"type":"schedule","every":"15m"}]}`, "nodes.a", "needs_lead"},
		{`{"name":"x","start":"a","nodes":{"a":` + tag + `},"entry":{"reentry":"twice"}}`, "entry.reentry", "unknown_value"},
		{`{"name":"x","start":"end","nodes":{"end":` + tag + `}}`, "nodes.end", "bad_id"},
		{`{"name":"a\nb","start":"a","nodes":{"a":` + tag + `}}`, "name", "control_character"},
		{`{"name":"x","start":"a","nodes":{"a":` + tag + `},"triggers":[{"id":"a b","type":"api"}]}`, "triggers[0].id", "bad_id"},
		{`{"name":"x","start":"a","nodes":{"a":` + tag + `},"goals":[{"id":"a\u0000","condition":{"tag":"x"}}]}`, "goals[0].id", "bad_id"},
		{`{"name":"x","start":"a","nodes":{"a":` + tag + `},"exits":[{"condition":null}]}`, "exits[0].condition", "required"},
		{one(`{"type":"branch.if","config":{"condition":null},"exits":{"yes":"end","no":"end"}}`), "nodes.n1.config.condition", "required"},
		{one(`{"type":"action.create_task","config":{"title":"{{ lead.frist_name }}"},"next":"end"}`), "nodes.n1.config.title", "bad_merge_field"},
		{one(`{"type":"action.create_task","config":{"title":"{{ run.name }}"},"next":"end"}`), "nodes.n1.config.title", "bad_merge_field"},
		{`{"name":"x","start":"m","nodes":{"m":{"type":"action.send_email","config":{"subject":"x","text":"x"},"next":"end"}},"triggers":[{"type":"schedule","every":"15m"}]}`, "nodes.m", "needs_lead"},
	} {
		_, problems := compile(t, c.def)
		found := false
		for _, p := range problems {
			found = found || (p.Path == c.path && p.Code == c.code && p.Message != "")
		}
		if !found {
			t.Errorf("%s\n got %v\nwant %s %s", c.def, problems, c.path, c.code)
		}
	}
}

func TestCanonical_LayoutMakesNoVersion(t *testing.T) {
	a, _ := workflow.Parse(json.RawMessage(`{"name":"x","start":"n","nodes":{"n":{"type":"wait.duration","config":{"duration":"1d"},"next":"end"}},"layout":{"n":[1,2]}}`))
	b, _ := workflow.Parse(json.RawMessage(`{"layout":{"n":[3,4]},"start":"n","nodes":{"n":{"next":"end","config": { "duration":"1d" },"type":"wait.duration"}},"name":"x"}`))
	if string(a.Canonical()) != string(b.Canonical()) {
		t.Errorf("differ:\n%s\n%s", a.Canonical(), b.Canonical())
	}
	again, problems := workflow.Parse(a.Canonical())
	if len(problems) > 0 || string(again.Canonical()) != string(a.Canonical()) {
		t.Errorf("the canonical form does not survive a round trip: %v", problems)
	}
}

// TestCanonical_SortsInsideConfigurations: an editor that writes keys in another order publishes nothing new.
func TestCanonical_SortsInsideConfigurations(t *testing.T) {
	a, _ := workflow.Parse(json.RawMessage(one(`{"type":"action.http","config":{"url":"https://x.example","body":{"b":1.50,"a":12345678901234567890}},"next":"end"}`)))
	b, _ := workflow.Parse(json.RawMessage(one(`{"type":"action.http","next":"end","config":{"body":{"a":12345678901234567890,"b":1.50},"url":"https://x.example"}}`)))
	if string(a.Canonical()) != string(b.Canonical()) || !strings.Contains(string(a.Canonical()), `{"a":12345678901234567890,"b":1.50}`) {
		t.Errorf("differ:\n%s\n%s", a.Canonical(), b.Canonical())
	}
}

func TestWarnings_OfAFieldThatIsWrittenAndListenedTo(t *testing.T) {
	p := mustCompile(t, `{"name":"x","start":"a","triggers":[{"id":"s","type":"lead.updated","fields":["score","company"]},{"id":"t","type":"tag.added","own_changes":true},{"id":"c","type":"lead.created"}],"nodes":{
		"a":{"type":"action.add_score","config":{"points":1},"next":"b"},"b":{"type":"action.set_field","config":{"field":"notes","value":"x"},"next":"c"},"c":{"type":"action.add_tag","config":{"tag":"x"},"next":"end"}}}`)
	w := p.Warnings()
	if len(w) != 2 || !strings.Contains(w[0], "node a writes score") || !strings.Contains(w[0], "do not start it again") || !strings.Contains(w[1], "trigger t") || !strings.Contains(w[1], "loop limits") {
		t.Errorf("%q", w)
	}
}

func TestText(t *testing.T) {
	look := func(path string) any {
		return map[string]any{"lead.first_name": "Ann", "lead.score": int64(7), "context.n": json.Number("1.50")}[path]
	}
	for in, want := range map[string]string{
		"plain": "plain", "{{lead.first_name}}!": "Ann!", "{{ lead.company | default: 'your | firm' | upcase }}": "YOUR | FIRM",
		"{{ lead.score }}/{{ context.n }}": "7/1.50", "{{ lead.first_name | json }}": `"Ann"`, "{{ lead.first_name | default: 'a b' | url }}": "Ann",
	} {
		text, err := workflow.ParseText(in)
		if err != nil {
			t.Errorf("%s: %v", in, err)
			continue
		}
		if got, _ := text.Render(look, nil); got != want {
			t.Errorf("%s: %q, want %q", in, got, want)
		}
	}
	escaped, err := workflow.ParseText("{{ lead.first_name | default: 'a b' }}/{{ lead.company | default: 'c d' | url }}")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := escaped.Render(func(string) any { return nil }, workflow.EscapeURL); got != "a%20b/c%20d" {
		t.Errorf("escaped to %q: each value once", got)
	}
	for _, bad := range []string{"{{ lead.first_name" + strings.Repeat(" | url", 9) + " }}", "{{ lead.x", "{{ x }}", "{{ lead. }}", "{{ lead.x | nope }}", "{{ lead.x | default: y }}", "{{}}"} {
		if _, err := workflow.ParseText(bad); err == nil {
			t.Errorf("%q: accepted", bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add(one(`{"type":"action.add_tag","config":{"tag":"x"},"next":"end"}`))
	f.Add(`{"name":"x","triggers":[{"type":"schedule","cron":"* * * * *"}],"entry":{"condition":{"tag":"x"}}}`)
	kinds := action.NewRegistry()
	f.Fuzz(func(t *testing.T, raw string) {
		d, problems := workflow.Parse(json.RawMessage(raw))
		if d == nil || len(problems) > 0 {
			return
		}
		if _, problems = workflow.Compile(d, kinds); len(problems) > 0 {
			return
		}
		if again, problems := workflow.Parse(d.Canonical()); len(problems) > 0 || string(again.Canonical()) != string(d.Canonical()) {
			t.Fatalf("canonical form changes: %v\n%s", problems, strings.TrimSpace(raw))
		}
	})
}
