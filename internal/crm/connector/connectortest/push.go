package connectortest

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"strings"

	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/lead"
	"leadloom/internal/outbound"
)

// schema is what the simulators of these cases know.
var schema = []connector.FieldSpec{{Name: "external_id", Type: "text"}, {Name: "first_name", Type: "text"}, {Name: "last_name", Type: "text", Required: true},
	{Name: "email", Type: "text", MaxLen: 40}, {Name: "company", Type: "text", Options: []string{"Acme", "Initech"}}, {Name: "score", Type: "number"}}

// pushItems are the cases of sending leads.
func pushItems() []item {
	withSchema := simulator.Options{Schema: schema}
	batches := func(c connector.Capabilities) bool { return c.NativeBatch }
	return []item{
		{name: "1 test names the account", run: testNamesAccount}, {name: "2 wrong secret", run: wrongSecret},
		{name: "3 describe", needs: func(c connector.Capabilities) bool { return c.Describe }, opts: withSchema, run: describe},
		{name: "4 missing key field", needs: func(c connector.Capabilities) bool { return c.Describe }, opts: simulator.Options{Schema: schema[1:]}, run: missingKey},
		{name: "5 same again sends nothing", run: sameAgain}, {name: "6 changed fields only", run: changedOnly}, {name: "7 empty clears, absent stays", run: clears},
		{name: "8 full batch and one more", run: batchPlusOne}, {name: "9 duplicate in a batch", run: duplicateInBatch},
		{name: "10 reordered and extra results", needs: batches, run: reordered}, {name: "11 partial failure", opts: withSchema, run: partial},
		{name: "12 poison blocks nobody", run: poison}, {name: "13 bisection", needs: batches, run: bisection},
		{name: "14 missing result", needs: batches, run: missing}, {name: "22 duplicate there", needs: batches, run: duplicateThere},
		{name: "23 merged there", needs: func(c connector.Capabilities) bool { return c.Merges }, run: merged},
		{name: "24 deleted there", run: deletedThere}, {name: "25 field removed there", opts: withSchema, run: fieldRemoved},
		{name: "26 picklists", needs: func(c connector.Capabilities) bool { return c.Picklists }, opts: withSchema, run: picklists},
		{name: "27 odd texts", run: oddTexts}, {name: "28 large numbers", run: largeNumbers},
	}
}

func testNamesAccount(w *world) {
	if a, err := w.con.Test(w.ctx()); err != nil || a.Name == "" {
		w.Fatalf("Test = %+v, %v; want the account's name", a, err)
	}
}

func wrongSecret(w *world) {
	c := w.wrong()
	_, err := c.Test(w.ctx())
	e := w.wantClass(err, connector.ClassReauth)
	if !strings.Contains(e.Message, "credentials") {
		w.Errorf("message %q does not say what to enter again", e.Message)
	}
	_, stop := crm.Send(w.ctx(), c, crm.MakePlan(&crm.Connection{}, &w.fields, []crm.Dirty{{LeadID: "lead-0000"}}, map[lead.ID]*lead.Lead{"lead-0000": leads(1)[0]}, nil).Send)
	if stop == nil || stop.Class != connector.ClassReauth || w.Sim.Count() != 0 {
		w.Errorf("stop %v, %d records; want a round that ends at once and keeps its leads", stop, w.Sim.Count())
	}
}

func describe(w *world) {
	s, err := w.con.Describe(w.ctx())
	if err != nil || !s.Known {
		w.Fatalf("Describe = %+v, %v", s, err)
	}
	at := map[string]connector.FieldSpec{}
	for _, f := range s.Fields {
		at[f.Name] = f
	}
	if !at["last_name"].Required || len(at["company"].Options) != 2 || at["email"].MaxLen != 40 || at["external_id"].Name == "" {
		w.Errorf("fields %+v; want the key, what is required and the options", s.Fields)
	}
	w.Sim.Inject(simulator.Fault{Op: "describe", Kind: simulator.EmptyResults})
	_, err = w.con.Describe(w.ctx())
	if e := w.wantClass(err, connector.ClassConfig); e.Code != outbound.CodeBadReply {
		w.Errorf("a reply without fields is %+v; want it taken for none, not for a schema that lacks the key", e)
	}
}

func missingKey(w *world) {
	_, err := w.con.Describe(w.ctx())
	if e := w.wantClass(err, connector.ClassConfig); e.Field == "" || !strings.Contains(e.Message, e.Field) {
		w.Errorf("error %+v; want it to name the field to add", e)
	}
}

