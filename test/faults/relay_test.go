package faults

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"leadloom/test/live"
)

// relay is an SMTP server that misbehaves as told and remembers whose message it has taken, told or not.
type relay struct {
	listener net.Listener

	mu     sync.Mutex
	bad    misdeed
	budget int            // dialogues that still meet it; -1: every one
	met    int            // how many have
	has    map[string]int // messages taken, by recipient
	open   map[net.Conn]bool
}

// misdeed is what a relay does wrong at one place: it answers wrongly, and perhaps ends or falls silent then.
type misdeed struct {
	at     string // CONNECT, EHLO, MAIL, RCPT, DATA or "." for the end of the message
	answer string // sent as it is; "" nothing
	keeps  bool   // at ".": the message is taken before
	drip   time.Duration
	then   string // "" goes on, "drop" resets the connection, "hang" says nothing more
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{listener: l, has: map[string]int{}, open: map[net.Conn]bool{}}
	t.Cleanup(func() { l.Close(); r.hangUp() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			r.mu.Lock()
			r.open[c] = true
			r.mu.Unlock()
			go func() {
				r.speak(c)
				r.mu.Lock()
				delete(r.open, c)
				r.mu.Unlock()
			}()
		}
	}()
	return r
}

// args let a server send through it.
func (r *relay) args() []string {
	_, port, _ := net.SplitHostPort(r.listener.Addr().String())
	return []string{"--smtp-host", "127.0.0.1", "--smtp-port", port, "--smtp-tls", "none", "--smtp-from", "Faults <faults@sender.example>"}
}

// hangUp resets every connection, so that the next message comes over a new one.
func (r *relay) hangUp() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.open {
		_ = c.(*net.TCPConn).SetLinger(0)
		c.Close()
	}
}

// misbehave does m in the next n dialogues that come to that place.
func (r *relay) misbehave(m misdeed, n int) {
	r.mu.Lock()
	r.bad, r.budget, r.met = m, n, 0
	r.mu.Unlock()
	r.hangUp()
}

func (r *relay) heal() { r.mu.Lock(); defer r.mu.Unlock(); r.budget = 0 }

func (r *relay) meet(at string) (misdeed, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bad.at != at || r.budget == 0 {
		return misdeed{}, false
	}
	if r.budget > 0 {
		r.budget--
	}
	r.met++
	return r.bad, true
}

func (r *relay) metTimes() int { r.mu.Lock(); defer r.mu.Unlock(); return r.met }

func (r *relay) taken() map[string]int { r.mu.Lock(); defer r.mu.Unlock(); return maps.Clone(r.has) }

func (r *relay) take(to string) { r.mu.Lock(); defer r.mu.Unlock(); r.has[to]++ }

var usual = map[string]string{"CONNECT": "220 relay", "EHLO": "250 relay", "MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", ".": "250 2.0.0 taken", "RSET": "250 ok", "QUIT": "221 bye"}

// speak is one connection.
func (r *relay) speak(c net.Conn) {
	defer c.Close()
	lines := bufio.NewReader(c)
	to, command, content := "", "CONNECT", false
	for {
		answer := usual[command] + "\r\n"
		m, bad := r.meet(command)
		if command == "." && (!bad || m.keeps) {
			r.take(to)
		}
		if bad && m.answer != "" {
			answer = strings.ReplaceAll(m.answer, "\n", "\r\n") + "\r\n"
		} else if bad {
			answer = ""
		}
		if !say(c, answer, m.drip) {
			return
		}
		if m.then == "drop" {
			_ = c.(*net.TCPConn).SetLinger(0)
			return
		}
		content = command == "DATA" && strings.HasPrefix(answer, "354")
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				return
			}
			if m.then == "hang" {
				continue // listens and says nothing more
			}
			line = strings.TrimRight(line, "\r\n")
			if content && line != "." {
				continue
			}
			if command = "."; !content {
				command, _, _ = strings.Cut(line, " ")
			}
			if command == "RCPT" {
				to = strings.Trim(strings.TrimPrefix(line, "RCPT TO:"), "<>")
			}
			break
		}
	}
}

