package service

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"leadloom/internal/store"
)

// State is how well something works.
type State string

// The states, from best to worst. Degraded answers 200, Unhealthy 503.
const (
	Healthy   State = "healthy"
	Degraded  State = "degraded"
	Unhealthy State = "unhealthy"
	Starting  State = "starting" // before the first look; not ready
)

// Component is one part with its state; Reason and Action are empty when it is healthy.
type Component struct {
	Name   string         `json:"-"`
	State  State          `json:"status"`
	Reason string         `json:"reason,omitempty"`
	Action string         `json:"action,omitempty"`
	Facts  map[string]any `json:"facts,omitempty"`
}

// Health is one judgement of the whole installation. It never changes after it was made.
type Health struct {
	Status     State
	At         time.Time
	Components []Component
	QueueDepth int64         // jobs that could run now or run
	QueueAge   time.Duration // of the oldest job that could run now
	Jobs       []store.JobStat
	Latency    time.Duration // of an empty commit
	DiskFree   float64       // percent; -1 when not watched
}

// healthLife is how old a judgement may be before it is worth nothing.
const healthLife = 6 * time.Second

// Health is the last judgement, without any I/O. One that is too old is red: whoever should have renewed it hangs.
func (s *System) Health() *Health {
	h := s.health.Load()
	if age := s.now().Sub(h.At); h.Status != Starting && age > healthLife {
		return &Health{Status: Unhealthy, At: h.At, QueueDepth: h.QueueDepth, Jobs: h.Jobs, DiskFree: h.DiskFree, Components: []Component{
			{Name: "api", State: Unhealthy, Reason: fmt.Sprintf("nothing has been looked at for %s", age.Truncate(time.Second)), Action: "Look into the log; restart the process if it does not recover."}}}
	}
	return h
}

// Ready reports whether requests can be answered: the database works and the process is not stopping. A queue that is
// late, or anything else that would be no better elsewhere, must not take every node out of service.
func (s *System) Ready() bool {
	if s.stopping.Load() {
		return false
	}
	for _, c := range s.Health().Components {
		if c.Name == "database" {
			return c.State != Unhealthy
		}
	}
	return false
}

// judgeAt turns the facts into components with what to do.
func (s *System) judgeAt(now time.Time) *Health {
	f := &s.facts
	h := &Health{Status: Healthy, At: now, Jobs: f.jobs, Latency: f.latency, DiskFree: -1}
	if f.total > 0 {
		h.DiskFree = 100 * float64(f.free) / float64(f.total)
	}
	for _, j := range f.jobs {
		if j.State == "available" || j.State == "running" {
			h.QueueDepth += j.Count
		}
		if j.State == "available" {
			h.QueueAge = max(h.QueueAge, h.At.Sub(j.Oldest))
		}
	}
	h.Components = []Component{
		{Name: "api", State: Healthy, Facts: map[string]any{"uptime_seconds": int64(s.Uptime().Seconds())}},
		s.judgeDatabase(), s.judgeDisk(h.DiskFree), s.judgeQueue(h), judgeRuns(f, h.At), judgeCRM(f), s.judgeChain(f, h.At),
	}
	for _, c := range h.Components {
		switch {
		case c.State == Unhealthy:
			h.Status = Unhealthy
		case c.State == Degraded && h.Status == Healthy:
			h.Status = Degraded
		}
	}
	return h
}

func (s *System) judgeDatabase() Component {
	f := &s.facts
	size, wal := s.st.FileSizes()
	c := Component{Name: "database", State: Healthy, Facts: map[string]any{"engine": s.st.Engine(), "latency_ms": millis(f.latency)}}
	if s.st.Engine() == "sqlite" {
		c.Facts["size_bytes"], c.Facts["wal_bytes"] = size, wal
	}
	const walLimit = 256 << 20
	switch {
	case f.databaseErr != nil:
		c.State, c.Reason, c.Action = Unhealthy, "the database cannot be written", "Check that the database runs, that its disk has room and may be written. The log says more. It recovers by itself."
	case f.migrations > 0:
		c.State, c.Reason, c.Action = Unhealthy, fmt.Sprintf("%d schema steps are pending", f.migrations), "Run leadloom migrate up."
	case f.skew > 5*time.Second:
		c.State, c.Reason, c.Action = Unhealthy, fmt.Sprintf("this machine's clock is %s off the database's", f.skew.Truncate(time.Second)), "Set the clocks (NTP)."
	case wal > walLimit:
		c.State, c.Reason, c.Action = Degraded, fmt.Sprintf("the write-ahead log has %d MB", wal>>20), "A read that never ends keeps it from shrinking: look for a long export."
	}
	return c
}

