package mail_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"leadloom/internal/mail"
	"leadloom/internal/mail/sink"
)

// A relay that says without end is cut off, whatever it answers and however its lines end.
func TestSend_RelayThatNeverStopsTalking(t *testing.T) {
	for at, want := range map[string]mail.Result{"CONNECT": mail.Relay, "EHLO": mail.Relay, "MAIL": mail.Relay, "RCPT": mail.Relay, "DATA": mail.Relay, ".": mail.Unknown} {
		for form, answer := range map[string]string{"one line": "250 " + strings.Repeat("x", 1<<20), "many lines": strings.Repeat("250-x\n", 100_000) + "250 x"} {
			t.Run(at+", "+form, func(t *testing.T) {
				o := newSender(t, script(t, func(_ int, command string) string {
					if command == at {
						return answer
					}
					return "usual"
				})).Send(context.Background(), letter("a@example.com"))
				if o.Result != want || !strings.Contains(o.Text, "far more than an answer") || len(o.Text) > 500 {
					t.Errorf("outcome = %+v, want %s and why", o, want)
				}
			})
		}
	}
}

// Connecting has one time-out in all: a relay that keeps each step of it just below that gets no more.
func TestSend_ConnectingIsOneTimeOut(t *testing.T) {
	set := script(t, func(_ int, command string) string {
		if command == "CONNECT" || command == "EHLO" {
			<-time.After(300 * time.Millisecond) // the relay's pace
		}
		return "usual"
	})
	set.Timeout = 400 * time.Millisecond
	if o := newSender(t, set).Send(context.Background(), letter("a@example.com")); o.Result != mail.Relay || o.Stage != mail.StageDial {
		t.Errorf("outcome = %+v, want relay trouble while connecting", o)
	}
}

// A relay that freezes under an idle connection costs one time-out, not one for each connection.
func TestSend_IdleConnectionThatHangs(t *testing.T) {
	var frozen atomic.Bool
	var conns atomic.Int64
	set := script(t, func(_ int, command string) string {
		if command == "CONNECT" {
			conns.Add(1)
		}
		if frozen.Load() {
			return ""
		}
		return "usual"
	})
	set.Timeout = 200 * time.Millisecond
	s := newSender(t, set)
	if o := s.Send(context.Background(), letter("a@example.com")); o.Result != mail.Sent {
		t.Fatalf("outcome = %+v", o)
	}
	frozen.Store(true)
	if o := s.Send(context.Background(), letter("b@example.com")); o.Result != mail.Relay || conns.Load() != 1 {
		t.Errorf("outcome = %+v over %d connections, want relay trouble and no second try", o, conns.Load())
	}
}

// Whoever finds every connection taken waits for one time-out: his claim must not run out while he waits.
func TestSend_GivesUpWhenNoConnectionGetsFree(t *testing.T) {
	release, begun := make(chan struct{}), make(chan struct{}, 1)
	_, set := startSink(t, sink.Options{Fault: func(stage, _ string) error {
		if stage == "rcpt" {
			begun <- struct{}{}
			<-release
		}
		return nil
	}})
	set.MaxConns, set.Timeout = 1, 500*time.Millisecond
	s := newSender(t, set)
	first := make(chan mail.Outcome, 1)
	go func() { first <- s.Send(context.Background(), letter("a@example.com")) }()
	<-begun
	second := make(chan mail.Outcome, 1)
	go func() { second <- s.Send(context.Background(), letter("b@example.com")) }()
	for _, c := range []chan mail.Outcome{first, second} {
		if o := <-c; o.Result != mail.Relay {
			t.Errorf("outcome = %+v, want relay trouble", o)
		}
	}
	close(release)
}

// Trouble is measured by the sender's own clock, from its first failure to the first answer.
func TestTroubleFor(t *testing.T) {
	var shift atomic.Int64
	var down atomic.Bool
	set := script(t, func(_ int, command string) string {
		if down.Load() {
			return "drop"
		}
		return "usual"
	})
	base := time.Now()
	set.Now = func() time.Time { return base.Add(time.Duration(shift.Load())) }
	s := newSender(t, set)
	down.Store(true)
	for range 3 {
		if o := s.Send(context.Background(), letter("a@example.com")); o.Result != mail.Relay {
			t.Fatalf("outcome = %+v", o)
		}
		shift.Add(int64(10 * time.Minute))
	}
	if d := s.TroubleFor(); d != 30*time.Minute {
		t.Errorf("in trouble for %s, want 30 min", d)
	}
	down.Store(false)
	if o := s.Send(context.Background(), letter("a@example.com")); o.Result != mail.Sent || s.TroubleFor() != 0 {
		t.Errorf("outcome = %+v, still in trouble for %s", o, s.TroubleFor())
	}
}
