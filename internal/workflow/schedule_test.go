package workflow_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"leadloom/internal/workflow"
)

func at(s string) time.Time {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t
}

func schedule(t *testing.T, tr workflow.Trigger) *workflow.Schedule {
	t.Helper()
	tr.Type = "schedule"
	s, err := tr.Schedule()
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSchedule_DaylightSaving(t *testing.T) {
	for _, c := range []struct {
		name, cron, from string
		want             []string
	}{
		{"a time that does not exist comes right after the gap", "30 2 * * *", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		{"a time that comes twice fires at the first", "30 2 * * *", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		{"nine o'clock stays nine o'clock", "0 9 * * *", "2026-03-28T07:00:00Z", []string{"2026-03-28T08:00:00Z", "2026-03-29T07:00:00Z"}},
		{"quarters of an hour never stop", "*/30 * * * *", "2026-10-25T00:10:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-25T01:00:00Z", "2026-10-25T01:30:00Z", "2026-10-25T02:00:00Z"}},
	} {
		s := schedule(t, workflow.Trigger{Cron: c.cron, Zone: "Europe/Berlin"})
		now := at(c.from)
		for _, want := range c.want {
			if now = s.Next(now); !now.Equal(at(want)) {
				t.Errorf("%s: %s, want %s", c.name, now.UTC().Format(time.RFC3339), want)
				break
			}
		}
	}
}

// Every local time of five zones over three years is due exactly once a day, in order.
func TestSchedule_OnceADayInEveryZone(t *testing.T) {
	for _, zone := range []string{"Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Santiago"} {
		for _, hour := range []string{"0 0", "30 1", "0 2", "30 2", "15 3", "59 23"} {
			s := schedule(t, workflow.Trigger{Cron: hour + " * * *", Zone: zone})
			loc, _ := time.LoadLocation(zone)
			now := time.Date(2025, 1, 1, 12, 0, 0, 0, time.UTC)
			last := ""
			for range 3 * 365 {
				next := s.Next(now)
				day := next.Add(-time.Minute).In(loc).Format(time.DateOnly) // a gap may push midnight's time to 01:00
				if gap := next.Sub(now); gap < 20*time.Hour && last != "" || gap > 37*time.Hour || day == last {
					t.Fatalf("%s %s: %s after %s", zone, hour, next, now)
				}
				now, last = next, day
			}
		}
	}
}

func TestSchedule_MissedPolicies(t *testing.T) {
	next, now := at("2026-01-01T09:00:00Z"), at("2026-01-04T12:00:00Z")
	for missed, want := range map[string]string{"once": "[04]", "all": "[01 02 03 04]", "skip": "[]", "": "[04]"} {
		fires, then := schedule(t, workflow.Trigger{Cron: "0 9 * * *", Missed: missed}).Due(next, now)
		days := []string{}
		for _, f := range fires {
			days = append(days, f.Format("02"))
		}
		if fmt.Sprint(days) != want || !then.Equal(at("2026-01-05T09:00:00Z")) {
			t.Errorf("%q: %v then %s, want %s", missed, days, then, want)
		}
	}
	if fires, _ := schedule(t, workflow.Trigger{Cron: "0 9 * * *", Missed: "skip"}).Due(next, next.Add(30*time.Second)); len(fires) != 1 {
		t.Error("a time that has just come is not missed")
	}
	s := schedule(t, workflow.Trigger{Every: "1m", Missed: "all"})
	if fires, then := s.Due(next, next.Add(30*24*time.Hour)); len(fires) != 100 || !then.After(next.Add(30*24*time.Hour)) {
		t.Errorf("all: %d times, want 100; then %s", len(fires), then)
	}
	if fires, then := s.Due(now, next); len(fires) != 0 || !then.Equal(now) {
		t.Error("nothing is due before its time")
	}
}

// TestDue_AfterALongRestEqualsEveryStep: what is skipped for speed is what would not be made up for anyway.
func TestDue_AfterALongRestEqualsEveryStep(t *testing.T) {
	next, now := at("2025-01-05T02:30:00Z"), at("2026-03-30T10:17:30Z")
	for _, cron := range []string{"* * * * *", "*/7 3 * * *", "30 2 * * *", "0 0 1 * *", "15 * * * 1-5", "0 9 29 2 *"} {
		s := schedule(t, workflow.Trigger{Cron: cron, Zone: "Europe/Berlin", Missed: "all"})
		var want []time.Time
		first := s.Next(next)
		then := first
		for ; !then.IsZero() && !then.After(now); then = s.Next(then) {
			want = append(want, then)
		}
		want = want[max(0, len(want)-workflow.MaxMissed):]
		fires, after := s.Due(first, now)
		if !slices.EqualFunc(fires, want, time.Time.Equal) || !after.Equal(then) {
			t.Errorf("%s: %d times up to %v, want %d; then %s, want %s", cron, len(fires), fires, len(want), after, then)
		}
	}
}

func TestRetry_DelaysGrowAndEnd(t *testing.T) {
	start := at("2026-01-01T00:00:00Z")
	var r *workflow.Retry
	var sum time.Duration
	for n := int64(1); n < 8; n++ {
		d, ok := r.Delay(n, start, start.Add(sum), 0, "run:n:1:0")
		want := 5 * time.Second
		for range n - 1 {
			want = min(want*3, time.Hour)
		}
		if !ok || d < want*8/10 || d > want*12/10 {
			t.Errorf("after attempt %d: %s %v, want %s ±20 %%", n, d, ok, want)
		}
		if again, _ := r.Delay(n, start, start.Add(sum), 0, "run:n:1:0"); again != d {
			t.Error("the same step asked twice must wait equally long")
		}
		sum += d
	}
	if _, ok := r.Delay(8, start, start.Add(sum), 0, "k"); ok {
		t.Error("the eighth attempt is the last")
	}
	if d, ok := r.Delay(1, start, start, 90*time.Minute, "k"); !ok || d != 90*time.Minute {
		t.Errorf("Retry-After is not honoured: %s", d)
	}
	if _, ok := r.Delay(2, start, start.Add(23*time.Hour), 2*time.Hour, "k"); ok {
		t.Error("nothing is retried after 24 hours")
	}
}