func say(c net.Conn, text string, drip time.Duration) bool {
	if drip == 0 {
		_, err := c.Write([]byte(text))
		return err == nil
	}
	for i := range text {
		if _, err := c.Write([]byte{text[i]}); err != nil {
			return false
		}
		<-time.After(drip)
	}
	return true
}

// smtpCase is a misdeed and what the ledger may say of the messages that met it.
type smtpCase struct {
	name string
	bad  misdeed
	want map[string][]string // state to reasons; what met nothing is sent
}

var (
	sentLater  = map[string][]string{"sent": {"accepted"}}                               // the relay's trouble is nobody's fault
	deferred   = map[string][]string{"sent": {"accepted"}, "pending": {"soft_deferred"}} // it waits, and says why
	leftOpen   = map[string][]string{"sent": {"accepted"}, "unknown": {"cut_off"}}       // never sent again by itself
	refusedOne = map[string][]string{"sent": {"accepted"}, "failed": {"rejected_hard", "rejected_block", "relay_refused"}}
)

// smtpCases end at once; those that need the sender's time-outs are in slowSMTP.
func smtpCases() []smtpCase {
	endless := strings.Repeat("x", 1<<20)
	return []smtpCase{
		{"closes before its banner", misdeed{at: "CONNECT", then: "drop"}, sentLater},
		{"refuses in its banner for now", misdeed{at: "CONNECT", answer: "421 4.3.2 too busy", then: "drop"}, sentLater},
		{"refuses in its banner for good", misdeed{at: "CONNECT", answer: "554 5.7.1 no service here", then: "drop"}, sentLater},
		{"speaks another protocol", misdeed{at: "CONNECT", answer: "SSH-2.0-OpenSSH_9.6"}, sentLater},
		{"has an endless banner", misdeed{at: "CONNECT", answer: endless}, sentLater},
		{"refuses EHLO and HELO", misdeed{at: "EHLO", answer: "502 5.5.1 not implemented", then: "drop"}, sentLater},
		{"closes at the sender", misdeed{at: "MAIL", then: "drop"}, sentLater},
		{"defers the sender", misdeed{at: "MAIL", answer: "451 4.3.0 later"}, sentLater},
		{"refuses the sender", misdeed{at: "MAIL", answer: "550 5.7.1 sender not allowed"}, refusedOne},
		{"answers the sender with rubbish", misdeed{at: "MAIL", answer: "\x00\xff\xfe what?"}, sentLater},
		{"closes at the recipient", misdeed{at: "RCPT", then: "drop"}, sentLater},
		{"defers the recipient", misdeed{at: "RCPT", answer: "450 4.2.1 greylisted"}, deferred},
		{"refuses the recipient", misdeed{at: "RCPT", answer: "550 5.1.1 no such user"}, refusedOne},
		{"answers the recipient without end", misdeed{at: "RCPT", answer: "250 " + endless}, sentLater},
		{"closes at the content", misdeed{at: "DATA", then: "drop"}, sentLater},
		{"defers the content", misdeed{at: "DATA", answer: "451 4.3.0 later"}, deferred},
		{"refuses the content", misdeed{at: "DATA", answer: "554 5.6.0 no content"}, refusedOne},
		{"closes after the message without having it", misdeed{at: ".", then: "drop"}, leftOpen},
		{"closes after it has taken the message", misdeed{at: ".", keeps: true, then: "drop"}, leftOpen},
		{"resets behind its own yes", misdeed{at: ".", answer: "250 2.0.0 taken", keeps: true, then: "drop"}, leftOpen},
		{"answers the message with rubbish", misdeed{at: ".", answer: "\x01\x02 ok ok", keeps: true}, leftOpen},
		{"answers the message without end", misdeed{at: ".", answer: strings.Repeat("250-x\n", 200_000), keeps: true}, leftOpen},
		{"defers the message", misdeed{at: ".", answer: "451 4.3.0 later"}, deferred},
		{"refuses the message", misdeed{at: ".", answer: "554 5.7.1 looks like spam"}, refusedOne},
		{"closes for maintenance after the message", misdeed{at: ".", answer: "421 4.3.2 closing", then: "drop"}, sentLater},
	}
}

