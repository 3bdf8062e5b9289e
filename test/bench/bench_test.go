package bench

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"leadloom/test/live"
)

// TestMain is a helper process when it is asked to be one.
func TestMain(m *testing.M) {
	if Helper() {
		return
	}
	os.Exit(m.Run())
}

// moment is a run that shows that both sides answer rightly, and nothing about speed.
func moment(t *testing.T, legs string) Options {
	return Options{Binary: live.Binary(t), Commit: "0123456789abcdef", For: 50 * time.Millisecond, Repeat: 1, Connections: 6, Leads: 400, Bulk: 20,
		Only: regexp.MustCompile("^(" + legs + ")$"), Progress: t.Output()}
}

// TestRun_EveryLegIsAnsweredRightlyOnBothSides takes one short turn of each leg; the replies are looked at on both
// sides, and the report survives being written, read and shown.
func TestRun_EveryLegIsAnsweredRightlyOnBothSides(t *testing.T) {
	r, err := Run(t.Context(), moment(t, "health|[^w].*")) // wrk counts in whole seconds
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Failed(); err != nil {
		t.Error(err)
	}
	if len(r.Legs) != 17 {
		t.Errorf("%d legs were measured; want 17", len(r.Legs))
	}
	for _, l := range r.Legs {
		for _, s := range l.Sides {
			if l.Error == "" && (len(s.Turns) != 1 || s.Turns[0].Count == 0 || s.Value.Median <= 0) {
				t.Errorf("%s, %s: %+v; want one turn with operations in it", l.Name, s.Name, s.Turns)
			}
		}
		if timed := l.Name != "campaign" && l.Name != "crm"; timed && l.Error == "" && (len(l.Sides[0].Curve) == 0 || len(l.Sides[1].Curve) == 0) {
			t.Errorf("%s has no latency curve on a side", l.Name)
		}
	}
	if err := r.WriteTable(t.Output()); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for range 2 { // the second writes a run of the same moment over the first
		if _, err := AddToHistory(dir, r); err != nil {
			t.Fatal(err)
		}
	}
	runs, err := ReadHistory(dir)
	if err != nil || len(runs) != 1 || len(runs[0].Legs) != len(r.Legs) || runs[0].Legs[2].Ratio != r.Legs[2].Ratio {
		t.Fatalf("the history holds %d runs (%v); want the one that was kept", len(runs), err)
	}
	showsEverything(t, runs[0], runs)
}

// TestRun_ComparesTwoProducts drives two binaries, here the same one twice.
func TestRun_ComparesTwoProducts(t *testing.T) {
	o := moment(t, "get|create")
	o.Base, o.BaseCommit = o.Binary, "fedcba9876543210"
	r, err := Run(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Failed(); err != nil {
		t.Error(err)
	}
	c := CompareSides(r, 0.1)
	var table strings.Builder
	if err := c.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	if len(c.Rows) != 4 || !strings.Contains(table.String(), "fedcba9876") || !strings.Contains(table.String(), "so few turns") {
		t.Errorf("the table of a single turn must name the old commit and say that it tells nothing:\n%s", table.String())
	}
	if bad := c.Regressions(); len(bad) > 0 {
		t.Errorf("one turn was taken for a regression of %v", bad)
	}
	showsEverything(t, r, nil)
}

// showsEverything writes the page and parses it: every leg is in it, drawings have names, nothing comes from elsewhere.
func showsEverything(t *testing.T, r *Report, runs []*Report) {
	t.Helper()
	var page strings.Builder
	if err := r.WriteHTML(&page, runs); err != nil {
		t.Fatal(err)
	}
	d := xml.NewDecoder(strings.NewReader(page.String()))
	d.Strict, d.AutoClose, d.Entity = false, xml.HTMLAutoClose, xml.HTMLEntity
	ids := map[string]int{}
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page is not well formed: %v", err)
		}
		e, ok := tok.(xml.StartElement)
		if !ok {
			continue
		}
		if e.Name.Local == "script" || e.Name.Local == "link" || e.Name.Local == "img" {
			t.Errorf("the page has a <%s>: it must need nothing else", e.Name.Local)
		}
		named := e.Name.Local != "svg"
		for _, a := range e.Attr {
			switch a.Name.Local {
			case "id":
				ids[a.Value]++
			case "aria-labelledby", "aria-hidden":
				named = true
			case "href", "src":
				if !strings.HasPrefix(a.Value, "#") {
					t.Errorf("the page refers to %s", a.Value)
				}
			}
		}
		if !named {
			t.Error("a drawing has no name for those who don't see it")
		}
	}
	for id, n := range ids {
		if n > 1 {
			t.Errorf("the id %q is %d times in the page", id, n)
		}
	}
	for _, l := range r.Legs {
		if ids[l.Name] != 1 {
			t.Errorf("the leg %s is not in the page", l.Name)
		}
	}
	if s := page.String(); strings.Contains(s, "ZgotmplZ") || strings.Contains(s, "NaN") || strings.Contains(s, "Inf") {
		t.Error("the page holds a value that could not be written")
	}
}

