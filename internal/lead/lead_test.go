package lead

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"leadloom/internal/fault"
)

func TestParseEmail(t *testing.T) {
	for in, want := range map[string]string{
		" Ada.L@Example.COM ": "Ada.L@example.com", "": "", "x+tag@a.io": "x+tag@a.io", "info@münchen.de": "info@xn--mnchen-3ya.de", "üser@example.com": "üser@example.com",
		"no at": "!not_an_address", "a@b": "!bad_domain", "a@b..c": "!bad_domain", "a@-b.de": "!bad_domain", "a@1.2.3.4": "!bad_domain", ".a@b.de": "!not_an_address",
		"a..b@c.de": "!not_an_address", "Ada <a@b.de>": "!display_name", "a@b.de,c@d.de": "!several_addresses", "a@b@c.de": "!several_addresses", "a b@c.de": "!not_an_address",
		"a\x00@b.de": "!control_character", "a\r\n@b.de": "!control_character", strings.Repeat("a", 65) + "@b.de": "!not_an_address", strings.Repeat("a", 300) + "@b.de": "!too_long",
		"\u200ba@b.de": "a@b.de",
	} {
		got, problem := ParseEmail("email", in)
		if problem != nil {
			got = "!" + problem.Code
		}
		if got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if FoldEmail("ADA@x.de") != FoldEmail("ada@x.de") || FoldEmail("é@x.de") == FoldEmail("e@x.de") || FoldEmail("a+b@x.de") == FoldEmail("a@x.de") {
		t.Error("mailboxes are confused")
	}
}

func TestE164(t *testing.T) {
	for in, want := range map[[2]string]string{
		{"+49 170 1234567", ""}: "+491701234567", {"0049 (170) 123-45-67", ""}: "+491701234567", {"0170 1234567", "DE"}: "+491701234567", {"0170 1234567", ""}: "",
		{"020 7946 0958", "GB"}: "+442079460958", {"(415) 555-2671", "US"}: "+14155552671", {"12", "DE"}: "", {"call me", "DE"}: "", {"+999 12345678", ""}: "",
	} {
		if got := E164(in[0], in[1]); got != want {
			t.Errorf("%q in %q: got %q, want %q", in[0], in[1], got, want)
		}
	}
}

func TestFold_IsTheSameInEveryFormAndLocale(t *testing.T) {
	for a, b := range map[string]string{"Zoë": "zoe", "ZOE\u0308": "zoë", "Straße": "STRASSE", "ＡＢＣ": "abc", "İstanbul": "istanbul", "Đ": "đ", "a\u200bb": "ab", " x ": "x"} {
		if Fold(a) != Fold(b) {
			t.Errorf("%q folds to %q, %q to %q", a, Fold(a), b, Fold(b))
		}
	}
	if Fold("ı") == Fold("a") {
		t.Error("different letters fold to one")
	}
}

func TestApply_ReportsAllAndKeepsTheStoredLead(t *testing.T) {
	r := DefaultRules()
	r.Required = []string{"company"}
	base := &Lead{ID: "l", Email: "a@example.com", Status: "new", Company: "C", CustomFields: encodeObject(nil), Tags: []string{"Keep"}}
	for _, c := range []struct {
		body string
		want string // code by path, or "" when fine
	}{
		{`{}`, ""}, {`{"email":null,"tags":null,"custom_fields":null,"status":null}`, ""}, {`{"company":""}`, "company:required"}, {`{"status":""}`, "status:unknown_status"},
		{`{"first_name":"` + strings.Repeat("x", 201) + `","notes":"` + strings.Repeat("x", 10001) + `"}`, "first_name:too_long notes:too_long"},
		{`{"language":"xx-toolongtag-","timezone":"Local","phone":"4,91E+11"}`, "language:unknown_language phone:scientific_notation timezone:unknown_timezone"},
		{`{"tags":["","` + strings.Repeat("t", 65) + `"]}`, "tags[0]:empty tags[1]:too_long"}, {`{"tags":"vip"}`, "tags:wrong_type"}, {`{"custom_fields":[1]}`, "custom_fields:wrong_type"},
	} {
		in, err := Decode([]byte(c.body))
		if err != nil {
			t.Fatal(err)
		}
		before := fmt.Sprintf("%+v", *base)
		_, err = r.Apply(base, in)
		var got []string
		if f := fault.As(err); f != nil {
			for _, p := range f.Fields {
				got = append(got, p.Path+":"+p.Code)
				if p.Message == "" || strings.Contains(p.Message, "xxxxxxx") {
					t.Errorf("%s: message %q", p.Path, p.Message)
				}
			}
		}
		slices.Sort(got)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%.60s: got %v, want %q", c.body, got, c.want)
		}
		if fmt.Sprintf("%+v", *base) != before {
			t.Errorf("%s changed the stored lead", c.body)
		}
	}
}

