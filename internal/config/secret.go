package config

import "log/slog"

// Secret is text that prints masked wherever it is formatted or logged. Reveal gives the text itself.
type Secret string

const mask = "******"

// Reveal returns the secret text; the one place where it leaves the type.
func (s Secret) Reveal() string { return string(s) }

// String is the mask, or empty for an unset secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return mask
}

// GoString keeps %#v from showing the text.
func (s Secret) GoString() string { return s.String() }

// LogValue keeps structured logs from showing the text.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText keeps encoders from showing the text.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }
