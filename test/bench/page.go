package bench

import (
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Funcs(template.FuncMap{"figure": figure, "dash": dash, "short": short, "share": share}).Parse(pageText))

func share(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }

// pageView is what the page shows of a run.
type pageView struct {
	R       *Report
	Compare bool
	A, B    string // the sides' names
	Summary string
	Axis    template.HTML
	Legs    []legView
}

type legView struct {
	*Leg
	A, B          *Side
	Bar           template.HTML
	Latency       template.HTML
	History       template.HTML
	Change        string // of a comparison
	Turns         []turnView
	Past          []pastView
	Runs, Foreign int
}

type turnView struct {
	N           int
	A, B, Ratio float64
}

type pastView struct {
	At, Commit string
	Ratio      Estimate
	Value      float64
	foreign    bool
}

// WriteHTML writes one page that needs nothing else: no script, nothing from another host. runs are the history.
func (r *Report) WriteHTML(w io.Writer, runs []*Report) error {
	v := pageView{R: r, Compare: r.Kind == kindCompare, A: r.side(0), B: r.side(1)}
	scale := newShares(r)
	v.Axis = scale.axis()
	var compared *Comparison
	if v.Compare {
		compared = CompareSides(r, 0.1)
	}
	for i := range r.Legs {
		l := &r.Legs[i]
		lv := legView{Leg: l, A: &l.Sides[0], B: &l.Sides[1]}
		if l.Error == "" {
			lv.Bar, lv.Latency = scale.bar(l), latencyChart(l)
			for n, ratio := range l.ratios() {
				lv.Turns = append(lv.Turns, turnView{n + 1, l.Sides[0].Turns[n].Value, l.Sides[1].Turns[n].Value, ratio})
			}
			lv.past(runs, r)
			if compared != nil {
				lv.Change = compared.change(l.Name)
			}
		}
		v.Legs = append(v.Legs, lv)
	}
	v.Summary = r.summary()
	return pageTemplate.Execute(w, v)
}

// summary is the run in two sentences.
func (r *Report) summary() string {
	if r.Kind == kindCompare {
		if bad := CompareSides(r, 0.1).Regressions(); len(bad) > 0 {
			return "Significantly slower by more than 10 %: " + strings.Join(bad, ", ") + "."
		}
		return "No leg is significantly slower by more than 10 %."
	}
	var met, all int
	var missed []string
	for i := range r.Legs {
		l := &r.Legs[i]
		for _, v := range l.Verdicts() {
			if all++; v.Met {
				met++
			} else {
				missed = append(missed, l.Title+" ("+v.Text+")")
			}
		}
	}
	switch {
	case all == 0:
		return "No leg that was measured has an aim."
	case met == all:
		return fmt.Sprintf("All %d aims are met.", all)
	}
	return fmt.Sprintf("%d of %d aims are met. Not met: %s.", met, all, strings.Join(missed, ", "))
}

// change is a comparison's word on a leg.
func (c *Comparison) change(leg string) string {
	for _, r := range c.Rows {
		if r.Leg != leg || !r.Judged {
			continue
		}
		if !r.Significant() {
			return fmt.Sprintf("~ (p=%.3f)", r.P)
		}
		mark := ""
		if c.regressed(r) {
			mark = "✗ "
		}
		return fmt.Sprintf("%s%+.1f %% (p=%.3f)", mark, 100*r.Change, r.P)
	}
	return ""
}

// past gathers the runs beside ceilings that have this leg, and draws them when there are two at least.
func (v *legView) past(runs []*Report, now *Report) {
	for _, run := range runs {
		if run.Kind != kindCeilings {
			continue
		}
		l := run.leg(v.Name)
		if l == nil || l.Error != "" {
			continue
		}
		p := pastView{At: run.StartedAt.Format("2006-01-02 15:04"), Commit: run.name(), Ratio: l.Ratio, Value: l.Sides[1].Value.Median,
			foreign: run.Machine.CPU != now.Machine.CPU || run.Machine.Cores != now.Machine.Cores}
		if p.foreign {
			v.Foreign++
		}
		v.Past = append(v.Past, p)
	}
	if v.Runs = len(v.Past); v.Runs > 1 {
		v.History = historyChart(v.Name, v.Past)
	} else {
		v.Past = nil
	}
}

// svg builds a drawing.
type svg struct{ strings.Builder }

func (s *svg) add(format string, args ...any) { fmt.Fprintf(&s.Builder, format, args...) }

func (s *svg) open(width, height int, id, title, text string) {
	s.add(`<svg viewBox="0 0 %d %d" role="img" aria-labelledby="%s-l"><title id="%s-l">%s</title><desc>%s</desc>`, width, height, id, id, template.HTMLEscapeString(title), template.HTMLEscapeString(text))
}

