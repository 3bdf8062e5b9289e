package condition

import (
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"time"
)

// number compares exactly: small integers as they are, everything else as a fraction.
type number struct {
	i   int64
	rat *big.Rat // nil when i holds the value
}

func (a number) cmp(b number) int {
	if a.rat == nil && b.rat == nil {
		switch {
		case a.i < b.i:
			return -1
		case a.i > b.i:
			return 1
		}
		return 0
	}
	return a.big().Cmp(b.big())
}

func (a number) big() *big.Rat {
	if a.rat != nil {
		return a.rat
	}
	return new(big.Rat).SetInt64(a.i)
}

// parseNumber reads a number of any JSON or Go kind; texts count when they look like one. A huge exponent is refused
// because its exact value would fill the memory.
func parseNumber(v any) (number, bool) {
	switch x := v.(type) {
	case int64:
		return number{i: x}, true
	case int:
		return number{i: int64(x)}, true
	case float64:
		return parseNumber(json.Number(strconv.FormatFloat(x, 'g', -1, 64)))
	case json.Number:
		return parseNumber(string(x))
	case string:
		if i, err := strconv.ParseInt(x, 10, 64); err == nil {
			return number{i: i}, true
		}
		if len(x) == 0 || len(x) > 64 || strings.ContainsAny(x, "/xXpP_ ") {
			return number{}, false
		}
		if e := strings.IndexAny(x, "eE"); e >= 0 {
			if exp, err := strconv.Atoi(x[e+1:]); err != nil || exp > 400 || exp < -400 {
				return number{}, false
			}
		}
		if r, ok := new(big.Rat).SetString(x); ok {
			return number{rat: r}, true
		}
	}
	return number{}, false
}

func asText(v any) (string, bool) {
	switch x := v.(type) {
	case string:
		return x, true
	case bool:
		return strconv.FormatBool(x), true
	case json.Number:
		return x.String(), true
	case int64:
		return strconv.FormatInt(x, 10), true
	}
	return "", false
}

// asList gives the folded elements of a list, or of a single text.
func asList(v any) ([]string, bool) {
	switch x := v.(type) {
	case string:
		if strings.TrimSpace(x) == "" {
			return nil, false
		}
		return []string{Fold(x)}, true
	case []string:
		out := make([]string, len(x))
		for i, s := range x {
			out[i] = Fold(s)
		}
		return out, true
	case []any:
		out := make([]string, len(x))
		for i, e := range x {
			s, ok := asText(e)
			if !ok {
				return nil, false
			}
			out[i] = Fold(s)
		}
		return out, true
	}
	return nil, false
}

func containsAll(seen, want []string) bool {
	return !slices.ContainsFunc(want, func(w string) bool { return !slices.Contains(seen, w) })
}

func containsAny(seen, want []string) bool {
	return slices.ContainsFunc(want, func(w string) bool { return slices.Contains(seen, w) })
}

// instant is a point in time or, when day, a whole day in whichever zone applies.
type instant struct {
	at      time.Time
	day     bool
	y, d    int
	m       time.Month
	written string
}

func (i instant) start(loc *time.Location) time.Time {
	if i.day {
		return time.Date(i.y, i.m, i.d, 0, 0, 0, 0, loc)
	}
	return i.at
}

// end is the first instant that no longer belongs to it.
func (i instant) end(loc *time.Location) time.Time {
	if i.day {
		return time.Date(i.y, i.m, i.d+1, 0, 0, 0, 0, loc)
	}
	return i.at.Add(time.Microsecond)
}

func parseInstant(v any) (instant, string) {
	s, _ := v.(string)
	if t, err := time.Parse(time.DateOnly, s); err == nil {
		return instant{day: true, y: t.Year(), m: t.Month(), d: t.Day(), written: s}, ""
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return instant{at: t, written: s}, ""
	}
	return instant{}, "write a date (2026-01-31) or a time (2026-01-31T09:00:00Z)"
}

// asTime reads a value seen in a lead; a bare date is its midnight in the zone.
func asTime(v any, loc *time.Location) (time.Time, bool) {
	switch x := v.(type) {
	case time.Time:
		return x, true
	case string:
		i, problem := parseInstant(x)
		return i.start(loc), problem == ""
	}
	return time.Time{}, false
}

func buildOn(_ Type, value any) (test, string) {
	want, problem := parseInstant(value)
	if problem != "" || !want.day {
		return nil, "write a date such as 2026-01-31"
	}
	return func(seen any, env Env) bool {
		at, ok := asTime(seen, env.Zone)
		return ok && !at.Before(want.start(env.Zone)) && at.Before(want.end(env.Zone))
	}, ""
}

