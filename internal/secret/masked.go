package secret

import (
	"fmt"
	"log/slog"
	"unicode/utf8"
)

// Mask is what a masked value shows instead of itself.
const Mask = "••••••"

// Masked is a secret in memory. Every way of printing, logging or encoding it shows Mask; Reveal is the only way to
// its text, so that a search for Reveal lists each use.
type Masked string

// Reveal is the secret itself.
func (m Masked) Reveal() string { return string(m) }

// String masks; an empty secret stays empty, so that "not set" can be seen.
func (m Masked) String() string {
	if m == "" {
		return ""
	}
	return Mask
}

// GoString masks %#v.
func (m Masked) GoString() string { return fmt.Sprintf("secret.Masked(%q)", m.String()) }

// Format masks every verb, %x and %q included.
func (m Masked) Format(f fmt.State, verb rune) {
	if verb == 'v' && f.Flag('#') {
		_, _ = f.Write([]byte(m.GoString()))
		return
	}
	_, _ = f.Write([]byte(m.String()))
}

// LogValue masks structured logs.
func (m Masked) LogValue() slog.Value { return slog.StringValue(m.String()) }

// MarshalText masks JSON, XML and text encoders. Storing a secret therefore needs Box.Seal on Reveal.
func (m Masked) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// Hint is what a person may see of a stored secret: its last four characters when it has sixteen or more.
func (m Masked) Hint() string {
	s := string(m)
	if utf8.RuneCountInString(s) < 16 {
		return ""
	}
	r := []rune(s)
	return "…" + string(r[len(r)-4:])
}
