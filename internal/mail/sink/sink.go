package sink

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	netmail "net/mail"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// MaxMessage bounds one message, in bytes.
const MaxMessage = 12 << 20

// Options say where to keep messages and what to refuse.
type Options struct {
	Dir  string           // folder of the .eml files; made when missing; empty: memory only
	Keep int              // newest messages kept; 0 means 2,000
	Now  func() time.Time // nil means time.Now
	Log  *slog.Logger
	// Fault, when set, is asked at each stage ("mail", "rcpt", "data") with the address in question; a non-nil error
	// is the server's answer (use *smtp.SMTPError), and ErrDrop cuts the connection.
	Fault func(stage, address string) error
	// Username and Password, when set, must be given before MAIL; with TLS only over it.
	Username, Password string
	TLS                *tls.Config // offers STARTTLS; with Implicit TLS from the first byte
	Implicit           bool
}

// ErrDrop as a Fault ends the connection without an answer.
var ErrDrop = errors.New("sink: connection dropped on purpose")

// Entry is one message as the list shows it.
type Entry struct {
	Name      string // file name, also the path of its page
	At        time.Time
	From, To  string // of the envelope
	Subject   string
	MessageID string
	Size      int
	raw       []byte
}

// Server is the mail sink: an SMTP server that accepts everything on a loopback address and shows it.
type Server struct {
	opts  Options
	smtp  *smtp.Server
	ln    net.Listener
	mu    sync.Mutex
	list  []Entry
	next  int64
	total int64
	grew  chan struct{}
	done  chan struct{}
}

// Start listens on addr, which must be a loopback address ("127.0.0.1:0" takes a free port), and loads the messages
// that an earlier run left in the folder.
func Start(addr string, o Options) (*Server, error) {
	if o.Keep == 0 {
		o.Keep = 2000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	host, _, err := net.SplitHostPort(addr)
	if err != nil {
		return nil, fmt.Errorf("mail sink: address %q: %w", addr, err)
	}
	if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("mail sink: %s is not a loopback address; the sink has no access control", addr)
	}
	s := &Server{opts: o, grew: make(chan struct{}), done: make(chan struct{})}
	if err := s.load(); err != nil {
		return nil, err
	}
	if s.ln, err = net.Listen("tcp", addr); err != nil {
		return nil, fmt.Errorf("mail sink: %w", err)
	}
	listener := s.ln
	if o.Implicit {
		listener = tls.NewListener(s.ln, o.TLS)
	}
	s.smtp = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{s: s, c: c, authed: o.Username == ""}, nil
	}))
	s.smtp.Domain, s.smtp.AllowInsecureAuth, s.smtp.TLSConfig = "sink.localhost", o.TLS == nil, o.TLS
	s.smtp.MaxMessageBytes, s.smtp.MaxRecipients = MaxMessage, 100
	s.smtp.ReadTimeout, s.smtp.WriteTimeout = time.Minute, time.Minute
	s.smtp.ErrorLog = quiet{o.Log}
	go func() {
		defer close(s.done)
		if err := s.smtp.Serve(listener); err != nil && !errors.Is(err, smtp.ErrServerClosed) && !errors.Is(err, net.ErrClosed) {
			o.Log.Error("mail sink stopped", "error", err)
		}
	}()
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() *net.TCPAddr { return s.ln.Addr().(*net.TCPAddr) }

// Close stops listening and ends the open connections.
func (s *Server) Close() error {
	err := s.smtp.Close()
	_ = s.ln.Close()
	<-s.done
	if errors.Is(err, smtp.ErrServerClosed) {
		return nil
	}
	return err
}

// Total counts the messages accepted since Start, also those no longer kept.
func (s *Server) Total() int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.total
}

// Entries are the kept messages, newest first.
func (s *Server) Entries() []Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := slices.Clone(s.list)
	slices.Reverse(out)
	return out
}

// Wait returns once n messages have been accepted since Start, or with ctx's error.
func (s *Server) Wait(ctx context.Context, n int64) error {
	for {
		s.mu.Lock()
		total, grew := s.total, s.grew
		s.mu.Unlock()
		if total >= n {
			return nil
		}
		select {
		case <-grew:
		case <-ctx.Done():
			return fmt.Errorf("mail sink has %d of %d messages: %w", total, n, ctx.Err())
		}
	}
}

