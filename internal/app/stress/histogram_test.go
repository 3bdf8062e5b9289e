package stress

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogram_QuantilesWithinTwoPercent(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var h, a, b Histogram
	var all []time.Duration
	for i := range 20_000 {
		d := time.Duration(r.ExpFloat64()*float64(3*time.Millisecond)) + 70*time.Microsecond
		all = append(all, d)
		h.Add(d)
		if i%2 == 0 {
			a.Add(d)
		} else {
			b.Add(d)
		}
	}
	a.Merge(&b)
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.95, 0.99, 1} {
		want := all[int(q*float64(len(all)))-1]
		for _, got := range []time.Duration{h.Quantile(q), a.Quantile(q)} {
			if ratio := float64(got) / float64(want); ratio < 0.98 || ratio > 1.02 {
				t.Errorf("quantile %v: %v, want %v within 2 %%", q, got, want)
			}
		}
	}
	if h.Count() != 20_000 || a.Count() != 20_000 || h.Max() != all[len(all)-1] {
		t.Errorf("count %d and %d, max %v; want 20000, 20000, %v", h.Count(), a.Count(), h.Max(), all[len(all)-1])
	}
	var n int64
	for _, bar := range h.Bars() {
		n += bar.Count
	}
	if n != h.Count() {
		t.Errorf("the bars hold %d latencies of %d", n, h.Count())
	}
}

func TestHistogram_BucketsMeetWithoutGap(t *testing.T) {
	var end uint64
	for i := range 2_000 {
		lo, hi := bounds(i)
		if lo != end || bucket(lo) != i || bucket(hi-1) != i {
			t.Fatalf("bucket %d is [%d,%d) after %d, and holds %d..%d", i, lo, hi, end, bucket(lo), bucket(hi-1))
		}
		end = hi
	}
	var empty Histogram
	if empty.Quantile(0.99) != 0 || empty.Mean() != 0 || empty.Bars() != nil {
		t.Error("an empty histogram has figures")
	}
}
