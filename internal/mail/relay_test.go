package mail_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"leadloom/internal/mail"
	"leadloom/internal/mail/sink"
)

// testCA makes a certificate authority with one server certificate for 127.0.0.1.
func testCA(t *testing.T) (server *tls.Config, roots *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test relay"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	roots = x509.NewCertPool()
	roots.AddCert(parsed)
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, roots
}

func TestSend_OverTLSWithLogin(t *testing.T) {
	server, roots := testCA(t)
	for name, mode := range map[string]mail.TLSMode{"starttls": mail.TLSStart, "implicit": mail.TLSImplicit} {
		t.Run(name, func(t *testing.T) {
			srv, set := startSink(t, sink.Options{TLS: server, Implicit: mode == mail.TLSImplicit, Username: "u", Password: "secret-word"})
			set.TLS, set.Username, set.Password = mode, "u", "secret-word"
			set.TLSConf = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}
			s := newSender(t, set)
			for range 2 { // the second one over the same connection
				if o := s.Send(context.Background(), letter("a@example.com")); o.Result != mail.Sent {
					t.Fatalf("outcome = %+v", o)
				}
			}
			set.TLSConf = nil // the system's roots do not know the test's authority
			o := newSender(t, set).Send(context.Background(), letter("a@example.com"))
			if o.Result != mail.Relay || !strings.Contains(o.Text, "certificate") {
				t.Errorf("unknown authority: %+v, want relay trouble that names the certificate", o)
			}
			set.TLSConf, set.Password = &tls.Config{RootCAs: roots, ServerName: "127.0.0.1"}, "wrong"
			if o = newSender(t, set).Send(context.Background(), letter("a@example.com")); o.Result != mail.Relay || o.Code != 535 {
				t.Errorf("wrong password: %+v, want relay trouble with 535", o)
			}
			if srv.Total() != 2 {
				t.Errorf("the relay has %d messages, want 2", srv.Total())
			}
		})
	}
}

func TestSend_NothingInTheClearWhenTLSIsRequired(t *testing.T) {
	var said atomic.Int64
	_, set := startSink(t, sink.Options{Fault: func(string, string) error { said.Add(1); return nil }})
	set.TLS = mail.TLSStart
	o := newSender(t, set).Send(context.Background(), letter("a@example.com"))
	if o.Result != mail.Relay || !strings.Contains(o.Text, "STARTTLS") || said.Load() != 0 {
		t.Errorf("outcome = %+v after %d commands, want relay trouble that names STARTTLS and none", o, said.Load())
	}
}

// script is a relay that answers line by line: what it returns is sent as it is, "" is silence, and "drop" hangs up.
// The content is one command, ".".
func script(t *testing.T, answer func(conn int, command string) string) mail.Settings {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for n := 1; ; n++ {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go speak(c, n, answer)
		}
	}()
	return mail.Settings{Host: "127.0.0.1", Port: ln.Addr().(*net.TCPAddr).Port, TLS: mail.TLSNone, From: "hello@sender.example", Timeout: time.Minute}
}

func speak(c net.Conn, n int, answer func(int, string) string) {
	defer c.Close()
	r := bufio.NewReader(c)
	usual := map[string]string{"CONNECT": "220 hi", "EHLO": "250 hi", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go", ".": "250 2.0.0 queued as 1", "RSET": "250 ok", "QUIT": "221 bye"}
	command, inData := "CONNECT", false
	for {
		a := answer(n, command)
		if a == "drop" {
			return
		}
		if a == "usual" {
			a = usual[command]
		}
		if a != "" {
			if _, err := c.Write([]byte(strings.ReplaceAll(a, "\n", "\r\n") + "\r\n")); err != nil {
				return
			}
		}
		inData = command == "DATA" && strings.HasPrefix(a, "354")
		for {
			line, err := r.ReadString('\n')
			if err != nil {
				return
			}
			line = strings.TrimRight(line, "\r\n")
			if !inData {
				command, _, _ = strings.Cut(line, " ")
				break
			}
			if command = "."; line == "." {
				break
			}
		}
	}
}

func TestSend_ReadsWhatTheRelaySays(t *testing.T) {
	cases := []struct {
		name, at, answer string
		result           mail.Result
		class            mail.Class
		enhanced         string
		waits            bool
	}{
		{"the reason is on the second line", "RCPT", "550-Message refused\n550 5.7.1 blocked using a list", mail.Rejected, mail.ClassBlock, "5.7.1", false},
		{"a mailbox that is gone", "RCPT", "550-5.1.1 The account\n550 5.1.1 does not exist", mail.Rejected, mail.ClassHard, "5.1.1", false},
		{"the relay does not relay for us", "RCPT", "554 5.7.1 <a@example.com>: Relay access denied", mail.Relay, mail.ClassNone, "5.7.1", true},
		{"the relay wants a login", "MAIL", "530 5.7.0 Authentication required", mail.Relay, mail.ClassNone, "5.7.0", true},
		{"sender refused", "MAIL", "550 5.1.8 sender unknown", mail.Rejected, mail.ClassBlock, "5.1.8", false},
		{"our rate", "RCPT", "450 4.7.1 rate limit exceeded", mail.Relay, mail.ClassNone, "4.7.1", true},
		{"closing after the message", ".", "421 4.3.2 closing", mail.Relay, mail.ClassNone, "4.3.2", true},
		{"cut off after the message", ".", "drop", mail.Unknown, mail.ClassNone, "", false},
		{"cut off before the content", "DATA", "drop", mail.Relay, mail.ClassNone, "", true},
		{"a reply that is none", "RCPT", "what?", mail.Relay, mail.ClassNone, "", true},
		{"control characters", ".", "554 5.7.1 no\x00 \x1b[31mthanks", mail.Rejected, mail.ClassBlock, "5.7.1", false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			s := newSender(t, script(t, func(_ int, command string) string {
				if command == c.at {
					return c.answer
				}
				return "usual"
			}))
			o := s.Send(context.Background(), letter("a@example.com"))
			if o.Result != c.result || o.Class != c.class || o.Enhanced != c.enhanced {
				t.Errorf("outcome = %+v, want %s %s %s", o, c.result, c.class, c.enhanced)
			}
			if strings.ContainsAny(o.Text, "\x00\x1b\r\n") || o.Text == "" {
				t.Errorf("text = %q", o.Text)
			}
			if wait, _, _ := s.Ready(); (wait > 0) != c.waits {
				t.Errorf("waits %v, want %v", wait, c.waits)
			}
		})
	}
}