// Raw is one message as it came, with its Entry.
func (s *Server) Raw(name string) ([]byte, Entry, bool) {
	s.mu.Lock()
	i := slices.IndexFunc(s.list, func(e Entry) bool { return e.Name == name })
	var e Entry
	if i >= 0 {
		e = s.list[i]
	}
	s.mu.Unlock()
	if i < 0 {
		return nil, e, false
	}
	if s.opts.Dir == "" {
		return e.raw, e, true
	}
	b, err := os.ReadFile(filepath.Join(s.opts.Dir, e.Name))
	return b, e, err == nil
}

// accept keeps one message: on disk first, then in the list.
func (s *Server) accept(from string, to []string, body []byte) error {
	raw := append([]byte("X-Sink-From: <"+from+">\r\nX-Sink-To: "+strings.Join(to, ", ")+"\r\n"), body...)
	s.mu.Lock()
	s.next++
	e := describe(fmt.Sprintf("%d-%06d.eml", s.opts.Now().UTC().UnixMicro(), s.next), raw)
	e.At = s.opts.Now().UTC()
	s.mu.Unlock()
	if s.opts.Dir != "" {
		if err := os.WriteFile(filepath.Join(s.opts.Dir, e.Name), raw, 0o600); err != nil {
			return &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 3, 1}, Message: "The sink cannot store the message now"}
		}
	} else {
		e.raw = raw
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.list = append(s.list, e)
	s.total++
	for len(s.list) > s.opts.Keep {
		if s.opts.Dir != "" {
			_ = os.Remove(filepath.Join(s.opts.Dir, s.list[0].Name))
		}
		s.list = s.list[1:]
	}
	close(s.grew)
	s.grew = make(chan struct{})
	return nil
}

func (s *Server) load() error {
	if s.opts.Dir == "" {
		return nil
	}
	if err := os.MkdirAll(s.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("mail sink: %w", err)
	}
	files, err := os.ReadDir(s.opts.Dir) // in order of name, which begins with the time
	if err != nil {
		return fmt.Errorf("mail sink: %w", err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".eml") {
			continue
		}
		raw, err := os.ReadFile(filepath.Join(s.opts.Dir, f.Name()))
		if err != nil {
			continue
		}
		e := describe(f.Name(), raw)
		if info, err := f.Info(); err == nil {
			e.At = info.ModTime().UTC()
		}
		s.list = append(s.list, e)
	}
	s.list = s.list[max(0, len(s.list)-s.opts.Keep):]
	return nil
}

func describe(name string, raw []byte) Entry {
	e := Entry{Name: name, Size: len(raw)}
	m, err := netmail.ReadMessage(bytes.NewReader(raw))
	if err != nil {
		return e
	}
	e.From = strings.Trim(m.Header.Get("X-Sink-From"), "<>")
	e.To = m.Header.Get("X-Sink-To")
	e.Subject = decodeHeader(m.Header.Get("Subject"))
	e.MessageID = strings.Trim(m.Header.Get("Message-Id"), "<> ")
	return e
}

// session is one SMTP connection.
type session struct {
	s      *Server
	c      *smtp.Conn
	authed bool
	from   string
	to     []string
}

func (x *session) fault(stage, address string) error {
	if x.s.opts.Fault == nil {
		return nil
	}
	err := x.s.opts.Fault(stage, address)
	if errors.Is(err, ErrDrop) {
		_ = x.c.Conn().Close()
	}
	return err
}

func (x *session) Mail(from string, _ *smtp.MailOptions) error {
	if !x.authed {
		return smtp.ErrAuthRequired
	}
	x.from = from
	return x.fault("mail", from)
}

func (x *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	if err := x.fault("rcpt", to); err != nil {
		return err
	}
	x.to = append(x.to, to)
	return nil
}

func (x *session) Data(r io.Reader) error {
	body, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := x.fault("data", strings.Join(x.to, ", ")); err != nil {
		return err
	}
	return x.s.accept(x.from, x.to, body)
}

func (x *session) Reset()        { x.from, x.to = "", nil }
func (x *session) Logout() error { return nil }

func (x *session) AuthMechanisms() []string {
	if x.s.opts.Username == "" {
		return nil
	}
	return []string{sasl.Plain}
}

func (x *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != x.s.opts.Username || password != x.s.opts.Password {
			return smtp.ErrAuthFailed
		}
		x.authed = true
		return nil
	}), nil
}

// quiet sends the library's connection errors to the debug level: clients that hang up are no news.
type quiet struct{ log *slog.Logger }

func (q quiet) Printf(f string, v ...any) { q.log.Debug("mail sink", "message", fmt.Sprintf(f, v...)) }
func (q quiet) Println(v ...any)          { q.log.Debug("mail sink", "message", fmt.Sprint(v...)) }
