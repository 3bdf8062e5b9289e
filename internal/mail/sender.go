package mail

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"
	"github.com/wneessen/go-mail/smtp"
)

// Result is what came of handing one message to the relay.
type Result string

// The results. Only Unknown leaves open whether the relay has the message.
const (
	Sent     Result = "sent"     // the relay answered 250 to the message
	Rejected Result = "rejected" // 5xx for this recipient or message; final
	Deferred Result = "deferred" // 4xx for this recipient or message; later
	Relay    Result = "relay"    // trouble with the relay: nothing is this message's fault, try again later
	Unknown  Result = "unknown"  // the connection ended between the end of the message and its answer
	Unfit    Result = "unfit"    // the message cannot be built
)

// Stages of a dialogue, for the Outcome.
const (
	StageDial      = "dial"
	StageSender    = "sender"
	StageRecipient = "recipient"
	StageContent   = "content"
)

// Outcome is the classified result of one dialogue with the relay's own words.
type Outcome struct {
	Result   Result
	Stage    string
	Code     int    // SMTP code; 0 when the relay said nothing
	Enhanced string // "5.1.1"
	Text     string // ≤ 500 bytes, no credentials
	Class    Class  // of a refusal
	Size     int    // bytes of the bodies
}

// Sender hands messages to one relay over a pool of connections. It is safe for concurrent use.
type Sender struct {
	settings Settings
	client   *gomail.Client
	slots    chan struct{}
	bulk     chan struct{}
	now      func() time.Time

	mu       sync.Mutex
	idle     []*conn
	failures int
	unknowns int       // in a row
	until    time.Time // no dialogue before: the relay is in trouble
	trouble  string
	since    time.Time
	closed   bool
}

type conn struct {
	smtp   *smtp.Client
	used   time.Time
	served int
}

// Limits of one pooled connection.
const (
	idleFor    = 20 * time.Second
	maxPerConn = 500
	backoffMin = time.Second
	backoffMax = 5 * time.Minute
	maxUnknown = 3 // messages in a row whose fate the relay left open, after which it is taken to be in trouble
)

// ErrNotConfigured means that there is no relay to send with.
var ErrNotConfigured = errors.New("no SMTP relay is configured; set smtp host, port and sender, and start again")

// NewSender prepares a sender; it does not connect. Unconfigured settings give a sender whose every Send is Relay.
func NewSender(s Settings) (*Sender, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	s = s.withDefaults()
	out := &Sender{settings: s, slots: make(chan struct{}, s.MaxConns), bulk: make(chan struct{}, max(s.MaxConns-s.MaxConns/4, 1)), now: s.Now}
	if !s.Configured() {
		return out, nil
	}
	opts := []gomail.Option{
		gomail.WithPort(s.Port), gomail.WithTimeout(s.Timeout), gomail.WithHELO(s.Hello),
		gomail.WithoutNoop(), gomail.WithoutSMTPUTF8(),
	}
	tlsConf := s.TLSConf
	if tlsConf == nil {
		tlsConf = &tls.Config{ServerName: s.Host, MinVersion: tls.VersionTLS12}
	}
	opts = append(opts, gomail.WithTLSConfig(tlsConf))
	switch s.TLS {
	case TLSNone:
		opts = append(opts, gomail.WithTLSPolicy(gomail.NoTLS), gomail.WithDialContextFunc(dialer(nil)))
	case TLSStart:
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithDialContextFunc(dialer(nil)))
	case TLSImplicit: // ours is encrypted already when the library gets it: it only looks
		opts = append(opts, gomail.WithTLSPolicy(gomail.TLSOpportunistic), gomail.WithDialContextFunc(dialer(tlsConf)))
	}
	if s.Username != "" {
		auth := gomail.SMTPAuthAutoDiscover
		if s.TLS == TLSNone {
			auth = gomail.SMTPAuthPlainNoEnc // loopback only: Settings.Check
		}
		opts = append(opts, gomail.WithSMTPAuth(auth), gomail.WithUsername(s.Username), gomail.WithPassword(s.Password))
	}
	var err error
	if out.client, err = gomail.NewClient(s.Host, opts...); err != nil {
		return nil, fmt.Errorf("smtp: %w", err)
	}
	return out, nil
}

// Settings are the sender's settings with defaults filled in.
func (s *Sender) Settings() Settings { return s.settings }

// Ready says whether a dialogue may begin now; when not, how long to wait, since when, and the relay's words.
func (s *Sender) Ready() (wait time.Duration, since time.Time, text string) {
	if !s.settings.Configured() {
		return time.Minute, time.Time{}, ErrNotConfigured.Error()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.until.Sub(s.now()); d > 0 {
		return d, s.since, s.trouble
	}
	return 0, s.since, s.trouble
}

// TroubleFor is how long the relay has been in trouble; 0 when it is not. It does not jump with the wall clock.
func (s *Sender) TroubleFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.since.IsZero() {
		return 0
	}
	return max(s.now().Sub(s.since), 0)
}