func (s *System) judgeDisk(free float64) Component {
	c := Component{Name: "disk", State: Healthy}
	if free < 0 {
		return c
	}
	c.Facts = map[string]any{"free_bytes": s.facts.free, "free_percent": float64(int(free*10)) / 10}
	switch {
	case free < 2:
		c.State, c.Reason, c.Action = Unhealthy, fmt.Sprintf("only %.1f %% of the disk is free", free), "Free some space now; writes fail when it is full."
	case free < 10:
		c.State, c.Reason, c.Action = Degraded, fmt.Sprintf("only %.1f %% of the disk is free", free), "Free some space."
	}
	return c
}

// interactive are the queues whose work somebody waits for.
var interactive = map[string]bool{"run": true, "mail": true, "crm": true, "http": true}

func (s *System) judgeQueue(h *Health) Component {
	c := Component{Name: "queue", State: Healthy}
	var dead int64
	var late time.Duration
	lateKind := ""
	for _, j := range h.Jobs {
		switch {
		case j.State == "discarded":
			dead += j.Count
		case j.State == "available" && interactive[j.Queue] && !slices.Contains(s.facts.held, j.Queue) && h.At.Sub(j.Oldest) > late:
			late, lateKind = h.At.Sub(j.Oldest), j.Kind
		}
	}
	c.Facts = map[string]any{"depth": h.QueueDepth, "oldest_seconds": max(0, int64(h.QueueAge.Seconds())), "dead": dead}
	switch {
	case s.facts.jobsErr != nil && s.facts.databaseErr == nil:
		c.State, c.Reason, c.Action = Unhealthy, "the queue cannot be read", "Run leadloom migrate up; the log says more."
	case late > 5*time.Minute:
		c.State, c.Reason, c.Action = Unhealthy, fmt.Sprintf("a %s job has waited for %s", lateKind, late.Truncate(time.Second)), "See /admin/jobs/: the workers stand still or are overrun."
	case len(s.facts.held) > 0:
		c.State, c.Reason, c.Action = Degraded, "nobody works the paused queues "+strings.Join(s.facts.held, ", "), "Resume them at /admin/jobs/queues once what they hold may go out: a restore pauses them."
	case dead > 0:
		c.State, c.Reason, c.Action = Degraded, fmt.Sprintf("%d jobs have used up their attempts", dead), "See /admin/jobs/, state discarded: retry or cancel them."
	}
	return c
}

func judgeRuns(f *facts, now time.Time) Component {
	c := Component{Name: "workflow_runner", State: Healthy, Facts: map[string]any{"parked_runs": f.work.ParkedRuns, "waiting_timers": f.work.Timers}}
	late := time.Duration(0)
	if !f.work.OldestTimer.IsZero() {
		late = max(0, now.Sub(f.work.OldestTimer))
	}
	c.Facts["timers_late_seconds"] = int64(late.Seconds())
	switch {
	case late > time.Minute:
		c.State, c.Reason, c.Action = Unhealthy, fmt.Sprintf("a wait ended %s ago and its run has not gone on", late.Truncate(time.Second)), "See /admin/jobs/ for timer.fire; the workers stand still or are overrun."
	case f.work.ParkedRuns > 0:
		c.State, c.Reason, c.Action = Degraded, fmt.Sprintf("%d runs are parked for a person", f.work.ParkedRuns), "Open the workflow's runs with the state parked; retry or cancel them."
	}
	return c
}

func judgeCRM(f *facts) Component {
	c := Component{Name: "crm_connector", State: Healthy, Facts: map[string]any{"connections": f.work.Connections, "failing": f.work.FailingConnections, "dirty": f.work.Dirty}}
	if f.work.FailingConnections > 0 {
		c.State, c.Reason, c.Action = Degraded, fmt.Sprintf("%d CRM connections fail", f.work.FailingConnections), "GET /api/crm/status says why. Changes are kept and sent when the CRM answers."
	}
	return c
}

func (s *System) judgeChain(f *facts, now time.Time) Component {
	c := Component{Name: "audit_chain", State: Healthy, Facts: map[string]any{"open_events": f.openEvents, "broken_invariants": s.broken.Load()}}
	age := now.Sub(f.sealedAt)
	if f.sealedAt.Unix() > 0 {
		c.Facts["sealed_seconds_ago"] = int64(age.Seconds())
	}
	switch {
	case s.broken.Load() > 0:
		c.State, c.Reason, c.Action = Degraded, fmt.Sprintf("the nightly check found %d broken rows", s.broken.Load()), "Run leadloom check and report what it prints."
	case f.openEvents > 0 && f.sealedAt.Unix() > 0 && age > 5*time.Minute:
		c.State, c.Reason, c.Action = Degraded, fmt.Sprintf("no event has been sealed for %s", age.Truncate(time.Second)), "See /admin/jobs/ for events.seal."
	}
	return c
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
