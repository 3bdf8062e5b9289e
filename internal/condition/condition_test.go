package condition

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"leadloom/internal/lead"
)

var now = time.Date(2026, 3, 10, 1, 30, 0, 0, time.UTC)

func sample() *lead.Lead {
	return &lead.Lead{ID: "l1", FirstName: "Zoë", Email: "zoe@example.com", Company: "Müller GmbH", Status: "new", Score: 42,
		Tags: []string{"VIP", "Köln"}, CustomFields: json.RawMessage(`{"budget":12.50,"big":9007199254740993,"ok":true,"born":"1996-02-29","langs":["de","fr"]}`),
		Timezone: "America/New_York", CreatedAt: now.Add(-50 * time.Hour), UpdatedAt: now.Add(-time.Hour)}
}

func TestEval_Operators(t *testing.T) {
	berlin, _ := time.LoadLocation("Europe/Berlin")
	for _, c := range []struct {
		tree string
		want bool
	}{
		{`{"field":"company","op":"contains","value":"gmbh"}`, true},
		{`{"field":"company","op":"starts_with","value":"MULLER"}`, true},
		{`{"field":"company","op":"matches","value":"^müller"}`, false},
		{`{"field":"first_name","op":"is","value":"ZOE"}`, true},
		{`{"field":"last_name","op":"is","value":"x"}`, false},
		{`{"field":"last_name","op":"is_not","value":"x"}`, true},
		{`{"field":"last_name","op":"not_in","value":["x"]}`, true},
		{`{"field":"last_name","op":"not_contains","value":"x"}`, true},
		{`{"field":"last_name","op":"is_empty"}`, true},
		{`{"field":"last_name","op":"is_set"}`, false},
		{`{"field":"status","op":"in","value":["New","working"]}`, true},
		{`{"field":"score","op":">=","value":42}`, true},
		{`{"field":"score","op":">","value":42.0}`, false},
		{`{"field":"score","op":"between","value":[1,42]}`, true},
		{`{"field":"score","op":"in","value":[1,42]}`, true},
		{`{"field":"custom_fields.budget","op":"is","value":12.5}`, true},
		{`{"field":"custom_fields.big","op":"is","value":9007199254740992}`, false},
		{`{"field":"custom_fields.big","op":"is","value":9007199254740993}`, true},
		{`{"field":"custom_fields.ok","op":"is_true"}`, true},
		{`{"field":"custom_fields.none","op":"<","value":5}`, false},
		{`{"not":{"field":"custom_fields.none","op":"<","value":5}}`, true},
		{`{"field":"custom_fields.langs","op":"has_all","value":["DE","fr"]}`, true},
		{`{"tag":"vip"}`, true},
		{`{"field":"tags","op":"has_none","value":["koln"]}`, false},
		{`{"field":"tags","op":"count","value":{"op":">=","value":2}}`, true},
		{`{"field":"created_at","op":"in_last","value":"2d"}`, true},   // 2026-03-07 23:30Z is 00:30 on the 8th in Berlin
		{`{"field":"created_at","op":"in_last","value":"49h"}`, false}, // elapsed, not days
		{`{"field":"created_at","op":"on","value":"2026-03-08"}`, true},
		{`{"field":"created_at","op":"on","value":"2026-03-07","tz":"UTC"}`, true},
		{`{"field":"created_at","op":"on","value":"2026-03-07","tz":"lead"}`, true},
		{`{"field":"created_at","op":"before","value":"2026-03-08"}`, false},
		{`{"field":"created_at","op":"after","value":"2026-03-07"}`, true},
		{`{"field":"created_at","op":"older_than","value":"2d"}`, true},
		{`{"field":"custom_fields.born","op":"anniversary_in","value":"3d"}`, false},
		{`{"all":[{"field":"score","op":">","value":1},{"any":[{"tag":"x"},{"tag":"vip"}]}]}`, true},
		{`{"all":[{"field":"score","op":">","value":1},{"not":{"tag":"vip"}}]}`, false},
	} {
		cond, problems := Parse(json.RawMessage(c.tree), "c", LeadFields)
		if problems != nil {
			t.Errorf("%s: %v", c.tree, problems)
			continue
		}
		view, env := &LeadView{Lead: sample()}, Env{Now: now, Zone: berlin}
		if got := cond.Eval(view, env); got != c.want {
			t.Errorf("%s: %v, want %v", c.tree, got, c.want)
		}
		if got := cond.Explain(view, env).Result; got != c.want {
			t.Errorf("%s: explained as %v, want %v", c.tree, got, c.want)
		}
	}
}

