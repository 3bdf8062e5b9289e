package faults

import (
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/failpoint"
	"leadloom/test/live"
)

// SIGTERM while messages are in their dialogue and people write: it ends within its bound although the relay says
// nothing more, and after the next start each message has one fate and nobody gets one twice.
func TestSIGTERM_InMidCampaign(t *testing.T) {
	r := newRelay(t)
	data := []string{"--data", t.TempDir()}
	more := append(r.args(), "--shutdown-timeout", "4s")
	s := serveWith(t, data, more...)
	r.misbehave(misdeed{at: ".", keeps: true, then: "hang"}, -1)
	id := launch(s, "stop", 40)
	var l ledger
	stop := l.load(s, 4)
	for range 10 {
		l.writes(t, s, 200)
	}
	for began := time.Now(); r.metTimes() < 3; <-time.After(10 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("only %d dialogues have begun\n%s", r.metTimes(), s.Log())
		}
	}
	s.Stop() // fails unless it ends within a minute with exit code 0
	stop()
	met := r.metTimes()
	r.heal()
	again := live.Start(t, slices.Concat([]string{"serve", "--addr", live.FreeAddr(t), "--log-level", "warn"}, data, more)...)
	again.Login("ada", password)
	unknown := 0
	taken := r.taken()
	for _, row := range (smtpCase{}).await(t, again, id, 2*time.Minute, func(row recipient) bool { return row.State != "pending" }) {
		if taken = r.taken(); taken[row.Address] > 1 || row.State != "sent" && row.State != "unknown" {
			t.Errorf("%s is %s (%s); the relay has %d", row.Address, row.State, row.Reason, taken[row.Address])
		}
		if row.State == "unknown" {
			unknown++
		}
	}
	if unknown > met {
		t.Errorf("%d messages are unknown, %d were in their dialogue", unknown, met)
	}
	l.bad = nil // connections that were refused once it had stopped
	l.settle(t, again)
	again.Stop()
	live.MustRun(t, "", append([]string{"check"}, data...)...)
}

// serveNear is a server that stops within four seconds and may call hosts of this machine, which a release never may.
func serveNear(t *testing.T, h *host) (s *live.Server, again func() *live.Server, data []string) {
	t.Helper()
	data = []string{"--data", t.TempDir()}
	how := live.How{Failpoints: true, Env: []string{failpoint.TargetsVariable + "=" + h.addr()}}
	if out, err := live.RunHow(t, how, password+"\n", append([]string{"user", "create", "--username", "ada", "--password-stdin"}, data...)...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	again = func() *live.Server {
		t.Helper()
		s, err := live.TryHow(t, how, append([]string{"serve", "--addr", live.FreeAddr(t), "--log-level", "warn", "--shutdown-timeout", "4s"}, data...)...)
		if err != nil {
			t.Fatal(err)
		}
		s.Login("ada", password)
		return s
	}
	return again(), again, data
}

// asked waits until the host has misbehaved.
func (h *host) asked(t *testing.T, s *live.Server) {
	t.Helper()
	for began := time.Now(); h.hits() == 0; <-time.After(10 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("it never called\n%s", s.Log())
		}
	}
}

// SIGTERM while a workflow's call hangs: the step is tried again after the next start, with its key, or parked as
// unknown; the run is never lost.
func TestSIGTERM_InMidCall(t *testing.T) {
	h := newHost(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) }))
	s, next, data := serveNear(t, h)
	h.misbehave(hangs, 1, func(r *http.Request) bool { return r.URL.Path == "/stop" })
	w := startCall(s, h.URL+"/stop", lead(s, "stop@example.com"))
	h.asked(t, s)
	s.Stop()
	again := next()
	again.Until(2*patience, "the run", "/api/runs/"+w, func(b []byte) bool {
		return strings.Contains(string(b), `"status":"finished"`) || strings.Contains(string(b), `"status":"parked"`)
	})
	again.Stop()
	live.MustRun(t, "", append([]string{"check"}, data...)...)
}

// SIGTERM while a CRM has taken a batch and says nothing: it ends within its bound, the rest is sent after the next
// start, and each lead is there once.
func TestSIGTERM_InMidDrain(t *testing.T) {
	sim, err := simulator.Start(simulator.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer sim.Close()
	h := newHost(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { forward(w, r, sim.URL()+r.URL.Path) }))
	s, next, data := serveNear(t, h)
	const leads = 300
	for i := range leads {
		lead(s, fmt.Sprintf("drain%d@example.com", i))
	}
	taken := misreply{"takes a batch and says nothing", func(c net.Conn, do func() []byte) { do(); hangs.say(c, nil) }}
	h.misbehave(taken, 1, func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/batch") })
	var con struct {
		ID string `json:"connection_id"`
	}
	s.Must(&con, "POST", "/api/crm/config", map[string]any{"crm_type": "generic", "name": "stop", "api_url": h.URL + "/api", "api_key": "k",
		"authentication": map[string]any{"rate_per_second": 1000, "timeout_seconds": 30}})
	h.asked(t, s)
	began := time.Now()
	s.Stop()
	t.Logf("ended after %s with %d of %d leads sent", time.Since(began).Round(time.Millisecond), sim.Count(), leads)
	if n := sim.Count(); n == 0 || n == leads {
		t.Errorf("%d of %d leads were sent at the stop: it came not in the middle", n, leads)
	}
	again := next()
	for began := time.Now(); sim.Count() < leads || standingOf(again, con.ID).State != "ok"; <-time.After(20 * time.Millisecond) {
		if time.Since(began) > 2*patience {
			t.Fatalf("%d of %d leads have arrived; the connection is %+v", sim.Count(), leads, standingOf(again, con.ID))
		}
	}
	if n := sim.Count(); n != leads {
		t.Errorf("%d records for %d leads", n, leads)
	}
	again.Stop()
	live.MustRun(t, "", append([]string{"check"}, data...)...)
}

// lead creates one and returns its id.
func lead(s *live.Server, email string) string {
	var l struct{ ID string }
	s.Must(&l, "POST", "/api/leads", map[string]any{"email": email, "last_name": "Fault"})
	return l.ID
}
