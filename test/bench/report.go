package bench

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strings"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Report is one run, as it is kept in the history.
type Report struct {
	Kind        string        `json:"kind"` // ceilings or compare
	Commit      string        `json:"commit"`
	Dirty       bool          `json:"dirty"` // the tree had changes that no commit holds
	Base        string        `json:"base,omitempty"`
	StartedAt   time.Time     `json:"started_at"`
	Took        time.Duration `json:"took_ns"`
	Machine     Machine       `json:"machine"`
	Engine      string        `json:"engine"`
	For         time.Duration `json:"turn_ns"`
	Repeat      int           `json:"repeat"`
	Connections int           `json:"connections"`
	Leads       int           `json:"leads"`
	Memory      int64         `json:"memory_bytes"` // of the product after the run
	Legs        []Leg         `json:"legs"`
}

// Machine is where it ran.
type Machine struct {
	CPU   string `json:"cpu"`
	Cores int    `json:"cores"`
	OS    string `json:"os"`
	Go    string `json:"go"`
}

// Leg is one thing measured on two sides: the ceiling and the product, or an old and a new product.
type Leg struct {
	Name  string   `json:"name"`
	Title string   `json:"title"`
	Unit  string   `json:"unit"`
	Note  string   `json:"note"`
	Lower bool     `json:"lower_is_better,omitempty"`
	Aim   Aim      `json:"aim,omitzero"`
	Sides [2]Side  `json:"sides"`
	Ratio Estimate `json:"ratio"` // of the second side to the first, turn by turn; 1 is as good, more is better
	Error string   `json:"error,omitempty"`
}

// Aim is what was asked of the product, as it was when the run was made.
type Aim struct {
	Ratio float64 `json:"ratio,omitempty"`
	Value float64 `json:"value,omitempty"`
	CPU   float64 `json:"cpu_ms,omitempty"`
}

// Side is one side's turns, and what they come to.
type Side struct {
	Name  string   `json:"name"`
	Turns []Turn   `json:"turns"`
	Value Estimate `json:"value"`
	CPU   Estimate `json:"cpu_ms"`          // of processor time, for one operation
	Curve []Point  `json:"curve,omitempty"` // of all turns together
	hist  *hdrhistogram.Histogram
}

// Turn is one measured turn.
type Turn struct {
	Value float64 `json:"value"`
	Count int64   `json:"count"`
	CPU   float64 `json:"cpu_ms"`
	P50   float64 `json:"p50_ms,omitempty"`
	P95   float64 `json:"p95_ms,omitempty"`
	P99   float64 `json:"p99_ms,omitempty"`
}

func (s *Side) add(m measured) {
	t := Turn{Value: m.value, Count: m.count, CPU: m.cpu.Seconds() * 1000 / float64(max(m.count, 1))}
	if len(m.latency) > 0 {
		t.P50, t.P95, t.P99 = quantile(m.latency, 0.5), quantile(m.latency, 0.95), quantile(m.latency, 0.99)
		if s.hist == nil {
			s.hist = newHistogram()
		}
		for _, us := range m.latency {
			_ = s.hist.RecordValue(min(max(us, 1), slowest)) // within its bounds nothing can be refused
		}
	}
	s.Turns = append(s.Turns, t)
}

func (s *Side) values() []float64 { return column(s.Turns, func(t Turn) float64 { return t.Value }) }

func column(turns []Turn, f func(Turn) float64) []float64 {
	out := make([]float64, len(turns))
	for i, t := range turns {
		out[i] = f(t)
	}
	return out
}

// latency is the median over the turns of a figure of theirs, in ms; 0 when the side has no latencies.
func (s *Side) latency(f func(Turn) float64) float64 { return estimate(column(s.Turns, f)).Median }

// P50 of the replies, the median over the turns, in ms; P95 and P99 likewise.
func (s *Side) P50() float64 { return s.latency(func(t Turn) float64 { return t.P50 }) }

// P95 is as P50.
func (s *Side) P95() float64 { return s.latency(func(t Turn) float64 { return t.P95 }) }

// P99 is as P50.
func (s *Side) P99() float64 { return s.latency(func(t Turn) float64 { return t.P99 }) }

// finish sums the turns up.
func (l *Leg) finish() {
	for i := range l.Sides {
		s := &l.Sides[i]
		s.Value, s.CPU = estimate(s.values()), estimate(column(s.Turns, func(t Turn) float64 { return t.CPU }))
		if s.hist != nil {
			s.Curve = curve(s.hist)
		}
	}
	l.Ratio = estimate(l.ratios())
}

// ratios are the second side's share of the first, turn by turn: what the machine does to a turn it does to its neighbour.
func (l *Leg) ratios() []float64 {
	a, b := l.Sides[0].values(), l.Sides[1].values()
	out := make([]float64, 0, len(b))
	for i := range min(len(a), len(b)) {
		r := b[i] / math.Max(a[i], 1e-9)
		if l.Lower {
			r = a[i] / math.Max(b[i], 1e-9)
		}
		out = append(out, r)
	}
	return out
}

// Verdict is one aim against what was measured.
type Verdict struct {
	Text string
	Met  bool
}