func sameAgain(w *world) {
	in := leads(3)
	w.good(in...)
	before := w.calls()
	out := w.good(in...)
	if len(out.plan.Same) != 3 || w.calls() != before {
		w.Errorf("%d the same, %d new calls; want 3 and none", len(out.plan.Same), w.calls()-before)
	}
	w.agree = map[lead.ID]*crm.Link{} // as after a crash between call and record: the same keys go again
	w.good(in...)
	if r := w.record(in[0].ID); w.Sim.Count() != 3 || r.Writes != 1 {
		w.Errorf("%d records, %d writes; want 3, each written once", w.Sim.Count(), r.Writes)
	}
}

func changedOnly(w *world) {
	l := leads(1)[0]
	w.good(l)
	w.Sim.Edit(string(l.ID), func(r *simulator.Record) { r.Fields["email"] = "typed@there.example" })
	w.good(changed(l, func(l *lead.Lead) { l.Company = "Acme" }))
	if f := w.record(l.ID).Fields; f["company"] != "Acme" || f["email"] != "typed@there.example" {
		w.Errorf("fields %v; want the company new and the e-mail, which had not changed here, left alone", f)
	}
}

func clears(w *world) {
	l := leads(1)[0]
	l.Company = "Acme"
	w.good(l)
	w.good(changed(l, func(l *lead.Lead) { l.Company = "" }))
	if f := w.record(l.ID).Fields; f["company"] != nil || f["email"] == nil {
		w.Errorf("fields %v; want the company cleared and the e-mail kept", f)
	}
}

func batchPlusOne(w *world) {
	size := w.con.Info().BatchSize
	for _, n := range []int{size, size + 1} {
		out := w.good(leads(n)...)
		if w.Sim.Count() != n {
			w.Fatalf("%d leads sent, %d records (%d verdicts)", n, w.Sim.Count(), len(out.verdicts))
		}
	}
	for _, c := range append(w.Sim.Calls("batch"), w.Sim.Calls("upsert")...) {
		if len(c.Keys) > size {
			w.Errorf("a call with %d records; at most %d", len(c.Keys), size)
		}
	}
}

func duplicateInBatch(w *world) {
	old := leads(2)
	newer := changed(old[0], func(l *lead.Lead) { l.FirstName = "Newest" })
	one, other := w.plan(old[0], old[1]), w.plan(newer)
	v, stop := crm.Send(w.ctx(), w.con, append(one, other...))
	if stop != nil || len(v) != 2 || w.Sim.Count() != 2 {
		w.Fatalf("%d verdicts, stop %v, %d records; want one each for two leads", len(v), stop, w.Sim.Count())
	}
	if f := w.record(old[0].ID).Fields; f["first_name"] != "Newest" {
		w.Errorf("first name %v; want that of the newest version", f["first_name"])
	}
}

// plan is what would be sent of the leads.
func (w *world) plan(in ...*lead.Lead) []crm.Item {
	rows, byID := make([]crm.Dirty, len(in)), map[lead.ID]*lead.Lead{}
	for i, l := range in {
		rows[i], byID[l.ID] = crm.Dirty{LeadID: l.ID, LeadVersion: l.Version}, l
	}
	return crm.MakePlan(&crm.Connection{ID: "suite"}, &w.fields, rows, byID, w.agree).Send
}

func reordered(w *world) {
	w.Sim.Inject(simulator.Fault{Op: "batch", Kind: simulator.Reorder})
	for _, v := range w.good(leads(5)...).verdicts {
		if r := w.record(v.Item.Lead.ID); r.ID != v.Result.ID {
			w.Errorf("%s got the result of another: %s instead of %s", v.Item.Lead.ID, v.Result.ID, r.ID)
		}
	}
	w.Sim.Inject(simulator.Fault{Op: "batch", Kind: simulator.ExtraResult})
	if out := w.good(leads(8)[5:]...); len(out.verdicts) != 3 {
		w.Errorf("%d verdicts; a result that nobody asked for must count for nobody", len(out.verdicts))
	}
}

func partial(w *world) {
	for _, bad := range [][]int{{0}, {2}, {4}, {0, 1, 2, 3, 4}} {
		in := leads(5)
		for _, i := range bad {
			in[i].Email = strings.Repeat("x", 50) + "@example.com"
		}
		for i := range in {
			in[i].ID = lead.ID(fmt.Sprintf("%s-of-%v", in[i].ID, bad))
		}
		out := w.sync(in...)
		if out.stop != nil || len(out.verdicts) != 5 {
			w.Fatalf("bad %v: %d verdicts, stop %v", bad, len(out.verdicts), out.stop)
		}
		for i, l := range in {
			v, _ := out.verdict(l.ID)
			_, there := w.Sim.Record(string(l.ID))
			isBad := v.Err != nil
			if want := strings.HasPrefix(l.Email, "x"); isBad != want || there == want {
				t := v.Err
				w.Errorf("bad %v, lead %d: error %v, there %v", bad, i, t, there)
			}
			if isBad && (v.Err.Class != connector.ClassRecord || v.Err.Field != "email" || v.Err.Code != "too_long" || v.Err.Message == "") {
				w.Errorf("error %+v; want the record's, with field, code and words", v.Err)
			}
		}
	}
}

