package httpapi

import (
	"math"
	"net/http"
	"sort"
	"sync"
	"sync/atomic"
	"time"
)

// recorder counts requests by route. Recording takes no lock: the routes are few and known.
type recorder struct {
	routes  sync.Map // route pattern -> *routeCounts
	started time.Time
}

// Bounds of the latency histogram: 50 µs times a power of 2^(1/4), up to 95 s.
const (
	bucketCount  = 84
	firstBound   = 50 * time.Microsecond
	boundsPerTwo = 4
	noRoute      = "none" // requests that match no route
)

var bounds = func() (out [bucketCount]time.Duration) {
	for i := range out {
		out[i] = time.Duration(float64(firstBound) * math.Exp2(float64(i)/boundsPerTwo))
	}
	return
}()

type routeCounts struct {
	byStatus [6]atomic.Int64 // 2 holds 2xx
	buckets  [bucketCount + 1]atomic.Int64
	sum, max atomic.Int64 // nanoseconds
}

func newRecorder() *recorder { return &recorder{started: time.Now()} }

func (rc *recorder) observe(_ *http.Request, route string, status int, took time.Duration) {
	if route == "" {
		route = noRoute
	}
	v, ok := rc.routes.Load(route)
	if !ok {
		v, _ = rc.routes.LoadOrStore(route, &routeCounts{})
	}
	c := v.(*routeCounts)
	if status == 0 {
		status = http.StatusOK
	}
	c.byStatus[min(status/100, 5)].Add(1)
	c.buckets[sort.Search(bucketCount, func(i int) bool { return took <= bounds[i] })].Add(1)
	c.sum.Add(int64(took))
	for {
		old := c.max.Load()
		if int64(took) <= old || c.max.CompareAndSwap(old, int64(took)) {
			return
		}
	}
}

// latencies are one route's figures, or the sum of several.
type latencies struct {
	count, failed int64 // failed: 5xx
	sum, max      time.Duration
	buckets       [bucketCount + 1]int64
	byStatus      [6]int64
}

func (c *routeCounts) read() (l latencies) {
	for i := range c.byStatus {
		l.byStatus[i] = c.byStatus[i].Load()
		l.count += l.byStatus[i]
	}
	l.failed = l.byStatus[5]
	for i := range c.buckets {
		l.buckets[i] = c.buckets[i].Load()
	}
	l.sum, l.max = time.Duration(c.sum.Load()), time.Duration(c.max.Load())
	return
}

func (l *latencies) add(o latencies) {
	l.count += o.count
	l.failed += o.failed
	l.sum += o.sum
	l.max = max(l.max, o.max)
	for i := range l.buckets {
		l.buckets[i] += o.buckets[i]
	}
}

func (l *latencies) mean() time.Duration {
	if l.count == 0 {
		return 0
	}
	return l.sum / time.Duration(l.count)
}

// quantile is the upper bound of the bucket that holds it: at most 19 % too high, never above the maximum.
func (l *latencies) quantile(q float64) time.Duration {
	var total int64
	for _, n := range l.buckets {
		total += n
	}
	rank, seen := int64(math.Ceil(q*float64(total))), int64(0)
	for i, n := range l.buckets {
		if seen += n; seen >= rank && n > 0 {
			if i == bucketCount {
				return l.max
			}
			return min(bounds[i], l.max)
		}
	}
	return 0
}

// each visits the routes in order of their names.
func (rc *recorder) each(f func(route string, l latencies)) {
	var names []string
	rc.routes.Range(func(k, _ any) bool {
		names = append(names, k.(string))
		return true
	})
	sort.Strings(names)
	for _, n := range names {
		v, _ := rc.routes.Load(n)
		f(n, v.(*routeCounts).read())
	}
}

func (rc *recorder) total() (sum latencies) {
	rc.each(func(_ string, l latencies) { sum.add(l) })
	return
}
