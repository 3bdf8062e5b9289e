package faults

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	_ "github.com/jackc/pgx/v5/stdlib" // reads how often periodic work ran

	"leadloom/internal/testpg"
	"leadloom/test/live"
)

// wrongClock is a server whose clock the test moves while it runs.
type wrongClock struct {
	t    *testing.T
	how  live.How
	file string
	data []string
	s    *live.Server

	began         time.Time
	starts, jumps int
}

// newWrongClock starts it on SQLite, or with the arguments of another database.
func newWrongClock(t *testing.T, database ...string) *wrongClock {
	dir := t.TempDir()
	c := &wrongClock{t: t, began: time.Now(), file: filepath.Join(dir, "clock"), data: append([]string{"--data", filepath.Join(dir, "data")}, database...)}
	c.how = live.How{Failpoints: true, Env: []string{"LEADLOOM_TEST_CLOCK=" + c.file}}
	c.set(0)
	if out, err := live.RunHow(t, c.how, password+"\n", append([]string{"user", "create", "--username", "ada", "--password-stdin"}, c.data...)...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	c.start()
	c.s.Login("ada", password)
	return c
}

func (c *wrongClock) start() {
	c.t.Helper()
	s, err := live.TryHow(c.t, c.how, append([]string{"serve", "--addr", live.FreeAddr(c.t), "--log-level", "warn"}, c.data...)...)
	if err != nil {
		c.t.Fatal(err)
	}
	c.s = s
	c.starts++
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
	<-time.After(10 * time.Millisecond) // the server looks again after five
	c.jumps++
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
// in, jobs and periodic work run, every wait ends once and in its own time, and the events' chain holds.
func TestClockJumps_NothingIsLostDoubledOrLockedOut(t *testing.T) {
	jumps := [][]time.Duration{{24 * time.Hour, -24 * time.Hour, time.Hour, -time.Hour}, {time.Hour, -24 * time.Hour, 24 * time.Hour, -time.Hour}, {-time.Hour, 24 * time.Hour, -24 * time.Hour}}
	t.Run("sqlite", func(t *testing.T) {
		for _, by := range some(t, 1, jumps) {
			newWrongClock(t).jump(by)
		}
	})
	t.Run("postgres", func(t *testing.T) { // its own machine's clock is right
		long(t)
		for _, by := range jumps {
			newWrongClock(t, "--database-url", testpg.URL(t)).jump(by)
		}
	})
}

func (c *wrongClock) jump(jumps []time.Duration) {
	t := c.t
	t.Helper()
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
	for i, by := range jumps {
		now += by
		c.set(now)
		if i%2 == 1 { // as a machine that dies and comes back with another clock
			c.s.Kill()
			c.start()
		}
		c.live(fmt.Sprintf("after %s (%s in all)", by, now), pure, leads[0])
		enter(fmt.Sprintf("jump %d", i))
	}
	// Half an hour at a time, as often as a wait can be told of a step back: never the day that the clock was ahead.
	for range 3 {
		now += 31 * time.Minute
		c.set(now)
		c.s.Login("ada", password) // the last access token is over by now
		if c.ended(waiting, 5*time.Second) {
			break
		}
	}
	for i, r := range waiting {
		c.finished("a wait of 30 minutes", r)
		if i == 0 {
			continue // its lead has the scores of the other runs too
		}
		if n := c.score(leads[i]); n != 1 {
			t.Errorf("lead %d has a score of %d: its wait ended %d times", i, n, n)
		}
	}
	until(t, c.s, "/health", 200)
	for _, id := range []string{"crm.sweep", "mail.sweep"} { // whose timers run by the machine's clock, not by the one that jumped
		for from := time.Now(); c.periodic(id) < 1 && time.Since(from) < patience; {
			<-time.After(200 * time.Millisecond)
		}
	}
	c.s.Stop()
	for id, every := range map[string]time.Duration{"crm.sweep": 15 * time.Second, "mail.sweep": time.Minute} {
		// One for each interval of the time that has passed, and at most one that makes up, or begins again, for each jump and start.
		if n, most := c.periodic(id), int64(time.Since(c.began)/every)+int64(c.starts+c.jumps)+1; n < 1 || n > most {
			t.Errorf("%s ran %d times in %s with %d jumps, want 1 to %d", id, n, time.Since(c.began), c.jumps, most)
		}
	}
	if out, err := live.RunHow(t, c.how, "", append([]string{"check"}, c.data...)...); err != nil {
		t.Errorf("leadloom check: %v\n%s", err, out)
	}
}

// ended reports whether all of these runs have finished within a time.
func (c *wrongClock) ended(runs []string, within time.Duration) bool {
	for _, r := range runs {
		for began := time.Now(); ; <-time.After(50 * time.Millisecond) {
			if _, b, err := c.s.Call(context.Background(), "GET", "/api/runs/"+r, nil); err == nil && strings.Contains(string(b), `"status":"finished"`) {
				break
			}
			if time.Since(began) > within {
				return false
			}
		}
	}
	return true
}

// periodic is how often a piece of periodic work was started.
func (c *wrongClock) periodic(id string) (n int64) {
	c.t.Helper()
	driver, source := "sqlite", "file:"+filepath.Join(c.data[1], "leadloom.db")
	if len(c.data) > 2 {
		driver, source = "pgx", c.data[3]
	}
	db, err := sql.Open(driver, source)
	if err != nil {
		c.t.Fatal(err)
	}
	defer db.Close()
	if err := db.QueryRow("SELECT runs FROM periodic_runs WHERE id=$1", id).Scan(&n); err != nil {
		c.t.Fatalf("periodic work %s: %v", id, err)
	}
	return n
}

// A session ends when its time is over by a clock that is ahead, and one that was ended never comes back.
func TestClockJumps_NoEndedSessionComesBack(t *testing.T) {
	c := newWrongClock(t)
	login := func() (access, refresh string) {
		var out struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		c.s.Must(&out, "POST", "/api/auth/login", map[string]string{"username": "ada", "password": password})
		return out.Access, out.Refresh
	}
	wants := func(when, token string, want int) {
		t.Helper()
		c.s.Token = token
		if r, err := call(c.s, "GET", "/api/auth/me", ""); err != nil || r.status != want {
			t.Errorf("%s: %+v %v, want %d", when, r, err, want)
		}
	}
	exchange := func(when, refresh string, want int) {
		t.Helper()
		c.s.Token = ""
		if r, err := call(c.s, "POST", "/api/auth/refresh", `{"refresh_token":"`+refresh+`"}`); err != nil || r.status != want {
			t.Errorf("%s: %+v %v, want %d", when, r, err, want)
		}
	}
	first, firstRefresh := login()
	c.set(2 * time.Hour)
	wants("an access token of two hours ago", first, 401)
	c.set(13 * time.Hour)
	exchange("a session that was idle for 13 hours", firstRefresh, 401)
	ahead, aheadRefresh := login()
	ended, endedRefresh := login()
	c.set(0)
	wants("a session that a clock ahead has begun", ahead, 200)
	c.s.Token = ended
	c.s.Must(nil, "POST", "/api/auth/logout", nil)
	for _, now := range []time.Duration{0, 13 * time.Hour, -24 * time.Hour, time.Minute} {
		c.set(now)
		wants(fmt.Sprintf("a session that was ended, %s off", now), ended, 401)
		exchange(fmt.Sprintf("a session that was ended, %s off", now), endedRefresh, 401)
	}
	c.set(26 * time.Hour) // its own time by the clock that it was begun by
	wants("an access token of the clock ahead", ahead, 401)
	exchange("a session of the clock ahead", aheadRefresh, 401)
	c.s.Stop()
	if out, err := live.RunHow(t, c.how, "", append([]string{"check"}, c.data...)...); err != nil {
		t.Errorf("leadloom check: %v\n%s", err, out)
	}
}

// live wants everything of every day to work at once.
func (c *wrongClock) live(when, pure, lead string) {
	c.t.Helper()
	for began := time.Now(); ; <-time.After(50 * time.Millisecond) {
		var out struct {
			Access string `json:"access_token"`
		}
		status, b, err := c.s.Call(context.Background(), "POST", "/api/auth/login", map[string]string{"username": "ada", "password": password})
		if err == nil && status == 200 && json.Unmarshal(b, &out) == nil {
			c.s.Token = out.Access
			break
		}
		if time.Since(began) > patience {
			c.t.Fatalf("%s: nobody can log in: %d %v\n%s", when, status, err, b)
		}
	}
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
