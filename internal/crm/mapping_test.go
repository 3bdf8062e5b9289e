package crm

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"leadloom/internal/lead"
)

func ada() *lead.Lead {
	return &lead.Lead{ID: "l-1", Version: 3, FirstName: "Ada", LastName: "Lovelace", Email: "Ada@example.com", Phone: "030 123456", PhoneE164: "+4930123456", Tags: []string{"a", "b"},
		Score: 1<<53 + 1, CustomFields: json.RawMessage(`{"big":9007199254740993,"price":1.50,"yes":true,"none":null,"text":" x "}`),
		CreatedAt: time.Date(2026, 11, 26, 12, 0, 0, 0, time.FixedZone("", 3600))}
}

func TestPush_TransformsInOrder(t *testing.T) {
	tr := func(name string, more ...any) Transform {
		out := Transform{Name: name}
		for _, m := range more {
			switch m := m.(type) {
			case string:
				out.Arg = m
			case int:
				out.N = m
			}
		}
		return out
	}
	for _, c := range []struct {
		ours string
		do   []Transform
		want any
	}{
		{"full_name", nil, "Ada Lovelace"}, {"full_name", []Transform{tr("split_first")}, "Ada"}, {"full_name", []Transform{tr("split_last")}, "Lovelace"},
		{"email", []Transform{tr("lower")}, "ada@example.com"}, {"email", []Transform{tr("lower"), tr("upper")}, "ADA@EXAMPLE.COM"}, {"phone", []Transform{tr("e164")}, "+4930123456"},
		{"tags", nil, []string{"a", "b"}}, {"tags", []Transform{tr("tags_join")}, "a;b"}, {"tags", []Transform{tr("tags_join", ", ")}, "a, b"}, {"custom_fields.text", []Transform{tr("trim"), tr("tags_split")}, []string{"x"}},
		{"created_at", nil, "2026-11-26T11:00:00Z"}, {"created_at", []Transform{tr("date", "02.01.2006")}, "26.11.2026"}, {"email", []Transform{tr("date", "2006")}, "Ada@example.com"},
		{"custom_fields.yes", []Transform{tr("bool_text", "on|off")}, "on"}, {"custom_fields.yes", nil, true}, {"first_name", []Transform{tr("text_bool")}, "Ada"}, {"custom_fields.none", []Transform{tr("text_bool")}, false},
		{"last_name", []Transform{tr("truncate", "…", 5)}, "Love…"}, {"last_name", []Transform{tr("truncate", 8)}, "Lovelace"}, {"last_name", []Transform{tr("constant", "web")}, "web"},
		{"custom_fields.big", nil, json.Number("9007199254740993")}, {"custom_fields.price", nil, json.Number("1.50")}, {"custom_fields.big", []Transform{tr("trim")}, "9007199254740993"},
		{"score", nil, int64(1<<53 + 1)}, {"custom_fields.absent", nil, ""}, {"version", nil, int64(3)},
	} {
		m := Mapping{Fields: []FieldMap{{Ours: c.ours, Theirs: "f", Transforms: c.do}}}
		got, refused := m.Push(ada())
		if fmt.Sprintf("%#v", got["f"]) != fmt.Sprintf("%#v", c.want) || len(refused) > 0 {
			t.Errorf("%s %v = %#v (%v); want %#v", c.ours, c.do, got["f"], refused, c.want)
		}
	}
}

func TestPush_EmptyRequiredLongAndUnsendable(t *testing.T) {
	l := ada()
	l.Company = ""
	for name, c := range map[string]struct {
		field FieldMap
		want  any // nil: not sent
		code  string
	}{
		"cleared":       {FieldMap{Ours: "company"}, "", ""},
		"skipped":       {FieldMap{Ours: "company", OnEmpty: "skip"}, nil, ""},
		"placeholder":   {FieldMap{Ours: "company", OnEmpty: "placeholder", Placeholder: "[not provided]"}, "[not provided]", ""},
		"required":      {FieldMap{Ours: "company", Required: true}, nil, "required_missing"},
		"required, put": {FieldMap{Ours: "company", Required: true, Placeholder: "-"}, "-", ""},
		"too long":      {FieldMap{Ours: "last_name", MaxLen: 7}, nil, "too_long"},
		"just fits":     {FieldMap{Ours: "last_name", MaxLen: 8}, "Lovelace", ""},
		"long tag":      {FieldMap{Ours: "tags", MaxLen: 1}, []string{"a", "b"}, ""},
		"pull only":     {FieldMap{Ours: "last_name", Direction: "pull"}, nil, ""},
		"off":           {FieldMap{Ours: "last_name", Direction: "none"}, nil, ""},
		"both ways":     {FieldMap{Ours: "last_name", Direction: "both"}, "Lovelace", ""},
	} {
		c.field.Theirs = "f"
		got, refused := (&Mapping{Fields: []FieldMap{c.field}}).Push(l)
		code := ""
		if len(refused) > 0 {
			code = refused[0].Code
			if refused[0].Field != "f" || refused[0].Message == "" {
				t.Errorf("%s: %+v; want the remote field and words", name, refused[0])
			}
		}
		if code != c.code || fmt.Sprintf("%#v", got["f"]) != fmt.Sprintf("%#v", c.want) {
			t.Errorf("%s: %#v, %q; want %#v, %q", name, got["f"], code, c.want, c.code)
		}
	}
	l.Tags = []string{"fine", "a\x00b"}
	if _, refused := (&Mapping{Fields: []FieldMap{{Ours: "tags", Theirs: "f"}}}).Push(l); len(refused) != 1 || refused[0].Code != "bad_text" {
		t.Errorf("a tag with NUL: %v; want bad_text", refused)
	}
}