func TestAnniversary_LeapDayIsKeptOnThe28th(t *testing.T) {
	c, _ := Parse(json.RawMessage(`{"field":"custom_fields.born","op":"anniversary_in","value":"1d"}`), "c", LeadFields)
	for day, want := range map[string]bool{"2026-02-27": true, "2026-02-28": true, "2026-03-01": false, "2028-02-28": true, "2028-02-27": false} {
		at, _ := time.Parse(time.DateOnly, day)
		if got := c.Eval(&LeadView{Lead: sample()}, Env{Now: at.Add(12 * time.Hour)}); got != want {
			t.Errorf("%s: %v, want %v", day, got, want)
		}
	}
}

func TestParse_NamesEveryProblemWithItsPath(t *testing.T) {
	deep := strings.Repeat(`{"not":`, 11) + `{"tag":"x"}` + strings.Repeat(`}`, 11)
	wide := `{"any":[` + strings.TrimSuffix(strings.Repeat(`{"tag":"x"},`, 250), ",") + `]}`
	for _, c := range []struct{ tree, path, code string }{
		{`{"field":"emial","op":"is","value":"x"}`, "c.field", "unknown_field"},
		{`{"field":"email","op":"iss","value":"x"}`, "c.op", "unknown_operator"},
		{`{"field":"score","op":"contains","value":"x"}`, "c.op", "wrong_operator"},
		{`{"field":"score","op":">","value":"many"}`, "c.value", "wrong_value"},
		{`{"field":"score","op":">","value":1e999999999}`, "c.value", "wrong_value"},
		{`{"field":"email","op":"is_set","value":1}`, "c.value", "unexpected"},
		{`{"field":"email","op":"is"}`, "c.value", "required"},
		{`{"field":"email","op":"matches","value":"("}`, "c.value", "wrong_value"},
		{`{"all":[{"tag":"x"},{"fild":"x"}]}`, "c.all[1].fild", "unknown_key"},
		{`{"all":[]}`, "c.all", "wrong_type"},
		{`{"segment":"s"}`, "c.segment", "unsupported_condition"},
		{`{"field":"created_at","op":"on","value":"2026-01-01","tz":"Mars/Base"}`, "c.tz", "unknown_zone"},
		{`[]`, "c", "wrong_type"},
		{`{"tag":"x"}x`, "c", "malformed"},
		{deep, "c" + strings.Repeat(".not", 10), "condition_too_large"},
		{wide, "c.any[199]", "condition_too_large"},
	} {
		cond, problems := Parse(json.RawMessage(c.tree), "c", LeadFields)
		if cond != nil || len(problems) == 0 {
			t.Errorf("%.60s: accepted", c.tree)
			continue
		}
		if p := problems[0]; p.Path != c.path || p.Code != c.code {
			t.Errorf("%.60s: %s %s (%s), want %s %s", c.tree, p.Path, p.Code, p.Message, c.path, c.code)
		}
	}
}

func TestExplain_ShowsWhatWasSeen(t *testing.T) {
	c, _ := Parse(json.RawMessage(`{"all":[{"field":"score","op":">","value":50},{"tag":"vip"}]}`), "c", LeadFields)
	v := c.Explain(&LeadView{Lead: sample()}, Env{Now: now})
	if v.Result || v.Children[0].Result || !v.Children[1].Result || v.Children[0].Seen != int64(42) {
		t.Errorf("got %+v", v)
	}
	if got := fmt.Sprint(c.Uses()); got != "[score tags]" {
		t.Errorf("uses %s", got)
	}
}

func BenchmarkEval(b *testing.B) {
	c, _ := Parse(json.RawMessage(`{"all":[{"field":"score","op":">","value":1},{"field":"company","op":"contains","value":"gmbh"},{"tag":"vip"}]}`), "c", LeadFields)
	l := sample()
	for b.Loop() {
		c.Eval(&LeadView{Lead: l}, Env{Now: now})
	}
}
