package crash

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"
)

// restWithin is how long an installation may take to finish all work, on a slow machine too. On PostgreSQL the jobs and
// the claimed mails of a killed node come back when its lease has run out, after 30 s.
const restWithin = 6 * time.Minute

// get reads an object, again for a minute while the server is too slow to answer; 0 when it cannot be reached.
func (h *house) get(path string, out any) int {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for began := time.Now(); ; {
		status, b, err := h.srv.Call(context.Background(), "GET", path, nil)
		if err == nil && status == http.StatusOK && json.Unmarshal(b, out) != nil {
			return 0
		}
		if err == nil && status != http.StatusServiceUnavailable {
			return status
		}
		if _, ended := h.srv.Exited(0); ended || time.Since(began) > time.Minute {
			return status
		}
		<-tick.C
	}
}

// find fails for everything that was acknowledged and is not there.
func (h *house) find(a *acks) {
	t := h.s.t
	t.Helper()
	for _, b := range a.bad {
		t.Errorf("a writer got %s", b)
	}
	var checks []func()
	for _, l := range a.leads {
		checks = append(checks, func() { h.findLead(l) })
	}
	there := func(what, path string) {
		checks = append(checks, func() {
			if status := h.get(path, &struct{}{}); status != 200 {
				t.Errorf("%s was acknowledged and is not there: status %d", what, status)
			}
		})
	}
	for _, r := range a.runs {
		there("run "+r.id, "/api/runs/"+r.id)
	}
	for _, m := range a.messages {
		there("message "+m, "/api/email/messages/"+m)
	}
	for _, c := range a.campaigns {
		there("campaign "+c.id, "/api/campaigns/"+c.id)
	}
	for _, b := range a.bulks {
		there("bulk "+b, "/api/bulks/"+b)
	}
	together(checks)
}

// together does all of them, four at a time.
func together(todo []func()) {
	var wg sync.WaitGroup
	for part := range 4 {
		wg.Go(func() {
			for i := part; i < len(todo); i += 4 {
				todo[i]()
			}
		})
	}
	wg.Wait()
}

func (h *house) findLead(l *leadAck) {
	t := h.s.t
	var have struct {
		Email        string   `json:"email"`
		Tags         []string `json:"tags"`
		CustomFields struct {
			N int `json:"n"`
		} `json:"custom_fields"`
	}
	status := h.get("/api/leads/"+url.PathEscape(l.id), &have)
	switch {
	case l.deleted && status == 404, l.asked && !l.deleted && status == 404:
	case l.deleted:
		t.Errorf("lead %s: its deletion was acknowledged and it is there (status %d)", l.id, status)
	case status != 200:
		t.Errorf("lead %s (%s) was acknowledged and is not there: status %d", l.id, l.email, status)
	case have.Email != l.email || have.CustomFields.N < l.value || l.tagged && !slices.Contains(have.Tags, "seen"):
		t.Errorf("lead %s is %+v; acknowledged were %s, n %d, tagged %v", l.id, have, l.email, l.value, l.tagged)
	}
}

// settle lets a last server finish everything, when it may take its time, compares its word with the world's, and
// checks once more.
func (h *house) settle(toRest bool) {
	t := h.s.t
	t.Helper()
	h.start("")
	if toRest {
		h.rest()
	}
	h.find(&h.all)
	for _, d := range h.w.doubled() {
		t.Errorf("came twice: %s", d)
	}
	h.compareRuns()
	if toRest {
		h.compareMails()
	}
	h.srv.Stop()
	h.srv.Close()
	h.check()
}

// rest waits until no work is under way.
func (h *house) rest() {
	t := h.s.t
	t.Helper()
	began, told := time.Now(), time.Now()
	var open []string
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for {
		if open = h.unfinished(); len(open) == 0 {
			break
		}
		if time.Since(began) > restWithin {
			t.Errorf("%d pieces of work never ended, such as %v", len(open), open[:min(5, len(open))])
			break
		}
		if trace && time.Since(told) > 5*time.Second {
			told = time.Now()
			t.Logf("%s after the last kill %d are open, such as %v", time.Since(began).Round(time.Second), len(open), open[:min(5, len(open))])
		}
		<-tick.C
	}
	t.Logf("%s: at rest %s after the last kill", h.s.engine, time.Since(began).Round(100*time.Millisecond))
}