func TestHashAndChanged_LeaveStampsOut(t *testing.T) {
	m := Mapping{Version: 1, Fields: DefaultMapping()}
	l := ada()
	before, _ := m.Push(l)
	l.Version++
	after, _ := m.Push(l)
	if m.Hash(before) != m.Hash(after) {
		t.Error("a version alone makes a lead worth sending")
	}
	var base map[string]any // as the store reads it back
	b, _ := json.Marshal(before)
	d := json.NewDecoder(strings.NewReader(string(b)))
	d.UseNumber()
	if err := d.Decode(&base); err != nil {
		t.Fatal(err)
	}
	l.Score++ // 2^53+1 → 2^53+2: the same float64
	after, _ = m.Push(l)
	if got := m.Changed(after, base); len(got) != 2 || got["score"] != l.Score || got["version"] != l.Version {
		t.Errorf("changed %v; want the score and, beside it, the version", got)
	}
	if got := m.Pending(l, &Link{MappingVersion: 1, Base: base}); fmt.Sprint(got) != "[score]" {
		t.Errorf("pending %v; want the score", got)
	}
	if got := m.Pending(l, &Link{MappingVersion: 0, Base: base}); len(got) != len(DefaultMapping())-1 {
		t.Errorf("pending under another mapping: %v; want every field but the version", got)
	}
}

func TestCheckMapping_ReportsEveryMistake(t *testing.T) {
	if bad := CheckMapping("mapping", DefaultMapping()); len(bad) != 0 {
		t.Errorf("the default is wrong: %v", bad)
	}
	bad := CheckMapping("mapping", []FieldMap{
		{Ours: "nothing", Theirs: "a"}, {Ours: "email", Theirs: "external_id"}, {Ours: "email", Theirs: "b"}, {Ours: "phone", Theirs: "b"}, {Ours: "custom_fields.", Theirs: "c"},
		{Ours: "email", Theirs: "d", Direction: "sideways", OnEmpty: "cry", Picklist: &Picklist{Unknown: "guess"}, Transforms: []Transform{{Name: "rot13"}, {Name: "truncate", Arg: "…", N: 1}}},
	})
	got := map[string]string{}
	for _, f := range bad {
		got[f.Path] = f.Code
	}
	for path, code := range map[string]string{"mapping[0].ours": "unknown_field", "mapping[1].theirs": "not_a_field", "mapping[3].theirs": "twice", "mapping[4].ours": "unknown_field", "mapping[5].direction": "unknown_value",
		"mapping[5].on_empty": "unknown_value", "mapping[5].picklist.unknown": "unknown_value", "mapping[5].transforms[0].name": "unknown_value", "mapping[5].transforms[1].n": "out_of_range"} {
		if got[path] != code {
			t.Errorf("%s is %q; want %q (all: %v)", path, got[path], code, got)
		}
	}
	if len(got) != 9 {
		t.Errorf("%d mistakes; want 9: %v", len(got), got)
	}
	if bad := CheckMapping("mapping", []FieldMap{{Ours: "email", Theirs: "e", Transforms: make([]Transform, maxTransforms+1)}}); len(bad) != 1 || bad[0].Path != "mapping[0].transforms" {
		t.Errorf("%d transforms: %v", maxTransforms+1, bad)
	}
	if bad := CheckMapping("mapping", []FieldMap{}); len(bad) != 1 {
		t.Errorf("a mapping of nothing: %v; want it refused, for it would send nothing", bad)
	}
	if got := MappingFrom(map[string]string{"phone": "Telephone", "email": "Mail"}); len(got) != 2 || got[0].Ours != "email" || got[1].Theirs != "Telephone" {
		t.Errorf("an old client's object: %v", got)
	}
}

func TestHidePerson(t *testing.T) {
	l := &lead.Lead{FirstName: "Ann", LastName: "O'Neil (Jr.)", Email: "ann@x.example", Phone: "0170 99", Notes: "owes us"}
	for in, want := range map[string]string{
		"ann@x.example is taken": "… is taken", "Ann O'Neil (Jr.) exists": "… exists", "dear ANN, no": "dear …, no", "Annual plan of Joann": "Annual plan of Joann",
		"phone 0170 99!": "phone …!", "he owes us": "he …", "Ann,ann Ann/ANN": "…,… …/…", "AnnAnn Ann9": "AnnAnn Ann9", "field last_name is too long": "field last_name is too long", "": "",
	} {
		if got := HidePerson(in, l); got != want {
			t.Errorf("%q became %q; want %q", in, got, want)
		}
	}
	if got := HidePerson("x is y", &lead.Lead{FirstName: "x"}); got != "x is y" {
		t.Errorf("a name of one letter is hidden everywhere: %q", got)
	}
}