// timeTest compares with the start of a day for before, with its end for after.
func timeTest(f func(seen, want time.Time) bool) func(Type, any) (test, string) {
	return func(_ Type, value any) (test, string) {
		want, problem := parseInstant(value)
		if problem != "" {
			return nil, problem
		}
		return func(seen any, env Env) bool {
			at, ok := asTime(seen, env.Zone)
			if !ok {
				return false
			}
			edge := want.start(env.Zone)
			if want.day && !at.Before(edge) {
				edge = want.end(env.Zone).Add(-time.Microsecond)
				if !at.After(edge) {
					return false // on the day itself: neither before nor after
				}
			}
			return f(at, edge)
		}, ""
	}
}

// Span is a duration as people write it: "15m", "2h", "3d", "2w". Days and weeks are 24 h and 7 × 24 h long when
// they are counted as elapsed time.
type Span struct {
	N    int
	Unit byte // s, m, h, d or w
}

// ParseSpan reads a duration; at most two years.
func ParseSpan(s string) (Span, error) {
	if len(s) >= 2 {
		n, err := strconv.Atoi(s[:len(s)-1])
		out := Span{N: n, Unit: s[len(s)-1]}
		if err == nil && n > 0 && n < 100_000_000 && strings.IndexByte("smhdw", out.Unit) >= 0 && s[0] != '+' && out.Elapsed() <= 2*366*24*time.Hour {
			return out, nil
		}
	}
	return Span{}, fmt.Errorf(`write a duration such as "15m", "2h", "3d" or "2w", at most two years`)
}

// Elapsed is the span in absolute time.
func (s Span) Elapsed() time.Duration {
	unit := map[byte]time.Duration{'s': time.Second, 'm': time.Minute, 'h': time.Hour, 'd': 24 * time.Hour, 'w': 7 * 24 * time.Hour}[s.Unit]
	if unit > 0 && time.Duration(s.N) > time.Duration(1<<62)/unit {
		return 1 << 62
	}
	return time.Duration(s.N) * unit
}

// Days is the span in whole days; false for a shorter unit.
func (s Span) Days() (int, bool) {
	switch s.Unit {
	case 'd':
		return s.N, true
	case 'w':
		return 7 * s.N, true
	}
	return 0, false
}

func spanTest(f func(seen time.Time, s Span, env Env) bool) func(Type, any) (test, string) {
	return func(_ Type, value any) (test, string) {
		text, _ := value.(string)
		span, err := ParseSpan(text)
		if err != nil {
			return nil, err.Error()
		}
		return func(seen any, env Env) bool { at, ok := asTime(seen, env.Zone); return ok && f(at, span, env) }, ""
	}
}

func midnight(t time.Time, loc *time.Location, plusDays int) time.Time {
	y, m, d := t.In(loc).Date()
	return time.Date(y, m, d+plusDays, 0, 0, 0, 0, loc)
}

// inLast counts days as calendar days of the zone: "1d" is yesterday and today.
func inLast(seen time.Time, s Span, env Env) bool {
	from := env.Now.Add(-s.Elapsed())
	if days, ok := s.Days(); ok {
		from = midnight(env.Now, env.Zone, -days)
	}
	return !seen.Before(from) && !seen.After(env.Now)
}

func inNext(seen time.Time, s Span, env Env) bool {
	to := env.Now.Add(s.Elapsed())
	if days, ok := s.Days(); ok {
		to = midnight(env.Now, env.Zone, days+1).Add(-time.Microsecond)
	}
	return !seen.Before(env.Now) && !seen.After(to)
}

func olderThan(seen time.Time, s Span, env Env) bool {
	return seen.Before(env.Now.Add(-s.Elapsed()))
}

// anniversaryIn is true when month and day of seen come round within the span from today on; 29 February is kept on
// 28 February in common years.
func anniversaryIn(seen time.Time, s Span, env Env) bool {
	days, ok := s.Days()
	if !ok {
		days = 0
	}
	_, month, day := seen.In(env.Zone).Date()
	today := midnight(env.Now, env.Zone, 0)
	last := midnight(env.Now, env.Zone, days)
	for year := today.Year(); year <= last.Year(); year++ {
		d := day
		if month == time.February && day == 29 && time.Date(year, 2, 29, 0, 0, 0, 0, time.UTC).Month() != time.February {
			d = 28
		}
		at := time.Date(year, month, d, 0, 0, 0, 0, env.Zone)
		if !at.Before(today) && !at.After(last) {
			return true
		}
	}
	return false
}
