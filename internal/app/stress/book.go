package stress

import (
	"sync"
	"time"
)

// shards keep thousands of users from waiting for one lock and from needing a histogram each.
const shards = 16

// book gathers what some of the users saw.
type book struct {
	mu       sync.Mutex
	each     []stat // by endpoint, at full load
	all      stat
	arriving stat // while users arrived
	login    stat
}

// stat is what the replies of one kind came to.
type stat struct {
	service  Histogram // from sending to the last byte
	response Histogram // from when the request was meant to begin, corrected for those that could not begin
	failures int64
	reasons  map[string]int64
}

func (s *stat) add(service, response, every time.Duration, err error) {
	s.service.Add(service)
	s.response.AddExpected(response, every)
	if err != nil {
		s.fail(err.Error(), 1)
	}
}

func (s *stat) fail(reason string, n int64) {
	s.failures += n
	if s.reasons == nil {
		s.reasons = map[string]int64{}
	}
	if _, ok := s.reasons[reason]; !ok && len(s.reasons) >= reasonLimit {
		reason = "other"
	}
	s.reasons[reason] += n
}

func (s *stat) merge(o *stat) {
	s.service.Merge(&o.service)
	s.response.Merge(&o.response)
	for reason, n := range o.reasons {
		s.fail(reason, n)
	}
}

// record books a request. It belongs to the arrival when it was meant to begin in it.
func (r *run) record(b *book, endpoint int, meant, sent, ended time.Time, err error) {
	service, response := ended.Sub(sent), max(ended.Sub(meant), ended.Sub(sent))
	m := r.measured.Load()
	b.mu.Lock()
	if m == 0 || meant.Sub(r.started) < time.Duration(m) {
		b.arriving.add(service, response, r.every, err)
	} else {
		if b.each == nil {
			b.each = make([]stat, len(profile))
		}
		b.each[endpoint].add(service, response, r.every, err)
		b.all.add(service, response, r.every, err)
	}
	b.mu.Unlock()
	r.series.add(meant.Sub(r.started), response, err != nil)
}

func (b *book) addLogin(took time.Duration, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.login.add(took, took, 0, err)
}

// fold brings the shards together.
func (r *run) fold() *book {
	sum := &book{each: make([]stat, len(profile))}
	for i := range r.books {
		b := &r.books[i]
		b.mu.Lock()
		for j := range b.each {
			sum.each[j].merge(&b.each[j])
		}
		sum.all.merge(&b.all)
		sum.arriving.merge(&b.arriving)
		sum.login.merge(&b.login)
		b.mu.Unlock()
	}
	return sum
}

// series is the latency over time, in slices of equal length.
type series struct {
	mu    sync.Mutex
	width time.Duration
	at    []slot
}

type slot struct {
	hist     Histogram
	failures int64
}

// Moment is one slice of the run: the response times of what was meant to begin in it.
type Moment struct {
	At       time.Duration `json:"at_ns"` // its start, from the start of the run
	Count    int64         `json:"count"`
	Failures int64         `json:"failures"`
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	Max      time.Duration `json:"max_ns"`
}

// newSeries cuts a run of about that length into at most some hundred slices of whole seconds.
func newSeries(length time.Duration) *series {
	return &series{width: max(time.Second, (length / 200).Round(time.Second))}
}

func (s *series) add(at, latency time.Duration, failed bool) {
	i := int(max(at, 0) / s.width)
	s.mu.Lock()
	defer s.mu.Unlock()
	if i >= len(s.at) {
		s.at = append(s.at, make([]slot, i+1-len(s.at))...)
	}
	s.at[i].hist.Add(latency)
	if failed {
		s.at[i].failures++
	}
}

func (s *series) moments() []Moment {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make([]Moment, 0, len(s.at))
	for i := range s.at {
		x := &s.at[i]
		out = append(out, Moment{At: time.Duration(i) * s.width, Count: x.hist.Count(), Failures: x.failures,
			P50: x.hist.Quantile(0.5), P99: x.hist.Quantile(0.99), Max: x.hist.Max()})
	}
	return out
}
