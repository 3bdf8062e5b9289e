package faults

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

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

// SIGTERM while a workflow's call hangs: the step is tried again after the next start, with its key, or parked as
// unknown; the run is never lost.
func TestSIGTERM_InMidCall(t *testing.T) {
	if !everything() {
		t.Skip("waits for the demo's own bound of half a minute: make faults")
	}
	h := newHost(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{}`) }))
	s, dir := demo(t, h)
	h.misbehave(hangs, 1, func(r *http.Request) bool { return r.URL.Path == "/stop" })
	w := startCall(s, h.URL+"/stop")
	for began := time.Now(); h.hits() == 0; <-time.After(10 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatal("it never called")
		}
	}
	s.Stop()
	again := live.Start(t, "demo", "--addr", live.FreeAddr(t), "--data", dir, "--allow-targets", h.addr())
	again.Login("admin", "admin123")
	again.Until(2*patience, "the run", "/api/runs/"+w, func(b []byte) bool {
		return strings.Contains(string(b), `"status":"finished"`) || strings.Contains(string(b), `"status":"parked"`)
	})
	again.Stop()
	live.MustRun(t, "", "check", "--data", dir)
}
