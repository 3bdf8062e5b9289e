package mail_test

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"leadloom/internal/mail"
	"leadloom/internal/mail/sink"
)

func startSink(t *testing.T, o sink.Options) (*sink.Server, mail.Settings) {
	t.Helper()
	s, err := sink.Start("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, mail.Settings{Host: "127.0.0.1", Port: s.Addr().Port, TLS: mail.TLSNone, From: "Leadloom <hello@sender.example>", Timeout: time.Minute}
}

func newSender(t *testing.T, s mail.Settings) *mail.Sender {
	t.Helper()
	out, err := mail.NewSender(s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(out.Close)
	return out
}

func letter(to string) *mail.Message {
	return &mail.Message{
		MessageID: "m1.sig@sender.example", Date: time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC),
		From: mail.Address{Name: "Lead Loom", Addr: "hello@sender.example"}, To: mail.Address{Name: "Jürgen Ø", Addr: to},
		Subject: "Grüße aus Köln", HTML: "<p>Hallo <b>Welt</b></p>\n.\n<p>.. Punkt</p>",
	}
}

func TestSend_ArrivesWholeWithOurHeaders(t *testing.T) {
	srv, set := startSink(t, sink.Options{Dir: t.TempDir()})
	o := newSender(t, set).Send(context.Background(), letter("anna@example.com"))
	if o.Result != mail.Sent || o.Code != 250 {
		t.Fatalf("outcome = %+v, want sent", o)
	}
	got := srv.Entries()
	if len(got) != 1 || got[0].Subject != "Grüße aus Köln" || got[0].To != "anna@example.com" || got[0].MessageID != "m1.sig@sender.example" {
		t.Fatalf("entries = %+v", got)
	}
	raw, _, _ := srv.Raw(got[0].Name)
	for _, want := range []string{"text/plain", "text/html", "Hallo Welt", ".. Punkt"} {
		if !strings.Contains(string(raw), want) {
			t.Errorf("the message lacks %q:\n%s", want, raw)
		}
	}
}

func TestSend_Classifies(t *testing.T) {
	refuse := map[string]error{
		"rcpt gone@example.com":    &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "user unknown"},
		"rcpt full@example.com":    &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "mailbox full"},
		"rcpt policy@example.com":  &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "blocked by policy"},
		"rcpt closing@example.com": &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "closing"},
		"data spam@example.com":    &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "looks like spam"},
		"data late@example.com":    &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 3, 0}, Message: "try later"},
		"data cut@example.com":     sink.ErrDrop,
		"rcpt hang@example.com":    sink.ErrDrop,
	}
	cases := []struct {
		to     string
		result mail.Result
		class  mail.Class
		stage  string
	}{
		{"gone@example.com", mail.Rejected, mail.ClassHard, mail.StageRecipient},
		{"full@example.com", mail.Deferred, mail.ClassSoft, mail.StageRecipient},
		{"policy@example.com", mail.Rejected, mail.ClassBlock, mail.StageRecipient},
		{"closing@example.com", mail.Relay, mail.ClassNone, mail.StageRecipient},
		{"spam@example.com", mail.Rejected, mail.ClassBlock, mail.StageContent},
		{"late@example.com", mail.Deferred, mail.ClassSoft, mail.StageContent},
		{"cut@example.com", mail.Unknown, mail.ClassNone, mail.StageContent},
		{"hang@example.com", mail.Relay, mail.ClassNone, mail.StageRecipient},
	}
	for _, c := range cases {
		t.Run(c.to, func(t *testing.T) {
			srv, set := startSink(t, sink.Options{Fault: func(stage, a string) error { return refuse[stage+" "+a] }})
			s := newSender(t, set)
			o := s.Send(context.Background(), letter(c.to))
			if o.Result != c.result || o.Class != c.class || o.Stage != c.stage {
				t.Fatalf("outcome = %+v, want %s/%s at %s", o, c.result, c.class, c.stage)
			}
			if srv.Total() != 0 {
				t.Errorf("a refused message was accepted by the relay")
			}
			wait, _, text := s.Ready()
			if (wait > 0) != (c.result == mail.Relay) {
				t.Errorf("Ready waits %v (%s) after %s: only the relay's own trouble may stop everyone", wait, text, c.result)
			}
			if c.result == mail.Rejected || c.result == mail.Deferred { // the next one goes through the same connection
				if o := s.Send(context.Background(), letter("ok@example.com")); o.Result != mail.Sent {
					t.Errorf("the next recipient = %+v, want sent: one refusal must not fail another", o)
				}
			}
		})
	}
}

