package mail

import (
	"crypto/tls"
	"fmt"
	"strings"
	"time"
)

// TLSMode says how a connection to the relay is protected.
type TLSMode string

// The ways to reach a relay.
const (
	TLSNone     TLSMode = "none"     // plain text: for a relay on the same machine
	TLSStart    TLSMode = "starttls" // STARTTLS is required; without it nothing is sent
	TLSImplicit TLSMode = "tls"      // TLS from the first byte (port 465)
)

// Settings describe the relay. The zero value means that no relay is configured: messages wait.
type Settings struct {
	Host     string
	Port     int // 0: 587 for STARTTLS, 465 for TLS, 25 for none
	TLS      TLSMode
	Username string
	Password string      // never logged, never shown
	From     string      // default sender, "Name <address>" or an address
	Hello    string      // name in EHLO; empty: the domain of From
	TLSConf  *tls.Config // nil: system roots, server name = Host
	// MaxConns bounds connections at once; 0 means 16.
	MaxConns int
	// Timeout bounds the connecting, and then the dialogue up to the end of the message; 0 means 30 s. The relay's
	// final answer may take four times as long, 2 min at most.
	Timeout time.Duration
	Now     func() time.Time // clock of pauses and of trouble; nil means time.Now, whose durations no jump changes
}

// Configured reports whether there is a relay at all.
func (s Settings) Configured() bool { return s.Host != "" }

// Check returns an error that names the wrong setting, for the start-up line.
func (s Settings) Check() error {
	if !s.Configured() {
		return nil
	}
	if strings.ContainsAny(s.Host, " \r\n\t/@") {
		return fmt.Errorf("smtp host: %q is not a host name", s.Host)
	}
	if s.Port < 0 || s.Port > 65535 {
		return fmt.Errorf("smtp port: %d is not a port", s.Port)
	}
	switch s.TLS {
	case TLSNone, TLSStart, TLSImplicit, "":
	default:
		return fmt.Errorf("smtp tls: %q is none of none, starttls, tls", s.TLS)
	}
	if s.TLS == TLSNone && s.Username != "" && !loopbackHost(s.Host) {
		return fmt.Errorf("smtp tls: a user name and password would cross the network in the clear; use starttls or tls")
	}
	if _, err := ParseAddress(s.From); err != nil {
		return fmt.Errorf("smtp from: %w", err)
	}
	return nil
}

func loopbackHost(h string) bool {
	return h == "localhost" || h == "::1" || strings.HasPrefix(h, "127.")
}

func (s Settings) withDefaults() Settings {
	if s.TLS == "" {
		s.TLS = TLSStart
	}
	if s.Port == 0 {
		s.Port = map[TLSMode]int{TLSNone: 25, TLSStart: 587, TLSImplicit: 465}[s.TLS]
	}
	if s.MaxConns <= 0 {
		s.MaxConns = 16
	}
	if s.Timeout <= 0 {
		s.Timeout = 30 * time.Second
	}
	if s.Now == nil {
		s.Now = time.Now
	}
	if s.Hello == "" {
		s.Hello = s.Domain()
	}
	return s
}

// Domain is the domain of the default sender: the right side of Message-IDs. Without one it is "localhost".
func (s Settings) Domain() string {
	if a, err := ParseAddress(s.From); err == nil {
		return a.Domain()
	}
	return "localhost"
}
