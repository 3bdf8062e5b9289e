package workflow

import (
	"hash/fnv"
	"time"

	"leadloom/internal/condition"
	"leadloom/internal/fault"
)

// Retry says how often and how soon an outside step is tried again. The zero value is the default.
type Retry struct {
	Attempts int64  `json:"attempts,omitempty"` // in all; 8
	First    string `json:"first,omitempty"`    // delay before the second attempt; 5s, then three times as long each
	Max      string `json:"max,omitempty"`      // longest delay; 1h
}

// RetryTotal is how long a step is retried at most.
const RetryTotal = 24 * time.Hour

func (r *Retry) check(path string) (problems []fault.Field) {
	if r.Attempts < 0 || r.Attempts > 20 {
		problems = append(problems, fault.Field{Path: path + ".attempts", Code: "out_of_range", Message: "try 1 to 20 times"})
	}
	for key, s := range map[string]string{"first": r.First, "max": r.Max} {
		if s == "" {
			continue
		}
		if span, err := condition.ParseSpan(s); err != nil || span.Elapsed() > RetryTotal {
			problems = append(problems, fault.Field{Path: path + "." + key, Code: "bad_duration", Message: `write a duration such as "5s" or "1h", at most 24h`})
		}
	}
	return problems
}

// Delay is how long to wait after failed attempt n (from 1) that began at first and failed at now; false when it was
// the last. seed spreads the ±20 % jitter and makes it repeatable; after is what the receiver asked for.
func (r *Retry) Delay(n int64, first, now time.Time, after time.Duration, seed string) (time.Duration, bool) {
	attempts, delay, longest := int64(8), 5*time.Second, time.Hour
	if r != nil {
		if r.Attempts > 0 {
			attempts = r.Attempts
		}
		if span, err := condition.ParseSpan(r.First); err == nil {
			delay = span.Elapsed()
		}
		if span, err := condition.ParseSpan(r.Max); err == nil {
			longest = span.Elapsed()
		}
	}
	if n >= attempts {
		return 0, false
	}
	for i := int64(1); i < n && delay < longest; i++ {
		delay *= 3
	}
	delay = min(delay, longest)
	h := fnv.New32a()
	h.Write([]byte(seed))
	h.Write([]byte{byte(n)})
	delay += time.Duration(float64(delay) * (float64(h.Sum32()%4001)/10000 - 0.2))
	delay = max(delay, after)
	return delay, now.Add(delay).Sub(first) <= RetryTotal
}
