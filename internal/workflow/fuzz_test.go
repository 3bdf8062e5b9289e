package workflow_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"leadloom/internal/fault"
	"leadloom/internal/workflow"
)

// FuzzText: a text that is taken renders within its bound, whatever its values hold, and an escaped value stays in its
// place of a URL.
func FuzzText(f *testing.F) {
	for _, s := range []string{"Call {{ lead.first_name | default: 'the lead' }}", "{{ context.a.b | json | url }}", "{{", "{{}}", "{{ lead.x | default: 'a|b' }}{{ trigger.id }}", "{{ context.x | url | upcase | downcase }}", "}}{{ run.id }}", "{{ lead.custom_fields.é }}"} {
		f.Add(s, "a b/\xff?")
	}
	f.Fuzz(func(t *testing.T, s, value string) {
		text, err := workflow.ParseText(s)
		if err != nil {
			if len(err.Error()) > 2000 {
				t.Fatalf("refused at a length of %d", len(err.Error()))
			}
			return
		}
		for _, v := range []any{value, nil, json.Number("1e9999"), map[string]any{"a": []any{value}}, []string{value, value}, time.Time{}, true} {
			look := func(string) any { return v }
			plain, err := text.Render(look, nil)
			again, err2 := text.Render(look, nil)
			if plain != again || (err == nil) != (err2 == nil) || len(plain) > workflow.MaxText {
				t.Fatalf("%q renders to %d bytes, then to %d (%v, %v)", s, len(plain), len(again), err, err2)
			}
		}
		escaped, err := text.Render(func(string) any { return value }, workflow.EscapeURL)
		literal, _ := text.Render(func(string) any { return "" }, workflow.EscapeURL)
		if err == nil && !strings.Contains(s, "default") && !strings.Contains(s, "json") && strings.Count(escaped, "/") != strings.Count(literal, "/") {
			t.Fatalf("%q with %q becomes %q: a value adds to the path", s, value, escaped)
		}
	})
}

// FuzzSchedule: a time rule is refused with a field, or its times grow, end, and do not depend on how often one asks.
func FuzzSchedule(f *testing.F) {
	for _, s := range []string{"* * * * *", "0 9 * * 1-5", "0 0 29 2 *", "0 0 31 2 *", "*/7 3-5,*/9 1,15 jan-dec sun", "@daily", "@every 1s", "TZ=UTC * * * * *", "59 23 31 12 7", "0 2 * * *", "1-99999999 * * * *", "*/0 * * * *", "? ? ? ? ?"} {
		f.Add(s, "", "Europe/Berlin", int64(1_774_000_000), uint32(90_000))
	}
	f.Add("", "15m", "", int64(0), uint32(1))
	f.Add("", "100000000s", "../../etc/passwd", int64(-1), uint32(1))
	f.Add("30 0 * * *", "", "America/Sao_Paulo", int64(1_541_000_000), uint32(1<<31))
	f.Fuzz(func(t *testing.T, cron, every, zone string, at int64, late uint32) {
		for _, missed := range []string{workflow.MissedOnce, workflow.MissedAll, workflow.MissedSkip} {
			s, err := workflow.Trigger{Cron: cron, Every: every, Zone: zone, Missed: missed}.Schedule()
			if err != nil {
				if p := fault.As(err); p == nil || len(p.Fields) != 1 {
					t.Fatalf("refused without its field: %v", err)
				}
				return
			}
			from := time.Unix(at%4_000_000_000, 0).UTC()
			next := s.Next(from)
			for i, was := 0, from; i < 20; i++ {
				if next.IsZero() {
					break
				}
				if !next.After(was) {
					t.Fatalf("%q in %q: after %s comes %s", cron, zone, was, next)
				}
				was, next = next, s.Next(next)
			}
			now := from.Add(time.Duration(late) * time.Second)
			fires, then := s.Due(s.Next(from), now)
			if !then.IsZero() && !then.After(now) || len(fires) > workflow.MaxMissed {
				t.Fatalf("%q in %q at %s: %d times, then %s", cron, zone, now, len(fires), then)
			}
			for i, x := range fires {
				if x.After(now) || i > 0 && !x.After(fires[i-1]) {
					t.Fatalf("%q in %q at %s is due at %s", cron, zone, now, fires)
				}
			}
			if more, _ := s.Due(then, now); !then.IsZero() && len(more) > 0 {
				t.Fatalf("%q is due again at %s: %s", cron, now, more)
			}
		}
	})
}

// FuzzStepKey: a key that is read names one step, and the same one when it is written again.
func FuzzStepKey(f *testing.F) {
	for _, s := range []string{"run:node:1:2", ":::", "a:b:-1:9223372036854775808", "a:b:+1:01", "a::1:1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		ref, ok := workflow.ParseStepRef(key)
		if !ok {
			return
		}
		if again, ok := workflow.ParseStepRef(ref.Key()); !ok || again != ref {
			t.Fatalf("%q is read as %+v, then as %+v", key, ref, again)
		}
	})
}