func poison(w *world) {
	in := leads(32)
	w.Sim.Inject(simulator.Fault{Op: "*", First: 1, Last: -1, Kind: simulator.RejectWhole, Key: string(in[11].ID)})
	out := w.sync(in...)
	bad, _ := out.verdict(in[11].ID)
	if out.stop != nil || bad.Err == nil || bad.Err.Class != connector.ClassRecord || w.Sim.Count() != 31 {
		w.Fatalf("poison %v, stop %v, %d arrived; want one problem and 31 records", bad.Err, out.stop, w.Sim.Count())
	}
}

func bisection(w *world) {
	n := min(64, w.con.Info().BatchSize)
	in := leads(n)
	w.Sim.Inject(simulator.Fault{Op: "*", First: 1, Last: -1, Kind: simulator.RejectWhole, Key: string(in[n/3].ID)})
	w.sync(in...)
	// Each level halves the guilty part and sends both halves: two calls a level after the first.
	levels := bits.Len(uint(n-1)) + 1
	if c := w.calls(); c > 2*levels-1 {
		w.Errorf("%d calls for %d records; want the guilty one found within %d levels", c, n, levels)
	}
}

func missing(w *world) {
	w.Sim.Inject(simulator.Fault{Op: "batch", Kind: simulator.DropResult})
	in := leads(4)
	out := w.sync(in...)
	if v, ok := out.verdict(in[0].ID); !ok || v.Err == nil || v.Err.Class != connector.ClassAmbiguous {
		w.Errorf("verdict %+v of the lead without a result; want ambiguous", v)
	}
	if v, _ := out.verdict(in[1].ID); v.Err != nil {
		w.Errorf("the others: %v", v.Err)
	}
	w.Sim.Inject(simulator.Fault{Op: "batch", Kind: simulator.EmptyResults})
	for _, v := range w.sync(leads(8)[4:]...).verdicts {
		if v.Err == nil || v.Err.Class != connector.ClassAmbiguous {
			w.Errorf("%s after a reply without any result: %v; want ambiguous, never success", v.Item.Lead.ID, v.Err)
		}
	}
}

func duplicateThere(w *world) {
	in := leads(3)
	w.Sim.Inject(simulator.Fault{Op: "batch", Kind: simulator.DuplicateThere, Key: string(in[1].ID)})
	v, _ := w.sync(in...).verdict(in[1].ID)
	if v.Err == nil || v.Err.Class != connector.ClassRecord || v.Err.Code != "duplicate_there" {
		w.Errorf("verdict %v; want the problem duplicate_there", v.Err)
	}
}

func merged(w *world) {
	in := leads(2)
	w.good(in...)
	w.Sim.Inject(simulator.Fault{Op: "batch", Kind: simulator.Merged, Key: string(in[0].ID), NewID: "rec-survivor"})
	v, _ := w.sync(changed(in[0], func(l *lead.Lead) { l.Company = "Acme" }), changed(in[1], func(l *lead.Lead) { l.Company = "Acme" })).verdict(in[0].ID)
	if id := v.Result.ID; (v.Err == nil && id != "rec-survivor") || (v.Err != nil && (v.Err.Class != connector.ClassMoved || v.Err.RemoteID != "rec-survivor")) {
		w.Errorf("result %+v, error %v; want the survivor's id", v.Result, v.Err)
	}
}

func deletedThere(w *world) {
	in := leads(2)
	w.good(in...)
	w.Sim.Edit(string(in[0].ID), func(r *simulator.Record) { r.Deleted = true })
	out := w.sync(changed(in[0], func(l *lead.Lead) { l.Company = "Acme" }), changed(in[1], func(l *lead.Lead) { l.Company = "Acme" }))
	if v, _ := out.verdict(in[0].ID); out.stop != nil || v.Err == nil || v.Err.Class != connector.ClassGone {
		w.Errorf("deleted record: %v, stop %v; want gone", v.Err, out.stop)
	}
	if v, _ := out.verdict(in[1].ID); v.Err != nil {
		w.Errorf("its neighbour: %v", v.Err)
	}
}

