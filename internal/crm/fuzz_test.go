package crm

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"
)

// FuzzMapping: a mapping that is taken maps any lead to values that are JSON, no longer than asked, the same each time, and
// nothing of it is pending once it was sent.
func FuzzMapping(f *testing.F) {
	for _, s := range []string{`[{"ours":"first_name","theirs":"a"}]`, `[{"ours":"tags","theirs":"a","transforms":[{"name":"tags_join","arg":", "}]},{"ours":"custom_fields.text","theirs":"b","max_len":1}]`,
		`[{"ours":"last_name","theirs":"a","transforms":[{"name":"truncate","n":3,"arg":"…"}]}]`, `[{"ours":"created_at","theirs":"d","transforms":[{"name":"date","arg":"2006"}]}]`,
		`[{"ours":"custom_fields.yes","theirs":"b","transforms":[{"name":"bool_text","arg":"|"},{"name":"text_bool"},{"name":"constant","arg":"x"}]}]`,
		`[{"ours":"status","theirs":"s","picklist":{"values":{"":"x"},"unknown":"fail"},"required_in_target":true,"on_empty":"placeholder","placeholder":""}]`, `[{"ours":"custom_fields.","theirs":"external_id"}]`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var fields []FieldMap
		if json.Unmarshal(raw, &fields) != nil {
			return
		}
		if problems := CheckMapping("mapping", fields); len(problems) > 0 {
			for _, p := range problems {
				if !strings.HasPrefix(p.Path, "mapping") || p.Code == "" || p.Message == "" {
					t.Fatalf("refused without a reason: %+v", p)
				}
			}
			return
		}
		m := &Mapping{Version: 1, Fields: fields}
		values, refused := m.Push(ada())
		again, _ := m.Push(ada())
		if m.Hash(values) != m.Hash(again) {
			t.Fatalf("%s maps one lead to %v, then to %v", raw, values, again)
		}
		for _, e := range refused {
			if e.Class == "" || e.Code == "" || e.Field == "" || e.Message == "" {
				t.Fatalf("refused without a reason: %+v", e)
			}
		}
		text, err := json.Marshal(values)
		if err != nil || !utf8.Valid(text) {
			t.Fatalf("%s gives what is no JSON: %v", raw, err)
		}
		base := map[string]any{}
		if err := json.Unmarshal(text, &base); err != nil {
			t.Fatal(err)
		}
		for _, fm := range fields {
			if s, ok := values[fm.Theirs].(string); ok && fm.MaxLen > 0 && fm.Direction == "" && utf8.RuneCountInString(s) > fm.MaxLen {
				t.Fatalf("%s holds %q, longer than %d", fm.Theirs, s, fm.MaxLen)
			}
		}
		stamps := m.stamps()
		for name := range m.Changed(values, values) {
			if !stamps[name] {
				t.Fatalf("%s is still pending once it was sent", name)
			}
		}
	})
}

// FuzzHidePerson: none of the lead's own long values survives between word borders, and nothing grows out of bounds.
func FuzzHidePerson(f *testing.F) {
	f.Add("the value ada@example.com of Ada Lovelace is wrong", "Ada", "Lovelace", "ada@example.com")
	f.Add("(.*) [a-z", "(.*)", "[a-z", "\\Q")
	f.Add("ß ẞ K", "ss", "ẞßẞ", "KKK")
	f.Fuzz(func(t *testing.T, text, first, last, email string) {
		l := ada()
		l.FirstName, l.LastName, l.Email, l.Notes = first, last, email, ""
		got := HidePerson(text, l)
		if len(got) > len(text)*4+16 {
			t.Fatalf("%d bytes became %d", len(text), len(got))
		}
		if utf8.ValidString(text) && !utf8.ValidString(got) {
			t.Fatalf("%q became the broken %q", text, got)
		}
		if text == email && utf8.ValidString(email) && utf8.RuneCountInString(email) >= 3 && got == text {
			t.Fatalf("%q is still there", text)
		}
		if twice := HidePerson(email+" "+email, l); utf8.ValidString(email) && utf8.RuneCountInString(email) >= 3 && strings.Contains(twice, email) && !strings.Contains("… …", email) {
			t.Fatalf("of two %q there is %q", email, twice)
		}
	})
}
