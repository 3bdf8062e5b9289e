package bench

import (
	"math"
	"slices"

	"github.com/HdrHistogram/hdrhistogram-go"
	"golang.org/x/perf/benchmath"
)

// confidence of every interval that is shown.
const confidence = 0.95

// Estimate is a median with its interval at 95 %, as golang.org/x/perf has it: no distribution is assumed. With fewer than six values there is
// no such interval, and Lo and Hi are the extremes.
type Estimate struct {
	Median float64 `json:"median"`
	Lo     float64 `json:"lo"`
	Hi     float64 `json:"hi"`
	N      int     `json:"n"`
	Bounds string  `json:"bounds"` // "95%" or "range"
}

func estimate(values []float64) Estimate {
	if len(values) == 0 {
		return Estimate{Bounds: "range"}
	}
	s := benchmath.NewSample(slices.Clone(values), &benchmath.DefaultThresholds)
	sum := benchmath.AssumeNothing.Summary(s, confidence)
	e := Estimate{Median: sum.Center, Lo: sum.Lo, Hi: sum.Hi, N: len(values), Bounds: "95%"}
	if math.IsInf(sum.Lo, 0) || math.IsInf(sum.Hi, 0) || math.IsNaN(sum.Lo) {
		e.Lo, e.Hi, e.Bounds = s.Values[0], s.Values[len(s.Values)-1], "range"
	}
	return e
}

// Delta compares two samples by the Mann-Whitney U test.
type Delta struct {
	Old, New Estimate
	Change   float64 // (new − old) / old, of the medians
	P        float64
	Note     string // why the test can tell nothing
}

func delta(old, new []float64) Delta {
	d := Delta{Old: estimate(old), New: estimate(new), P: 1}
	if d.Old.Median != 0 {
		d.Change = d.New.Median/d.Old.Median - 1
	}
	c := benchmath.AssumeNothing.Compare(benchmath.NewSample(slices.Clone(old), &benchmath.DefaultThresholds), benchmath.NewSample(slices.Clone(new), &benchmath.DefaultThresholds))
	d.P = c.P
	if len(c.Warnings) > 0 {
		d.Note = c.Warnings[0].Error()
	}
	return d
}

// Significant reports that the samples differ, at 5 %.
func (d Delta) Significant() bool { return d.P < benchmath.DefaultThresholds.CompareAlpha }

// quantile of latencies in µs, in ms; the values are sorted in place.
func quantile(us []int64, q float64) float64 {
	if len(us) == 0 {
		return 0
	}
	slices.Sort(us)
	return float64(us[min(int(math.Ceil(q*float64(len(us))))-1, len(us)-1)]) / 1000
}

// Point is one place of a curve: Percentile % of the operations took Ms or less.
type Point struct {
	Percentile float64 `json:"percentile"`
	Ms         float64 `json:"ms"`
}

// slowest is the longest latency that a histogram holds, in µs.
const slowest = int64(5 * 60 * 1e6)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, slowest, 3) }

// curve reads a histogram where a logarithmic axis of the rest (100 − percentile) needs it, as far as its counts tell.
func curve(h *hdrhistogram.Histogram) []Point {
	n := h.TotalCount()
	if n == 0 {
		return nil
	}
	var at []float64
	for rest := 0.9; rest*float64(n) >= 1 || len(at) == 0; rest /= math.Pow(10, 0.1) {
		at = append(at, 100*(1-rest))
	}
	out := make([]Point, 0, len(at))
	for i, us := range h.ValueAtPercentilesSlice(at) {
		out = append(out, Point{at[i], float64(us) / 1000})
	}
	return out
}
