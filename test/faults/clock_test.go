package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"leadloom/test/live"
)

// wrongClock is a server whose clock the test moves while it runs.
type wrongClock struct {
	t    *testing.T
	how  live.How
	file string
	data []string
	s    *live.Server
}

func newWrongClock(t *testing.T) *wrongClock {
	dir := t.TempDir()
	c := &wrongClock{t: t, file: filepath.Join(dir, "clock"), data: []string{"--data", filepath.Join(dir, "data")}}
	c.how = live.How{Failpoints: true, Env: []string{"LEADLOOM_TEST_CLOCK=" + c.file}}
	c.set(0)
	if out, err := live.RunHow(t, c.how, password+"\n", append([]string{"user", "create", "--username", "ada", "--password-stdin"}, c.data...)...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c.start()
	return c
}

func (c *wrongClock) start() {
	c.t.Helper()
	s, err := live.TryHow(c.t, c.how, append([]string{"serve", "--addr", live.FreeAddr(c.t), "--log-level", "warn"}, c.data...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.s = s
	s.Login("ada", password)
}

// set makes the clock wrong by d, in one step.
func (c *wrongClock) set(d time.Duration) {
	c.t.Helper()
	next := c.file + ".next"
	if err := os.WriteFile(next, []byte(d.String()), 0o600); err != nil {
		c.t.Fatal(err)
	}
	if err := os.Rename(next, c.file); err != nil {
		c.t.Fatal(err)
	}
}

func (c *wrongClock) workflow(name, node string) string {
	var w struct{ ID string }
	c.s.Must(&w, "POST", "/api/workflows", json.RawMessage(`{"name":"`+name+`","triggers":[{"type":"api"}],"entry":{"reentry":"always"},"start":"first","nodes":{"first":`+node+`,
		"score":{"type":"action.add_score","config":{"points":1,"reason":"clock"},"next":"end"}}}`))
	return w.ID
}

// lead creates one, and run starts a run of it.
func (c *wrongClock) lead(name string) (id string) {
	var l struct{ ID string }
	c.s.Must(&l, "POST", "/api/leads", map[string]any{"company": name, "last_name": "Clock"})
	return l.ID
}

func (c *wrongClock) run(workflow, lead string) string {
	var r struct {
		ID string `json:"execution_id"`
	}
	c.s.Must(&r, "POST", "/api/workflows/trigger", map[string]any{"workflow_id": workflow, "lead_id": lead})
	return r.ID
}

func (c *wrongClock) finished(what, run string) {
	c.t.Helper()
	c.s.Until(patience, what, "/api/runs/"+run, func(b []byte) bool { return strings.Contains(string(b), `"status":"finished"`) })
}

func (c *wrongClock) score(lead string) (n int) {
	var l struct{ Score int }
	c.s.Must(&l, "GET", "/api/leads/"+lead, nil)
	return l.Score
}

// A clock that jumps, forward and back, while the server runs and between its end and its next start: people can log
// in, jobs run, every wait ends once, and the events' chain holds.
func TestClockJumps_NothingIsLostDoubledOrLockedOut(t *testing.T) {
	c := newWrongClock(t)
	waits := c.workflow("Waits", `{"type":"wait.duration","config":{"duration":"30m"},"next":"score"}`)
	pure := c.workflow("Pure", `{"type":"action.add_tag","config":{"tag":"clock"},"next":"score"}`)
	var waiting, leads []string
	enter := func(name string) {
		l := c.lead(name)
		r := c.run(waits, l)
		c.s.Until(patience, "the wait has begun", "/api/runs/"+r, func(b []byte) bool { return strings.Contains(string(b), `"status":"waiting"`) })
		leads, waiting = append(leads, l), append(waiting, r)
	}
	enter("before")
	for range 7 { // failed logins of before must lock nobody out afterwards
		r, err := call(c.s, "POST", "/api/auth/login", `{"username":"ada","password":"wrong-password-0"}`)
		if err != nil || r.status != 401 && r.status != 429 {
			t.Fatalf("a wrong password: %+v %v", r, err)
		}
	}
	now := time.Duration(0)
	jumps := [][]time.Duration{{24 * time.Hour, -24 * time.Hour, time.Hour, -time.Hour}, {time.Hour, -24 * time.Hour, 24 * time.Hour, -time.Hour}, {-time.Hour, 24 * time.Hour, -24 * time.Hour}}
	for i, by := range some(t, 1, jumps)[0] {
		now += by
		c.set(now)
		if i%2 == 1 { // as a machine that dies and comes back with another clock
			c.s.Kill()
			c.start()
		}
		c.live(fmt.Sprintf("after %s (%s in all)", by, now), pure, leads[0])
		enter(fmt.Sprintf("jump %d", i))
	}
	c.set(now + 26*time.Hour + 31*time.Minute) // later than any wait that a clock ahead has begun
	c.s.Kill()
	c.start()
	for i, r := range waiting {
		c.finished("a wait of 30 minutes", r)
		want := 1
		if i == 0 {
			continue // its lead has the scores of the other runs too
		}
		if n := c.score(leads[i]); n != want {
			t.Errorf("lead %d has a score of %d: its wait ended %d times", i, n, n)
		}
	}
	until(t, c.s, "/health", 200)
	c.s.Stop()
	if out, err := live.RunHow(t, c.how, "", append([]string{"check"}, c.data...)...); err != nil {
		t.Errorf("leadloom check: %v\n%s", err, out)
	}
}

// live wants everything of every day to work at once.
func (c *wrongClock) live(when, pure, lead string) {
	c.t.Helper()
	for began := time.Now(); ; <-time.After(50 * time.Millisecond) {
		r, err := call(c.s, "POST", "/api/auth/login", `{"username":"ada","password":"`+password+`"}`)
		if err == nil && r.status == 200 {
			break
		}
		if time.Since(began) > patience {
			c.t.Fatalf("%s: nobody can log in: %+v %v", when, r, err)
		}
	}
	c.s.Login("ada", password)
	before := c.updated(lead)
	score := c.score(lead)
	c.s.Must(nil, "PUT", "/api/leads/"+lead, map[string]any{"first_name": when})
	if after := c.updated(lead); after.Before(before) {
		c.t.Errorf("%s: updated_at went from %s to %s", when, before, after)
	}
	c.finished(when+": a run without waits", c.run(pure, lead))
	if n := c.score(lead); n < score+1 {
		c.t.Errorf("%s: a score of %d after one of %d", when, n, score)
	}
	var list struct{ Leads []struct{ ID string } }
	c.s.Must(&list, "GET", "/api/leads?limit=100", nil)
	if !slices.ContainsFunc(list.Leads, func(l struct{ ID string }) bool { return l.ID == lead }) {
		c.t.Errorf("%s: the list has no lead %s", when, lead)
	}
}

func (c *wrongClock) updated(lead string) time.Time {
	var l struct {
		At time.Time `json:"updated_at"`
	}
	c.s.Must(&l, "GET", "/api/leads/"+lead, nil)
	return l.At
}
