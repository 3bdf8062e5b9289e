package lead

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"leadloom/internal/fault"
	"leadloom/internal/optional"
)

func opt(s string) optional.Optional[string] { return optional.Of(s) }

var hostileTexts = []string{"", "Ada", "info@münchen.de", "+49 170 1234567", "4.91E+11", "a\x00b", "\xff", "İı", "e\u0301", "\u200b", "👩\u200d💻", "ﷺ", "a@b@c", "\"x\"@y.z", "0049", "{{ x }}", "<script>", strings.Repeat("a", 300)}

// FuzzText: what is accepted is valid, stable and folds the same however often.
func FuzzText(f *testing.F) {
	for _, s := range hostileTexts {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			return // Decode has refused it
		}
		stored, problem := checkText("f", s, maxText, false)
		if problem == nil {
			if again, problem := checkText("f", stored, maxText, false); problem != nil || again != stored {
				t.Fatalf("%q is stored as %q, then as %q (%v)", s, stored, again, problem)
			}
		}
		if folded := Fold(s); Fold(folded) != folded {
			t.Fatalf("%q folds to %q, then to %q", s, folded, Fold(folded))
		}
	})
}

// FuzzEmail: what is accepted is accepted again, unchanged, and is one mailbox with itself in capitals.
func FuzzEmail(f *testing.F) {
	for _, s := range hostileTexts {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		address, problem := ParseEmail("email", s)
		if problem != nil {
			if problem.Code == "" || problem.Message == "" {
				t.Fatalf("%q is refused without a reason", s)
			}
			return
		}
		again, problem := ParseEmail("email", address)
		if problem != nil || again != address || len(address) > maxEmailBytes || FoldEmail(FoldEmail(address)) != FoldEmail(address) {
			t.Fatalf("%q became %q, then %q (%v)", s, address, again, problem)
		}
	})
}

// FuzzPhone: an E.164 number is one in every region.
func FuzzPhone(f *testing.F) {
	for _, s := range hostileTexts {
		f.Add(s, "DE")
		f.Add(s, "")
	}
	f.Fuzz(func(t *testing.T, s, region string) {
		_, e164, warning, problem := ParsePhone("phone", s, region)
		if problem != nil || e164 == "" {
			return
		}
		if warning != nil || e164[0] != '+' || strings.Trim(e164[1:], "0123456789") != "" || E164(e164, "US") != e164 {
			t.Fatalf("%q in %q became %q, which is %q in the US (%v)", s, region, e164, E164(e164, "US"), warning)
		}
	})
}

// FuzzSearch: a lead is found by each word of its own name, and words are short.
func FuzzSearch(f *testing.F) {
	for _, s := range hostileTexts {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		address, _ := ParseEmail("email", s)
		for _, w := range append(QueryWords(s), Words(&Lead{FirstName: s, Company: s, Email: address, Phone: s, Tags: []string{s}})...) {
			if w == "" || len(w) > MaxWord || utf8.ValidString(s) && !utf8.ValidString(w) {
				t.Fatalf("%q gives the word %q", s, w)
			}
		}
	})
}

// FuzzFieldValue gives any JSON to a field of each type: refused with a reason, or stored and accepted again unchanged.
func FuzzFieldValue(f *testing.F) {
	for _, s := range []string{`1`, `1e9999`, `-0.0`, `"x"`, `"2026-02-29"`, `"2026-03-31T14:00:00+02:00"`, `"9999-12-31T23:59:59-12:00"`, `true`, `null`, `["a","A"]`, `{"a":[1,{"b":null}]}`, `"https://a.example/"`, `"a@b.de"`, `"+491701234567"`, `"\u0000"`, `[[[[]]]]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, typ := range fieldTypes {
			d := FieldDef{Key: "k", Type: typ, Choices: []string{"a", "b"}}
			v, problem := d.checkRaw("k", raw, "DE")
			if problem != nil {
				if problem.Code == "" || problem.Message == "" {
					t.Fatalf("%s refuses %q without a reason", typ, raw)
				}
				continue
			}
			if v == nil {
				continue
			}
			stored := encodeValue(v)
			again, problem := d.checkRaw("k", stored, "DE")
			if problem != nil || string(encodeValue(again)) != string(stored) {
				t.Fatalf("%s takes %q as %s, then as %v (%v)", typ, raw, stored, again, problem)
			}
		}
	})
}

// FuzzFieldDef: a definition is refused with fields, or checks a second time without a change.
func FuzzFieldDef(f *testing.F) {
	for _, s := range []string{`{"key":"a","type":"text"}`, `{"key":"b","type":"choice","choices":["x","x"]}`, `{"key":"c","type":"integer","min":2,"max":1,"default":7}`, `{"key":"d","type":"json","default":{"a":1}}`, `{"max_length":-1}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var d FieldDef
		if json.Unmarshal(raw, &d) != nil {
			return
		}
		if err := d.Check(DefaultRules()); err != nil {
			if p := fault.As(err); p == nil || len(p.Fields) == 0 {
				t.Fatalf("refused without a field: %v", err)
			}
			return
		}
		first, _ := json.Marshal(d)
		if err := d.Check(DefaultRules()); err != nil {
			t.Fatalf("%s: accepted once, then refused: %v", first, err)
		}
		if second, _ := json.Marshal(d); string(first) != string(second) {
			t.Fatalf("%s became %s", first, second)
		}
	})
}