func slowSMTP() []smtpCase {
	return []smtpCase{
		{"hangs before its banner", misdeed{at: "CONNECT", then: "hang"}, sentLater},
		{"drips its banner", misdeed{at: "CONNECT", answer: "220 " + strings.Repeat("a", 200), drip: time.Second}, sentLater},
		{"hangs at the recipient", misdeed{at: "RCPT", then: "hang"}, sentLater},
		{"drips its answer to the sender", misdeed{at: "MAIL", answer: "250 " + strings.Repeat("a", 200), drip: time.Second}, sentLater},
		{"hangs at the content", misdeed{at: "DATA", then: "hang"}, sentLater},
		{"hangs after it has taken the message", misdeed{at: ".", keeps: true, then: "hang"}, leftOpen},
		{"drips its yes to the message", misdeed{at: ".", answer: "250 " + strings.Repeat("a", 200), keeps: true, drip: time.Second}, leftOpen},
	}
}

// A relay that breaks, lies or babbles at any place of the dialogue: nobody gets a message twice, each message has a
// state and a reason, other campaigns go out, requests are answered, and memory stays bounded.
func TestRelay_NobodyGetsItTwiceAndTheLedgerSaysWhy(t *testing.T) {
	r := newRelay(t)
	dir := t.TempDir()
	s := serveWith(t, []string{"--data", dir}, r.args()...)
	before := s.Memory()
	for i, c := range some(t, 5, smtpCases()) {
		t.Run(c.name, func(t *testing.T) { c.run(t, s, r, i, 2*time.Minute) })
	}
	if grown := s.Memory() - before; grown > 80<<20 {
		t.Errorf("the server has grown by %d MB", grown>>20)
	}
	s.Stop()
	live.MustRun(t, "", "check", "--data", dir)
}

// The same for relays that hang or drip; each takes the sender's time-outs, so that each has a server of its own.
func TestRelayThatHangs_IsGivenUpAndTheRestGoesOn(t *testing.T) {
	if !everything() {
		t.Skip("takes the sender's time-outs of up to two minutes: make faults")
	}
	for i, c := range slowSMTP() {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r := newRelay(t)
			dir := t.TempDir()
			s := serveWith(t, []string{"--data", dir}, r.args()...)
			c.run(t, s, r, i, 6*time.Minute)
			s.Stop()
			live.MustRun(t, "", "check", "--data", dir)
		})
	}
}

// run sends one campaign of six into the misdeed, which two dialogues meet, and another one behind it.
func (c smtpCase) run(t *testing.T, s *live.Server, r *relay, i int, within time.Duration) {
	r.misbehave(c.bad, 2)
	hit := launch(s, fmt.Sprintf("hit%d", i), 6)
	for began := time.Now(); r.metTimes() == 0; <-time.After(10 * time.Millisecond) {
		if time.Since(began) > patience {
			t.Fatalf("the relay was never asked\n%s", s.Log())
		}
	}
	if got, err := call(s, "GET", "/api/leads?limit=1", ""); err != nil || got.status != 200 {
		t.Errorf("other requests: %+v %v", got, err)
	}
	other := launch(s, fmt.Sprintf("other%d", i), 3)
	rows := c.await(t, s, hit, within, func(row recipient) bool { return row.State != "pending" || row.Reason == "soft_deferred" })
	r.heal() // whoever comes now finds it well: the other campaign must be sent whole
	c.await(t, s, other, within, func(row recipient) bool { return row.State == "sent" })
	taken := r.taken()
	for _, row := range rows {
		if !slices.Contains(c.want[row.State], row.Reason) {
			t.Errorf("%s is %s (%s: %s), want one of %v", row.Address, row.State, row.Reason, row.Detail, c.want)
		}
		if n := taken[row.Address]; n > 1 || row.State == "sent" && n != 1 || row.State == "failed" && n != 0 {
			t.Errorf("%s is %s and the relay has %d of its messages", row.Address, row.State, n)
		}
		if row.State != "sent" && row.Detail == "" {
			t.Errorf("%s is %s without a word of what was said", row.Address, row.State)
		}
	}
}