func TestTags_AreFoldedUniqueAndOrdered(t *testing.T) {
	in, err := Decode([]byte(`{"tags":["B","a","b"],"tags_add":["A","c"],"tags_remove":["B"]}`))
	if err != nil {
		t.Fatal(err)
	}
	res, err := DefaultRules().Apply(&Lead{Status: "new", Tags: []string{"old"}}, in)
	if err != nil || fmt.Sprint(res.Lead.Tags) != "[a c]" {
		t.Errorf("%v (%v)", res, err)
	}
}

func TestCheckValue_TypesAndLimits(t *testing.T) {
	low, high := 1.0, 10.0
	for _, c := range []struct {
		def  FieldDef
		raw  string
		want string
	}{
		{FieldDef{Type: TypeInteger}, `12345678901234567`, "12345678901234567"}, {FieldDef{Type: TypeInteger}, `1.5`, "!not_an_integer"}, {FieldDef{Type: TypeInteger}, `"1"`, "!wrong_type"},
		{FieldDef{Type: TypeNumber}, `1e999`, "!out_of_range"}, {FieldDef{Type: TypeNumber, Min: &low, Max: &high}, `11`, "!out_of_range"}, {FieldDef{Type: TypeNumber}, `0.10`, "0.10"},
		{FieldDef{Type: TypeBoolean}, `true`, "true"}, {FieldDef{Type: TypeBoolean}, `"yes"`, "!wrong_type"}, {FieldDef{Type: TypeDate}, `"2026-02-29"`, "!not_a_date"},
		{FieldDef{Type: TypeDate}, `"2028-02-29"`, "2028-02-29"}, {FieldDef{Type: TypeDatetime}, `"2026-03-31T14:00:00+02:00"`, "2026-03-31T12:00:00Z"},
		{FieldDef{Type: TypeChoice, Choices: []string{"Gold"}}, `"GOLD"`, "Gold"}, {FieldDef{Type: TypeMultiChoice, Choices: []string{"A", "B"}}, `["b","a","B"]`, "[B A]"},
		{FieldDef{Type: TypeMultiChoice, Choices: []string{"A"}}, `["x"]`, "!unknown_choice"}, {FieldDef{Type: TypeURL}, `"javascript:alert(1)"`, "!not_a_url"},
		{FieldDef{Type: TypeURL}, `"https://a.example/x"`, "https://a.example/x"}, {FieldDef{Type: TypePhone}, `"+49 170 1234567"`, "+491701234567"}, {FieldDef{Type: TypeText}, `7`, "7"},
		{FieldDef{Type: TypeText}, `""`, "<nil>"}, {FieldDef{Type: TypeJSON}, `{"a":"\u0000"}`, "!control_character"}, {FieldDef{Type: TypeJSON}, `{"a":[1e999]}`, "!out_of_range"}, {FieldDef{Type: TypeJSON}, `{"a":[1]}`, "map[a:[1]]"},
	} {
		v, problem := c.def.checkRaw("f", []byte(c.raw), "")
		got := fmt.Sprint(v)
		if problem != nil {
			got = "!" + problem.Code
		}
		if got != c.want {
			t.Errorf("%s %s: got %s, want %s", c.def.Type, c.raw, got, c.want)
		}
	}
}

func TestDiff_NamesEachChangedField(t *testing.T) {
	a := &Lead{FirstName: "A", Status: "new", CustomFields: encodeObject(map[string]any{"x": "1", "y": "2"})}
	b := a.Clone()
	if d := Diff(a, b); len(d) != 0 {
		t.Errorf("equal leads differ: %v", d)
	}
	b.FirstName, b.Company, b.Tags, b.CustomFields = "", "C", []string{"t"}, encodeObject(map[string]any{"x": "1", "z": "3"})
	d := Diff(a, b)
	if len(d) != 5 || d["first_name"].To != nil || d["company"].From != nil || d["custom_fields.y"].To != nil || d["custom_fields.z"].To != "3" {
		t.Errorf("diff %v", d)
	}
}