// ended reports that a piece of work has come to its end.
func (h *house) ended(kind, path string) bool {
	var o struct {
		Status string `json:"status"`
		State  string `json:"state"`
	}
	if h.get(path, &o) != 200 {
		return false
	}
	switch kind {
	case "run":
		return finished(o.Status) || o.Status == "cancelled" || o.Status == "parked"
	case "message":
		return o.State != "pending"
	case "campaign":
		return o.Status == "sent"
	}
	return o.Status == "finished"
}

// unfinished names the work that is still under way; what has ended is not asked for again.
func (h *house) unfinished() (open []string) {
	a := &h.all
	for _, w := range []struct {
		kind, path string
		ids        []string
	}{{"run", "/api/runs/", ids(a.runs, func(r runAck) string { return r.id })}, {"message", "/api/email/messages/", a.messages},
		{"campaign", "/api/campaigns/", ids(a.campaigns, func(c campaignAck) string { return c.id })}, {"bulk", "/api/bulks/", a.bulks}} {
		var todo []func()
		var mu sync.Mutex
		for _, id := range w.ids {
			if h.isOver(id) {
				continue
			}
			todo = append(todo, func() {
				over := h.ended(w.kind, w.path+id)
				mu.Lock()
				defer mu.Unlock()
				if over {
					h.over[id] = true
				} else {
					open = append(open, w.kind+" "+id)
				}
			})
		}
		together(todo)
	}
	sent := h.w.inCRM()
	for _, l := range a.leads {
		if !l.asked && !sent[l.email] {
			open = append(open, "lead "+l.id+" for the CRM")
		}
	}
	return open
}

func (h *house) isOver(id string) bool {
	if h.over == nil {
		h.over = map[string]bool{}
	}
	return h.over[id]
}

func ids[T any](all []T, id func(T) string) (out []string) {
	for _, x := range all {
		out = append(out, id(x))
	}
	return out
}

// compareRuns holds each run's calls against the host's record: one that is done came once; one that nobody knows of
// is shown as such; no run is parked for another reason.
func (h *house) compareRuns() {
	t := h.s.t
	var todo []func()
	for _, r := range h.all.runs {
		todo = append(todo, func() {
			var run struct {
				Status string `json:"status"`
				Parked *struct {
					Code string `json:"code"`
				} `json:"parked"`
				Intents []struct {
					Key, Effect, State string
				} `json:"intents"`
			}
			if h.get("/api/runs/"+r.id, &run) != 200 {
				t.Errorf("run %s cannot be read", r.id)
				return
			}
			if run.Parked != nil && run.Parked.Code != "outcome_unknown" && run.Parked.Code != "cut_off" { // of a call, of a mail
				t.Errorf("run %s is parked: %s", r.id, run.Parked.Code)
			}
			for _, i := range run.Intents {
				if n := h.w.called(i.Key); i.Effect == "action.http" && i.State == "done" && n != 1 {
					t.Errorf("step %s is done and the host has %d calls of it", i.Key, n)
				}
			}
		})
	}
	together(todo)
}

// compareMails holds the ledger against the relay's record: sent ones are there, and what is there is sent or unknown;
// the sums of each campaign add up.
func (h *house) compareMails() {
	t := h.s.t
	for _, c := range h.all.campaigns {
		var view struct {
			Counts struct{ Recipients, Pending, Sent, Skipped, Failed, Unknown int } `json:"counts"`
		}
		var list struct {
			Recipients []struct{ Address, State string } `json:"recipients"`
		}
		if h.get("/api/campaigns/"+c.id, &view) != 200 || h.get("/api/campaigns/"+c.id+"/recipients?limit=100", &list) != 200 {
			t.Errorf("campaign %s cannot be read", c.id)
			continue
		}
		n, there := view.Counts, h.w.mails(c.name)
		if n.Recipients != recipients || n.Pending != 0 || n.Sent+n.Skipped+n.Failed+n.Unknown != recipients || n.Failed+n.Skipped > 0 {
			t.Errorf("campaign %s with %d recipients is over with %+v", c.id, recipients, n)
		}
		states := map[string]string{}
		for _, r := range list.Recipients {
			if states[r.Address] = r.State; r.State == "sent" && there[r.Address] != 1 {
				t.Errorf("campaign %s: %s is sent, the relay has it %d times", c.id, r.Address, there[r.Address])
			}
		}
		for to := range there {
			if states[to] != "sent" && states[to] != "unknown" {
				t.Errorf("campaign %s: the relay has %s, the ledger says %q", c.id, to, states[to])
			}
		}
	}
}