// A relay that is down for long is an alert that says what it says and what to do, and is none once it is well.
func TestRelayDown_IsAnAlertUntilItIsWell(t *testing.T) {
	r := newRelay(t)
	data := []string{"--data", t.TempDir()}
	how := live.How{Failpoints: true, Env: []string{"LEADLOOM_TEST_SHORTEN=1800"}} // half an hour is a second
	if out, err := live.RunHow(t, how, password+"\n", append([]string{"user", "create", "--username", "ada", "--password-stdin"}, data...)...); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s, err := live.TryHow(t, how, slices.Concat([]string{"serve", "--addr", live.FreeAddr(t), "--log-level", "warn"}, data, r.args())...)
	if err != nil {
		t.Fatal(err)
	}
	s.Login("ada", password)
	alert := func() (a struct{ ID, Severity, Source, Message, Action string }, told bool) {
		t.Helper()
		var out struct {
			Alerts []struct{ ID, Severity, Source, Message, Action string }
		}
		s.Must(&out, "GET", "/api/monitoring/alerts", nil)
		for _, a := range out.Alerts {
			if a.ID == "mail.relay" {
				return a, true
			}
		}
		return a, false
	}
	if a, told := alert(); told {
		t.Errorf("an alert before there is mail: %+v", a)
	}
	r.misbehave(misdeed{at: "CONNECT", answer: "421 4.3.2 closed for the night"}, -1)
	id := launch(s, "alert", 3)
	for began := time.Now(); ; <-time.After(20 * time.Millisecond) {
		a, told := alert()
		if told {
			if a.Severity != "critical" || a.Source != "mail" || !strings.Contains(a.Message, "closed for the night") || a.Action == "" {
				t.Errorf("the alert is %+v, want the relay's words and what to do", a)
			}
			break
		}
		if time.Since(began) > patience {
			t.Fatalf("no alert after %d attempts\n%s", r.metTimes(), s.Log())
		}
	}
	r.heal()
	(smtpCase{}).await(t, s, id, 2*patience, func(row recipient) bool { return row.State == "sent" })
	if a, told := alert(); told {
		t.Errorf("all is sent and there is an alert: %+v", a)
	}
	s.Stop()
}

type recipient struct{ Address, State, Reason, Detail string }

func launch(s *live.Server, name string, n int) (id string) {
	var to []map[string]string
	for i := range n {
		to = append(to, map[string]string{"email": fmt.Sprintf("%s.%d@example.com", name, i)})
	}
	var out struct {
		ID string `json:"campaign_id"`
	}
	s.Must(&out, "POST", "/api/email/campaign", map[string]any{"name": name, "subject": "Fault", "body": "Hello", "recipients": to})
	return out.ID
}

// await waits until every recipient is as wanted.
func (c smtpCase) await(t *testing.T, s *live.Server, id string, within time.Duration, done func(recipient) bool) []recipient {
	t.Helper()
	var out struct{ Recipients []recipient }
	s.Until(within, "the recipients of "+id, "/api/campaigns/"+url.PathEscape(id)+"/recipients?limit=100", func(b []byte) bool {
		out.Recipients = nil
		return json.Unmarshal(b, &out) == nil && len(out.Recipients) > 0 && !slices.ContainsFunc(out.Recipients, func(r recipient) bool { return !done(r) })
	})
	return out.Recipients
}