func TestWords_MatchWhatPeopleType(t *testing.T) {
	l := &Lead{FirstName: "Zoë", LastName: "van der Berg", Company: "Müller & Söhne GmbH", Email: "Zoe-Marie.B@Example.com", Phone: "0170 1234567", PhoneE164: "+491701234567", Tags: []string{"Hot Lead", "v1.2"}}
	shop := &Lead{Company: "Booking.com B.V.", Email: "info@reise-buchung.example"}
	bare := &Lead{Email: "anna.schmidt84@mail.example"}
	for _, c := range []struct {
		l          *Lead
		found, not []string
	}{
		{l, []string{"zoe", "ZOË berg", "muller", "söh", "zoe-marie.b@ex", "zoe-marie.b@", "Zoe-Marie.b", "<zoe-marie.b@example.com>,", "@example.com", "@exam", "example.com", "exam", "0170 123", "+49 170",
			"0049 170 1234567", "hot", "lead", "gmbh zoe", "v1.2"}, []string{"zoo", "ber hans", "171", "zoe@", "marie.b", "ample.com", "com"}},
		{shop, []string{"booking", "booking.com", "Booking.c", "com", "b.v.", "info@", "info", "reise", "reise-buchung.ex", "booking.com reise-buchung.example"}, []string{"info@reise-buchung.exampl.", "ooking.com"}},
		{bare, []string{"ann", "anna", "anna.schmidt", "anna.schmidt84@mail", "mail", "mail.example"}, []string{"anna@", "schmidt"}},
	} {
		for i, q := range append(slices.Clone(c.found), c.not...) {
			if got := finds(q, c.l); got != (i < len(c.found)) {
				t.Errorf("%q: found %v (%v in %v)", q, got, QueryWords(q), Words(c.l))
			}
		}
	}
}

func finds(q string, l *Lead) bool {
	have := Words(l)
	return !slices.ContainsFunc(QueryWords(q), func(w string) bool {
		return !slices.ContainsFunc(have, func(h string) bool { return strings.HasPrefix(h, w) })
	})
}

// A first name is one word, however many people of it have an address.
func TestWords_AddressesAreNoNames(t *testing.T) {
	begun := map[string]bool{}
	for i := range 50 {
		for _, w := range Words(&Lead{FirstName: "Anna", Email: fmt.Sprintf("anna.smith%d@mail%d.example", i, i)}) {
			if strings.HasPrefix(w, "anna") {
				begun[w] = true
			}
		}
	}
	if len(begun) != 1 {
		t.Errorf("anna is the beginning of %v", begun)
	}
}

// Each name is one word, in whatever script, and its first letters find it.
func TestWords_NamesAreWhole(t *testing.T) {
	for name, typed := range map[string]string{"सिंह": "सिं", "प्रिया": "प्रि", "கார்த்திக்": "கார்", "নজরুল": "নজ", "สมชาย": "สม", "မောင်": "မော", "مُحَمَّد": "محم", "José": "jos", "Đức": "Đứ", "田中": "田"} {
		words, query := Words(&Lead{LastName: name}), QueryWords(typed)
		if len(words) != 1 || len(query) != 1 || !strings.HasPrefix(words[0], query[0]) {
			t.Errorf("%s: words %q, and %q is looked for as %q", name, words, typed, query)
		}
	}
}

func TestMisspelt(t *testing.T) {
	known := []string{"address1", "budget", "city", "postal_code"}
	for key, want := range map[string]string{"budgte": "budget", "budget2": "", "address2": "", "colour": "", "postalcode": "postal_code", "cty": "", "town": ""} {
		if got := misspelt(key, known); got != want {
			t.Errorf("%s: got %q, want %q", key, got, want)
		}
	}
}

// FuzzDecode feeds the input decoder and the rules: no panic, and what is accepted is storable and stable.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{`{}`, `{"email":"a@b.de","tags":["x"],"custom_fields":{"a":1}}`, `{"phone":"+49 170 1234567","notes":null}`, `{"first_name":"\ud800","tags_add":[null]}`, `[1]`, `{"custom_fields":{"a":{"b":[{}]}}}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		in, err := Decode(raw)
		if err != nil {
			if fault.As(err) == nil {
				t.Fatalf("no fault: %v", err)
			}
			return
		}
		r := DefaultRules()
		res, err := r.New(in)
		if err != nil {
			if f := fault.As(err); f == nil || len(f.Fields) == 0 {
				t.Fatalf("refused without a field: %v", err)
			}
			return
		}
		l := res.Lead
		l.CreatedAt = time.Time{}
		for _, name := range textNames {
			s := *l.text(name)
			if !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\x1f") {
				t.Fatalf("%s holds %q", name, s)
			}
		}
		for _, d := range res.NewFields {
			r.Fields[d.Key] = d
		}
		again, err := r.Apply(l, in)
		if err != nil {
			t.Fatalf("accepted once, refused the second time: %v", err)
		}
		if d := Diff(l, again.Lead); len(d) != 0 {
			t.Fatalf("the same input changes the lead again: %v", d)
		}
	})
}