func TestSend_RelayThatTakesOneMessageAConnection(t *testing.T) {
	var mails, sent atomic.Int64
	s := newSender(t, script(t, func(_ int, command string) string {
		switch {
		case command == "CONNECT":
			mails.Store(0)
		case command == "MAIL" && mails.Add(1) > 1:
			return "421 4.7.0 too many messages in this connection"
		case command == ".":
			sent.Add(1)
		}
		return "usual"
	}))
	for i := range 3 {
		if o := s.Send(context.Background(), letter("a@example.com")); o.Result != mail.Sent {
			t.Fatalf("message %d: %+v", i, o)
		}
	}
	if wait, _, _ := s.Ready(); wait > 0 || sent.Load() != 3 {
		t.Errorf("%d sent, waits %v; want 3 and no wait", sent.Load(), wait)
	}
}

func TestSend_HangingRelay(t *testing.T) {
	for at, want := range map[string]mail.Result{"CONNECT": mail.Relay, "MAIL": mail.Relay, "RCPT": mail.Relay, "DATA": mail.Relay, ".": mail.Unknown} {
		t.Run(at, func(t *testing.T) {
			set := script(t, func(_ int, command string) string {
				if command == at {
					return ""
				}
				return "usual"
			})
			set.Timeout = 100 * time.Millisecond
			if o := newSender(t, set).Send(context.Background(), letter("a@example.com")); o.Result != want {
				t.Errorf("outcome = %+v, want %s", o, want)
			}
		})
	}
}

// TestSend_RelayThatCutsOffEveryMessageIsInTrouble: what it leaves open is never sent again, so that it must not get
// the whole audience.
func TestSend_RelayThatCutsOffEveryMessageIsInTrouble(t *testing.T) {
	var begun atomic.Int64
	s := newSender(t, script(t, func(_ int, command string) string {
		if command == "." {
			begun.Add(1)
			return "drop"
		}
		return "usual"
	}))
	for range 10 {
		s.Send(context.Background(), letter("a@example.com"))
	}
	if begun.Load() != 3 {
		t.Errorf("%d messages were handed over, want 3 before the sender waits", begun.Load())
	}
}

func TestSend_SingleMessagesDoNotQueueBehindCampaigns(t *testing.T) {
	gate := make(chan struct{})
	begun := make(chan struct{}, 10)
	_, set := startSink(t, sink.Options{Fault: func(stage, a string) error {
		if stage == "rcpt" && strings.HasPrefix(a, "bulk") {
			begun <- struct{}{}
			<-gate
		}
		return nil
	}})
	set.MaxConns = 4
	s := newSender(t, set)
	done := make(chan mail.Outcome, 10)
	for range 10 {
		go func() {
			m := letter("bulk@example.com")
			m.Bulk = true
			done <- s.Send(context.Background(), m)
		}()
	}
	for range s.BulkConns() {
		<-begun
	}
	if o := s.Send(context.Background(), letter("single@example.com")); o.Result != mail.Sent {
		t.Errorf("single message: %+v", o)
	}
	close(gate)
	for range 10 {
		if o := <-done; o.Result != mail.Sent {
			t.Errorf("bulk message: %+v", o)
		}
	}
}