func TestComparison_JudgesBySignificanceAndSize(t *testing.T) {
	turns := func(values ...float64) (out []Turn) {
		for _, v := range values {
			out = append(out, Turn{Value: v, Count: 1, CPU: 1})
		}
		return out
	}
	base := turns(100, 101, 99, 102, 98, 100.5, 99.5)
	for _, c := range []struct {
		name  string
		lower bool
		now   []Turn
		want  bool
	}{
		{"much slower, surely", false, turns(80, 81, 79, 82, 78, 80.5, 79.5), true},
		{"a little slower, surely", false, turns(95, 96, 94, 97, 94.5, 95.5, 93.5), false},
		{"much slower, by one turn alone", false, turns(100, 101, 30, 103, 99, 100, 97.5), false},
		{"faster", false, turns(120, 121, 119, 122, 118, 120.5, 119.5), false},
		{"longer waiting", true, turns(120, 121, 119, 122, 118, 120.5, 119.5), true},
		{"shorter waiting", true, turns(80, 81, 79, 82, 78, 80.5, 79.5), false},
	} {
		l := Leg{Name: "x", Lower: c.lower, Sides: [2]Side{{Turns: base}, {Turns: c.now}}}
		l.finish()
		got := CompareSides(&Report{Kind: kindCompare, Legs: []Leg{l}}, 0.1).Regressions()
		if (len(got) > 0) != c.want {
			t.Errorf("%s: regressions %v; want %v", c.name, got, c.want)
		}
	}
}

// TestCompareReports_JudgesByTheRatio: a machine that is half as fast on both sides is no regression.
func TestCompareReports_JudgesByTheRatio(t *testing.T) {
	run := func(ceiling, product float64) *Report {
		l := Leg{Name: "x", Unit: "requests/s"}
		for i := range 7 {
			f := 1 + float64(i)/200
			l.Sides[0].Turns, l.Sides[1].Turns = append(l.Sides[0].Turns, Turn{Value: ceiling * f}), append(l.Sides[1].Turns, Turn{Value: product * f * (1 + float64(i%3)/500)})
		}
		l.finish()
		return &Report{Kind: kindCeilings, Commit: "c", Legs: []Leg{l}}
	}
	for _, c := range []struct {
		name string
		now  *Report
		want int
	}{{"half the machine", run(500, 250), 0}, {"half the product", run(1000, 250), 1}} {
		got, err := CompareReports(run(1000, 500), c.now, 0.1)
		if err != nil {
			t.Fatal(err)
		}
		if bad := got.Regressions(); len(bad) != c.want {
			t.Errorf("%s: regressions %v; want %d", c.name, bad, c.want)
		}
	}
	if _, err := CompareReports(run(1, 1), &Report{Kind: kindCompare}, 0.1); err == nil {
		t.Error("a run of two products was compared with one beside ceilings")
	}
}

func TestEstimate_MedianAndInterval(t *testing.T) {
	e := estimate([]float64{7, 1, 3, 2, 5, 4, 6})
	if e.Median != 4 || e.Lo != 1 || e.Hi != 7 || e.Bounds != "95%" {
		t.Errorf("%+v; want the median 4, the interval of seven values from the first to the last", e)
	}
	if e := estimate([]float64{2, 1, 3}); e.Median != 2 || e.Lo != 1 || e.Hi != 3 || e.Bounds != "range" {
		t.Errorf("%+v; want the range of three values: they have no 95 %% interval", e)
	}
}

func TestCurve_EndsWhereTheCountsEnd(t *testing.T) {
	h := newHistogram()
	for us := range int64(1000) {
		if err := h.RecordValue(us + 1); err != nil {
			t.Fatal(err)
		}
	}
	c := curve(h)
	last := c[len(c)-1]
	if last.Percentile > 99.91 || math.Abs(last.Ms-1) > 0.01 {
		t.Errorf("the last point of 1,000 latencies up to 1 ms is %+v; want no more than 99.9 %% at about 1 ms", last)
	}
	for i := 1; i < len(c); i++ {
		if c[i].Percentile <= c[i-1].Percentile || c[i].Ms < c[i-1].Ms {
			t.Fatalf("the curve falls at %+v", c[i])
		}
	}
}

func TestBuildAt_RefusesWhatIsNoCommit(t *testing.T) {
	if _, _, err := BuildAt(t.Context(), "no-such-commit", filepath.Join(t.TempDir(), "x")); err == nil || !strings.Contains(err.Error(), "no-such-commit is no commit") {
		t.Errorf("error %v; want one that names the commit", err)
	}
}
