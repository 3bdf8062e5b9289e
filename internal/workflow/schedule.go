package workflow

import (
	"strings"
	"time"
	_ "time/tzdata" // zones must not depend on the machine

	"github.com/robfig/cron/v3"

	"leadloom/internal/condition"
	"leadloom/internal/fault"
)

// What happens with times that passed while nothing could run.
const (
	MissedOnce = "once"
	MissedAll  = "all"
	MissedSkip = "skip"
)

// Grace is how late a time may be without counting as missed; MaxMissed is how many "all" makes up for.
const (
	Grace     = time.Minute
	MaxMissed = 100
)

// Schedule is a compiled time rule: a cron expression in a zone or an interval in elapsed time.
type Schedule struct {
	Missed  string
	Overlap string
	every   time.Duration
	spec    *cron.SpecSchedule
	zone    *time.Location
	hourly  bool // the hour field is free: instants are counted as they pass, so that none stops for an hour
}

var cronParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// Schedule compiles the time rule of a schedule trigger.
func (t Trigger) Schedule() (*Schedule, error) {
	s := &Schedule{Missed: t.Missed, Overlap: t.Overlap, zone: time.UTC}
	if s.Missed == "" {
		s.Missed = MissedOnce
	}
	if s.Overlap == "" {
		s.Overlap = "skip"
	}
	if !contains([]string{MissedOnce, MissedAll, MissedSkip}, s.Missed) {
		return nil, fault.Invalid("missed", "unknown_value", "write once, all or skip")
	}
	if s.Overlap != "skip" && s.Overlap != "allow" {
		return nil, fault.Invalid("overlap", "unknown_value", "write skip or allow")
	}
	if (t.Cron == "") == (t.Every == "") {
		return nil, fault.Invalid("cron", "required", `write either a cron expression such as "0 9 * * 1-5" or every such as "15m"`)
	}
	if t.Zone != "" {
		loc, err := time.LoadLocation(t.Zone)
		if err != nil || t.Zone == "Local" {
			return nil, fault.Invalid("zone", "unknown_zone", `name an IANA zone such as "Europe/Berlin"`)
		}
		s.zone = loc
	}
	if t.Every != "" {
		span, err := condition.ParseSpan(t.Every)
		if err != nil || span.Elapsed() < time.Minute {
			return nil, fault.Invalid("every", "bad_duration", `write a duration of at least one minute, such as "15m"`)
		}
		s.every = span.Elapsed()
		return s, nil
	}
	if strings.HasPrefix(t.Cron, "@every") || strings.Contains(t.Cron, "TZ=") {
		return nil, fault.Invalid("cron", "bad_schedule", "use every for intervals and zone for the time zone")
	}
	parsed, err := cronParser.Parse(t.Cron)
	if err != nil {
		return nil, fault.Invalid("cron", "bad_schedule", `write five fields: minute hour day month weekday, such as "0 9 * * 1-5"`)
	}
	spec, ok := parsed.(*cron.SpecSchedule)
	if !ok {
		return nil, fault.Invalid("cron", "bad_schedule", "use every for intervals")
	}
	spec.Location = time.UTC
	s.spec, s.hourly = spec, spec.Hour&(1<<24-1) == 1<<24-1
	if s.Next(time.Date(2024, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fault.Invalid("cron", "never", "this date never comes")
	}
	return s, nil
}

// Next is the first due time after t; zero when there is none within five years. A local time that a zone skips is
// due at the first instant after the gap, one that comes twice at the first of the two.
func (s *Schedule) Next(t time.Time) time.Time {
	if s.every > 0 {
		return t.Add(s.every)
	}
	if s.hourly {
		spec := *s.spec
		spec.Location = s.zone
		return spec.Next(t.In(s.zone)).UTC()
	}
	local := t.In(s.zone)
	wall := time.Date(local.Year(), local.Month(), local.Day(), local.Hour(), local.Minute(), local.Second(), local.Nanosecond(), time.UTC)
	for range 10 {
		if wall = s.spec.Next(wall); wall.IsZero() {
			return wall
		}
		if at := instantOf(wall, s.zone); at.After(t) {
			return at
		}
	}
	return time.Time{}
}

// instantOf finds when the clocks of the zone first show wall (whose fields are read as UTC).
func instantOf(wall time.Time, zone *time.Location) time.Time {
	_, before := wall.Add(-26 * time.Hour).In(zone).Zone()
	_, after := wall.Add(26 * time.Hour).In(zone).Zone()
	var best time.Time
	for _, offset := range []int{before, after} {
		at := wall.Add(-time.Duration(offset) * time.Second)
		if _, shown := at.In(zone).Zone(); shown == offset && (best.IsZero() || at.Before(best)) {
			best = at
		}
	}
	if !best.IsZero() {
		return best
	}
	low, high := wall.Add(-26*time.Hour), wall.Add(26*time.Hour) // a gap: find the instant at which the offset changes
	for high.Sub(low) > time.Second {
		mid := low.Add(high.Sub(low) / 2)
		if _, offset := mid.In(zone).Zone(); offset == before {
			low = mid
		} else {
			high = mid
		}
	}
	return high.Truncate(time.Second)
}

// lastOnes skips what a schedule far behind will never make up for: from the time it returns on, at least MaxMissed
// times come before now, or all since next.
func (s *Schedule) lastOnes(next, now time.Time) time.Time {
	behind := now.Sub(next)
	if s.every > 0 {
		if behind/s.every > MaxMissed*2 { // the product may be more than 292 years
			return next.Add(behind / s.every * s.every).Add(-s.every * MaxMissed)
		}
		return next
	}
	for _, window := range []time.Duration{2 * 24 * time.Hour, 30 * 24 * time.Hour} {
		if behind <= 2*window {
			return next
		}
		first := s.Next(now.Add(-window))
		at := first
		for range MaxMissed {
			if at.IsZero() || at.After(now) {
				break
			}
			at = s.Next(at)
		}
		if !at.IsZero() && !at.After(now) {
			return first
		}
	}
	return next
}

// Due decides at now about a schedule whose next time was next: the times to run for, oldest first, and the new next
// time, which is after now. Nothing is due while next is in the future.
func (s *Schedule) Due(next, now time.Time) (fires []time.Time, then time.Time) {
	var times []time.Time
	at := s.lastOnes(next, now)
	for !at.IsZero() && !at.After(now) {
		if times = append(times, at); len(times) > 4*MaxMissed {
			times = times[len(times)-MaxMissed:]
		}
		at = s.Next(at)
	}
	if len(times) == 0 {
		return nil, at
	}
	last := times[len(times)-1]
	switch s.Missed {
	case MissedAll:
		return times[max(0, len(times)-MaxMissed):], at
	case MissedSkip:
		if now.Sub(last) > Grace {
			return nil, at
		}
	}
	return times[len(times)-1:], at
}
