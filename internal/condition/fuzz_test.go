package condition

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"leadloom/internal/lead"
)

// FuzzParse: a tree is refused with paths and reasons, or decides about any lead, the same way each time, as Explain says and
// as its own negation does not.
func FuzzParse(f *testing.F) {
	for _, s := range []string{`{"all":[{"field":"score","op":">","value":1}]}`, `{"field":"created_at","op":"in_last","value":"3d","tz":"lead"}`, `{"not":{"not":{"tag":"vip"}}}`, `{"any":[]}`,
		`{"field":"company","op":"matches","value":"(a+)+$"}`, `{"field":"custom_fields.big","op":"between","value":[1e400,-1e400]}`, `{"field":"tags","op":"count","value":{"op":">=","value":2}}`,
		`{"field":"custom_fields.born","op":"anniversary_in","value":"3d"}`, `{"field":"created_at","op":"on","value":"0000-00-00"}`, strings.Repeat(`{"not":`, 30) + `{"tag":"x"}` + strings.Repeat(`}`, 30)} {
		f.Add(s)
	}
	empty := &lead.Lead{}
	f.Fuzz(func(t *testing.T, tree string) {
		c, problems := Parse(json.RawMessage(tree), "c", LeadFields)
		if c == nil {
			for _, p := range problems {
				if !strings.HasPrefix(p.Path, "c") || p.Code == "" || p.Message == "" {
					t.Fatalf("refused without a reason: %+v", p)
				}
			}
			return
		}
		if problems != nil {
			t.Fatal("a condition and problems")
		}
		opposite, problems := Parse(json.RawMessage(`{"not":`+tree+`}`), "c", LeadFields)
		for _, l := range []*lead.Lead{sample(), empty} {
			view, env := &LeadView{Lead: l}, Env{Now: now}
			got := c.Eval(view, env)
			if got != c.Explain(view, env).Result || got != c.Eval(view, env) {
				t.Fatalf("%s: Eval and Explain disagree", tree)
			}
			if opposite != nil && opposite.Eval(view, env) == got {
				t.Fatalf("%s and its negation are both %v (%v)", tree, got, problems)
			}
		}
		_ = c.Uses()
	})
}

// FuzzSpan: a duration that is taken is positive, at most two years, and as long as its parts.
func FuzzSpan(f *testing.F) {
	for _, s := range []string{"15m", "2w", "0d", "-1d", "+1d", "1e3h", "99999999s", "9999999999999999999d", "1", "m", "1mm", "٣d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		span, err := ParseSpan(s)
		if err == nil && (span.Elapsed() <= 0 || span.Elapsed() > 2*366*24*time.Hour || span.N <= 0) {
			t.Fatalf("%q is %+v, %s", s, span, span.Elapsed())
		}
	})
}