func (s *svg) done() template.HTML {
	s.WriteString("</svg>")
	return template.HTML(s.String()) //nolint: built here from numbers and escaped texts
}

// shares is the logarithmic axis of the overview.
type shares struct{ lo, hi float64 }

const shareWidth = 220

func newShares(r *Report) shares {
	s := shares{0.2, 1.25}
	for i := range r.Legs {
		if l := &r.Legs[i]; l.Error == "" {
			s.lo, s.hi = math.Min(s.lo, l.Ratio.Lo*0.85), math.Max(s.hi, l.Ratio.Hi*1.15)
		}
	}
	s.lo, s.hi = math.Max(s.lo, 0.01), math.Min(s.hi, 20)
	return s
}

func (s shares) x(v float64) float64 {
	v = math.Min(math.Max(v, s.lo), s.hi)
	return 6 + (shareWidth-12)*math.Log(v/s.lo)/math.Log(s.hi/s.lo)
}

// marks are the shares that get a line.
func (s shares) marks() (out []float64) {
	for _, v := range []float64{0.02, 0.1, 0.25, 0.5, 1, 2.5, 10} {
		if v > s.lo*1.05 && v < s.hi*0.97 {
			out = append(out, v)
		}
	}
	return out
}

func (s shares) axis() template.HTML {
	var d svg
	d.add(`<svg viewBox="0 0 %d 16" aria-hidden="true">`, shareWidth)
	for _, v := range s.marks() {
		d.add(`<text x="%.1f" y="12" text-anchor="middle">%.0f</text>`, s.x(v), 100*v)
	}
	return d.done()
}

func (s shares) bar(l *Leg) template.HTML {
	var d svg
	d.open(shareWidth, 22, l.Name+"-bar", l.Title+": "+l.Ratio.percent(), "The dot is the median share, the band its interval.")
	for _, v := range s.marks() {
		class := "grid"
		if v == 1 {
			class = "par"
		}
		d.add(`<line class="%s" x1="%.1f" x2="%.1f" y1="0" y2="22"/>`, class, s.x(v), s.x(v))
	}
	d.add(`<line class="wh" x1="%.1f" x2="%.1f" y1="11" y2="11"/><circle class="pb" cx="%.1f" cy="11" r="4.5"/>`, s.x(l.Ratio.Lo), s.x(l.Ratio.Hi), s.x(l.Ratio.Median))
	return d.done()
}

// The drawings of a leg: width and height of the whole, and the room around the plot.
const (
	chartWidth, chartHeight                  = 420, 230
	roomLeft, roomRight, roomTop, roomBottom = 54, 80, 10, 26
	plotWidth                                = chartWidth - roomLeft - roomRight
	historyHeight                            = 120
)

// latencyChart draws both sides' latencies by percentile: the lower axis is logarithmic in the rest to 100 %.
func latencyChart(l *Leg) template.HTML {
	if len(l.Sides[0].Curve) < 2 || len(l.Sides[1].Curve) < 2 {
		return ""
	}
	lo, hi, nines := math.Inf(1), 0.0, 1.0
	for _, s := range l.Sides {
		for _, p := range s.Curve {
			lo, hi = math.Min(lo, math.Max(p.Ms, 0.005)), math.Max(hi, p.Ms)
			nines = math.Max(nines, rest(p))
		}
	}
	lo, hi = math.Pow(10, math.Floor(math.Log10(lo)*2)/2), hi*1.15
	x := func(n float64) float64 { return roomLeft + plotWidth*n/nines }
	y := func(ms float64) float64 {
		return roomTop + (chartHeight-roomTop-roomBottom)*(1-math.Log(math.Max(ms, lo)/lo)/math.Log(hi/lo))
	}
	var d svg
	d.open(chartWidth, chartHeight, l.Name+"-latency", "Latency by percentile: "+l.Title, fmt.Sprintf("%s: p50 %s ms, p99 %s ms; %s: p50 %s ms, p99 %s ms. The figures are in the table below.",
		l.Sides[0].Name, figure(l.Sides[0].P50()), figure(l.Sides[0].P99()), l.Sides[1].Name, figure(l.Sides[1].P50()), figure(l.Sides[1].P99())))
	for _, ms := range decades(lo, hi) {
		d.add(`<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s ms</text>`, roomLeft, chartWidth-roomRight, y(ms), y(ms), roomLeft-5, y(ms)+4, trim(ms))
	}
	for n := 0.0; n <= nines+0.01; n++ {
		d.add(`<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text x="%.1f" y="%d" text-anchor="middle">%s</text>`, x(n), x(n), roomTop, chartHeight-roomBottom, x(n), chartHeight-8, percentile(n))
	}
	d.add(`<text x="%.1f" y="%d" text-anchor="middle">p50</text>`, x(math.Log10(2)), chartHeight-8)
	ends := [2]float64{}
	for i, s := range l.Sides {
		d.add(`<polyline class="l%s" points="`, sideClass[i])
		for _, p := range s.Curve {
			d.add("%.1f,%.1f ", x(rest(p)), y(p.Ms))
			ends[i] = y(p.Ms)
		}
		d.add(`"/><circle class="p%s" cx="%.1f" cy="%.1f" r="3"><title>%s p50: %s ms</title></circle>`, sideClass[i], x(math.Log10(2)), y(s.P50()), template.HTMLEscapeString(s.Name), figure(s.P50()))
	}
	if gap := 14.0; math.Abs(ends[0]-ends[1]) < gap { // two names on one place cannot be read
		upper, lower := 0, 1
		if ends[1] < ends[0] {
			upper, lower = 1, 0
		}
		ends[upper] = math.Max((ends[0]+ends[1]-gap)/2, roomTop+4)
		ends[lower] = ends[upper] + gap
	}
	for i, s := range l.Sides {
		d.add(`<text class="t%s" x="%.1f" y="%.1f">%s</text>`, sideClass[i], chartWidth-roomRight+6.0, ends[i]+4, template.HTMLEscapeString(s.Name))
	}
	return d.done()
}

