package queue

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/riverqueue/river"
)

type sweep struct{}

func (sweep) Kind() string { return "test.sweep" }

type lastRuns struct {
	last map[string]time.Time
	runs map[string]int
}

func (m *lastRuns) RunPeriodic(_ context.Context, id string, plan func(time.Time) (time.Time, time.Time, []river.InsertManyParams)) error {
	plan(m.last[id]) // a store may call it twice
	dealt, _, jobs := plan(m.last[id])
	if !dealt.IsZero() {
		m.last[id] = dealt
	}
	m.runs[id] += len(jobs)
	return nil
}

// TestPeriodic_RestartMatrix restarts the process at every kind of moment: neither frequent restarts nor a long
// downtime may lose runs that the policy promises, or start more.
func TestPeriodic_RestartMatrix(t *testing.T) {
	t0 := time.Date(2026, 3, 1, 10, 0, 30, 0, time.UTC)
	hours := func(n int) []time.Time { // alive once a minute for n hours
		var out []time.Time
		for m := range n * 60 {
			out = append(out, t0.Add(time.Duration(m)*time.Minute))
		}
		return out
	}
	for _, c := range []struct {
		name    string
		missed  Missed
		ticks   []time.Time
		restart bool // a new process at each tick
		want    int
	}{
		{"runs each hour", "", hours(5), false, 4},
		{"restarted each minute", "", hours(5), true, 4},
		{"down for 30 hours, once", MissedOnce, []time.Time{t0, t0.Add(30 * time.Hour), t0.Add(30*time.Hour + time.Second)}, true, 1},
		{"down for 30 hours, all", MissedAll, []time.Time{t0, t0.Add(30 * time.Hour)}, true, 30},
		{"down for 30 days, all, bounded", MissedAll, []time.Time{t0, t0.Add(720 * time.Hour)}, true, 100},
		{"down for 30 hours, skip", MissedSkip, []time.Time{t0, t0.Add(30*time.Hour + 30*time.Minute)}, true, 0},
		{"back just after the due time, skip", MissedSkip, []time.Time{t0, t0.Add(29*time.Hour + 59*time.Minute + 50*time.Second)}, true, 1},
		{"clock set back", MissedOnce, []time.Time{t0, t0.Add(time.Hour), t0.Add(-time.Hour), t0.Add(time.Hour)}, true, 1},
		{"clock was a year ahead", MissedOnce, []time.Time{t0, t0.Add(8760 * time.Hour), t0.Add(time.Hour), t0.Add(2 * time.Hour), t0.Add(3 * time.Hour)}, true, 3},
		{"clock was a year ahead in one process", MissedOnce, []time.Time{t0, t0.Add(8760 * time.Hour), t0.Add(time.Hour), t0.Add(2 * time.Hour), t0.Add(3 * time.Hour)}, false, 3},
		{"first start ever", MissedAll, []time.Time{t0}, true, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var now time.Time
			store := &lastRuns{last: map[string]time.Time{}, runs: map[string]int{}}
			hourly, err := Cron("0 * * * *")
			if err != nil {
				t.Fatal(err)
			}
			start := func() *scheduler {
				s, err := newScheduler(Options{Schedules: store, Now: func() time.Time { return now }, Logger: slog.New(slog.DiscardHandler),
					Periodic: []Periodic{{ID: "hourly", Schedule: hourly, Missed: c.missed,
						Job: func(time.Time) (river.JobArgs, *river.InsertOpts) { return sweep{}, Unique() }}}})
				if err != nil {
					t.Fatal(err)
				}
				return s
			}
			s := start()
			for _, now = range c.ticks {
				if c.restart {
					s = start()
				}
				next := s.tick(t.Context())
				if !next.After(now) {
					t.Fatalf("at %s wants to come back at %s", now, next)
				}
			}
			if got := store.runs["hourly"]; got != c.want {
				t.Fatalf("%d runs, want %d", got, c.want)
			}
		})
	}
}

func TestEvery_DoesNotDependOnTheStart(t *testing.T) {
	s := Every(10 * time.Second)
	for _, c := range [][2]string{{"10:00:00", "10:00:10"}, {"10:00:09", "10:00:10"}, {"10:00:10", "10:00:20"}} {
		at, _ := time.Parse("15:04:05", c[0])
		at = at.AddDate(2026, 0, 0)
		if got := s.Next(at).Format("15:04:05"); got != c[1] {
			t.Errorf("after %s: %s, want %s", c[0], got, c[1])
		}
	}
}

func TestBackoff_GrowsAndStops(t *testing.T) {
	last := time.Duration(0)
	for n := range 15 {
		d := Backoff(n)
		if d < last || d > maxBackoff || d <= 0 {
			t.Fatalf("after %d failures %s, before %s", n, d, last)
		}
		last = d
		for range 20 {
			if j := jitter(d); j < d*4/5 || j > d*6/5 {
				t.Fatalf("%s jittered to %s", d, j)
			}
		}
	}
	if last != maxBackoff {
		t.Fatal(last)
	}
}