// Verdicts judge the product by the aims of the leg.
func (l *Leg) Verdicts() []Verdict {
	if l.Error != "" {
		return nil
	}
	var out []Verdict
	p := l.Sides[1]
	if a := l.Aim.Ratio; a > 0 {
		out = append(out, Verdict{fmt.Sprintf("≥ %.0f %%", 100*a), l.Ratio.Median >= a})
	}
	if a := l.Aim.Value; a > 0 && l.Lower {
		out = append(out, Verdict{fmt.Sprintf("≤ %s %s", trim(a), l.Unit), p.Value.Median <= a})
	} else if a > 0 {
		out = append(out, Verdict{fmt.Sprintf("≥ %s/s", figure(a)), p.Value.Median >= a})
	}
	if a := l.Aim.CPU; a > 0 {
		out = append(out, Verdict{fmt.Sprintf("CPU ≤ %s ms", trim(a)), p.CPU.Median <= a})
	}
	return out
}

// Failed reports that a leg could not be measured.
func (r *Report) Failed() error {
	var errs []error
	for _, l := range r.Legs {
		if l.Error != "" {
			errs = append(errs, fmt.Errorf("%s: %s", l.Name, l.Error))
		}
	}
	return errors.Join(errs...)
}

// WriteTable prints a run for a terminal.
func (r *Report) WriteTable(w io.Writer) error {
	p := &printer{w: w}
	p.line("%s · %s · %d × %v a side, %d connections, %d leads", r.Title(), r.Machine, r.Repeat, r.For, r.Connections, r.Leads)
	p.line("%-9s %-12s %12s %7s %12s %7s %15s %8s %8s %7s  %s", "leg", "unit", r.side(0), "±", r.side(1), "±", "ratio", "p50 ms", "p99 ms", "CPU ms", "aims of the product")
	for i := range r.Legs {
		l := &r.Legs[i]
		if l.Error != "" {
			p.line("%-9s %s", l.Name, firstLine(l.Error))
			continue
		}
		a, b := l.Sides[0].Value, l.Sides[1].Value
		var aims []string
		for _, v := range l.Verdicts() {
			mark := "no: "
			if v.Met {
				mark = "ok: "
			}
			aims = append(aims, mark+v.Text)
		}
		p.line("%-9s %-12s %12s %7s %12s %7s %15s %8s %8s %7s  %s", l.Name, l.Unit, figure(a.Median), a.spread(), figure(b.Median), b.spread(), l.Ratio.percent(),
			dash(l.Sides[1].P50()), dash(l.Sides[1].P99()), figure(l.Sides[1].CPU.Median), strings.Join(aims, ", "))
	}
	p.line("± is the larger half of the 95 %% interval of the median (of the range when fewer than six turns). CPU ms: the product's processor time for one operation,")
	p.line("with what it left to do afterwards. Latencies: a closed loop at full load. Memory of the product after the run: %d MB. It took %v.", r.Memory>>20, r.Took.Round(time.Second))
	return p.err
}

// Title names a run in a line.
func (r *Report) Title() string {
	at := r.StartedAt.UTC().Format("2006-01-02 15:04 UTC")
	if r.Kind == kindCompare {
		return fmt.Sprintf("%s against %s, %s", r.name(), short(r.Base), at)
	}
	return fmt.Sprintf("leadloom %s beside its ceilings, %s", r.name(), at)
}

func (r *Report) name() string {
	if r.Dirty {
		return short(r.Commit) + "+"
	}
	return short(r.Commit)
}

func (r *Report) side(i int) string {
	for _, l := range r.Legs {
		if l.Sides[i].Name != "" {
			return l.Sides[i].Name
		}
	}
	return ""
}

// String is the machine in a line.
func (m Machine) String() string { return fmt.Sprintf("%s, %d cores, %s", m.CPU, m.Cores, m.Go) }

func short(commit string) string { return commit[:min(len(commit), 10)] }

func firstLine(s string) string { s, _, _ = strings.Cut(s, "\n"); return s }

// spread is the larger half of the interval in percent of the median.
func (e Estimate) spread() string {
	if e.Median == 0 || e.N < 2 {
		return "–"
	}
	return fmt.Sprintf("%.0f %%", 100*math.Max(e.Hi-e.Median, e.Median-e.Lo)/math.Abs(e.Median))
}

// percent is a ratio with its interval.
func (e Estimate) percent() string {
	if e.N < 2 {
		return fmt.Sprintf("%.0f %%", 100*e.Median)
	}
	return fmt.Sprintf("%.0f %% (%.0f–%.0f)", 100*e.Median, 100*e.Lo, 100*e.Hi)
}

// figure prints a value with three digits that tell something, thousands apart.
func figure(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a < 1:
		return fmt.Sprintf("%.3f", v)
	case a < 10:
		return fmt.Sprintf("%.2f", v)
	case a < 100:
		return fmt.Sprintf("%.1f", v)
	}
	s := fmt.Sprintf("%.0f", v)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func dash(v float64) string {
	if v == 0 {
		return "–"
	}
	return figure(v)
}

// WriteJSON keeps the whole run.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", " ")
	return e.Encode(r)
}

// ReadReport reads what WriteJSON wrote.
func ReadReport(path string) (*Report, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	r := &Report{}
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if r.Kind == "" || len(r.Legs) == 0 {
		return nil, fmt.Errorf("%s is no report of this suite", path)
	}
	return r, nil
}

type printer struct {
	w   io.Writer
	err error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}