var sideClass = [2]string{"a", "b"}

// rest is how many nines a percentile has: 0 for the fastest, 2 for 99 %.
func rest(p Point) float64 { return -math.Log10(1 - p.Percentile/100) }

// percentile names the place of so many nines.
func percentile(n float64) string {
	switch n {
	case 0:
		return "" // the fastest
	case 1:
		return "p90"
	}
	return "p99" + strings.TrimSuffix("."+strings.Repeat("9", int(n)-2), ".")
}

// decades are powers of ten within two bounds, with 3 between them when they are few.
func decades(lo, hi float64) (out []float64) {
	few := math.Log10(hi/lo) < 2.2
	for v := math.Pow(10, math.Floor(math.Log10(lo))); v < hi; v *= 10 {
		for _, m := range []float64{1, 3} {
			if at := v * m; (m == 1 || few) && at >= lo*0.999 && at <= hi {
				out = append(out, at)
			}
		}
	}
	return out
}

func trim(v float64) string { return fmt.Sprintf("%g", math.Round(v*1000)/1000) }

// historyChart draws the share of the ceiling over the runs.
func historyChart(name string, past []pastView) template.HTML {
	top := 0.1
	for _, p := range past {
		top = math.Max(top, math.Min(p.Ratio.Hi, 1.3*p.Ratio.Median)) // one wild turn must not flatten the rest
	}
	top = math.Ceil(top*10.5) / 10
	x := func(i int) float64 { return roomLeft + 8 + (plotWidth-16)*float64(i)/float64(max(len(past)-1, 1)) }
	y := func(v float64) float64 { return roomTop + (historyHeight-roomTop-roomBottom)*(1-math.Min(v, top)/top) }
	var d svg
	last := past[len(past)-1]
	d.open(chartWidth, historyHeight, name+"-history", "Share of the ceiling over the runs", fmt.Sprintf("From %s at %s to %s at %s.", share(past[0].Ratio.Median), past[0].At, share(last.Ratio.Median), last.At))
	for _, v := range []float64{0, top / 2, top} {
		d.add(`<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" text-anchor="end">%s</text>`, roomLeft, chartWidth-roomRight, y(v), y(v), roomLeft-5, y(v)+4, share(v))
	}
	d.add(`<polyline class="lb" points="`)
	for i, p := range past {
		d.add("%.1f,%.1f ", x(i), y(p.Ratio.Median))
	}
	d.add(`"/>`)
	for i, p := range past {
		class := "pb"
		if p.foreign {
			class = "other"
		}
		d.add(`<line class="wh" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f"/><circle class="%s" cx="%.1f" cy="%.1f" r="3.5"><title>%s, %s: %s</title></circle>`, x(i), x(i), y(p.Ratio.Lo), y(p.Ratio.Hi), class, x(i), y(p.Ratio.Median), p.At, p.Commit, p.Ratio.percent())
	}
	d.add(`<text x="%d" y="%d">%s</text><text x="%d" y="%d" text-anchor="end">%s</text>`, roomLeft, historyHeight-8, past[0].At, chartWidth-roomRight, historyHeight-8, last.At)
	d.add(`<text class="tb" x="%d" y="%.1f">%s</text>`, chartWidth-roomRight+6, y(last.Ratio.Median)+4, share(last.Ratio.Median))
	return d.done()
}
