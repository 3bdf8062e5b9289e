package stress

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// column is a drawn bar: x, height and label.
type column struct {
	X, Y, Height int
	Label        string
	Tip          string
}

// columns places bars in a drawing 160 high, 24 wide each.
func columns(bars []Bar) []column {
	var most int64 = 1
	for _, b := range bars {
		most = max(most, b.Count)
	}
	out := make([]column, len(bars))
	for i, b := range bars {
		h := int(b.Count * 160 / most)
		if b.Count > 0 {
			h = max(h, 1)
		}
		out[i] = column{X: i * 24, Y: 160 - h, Height: h, Tip: fmt.Sprintf("%s to %s ms: %d", ms(b.From), ms(b.To), b.Count)}
		if i%4 == 0 {
			out[i].Label = ms(b.From)
		}
	}
	return out
}

// plot is a drawing of lines over a grid, 760 × 240.
type plot struct {
	Title string
	Grid  []grid
	Lines []polyline
	Mark  float64 // x of a dashed upright; 0: none
}

type grid struct {
	X1, Y1, X2, Y2, TX, TY float64
	Label                  string
}

type polyline struct{ Name, Class, Points string }

const left, right, top, bottom = 50.0, 750.0, 10.0, 210.0

// scale puts latencies on a logarithmic axis between two powers of ten.
type scale struct{ lo, hi float64 }

func scaleOf(least, most time.Duration) scale {
	lo := math.Floor(math.Log10(max(float64(least), 1e4)))
	return scale{lo, max(lo+1, math.Ceil(math.Log10(max(float64(most), 1e4))))}
}

func (s scale) y(d time.Duration) float64 {
	at := (math.Log10(max(float64(d), 1)) - s.lo) / (s.hi - s.lo)
	return bottom - min(max(at, 0), 1)*(bottom-top)
}

func (s scale) grid() (out []grid) {
	for e := s.lo; e <= s.hi; e++ {
		d := time.Duration(math.Pow(10, e))
		y := s.y(d)
		out = append(out, grid{left, y, right, y, 2, y + 4, fmt.Sprintf("%g", d.Seconds()*1e3)})
	}
	return out
}

// curves draws latency by share, the axis stretched towards 1 so that each nine takes the same room.
func curves(r *Report) *plot {
	if len(r.ResponseCurve) < 2 {
		return nil
	}
	last := r.ResponseCurve[len(r.ResponseCurve)-2].Quantile // the one before 1
	nines := max(1, -math.Log10(1-last))
	x := func(q float64) float64 {
		return left + (right-left)*min(1, -math.Log10(max(1-q, 1e-12))/nines)
	}
	s := scaleOf(r.ServiceCurve[0].Latency, r.ResponseCurve[len(r.ResponseCurve)-1].Latency)
	p := &plot{Title: "latency by share of requests", Grid: s.grid()}
	for _, q := range []float64{0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999} {
		if q <= last {
			p.Grid = append(p.Grid, grid{x(q), top, x(q), bottom, x(q) - 8, bottom + 16, fmt.Sprintf("%g %%", 100*q)})
		}
	}
	line := func(name, class string, points []Point) {
		var b strings.Builder
		for _, at := range points {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(at.Quantile), s.y(at.Latency))
		}
		p.Lines = append(p.Lines, polyline{name, class, strings.TrimSpace(b.String())})
	}
	line("service time", "a", r.ServiceCurve)
	line("response time", "b", r.ResponseCurve)
	return p
}

// overTime draws the response times of each moment of the run.
func overTime(r *Report) *plot {
	var most, least, end time.Duration
	for _, m := range r.OverTime {
		if m.Count > 0 && (least == 0 || m.P50 < least) {
			least = m.P50
		}
		most, end = max(most, m.Max), m.At
	}
	if end == 0 {
		return nil
	}
	s := scaleOf(least, most)
	x := func(at time.Duration) float64 { return left + (right-left)*float64(at)/float64(end) }
	p := &plot{Title: "response time over time", Grid: s.grid(), Mark: min(right, x(r.Arrived))}
	for i := range 5 {
		at := end * time.Duration(i) / 4
		p.Grid = append(p.Grid, grid{x(at), top, x(at), bottom, x(at) - 8, bottom + 16, fmt.Sprintf("%.0f s", at.Seconds())})
	}
	for _, l := range []struct {
		name, class string
		of          func(Moment) time.Duration
	}{{"p50", "a", func(m Moment) time.Duration { return m.P50 }}, {"p99", "b", func(m Moment) time.Duration { return m.P99 }}, {"max", "c", func(m Moment) time.Duration { return m.Max }}} {
		var b strings.Builder
		for _, m := range r.OverTime {
			if m.Count > 0 {
				fmt.Fprintf(&b, "%.1f,%.1f ", x(m.At), s.y(l.of(m)))
			}
		}
		p.Lines = append(p.Lines, polyline{l.name, l.class, strings.TrimSpace(b.String())})
	}
	return p
}
