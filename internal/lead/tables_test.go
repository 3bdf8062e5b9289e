package lead

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"leadloom/internal/fault"
)

func decode(t *testing.T, body string) *Input {
	t.Helper()
	in, err := Decode([]byte(body))
	if err != nil {
		t.Fatalf("%.80s: %v", body, err)
	}
	return in
}

// problemsOf is "path:code" for each problem, in order of paths.
func problemsOf(err error) string {
	var out []string
	if f := fault.As(err); f != nil {
		for _, p := range f.Fields {
			out = append(out, p.Path+":"+p.Code)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// TestNames_AreStoredAsTypedAndComparedFolded: stored NFC without invisible characters, compared without case,
// accents and width, the same in every locale.
func TestNames_AreStoredAsTypedAndComparedFolded(t *testing.T) {
	for _, c := range []struct{ typed, stored, folded string }{
		{"IŞIK ılık İnce", "IŞIK ılık İnce", "isik ılık ince"}, // dotless ı stays a letter of its own
		{"Straße", "Straße", "strasse"}, {"STRASSE", "STRASSE", "strasse"}, {"ẞ", "ẞ", "ss"},
		{"Zoe\u0308", "Zoë", "zoe"}, {"Zoë", "Zoë", "zoe"}, {"ＡＤＡ", "ＡＤＡ", "ada"}, {"ﬁt", "ﬁt", "fit"}, {"ǅ", "ǅ", "dz"},
		{"A\u200bda", "Ada", "ada"}, {"\ufeffAda", "Ada", "ada"}, {"Ad\u00ada", "Ada", "ada"}, {"\u2067Ada\u2069", "Ada", "ada"}, {"\u200fعلي", "علي", "علي"},
		{"نا\u200cمه", "نا\u200cمه", "نامه"}, {"קוֹלָה", "קוֹלָה", "קולה"}, {"Ångström", "Ångström", "angstrom"}, {"\u212bngström", "Ångström", "angstrom"},
		{"  Ada \t", "Ada", "ada"}, {"Ο∆ΥΣΣΕΥΣ", "Ο∆ΥΣΣΕΥΣ", "ο∆υσσευσ"}, {"Οδυσσεύς", "Οδυσσεύς", "οδυσσευσ"}, {"Łódź", "Łódź", "łodz"}, {"👩\u200d💻", "👩\u200d💻", "👩💻"},
		{"김철수", "김철수", "김철수"}, {"\u1100\u1161", "가", "가"}, {"ｶﾞ", "ｶﾞ", "カ"},
	} {
		res, err := DefaultRules().New(&Input{FirstName: opt(c.typed), Email: opt("a@example.com")})
		if err != nil {
			t.Errorf("%q: %v", c.typed, err)
			continue
		}
		if res.Lead.FirstName != c.stored || Fold(c.typed) != c.folded {
			t.Errorf("%q: stored %q, folded %q; want %q, %q", c.typed, res.Lead.FirstName, Fold(c.typed), c.stored, c.folded)
		}
		if again := Fold(Fold(c.typed)); again != Fold(c.typed) {
			t.Errorf("%q: folding twice gives %q", c.typed, again)
		}
	}
	for name, code := range map[string]string{"a\x00b": "control_character", "a\nb": "control_character", "a\x1fb": "control_character", "a\u0085b": "control_character", strings.Repeat("é", 201): "too_long"} {
		if _, err := DefaultRules().New(&Input{FirstName: opt(name)}); problemsOf(err) != "first_name:"+code {
			t.Errorf("%q: %v, want %s", name, err, code)
		}
	}
	if _, err := DefaultRules().New(&Input{FirstName: opt(strings.Repeat("é", 200))}); err != nil {
		t.Errorf("200 letters: %v", err)
	}
}

func TestEmails_WhoIsTheSameMailbox(t *testing.T) {
	same := [][2]string{{"Ada@Example.com", "ada@example.COM"}, {"info@MÜNCHEN.de", "info@xn--mnchen-3ya.de"}, {"é@example.com", "e\u0301@example.com"}, {"STRASSE@example.com", "straße@example.com"}}
	for _, p := range same {
		a, problem1 := ParseEmail("email", p[0])
		b, problem2 := ParseEmail("email", p[1])
		if problem1 != nil || problem2 != nil || FoldEmail(a) != FoldEmail(b) {
			t.Errorf("%q and %q are %q and %q", p[0], p[1], FoldEmail(a), FoldEmail(b))
		}
	}
	for _, p := range [][2]string{{"ada+x@gmail.com", "ada@gmail.com"}, {"a.da@gmail.com", "ada@gmail.com"}, {"é@example.com", "e@example.com"}, {"ada@exаmple.com", "ada@example.com"}} {
		a, _ := ParseEmail("email", p[0])
		b, _ := ParseEmail("email", p[1])
		if FoldEmail(a) == FoldEmail(b) {
			t.Errorf("%q and %q are taken for one mailbox", p[0], p[1])
		}
	}
	r := DefaultRules()
	r.RoleNames = []string{"einkauf"}
	for address, identifies := range map[string]bool{"info@example.com": false, "INFO@example.com": false, "noreply@example.com": false, "einkauf@example.com": false, "ada@example.com": true, "information@example.com": true} {
		if got := len(r.IdentitiesOf(&Input{Email: opt(address)})) == 1; got != identifies {
			t.Errorf("%s identifies: %v, want %v", address, got, identifies)
		}
	}
}

// TestPhones_AreReadWithTheRegion writes numbers of many countries the ways people do, and asks for one E.164 form.
func TestPhones_AreReadWithTheRegion(t *testing.T) {
	numbers := map[string][]string{ // region and E.164 → as typed there
		"DE +491701234567":  {"0170 1234567", "0170/1234567", "+49 170 1234567", "0049 170 1234567", "(0170) 123-45-67", "+49 (0) 170 1234567", "+49.170.1234567"},
		"DE +493012345678":  {"030 12345678", "+49 30 12345678", "030/123 456 78"},
		"GB +442079460958":  {"020 7946 0958", "+44 20 7946 0958", "0044 20 7946 0958", "(020) 79460958"},
		"US +14155552671":   {"(415) 555-2671", "415-555-2671", "415.555.2671", "+1 415 555 2671", "1 415 555 2671"},
		"FR +33612345678":   {"06 12 34 56 78", "06.12.34.56.78", "+33 6 12 34 56 78", "0033 6 12 34 56 78"},
		"IT +390612345678":  {"06 1234 5678", "+39 06 1234 5678"},
		"ES +34612345678":   {"612 34 56 78", "+34 612 345 678"},
		"NL +31612345678":   {"06-12345678", "+31 6 12345678"},
		"BE +32470123456":   {"0470 12 34 56", "+32 470 12 34 56"},
		"CH +41781234567":   {"078 123 45 67", "+41 78 123 45 67"},
		"AT +436641234567":  {"0664 1234567", "+43 664 1234567"},
		"PL +48512345678":   {"512 345 678", "+48 512-345-678"},
		"SE +46701234567":   {"070-123 45 67", "+46 70 123 45 67"},
		"DK +4520123456":    {"20 12 34 56", "+45 20123456"},
		"NO +4740612345":    {"406 12 345", "+47 40612345"},
		"IN +919876543210":  {"098765 43210", "98765 43210", "+91 98765 43210"},
		"BR +5511961234567": {"(11) 96123-4567", "011 96123-4567", "+55 11 96123 4567"},
		"MX +525512345678":  {"55 1234 5678", "+52 55 1234 5678"},
		"AU +61412345678":   {"0412 345 678", "+61 412 345 678"},
		"JP +819012345678":  {"090-1234-5678", "+81 90 1234 5678"},
		"CN +8613812345678": {"138 1234 5678", "+86 138 1234 5678"},
		"ZA +27821234567":   {"082 123 4567", "+27 82 123 4567"},
		"TR +905321234567":  {"0532 123 45 67", "+90 532 123 45 67"},
		"RU +79161234567":   {"8 916 123-45-67", "+7 916 123 45 67"},
		"UA +380671234567":  {"067 123 45 67", "+380 67 123 45 67"},
		"IE +353851234567":  {"085 123 4567", "+353 85 123 4567"},
		"PT +351912345678":  {"912 345 678", "+351 912 345 678"},
		"GR +306912345678":  {"691 234 5678", "+30 691 234 5678"},
		"IL +972502345678":  {"050-234-5678", "+972 50 234 5678"},
		"AE +971501234567":  {"050 123 4567", "+971 50 123 4567"},
		"SG +6581234567":    {"8123 4567", "+65 8123 4567"},
		"KR +821012345678":  {"010-1234-5678", "+82 10 1234 5678"},
		"NZ +64211234567":   {"021 123 4567", "+64 21 123 4567"},
		"AR +5491123456789": {"011 15-2345-6789", "+54 9 11 2345 6789"},
	}
	for key, typed := range numbers {
		region, want, _ := strings.Cut(key, " ")
		for _, s := range typed {
			kept, e164, warning, problem := ParsePhone("phone", s, region)
			if problem != nil || warning != nil || kept != s || e164 != want {
				t.Errorf("%q in %s: kept %q, E.164 %q, warning %v, problem %v; want %s", s, region, kept, e164, warning, problem, want)
			}
			if s[0] != '+' && !strings.HasPrefix(s, "00") { // without a country it is nobody's number
				if _, e164, warning, _ := ParsePhone("phone", s, ""); e164 != "" || warning == nil {
					t.Errorf("%q without a region became %q", s, e164)
				}
			}
		}
	}
	for s, code := range map[string]string{"4.91E+11": "!scientific_notation", "4,91e11": "!scientific_notation", "-4.9E-3": "!scientific_notation", "call me": "phone_not_understood", "12": "phone_not_understood",
		"+49 170": "phone_not_understood", "+999 1234567": "phone_not_understood", "+49 30 123456 ext. 12": "phone_extension", "+1 415 555 2671 x9": "phone_extension", "+49 30 123456 DW 7": "phone_extension",
		strings.Repeat("1", 41): "!too_long", "12\x0034": "!control_character"} {
		_, e164, warning, problem := ParsePhone("phone", s, "DE")
		got := ""
		if warning != nil {
			got = warning.Code
		}
		if problem != nil {
			got = "!" + problem.Code
		}
		if got != code || e164 != "" {
			t.Errorf("%q: %s and E.164 %q, want %s and none", s, got, e164, code)
		}
	}
}

func TestPhones_AreFoundInAnySpacing(t *testing.T) {
	for typed, queries := range map[string][]string{
		"+49 170 1234567":  {"+49170", "0049 170", "0170 123", "0170/1234567", "170 1234567", "49 170 12 34"},
		"0170 1234567":     {"0170 12", "(0170) 1234567", "170 123"},
		"+44 20 7946 0958": {"020 7946", "+44 20 79", "20 79460958"},
		"+39 06 1234 5678": {"06 1234", "+39 06"},
	} {
		_, e164, _, _ := ParsePhone("phone", typed, "")
		words := Words(&Lead{Phone: typed, PhoneE164: e164})
		for _, q := range queries {
			for _, w := range QueryWords(q) {
				if !slices.ContainsFunc(words, func(have string) bool { return strings.HasPrefix(have, w) }) {
					t.Errorf("%q is not found as %q: %q in %q", typed, q, w, words)
				}
			}
		}
	}
}

func TestNumbers_AreExactAndBounded(t *testing.T) {
	number := &FieldDef{Type: TypeNumber}
	for raw, want := range map[string]string{"0.1": "0.1", "-0": "-0", "12345678901234567890123456789012345678": "12345678901234567890123456789012345678", "1e300": "1e300", "1E-300": "1E-300",
		"1e301": "!out_of_range", "1e-301": "!out_of_range", "1e999999999": "!out_of_range", "1e-999999999": "!out_of_range", strings.Repeat("1", 41): "!out_of_range", `"7"`: "!wrong_type", "true": "!wrong_type", "[1]": "!wrong_type"} {
		v, problem := number.checkRaw("f", []byte(raw), "")
		got := fmt.Sprint(v)
		if problem != nil {
			got = "!" + problem.Code
		}
		if got != want {
			t.Errorf("%.30s: got %s, want %s", raw, got, want)
		}
	}
	r := DefaultRules()
	r.Fields["n"] = FieldDef{Key: "n", Type: TypeNumber, Unique: true}
	value := func(raw string) string {
		return r.Identities(&Lead{CustomFields: json.RawMessage(`{"n":` + raw + `}`)})[0].Value
	}
	if value("1") != value("1.0") || value("1") != value("1e0") || value("1") == value("1.1") || value("9007199254740993") == value("9007199254740992") {
		t.Error("equal numbers are two identities, or different ones are one")
	}
}

// TestPatch_IsAMergePatch takes the examples of RFC 7396 that a custom field of JSON can hold.
func TestPatch_IsAMergePatch(t *testing.T) {
	r := DefaultRules()
	r.Fields["j"] = FieldDef{Key: "j", Type: TypeJSON}
	r.Fields["fixed"] = FieldDef{Key: "fixed", Type: TypeText, ReadOnly: true}
	for _, c := range [][3]string{
		{`{"a":"b"}`, `{"a":"c"}`, `{"a":"c"}`}, {`{"a":"b"}`, `{"b":"c"}`, `{"a":"b","b":"c"}`}, {`{"a":"b","b":"c"}`, `{"a":null}`, `{"b":"c"}`}, {`{"a":["b"]}`, `{"a":"c"}`, `{"a":"c"}`},
		{`{"a":"c"}`, `{"a":["b"]}`, `{"a":["b"]}`}, {`{"a":{"b":"c"}}`, `{"a":{"b":"d","c":null}}`, `{"a":{"b":"d"}}`}, {`{"a":[{"b":"c"}]}`, `{"a":[1]}`, `{"a":[1]}`}, {`{"e":null}`, `{"a":1}`, `{"a":1,"e":null}`},
		{`[1,2]`, `{"a":"b","c":null}`, `{"a":"b"}`}, {`{}`, `{"a":{"bb":{"ccc":null}}}`, `{"a":{"bb":{}}}`}, {`{"a":1}`, `["c"]`, `["c"]`},
	} {
		before := &Lead{Email: "a@example.com", Status: "new", CustomFields: json.RawMessage(`{"fixed":"x","j":` + c[0] + `}`)}
		res, err := r.Apply(before, decode(t, `{"custom_fields":{"j":`+c[1]+`}}`).ClearNulls())
		if err != nil || string(res.Lead.CustomFields) != `{"fixed":"x","j":`+c[2]+`}` {
			t.Errorf("%s patched with %s: %v (%v), want %s", c[0], c[1], res, err, c[2])
		}
		res, err = r.Apply(before, decode(t, `{"custom_fields":null}`).ClearNulls())
		if err != nil || string(res.Lead.CustomFields) != `{"fixed":"x"}` {
			t.Errorf("custom_fields null: %v (%v), want only what the API may not clear", res, err)
		}
		res, err = r.ApplyTrusted(before, decode(t, `{"custom_fields":null}`).ClearNulls())
		if err != nil || string(res.Lead.CustomFields) != `{}` {
			t.Errorf("custom_fields null of a workflow: %v (%v)", res, err)
		}
	}
	plain, err := r.Apply(&Lead{Email: "a@example.com", Status: "new", CustomFields: json.RawMessage(`{"j":{"a":1}}`)}, decode(t, `{"custom_fields":{"j":{"b":2}}}`))
	if err != nil || string(plain.Lead.CustomFields) != `{"j":{"b":2}}` {
		t.Errorf("a PUT merges by key only: %v (%v)", plain, err)
	}
}

func TestRules_RefuseWhatWouldBreakLeads(t *testing.T) {
	for _, c := range []struct {
		change func(*Rules)
		want   string
	}{
		{func(*Rules) {}, ""}, {func(r *Rules) { r.Statuses = nil }, "statuses:required"}, {func(r *Rules) { r.Statuses = []string{"a\x1fb", "b\x00"} }, "statuses[0]:control_character statuses[1]:control_character"},
		{func(r *Rules) { r.Statuses = []string{"New", "a", "a", "é"} }, "statuses[0]:bad_status statuses[2]:repeated statuses[3]:bad_status"},
		{func(r *Rules) { r.Identity = []string{"email", "email", "name"} }, "identity[1]:unknown_identity identity[2]:unknown_identity"},
		{func(r *Rules) { r.Region = "XX" }, "region:unknown_region"}, {func(r *Rules) { r.Region = "DE" }, ""},
		{func(r *Rules) { r.RoleNames = []string{"einkauf", "A b", "X"} }, "role_names[1]:bad_name role_names[2]:bad_name"}, {func(r *Rules) { r.Required = []string{"score"} }, "required[0]:unknown_field"},
	} {
		r := DefaultRules()
		c.change(r)
		if got := problemsOf(r.Check()); got != c.want {
			t.Errorf("got %q, want %q", got, c.want)
		}
	}
}

// TestApply_AStatusThatWasTakenOffTheListCanBeSentBack, as clients do that send the whole lead.
func TestApply_AStatusThatWasTakenOffTheListCanBeSentBack(t *testing.T) {
	r := DefaultRules()
	r.Statuses = []string{"fresh"}
	l := &Lead{Email: "a@example.com", Status: "qualified", CustomFields: encodeObject(nil)}
	if res, err := r.Apply(l, decode(t, `{"status":"qualified","first_name":"Ada"}`)); err != nil || res.Lead.FirstName != "Ada" {
		t.Errorf("%v (%v)", res, err)
	}
	if _, err := r.Apply(l, decode(t, `{"status":"lost"}`)); problemsOf(err) != "status:unknown_status" {
		t.Errorf("%v", err)
	}
}

// TestDecode_HostileKeysCostLittle: a key of a megabyte was compared with every known one, letter by letter.
func TestDecode_HostileKeysCostLittle(t *testing.T) {
	body := `{"email":"a@example.com","` + strings.Repeat("x", 1<<20) + `":1,"custom_fields":{"` + strings.Repeat("y", 1<<20) + `":1}}`
	r := DefaultRules()
	r.Fields["budget"] = FieldDef{Key: "budget", Type: TypeInteger}
	allocated := testing.Benchmark(func(b *testing.B) {
		b.ReportAllocs()
		for range b.N {
			_, _ = r.New(decode(t, body))
			b.StopTimer()
			return
		}
	}).AllocedBytesPerOp()
	if allocated > 64<<20 {
		t.Errorf("decoding 2 MiB allocated %d MiB", allocated>>20)
	}
	_, err := r.New(decode(t, body))
	if f := fault.As(err); f == nil || len(f.Fields) != 1 || len(f.Fields[0].Path) > 100 {
		t.Errorf("the key is echoed whole, or not refused: %.200v", err)
	}
	var many strings.Builder
	for i := range 5000 {
		fmt.Fprintf(&many, `,"k%d":1`, i)
	}
	if n := len(decode(t, `{"email":"a@example.com"`+many.String()+`}`).Warnings()); n != maxWarnings {
		t.Errorf("%d warnings, want %d", n, maxWarnings)
	}
	deep := strings.Repeat("[", 20_000) + strings.Repeat("]", 20_000)
	if _, err := Decode([]byte(`{"custom_fields":{"a":` + deep + `}}`)); !fault.HasCode(err, "malformed_json") {
		t.Errorf("20,000 levels: %.100v", err)
	}
	if _, err := r.New(decode(t, `{"email":"a@example.com","custom_fields":{"a":`+strings.Repeat("[", 30)+strings.Repeat("]", 30)+`}}`)); problemsOf(err) != "custom_fields.a:too_deep" {
		t.Errorf("30 levels: %v", err)
	}
}

func TestMostAlike(t *testing.T) {
	ada, bob, none := &Lead{ID: "a", FirstName: "Ada", LastName: "L"}, &Lead{ID: "b", FirstName: "Bob"}, &Lead{ID: "n"}
	for name, want := range map[string]*Lead{"ADA": ada, "Bob": bob, "Eve": none, "": none} {
		if got := MostAlike(&Lead{FirstName: name}, []*Lead{none, ada, bob}); got != want {
			t.Errorf("%q is taken for %v, want %v", name, got, want)
		}
	}
	if got := MostAlike(&Lead{FirstName: "Eve"}, []*Lead{ada, bob}); got != nil {
		t.Errorf("Eve is taken for %v", got)
	}
}