func TestSend_RelayDown(t *testing.T) {
	srv, set := startSink(t, sink.Options{})
	_ = srv.Close()
	s := newSender(t, set)
	o := s.Send(context.Background(), letter("a@example.com"))
	if o.Result != mail.Relay || o.Stage != mail.StageDial || o.Text == "" {
		t.Fatalf("outcome = %+v, want relay trouble with its text", o)
	}
	if wait, since, _ := s.Ready(); wait <= 0 || since.IsZero() {
		t.Errorf("Ready = %v since %v, want a wait", wait, since)
	}
}

func TestSend_StaleConnectionIsReplaced(t *testing.T) {
	var conns sync.Map
	srv, set := startSink(t, sink.Options{Fault: func(stage, a string) error { conns.Store(stage+a, true); return nil }})
	s := newSender(t, set)
	if o := s.Send(context.Background(), letter("one@example.com")); o.Result != mail.Sent {
		t.Fatal(o)
	}
	port := srv.Addr().Port
	_ = srv.Close() // the relay restarts: the pooled connection is dead
	again, err := sink.Start(net.JoinHostPort("127.0.0.1", itoa(port)), sink.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if o := s.Send(context.Background(), letter("two@example.com")); o.Result != mail.Sent {
		t.Fatalf("outcome = %+v, want sent over a new connection", o)
	}
	if again.Total() != 1 {
		t.Errorf("the restarted relay has %d messages, want exactly 1", again.Total())
	}
}

func TestSend_Auth(t *testing.T) {
	_, set := startSink(t, sink.Options{Username: "u", Password: "secret-word"})
	set.Username, set.Password = "u", "secret-word"
	if o := newSender(t, set).Send(context.Background(), letter("a@example.com")); o.Result != mail.Sent {
		t.Fatalf("outcome = %+v", o)
	}
	set.Password = "wrong-secret-word"
	o := newSender(t, set).Send(context.Background(), letter("a@example.com"))
	if o.Result != mail.Relay || strings.Contains(o.Text, "secret-word") {
		t.Fatalf("outcome = %+v, want relay trouble without the password", o)
	}
}

func TestSend_ManyAtOnceShareConnections(t *testing.T) {
	var mails atomic.Int64
	srv, set := startSink(t, sink.Options{Fault: func(stage, _ string) error {
		if stage == "mail" {
			mails.Add(1)
		}
		return nil
	}})
	set.MaxConns = 4
	s := newSender(t, set)
	var wg sync.WaitGroup
	for range 200 {
		wg.Go(func() {
			if o := s.Send(context.Background(), letter("x@example.com")); o.Result != mail.Sent {
				t.Errorf("outcome = %+v", o)
			}
		})
	}
	wg.Wait()
	if srv.Total() != 200 || mails.Load() != 200 {
		t.Errorf("%d accepted of %d dialogues, want 200 of 200", srv.Total(), mails.Load())
	}
}

func TestSend_RefusesHeaderInjection(t *testing.T) {
	srv, set := startSink(t, sink.Options{})
	s := newSender(t, set)
	for name, change := range map[string]func(*mail.Message){
		"subject":   func(m *mail.Message) { m.Subject = "a\r\nBcc: x@example.com" },
		"name":      func(m *mail.Message) { m.To.Name = "a\nBcc: x@example.com" },
		"from":      func(m *mail.Message) { m.From.Name = "a\x00b" },
		"messageid": func(m *mail.Message) { m.MessageID = "a>\r\nX: <b" },
	} {
		m := letter("a@example.com")
		change(m)
		if o := s.Send(context.Background(), m); o.Result != mail.Unfit {
			t.Errorf("%s: outcome = %+v, want unfit", name, o)
		}
	}
	if srv.Total() != 0 {
		t.Error("an injected message reached the relay")
	}
}

func itoa(n int) string {
	return strings.TrimPrefix((&net.TCPAddr{Port: n}).String(), ":")
}
