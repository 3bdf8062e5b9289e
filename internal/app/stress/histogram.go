package stress

import (
	"math"
	"math/bits"
	"time"
)

// subBuckets of each power of two: a latency is kept within 1.6 % of its value.
const subBuckets = 64

// Histogram counts latencies in microseconds in buckets whose width grows with the value. The zero one is empty.
type Histogram struct {
	counts []int64
	n      int64
	sum    time.Duration
	max    time.Duration
	min    time.Duration
}

// Add counts one latency.
func (h *Histogram) Add(d time.Duration) {
	i := bucket(uint64(max(d.Microseconds(), 0)))
	if i >= len(h.counts) {
		h.counts = append(h.counts, make([]int64, i+1-len(h.counts))...)
	}
	h.counts[i]++
	if h.n == 0 || d < h.min {
		h.min = d
	}
	h.n++
	h.sum += d
	h.max = max(h.max, d)
}

// AddExpected counts a latency, and for each further request that should have begun while this one was waited for, one
// every so often, the rest of the wait it would have had: the correction for clients that wait for a reply before they
// ask again, and so ask less just when it is slow (coordinated omission), as HdrHistogram's expected interval does it.
func (h *Histogram) AddExpected(d, every time.Duration) {
	h.Add(d)
	if every <= 0 {
		return
	}
	for d -= every; d >= every; d -= every {
		h.Add(d)
	}
}

// Merge adds another histogram's counts.
func (h *Histogram) Merge(o *Histogram) {
	if o.n == 0 {
		return
	}
	if len(o.counts) > len(h.counts) {
		h.counts = append(h.counts, make([]int64, len(o.counts)-len(h.counts))...)
	}
	for i, c := range o.counts {
		h.counts[i] += c
	}
	if h.n == 0 || o.min < h.min {
		h.min = o.min
	}
	h.n += o.n
	h.sum += o.sum
	h.max = max(h.max, o.max)
}

// Count is how many latencies were added.
func (h *Histogram) Count() int64 { return h.n }

// Mean of all latencies; 0 when empty.
func (h *Histogram) Mean() time.Duration {
	if h.n == 0 {
		return 0
	}
	return h.sum / time.Duration(h.n)
}

// Max is the longest latency, exactly.
func (h *Histogram) Max() time.Duration { return h.max }

// Quantile is the latency that the share q of requests did not exceed: the upper end of its bucket, at most Max.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.n == 0 {
		return 0
	}
	rank := int64(q*float64(h.n) + 0.999999)
	rank = min(max(rank, 1), h.n)
	var seen int64
	for i, c := range h.counts {
		if seen += c; seen >= rank {
			_, hi := bounds(i)
			return min(time.Duration(hi)*time.Microsecond, h.max)
		}
	}
	return h.max
}

// Point is one of a curve: the share of requests that took at most this long.
type Point struct {
	Quantile float64       `json:"quantile"`
	Latency  time.Duration `json:"latency_ns"`
}

// Curve is the latency by share of requests, closer and closer to all of them as far as there are requests to tell.
func (h *Histogram) Curve() []Point {
	if h.n == 0 {
		return nil
	}
	var out []Point
	const steps = 8 // for each halving of what is left
	for i := 0; ; i++ {
		left := math.Exp2(-float64(i) / steps)
		if left*float64(h.n) < 1 {
			break
		}
		out = append(out, Point{1 - left, h.Quantile(1 - left)})
	}
	return append(out, Point{1, h.max})
}

// Bar is one column of a drawn histogram.
type Bar struct {
	From  time.Duration `json:"from_ns"`
	To    time.Duration `json:"to_ns"`
	Count int64         `json:"count"`
}

// Bars folds the buckets into columns of a quarter of a power of two each, from the first to the last that is in use.
func (h *Histogram) Bars() []Bar {
	const fold = subBuckets / 4
	var out []Bar
	for at := 0; at < len(h.counts); at += fold {
		var n int64
		for _, c := range h.counts[at:min(at+fold, len(h.counts))] {
			n += c
		}
		if n == 0 && len(out) == 0 {
			continue
		}
		lo, _ := bounds(at)
		_, hi := bounds(at + fold - 1)
		out = append(out, Bar{time.Duration(lo) * time.Microsecond, time.Duration(hi) * time.Microsecond, n})
	}
	for len(out) > 0 && out[len(out)-1].Count == 0 {
		out = out[:len(out)-1]
	}
	return out
}

func bucket(us uint64) int {
	if us < subBuckets {
		return int(us)
	}
	shift := bits.Len64(us) - bits.Len64(subBuckets)
	return (shift+1)*subBuckets + int(us>>shift) - subBuckets
}

// bounds is the half-open range of microseconds that falls into a bucket.
func bounds(i int) (lo, hi uint64) {
	if i < subBuckets {
		return uint64(i), uint64(i) + 1
	}
	shift := i/subBuckets - 1
	lo = uint64(i%subBuckets+subBuckets) << shift
	return lo, lo + 1<<shift
}
