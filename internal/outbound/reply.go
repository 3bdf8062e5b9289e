package outbound

import (
	"bytes"
	"encoding/json"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// MaxJSONDepth is how deep a reply may be nested.
const MaxJSONDepth = 64

// DecodeJSON reads a foreign JSON reply into v: valid UTF-8, no NUL (written or escaped), at most MaxJSONDepth deep,
// one value only. Numbers into any keep all digits (json.Number). The error is an *Error with CodeBadReply.
func DecodeJSON(body []byte, v any) error {
	bad := func(msg string) error { return &Error{Code: CodeBadReply, Message: msg, Sent: true} }
	if !utf8.Valid(body) {
		return bad("The reply is not valid UTF-8.")
	}
	if bytes.IndexByte(body, 0) >= 0 || bytes.Contains(body, []byte(`\u0000`)) {
		return bad("The reply contains a NUL character.")
	}
	if tooDeep(body) {
		return bad("The reply is nested too deeply.")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		return bad("The reply is not the JSON that was expected.")
	}
	if _, err := d.Token(); err == nil || d.More() {
		return bad("The reply holds more than one JSON value.")
	}
	return nil
}

// tooDeep counts brackets outside strings without building anything.
func tooDeep(b []byte) bool {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch ch := b[i]; {
		case inString && ch == '\\':
			i++
		case ch == '"':
			inString = !inString
		case inString:
		case ch == '{' || ch == '[':
			if depth++; depth > MaxJSONDepth {
				return true
			}
		case ch == '}' || ch == ']':
			depth--
		}
	}
	return false
}

// MaxRetryAfter is the longest wait that another server can ask of us.
const MaxRetryAfter = time.Hour

// RetryAfter reads the header in seconds or as a date, at most MaxRetryAfter; false when it is absent or nonsense.
func RetryAfter(h http.Header, now time.Time) (time.Duration, bool) {
	text := strings.TrimSpace(h.Get("Retry-After"))
	if text == "" {
		return 0, false
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		if n < 0 {
			return 0, false
		}
		return time.Duration(min(n, int64(MaxRetryAfter/time.Second))) * time.Second, true
	}
	at, err := http.ParseTime(text)
	if err != nil {
		return 0, false
	}
	return min(max(at.Sub(now), 0), MaxRetryAfter), true
}

var (
	mailLike  = regexp.MustCompile(`[^\s@<>"'(),;:]{1,64}@[^\s@<>"'(),;:]{1,255}`)
	tokenLike = regexp.MustCompile(`[A-Za-z0-9_\-+/=.]{24,}`)
	codeLike  = regexp.MustCompile(`^([A-Z][A-Z_.]*|[a-z][a-z_.\-]*)$`) // REQUIRED_FIELD_MISSING_THERE, a host name
	phoneLike = regexp.MustCompile(`\+\d[\d ().\-/]{6,}\d`)
)

// MaxStoredText is the longest foreign text we keep, in runes.
const MaxStoredText = 500

// Redact makes a foreign text fit to be stored and shown: no control characters, e-mail addresses, phone numbers and
// long tokens masked, at most MaxStoredText runes. What others send is hostile: show it as text only.
func Redact(s string) string {
	if len(s) > 8*MaxStoredText {
		s = s[:8*MaxStoredText]
	}
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t' || r == '\r':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "�"))
	s = mailLike.ReplaceAllString(s, "…@…")
	s = phoneLike.ReplaceAllString(s, "+…")
	s = tokenLike.ReplaceAllStringFunc(s, func(t string) string {
		if codeLike.MatchString(t) {
			return t
		}
		return "…"
	})
	s = strings.Join(strings.Fields(s), " ")
	if r := []rune(s); len(r) > MaxStoredText {
		s = string(r[:MaxStoredText-1]) + "…"
	}
	return s
}