// Send runs one dialogue. It returns after the relay's answer, a time-out of the settings, or ctx's end while it still
// waits for a free connection, which it does for one more time-out; a dialogue that has begun is not cut off by ctx.
func (s *Sender) Send(ctx context.Context, m *Message) Outcome {
	size := len(m.HTML) + len(m.Text)
	l, err := write(m)
	if err != nil {
		return Outcome{Result: Unfit, Text: clip(err.Error()), Size: size}
	}
	if wait, _, text := s.Ready(); wait > 0 {
		return Outcome{Result: Relay, Stage: StageDial, Text: clip(text), Size: size}
	}
	leave, ok := s.enter(ctx, m.Bulk)
	if !ok {
		return Outcome{Result: Relay, Stage: StageDial, Text: "no connection was free in time; the dialogue was not begun", Size: size}
	}
	defer leave()
	o := s.deliver(context.WithoutCancel(ctx), l)
	o.Size = size
	s.record(o)
	return o
}

// deliver speaks over an idle connection, or over a new one when the relay has given the idle ones up.
func (s *Sender) deliver(ctx context.Context, l letter) Outcome {
	for {
		c, fresh, err := s.take(ctx)
		if err != nil {
			return dialOutcome(err)
		}
		o, end := s.speak(c.smtp, l, fresh)
		if end == reusable {
			s.give(c)
			return o
		}
		_ = c.smtp.Close()
		if end != stale {
			return o
		}
	}
}

// enter waits for a free connection; bulk mail leaves some of them to single messages, which never queue behind a
// campaign.
func (s *Sender) enter(ctx context.Context, bulk bool) (leave func(), ok bool) {
	ctx, cancel := context.WithTimeout(ctx, s.settings.Timeout)
	defer cancel()
	gates := []chan struct{}{s.slots}
	if bulk {
		gates = []chan struct{}{s.bulk, s.slots}
	}
	for i, g := range gates {
		select {
		case g <- struct{}{}:
		case <-ctx.Done():
			for _, g := range gates[:i] {
				<-g
			}
			return nil, false
		}
	}
	return func() {
		for _, g := range gates {
			<-g
		}
	}, true
}

// BulkConns is how many dialogues of campaigns run at once.
func (s *Sender) BulkConns() int { return cap(s.bulk) }

// Close ends the idle connections politely.
func (s *Sender) Close() {
	s.mu.Lock()
	idle := s.idle
	s.idle, s.closed = nil, true
	s.mu.Unlock()
	for _, c := range idle {
		_ = c.smtp.UpdateDeadline(time.Second)
		_ = c.smtp.Quit()
		_ = c.smtp.Close()
	}
}

// take gives an idle connection or a new one.
func (s *Sender) take(ctx context.Context) (c *conn, fresh bool, err error) {
	s.mu.Lock()
	for n := len(s.idle); n > 0; n = len(s.idle) {
		c, s.idle = s.idle[n-1], s.idle[:n-1]
		if s.now().Sub(c.used) < idleFor {
			s.mu.Unlock()
			return c, false, nil
		}
		_ = c.smtp.Close()
	}
	s.mu.Unlock()
	return s.dial(ctx)
}

func (s *Sender) give(c *conn) {
	c.used, c.served = s.now(), c.served+1
	s.mu.Lock()
	keep := !s.closed && c.served < maxPerConn
	if keep {
		s.idle = append(s.idle, c)
	}
	s.mu.Unlock()
	if !keep {
		_ = c.smtp.UpdateDeadline(time.Second)
		_ = c.smtp.Quit()
		_ = c.smtp.Close()
	}
}

// record keeps the relay's health: trouble makes everyone wait, longer each time; any answer ends it. A relay that
// cuts off one message after the other is in trouble too: what it leaves open is never sent again.
func (s *Sender) record(o Outcome) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch o.Result {
	case Relay:
	case Unknown:
		if s.unknowns++; s.unknowns < maxUnknown {
			return
		}
	default:
		s.failures, s.unknowns, s.until, s.trouble, s.since = 0, 0, time.Time{}, "", time.Time{}
		return
	}
	now := s.now()
	if s.until.After(now) { // others failed in the same moment
		return
	}
	if s.failures == 0 {
		s.since = now
	}
	d := backoffMin << min(s.failures, 9)
	s.failures++
	s.until, s.trouble = now.Add(min(d, backoffMax)), o.Text
}

func dialOutcome(err error) Outcome {
	return readReply(err).outcome(StageDial, Relay)
}

// clip keeps the relay's words short, on one line, and storable: no control characters.
func clip(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, ""))
	s = strings.Join(strings.Fields(s), " ")
	if len(s) > 500 {
		s = strings.ToValidUTF8(s[:500], "")
	}
	return s
}