func fieldRemoved(w *world) {
	in := leads(3)
	w.good(in...)
	w.Sim.SetSchema(append(schema[:4:4], schema[5:]...))
	e := w.wantStop(w.sync(changed(in[0], func(l *lead.Lead) { l.Company = "Acme" }), changed(in[1], func(l *lead.Lead) { l.Company = "Acme" })), connector.ClassConfig)
	if e.Field != "company" || !strings.Contains(e.Message, "mapping") {
		w.Errorf("error %+v; want it to name the field and the mapping", e)
	}
	w.fields = crm.Mapping{Version: 2, Fields: append(w.fields.Fields[:3:3], w.fields.Fields[4:]...)}
	w.good(changed(in[0], func(l *lead.Lead) { l.Company = "Acme"; l.FirstName = "Later" }))
	if f := w.record(in[0].ID).Fields; f["first_name"] != "Later" {
		w.Errorf("fields %v; want the lead to go through with the new mapping", f)
	}
}

func picklists(w *world) {
	with := func(p crm.Picklist) {
		w.fields = crm.Mapping{Version: w.fields.Version + 1, Fields: []crm.FieldMap{{Ours: "last_name", Theirs: "last_name"}, {Ours: "company", Theirs: "company", Picklist: &p}}}
	}
	l := leads(1)[0]
	l.Company = "Globex"
	known := map[string]string{"ACME Inc.": "Acme"}
	for _, c := range []struct {
		list crm.Picklist
		want any
	}{
		{crm.Picklist{Values: known, Unknown: "drop"}, nil}, {crm.Picklist{Values: known, Default: "Initech"}, "Initech"},
		{crm.Picklist{Values: map[string]string{"Globex": "Acme"}}, "Acme"},
	} {
		with(c.list)
		w.good(l)
		if got := w.record(l.ID).Fields["company"]; got != c.want {
			w.Errorf("%+v: company %v; want %v", c.list, got, c.want)
		}
	}
	with(crm.Picklist{Values: known, Unknown: "fail"})
	before := w.calls()
	if out := w.sync(l); len(out.plan.Refused) != 1 || out.plan.Refused[0].Err.Field != "company" || w.calls() != before {
		w.Errorf("fail: refused %v with %d calls; want a problem at the field that costs no call", out.plan.Refused, w.calls()-before)
	}
	with(crm.Picklist{Values: known, Unknown: "pass"})
	if v, _ := w.sync(l).verdict(l.ID); v.Err == nil || v.Err.Class != connector.ClassRecord || v.Err.Field != "company" {
		w.Errorf("pass: %v; want the CRM's own refusal of the option", v.Err)
	}
}

func oddTexts(w *world) {
	texts := []string{"😀 emoji 👩‍👩‍👧", "مرحبا بالعالم", "=HYPERLINK(\"https://x.example\")", "+49 170 1234567", "@home", "-1", "𝒳 four bytes", "<b>&amp;\"'", "line\nbreak\ttab", "null", "true", "007", "1e5", " padded ", "a\u2028b"}
	in := leads(len(texts))
	for i, text := range texts {
		in[i].Company = text
	}
	w.good(in...)
	for i, text := range texts {
		if got := w.record(in[i].ID).Fields["company"]; got != text {
			w.Errorf("%q arrived as %#v", text, got)
		}
	}
	before := w.calls()
	nul := leads(20)[19]
	nul.Company = "a\x00b"
	broken := leads(21)[20]
	broken.Company = "a\xffb"
	if out := w.sync(nul, broken); len(out.plan.Refused) != 2 || w.calls() != before {
		w.Errorf("NUL and invalid UTF-8: refused %v, %d calls; want two problems and no call", out.plan.Refused, w.calls()-before)
	}
	w.fields = crm.Mapping{Version: 2, Fields: []crm.FieldMap{{Ours: "company", Theirs: "company", MaxLen: 3}}}
	long := leads(22)[21]
	long.Company = "äöüß"
	if out := w.sync(long); len(out.plan.Refused) != 1 || out.plan.Refused[0].Err.Code != "too_long" {
		w.Errorf("four characters into three: %+v; want too_long, not a cut text", out.plan.Refused)
	}
}

func largeNumbers(w *world) {
	in := leads(2)
	in[0].Score, in[1].Score = math.MaxInt64, 1<<53+1
	w.good(in...)
	for _, l := range in {
		if got := w.record(l.ID).Fields["score"]; got != json.Number(fmt.Sprint(l.Score)) {
			w.Errorf("%d arrived as %v", l.Score, got)
		}
	}
}
