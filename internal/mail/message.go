package mail

import (
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	gomail "github.com/wneessen/go-mail"
)

// MaxMessage bounds the bodies of one message, in bytes.
const MaxMessage = 10 << 20

// ErrTooLarge is a message over MaxMessage.
var ErrTooLarge = fmt.Errorf("the message is larger than %d MiB", MaxMessage>>20)

// Message is one e-mail to one recipient, complete but for its transport form.
type Message struct {
	MessageID string // without angle brackets
	Date      time.Time
	From      Address
	ReplyTo   Address // zero: none
	To        Address
	Subject   string
	HTML      string // may be empty when Text is not
	Text      string // empty: made from HTML
	Auto      bool   // sent by a rule, not by a person: Auto-Submitted
	Bulk      bool   // one of many: leaves connections free for single messages
}

// build turns the message into MIME. Control characters in what reaches a header are refused, never stripped.
func build(m *Message) (*gomail.Msg, error) {
	for _, h := range []struct{ name, value string }{
		{"subject", m.Subject}, {"from", m.From.Name + m.From.Addr}, {"to", m.To.Name + m.To.Addr},
		{"reply_to", m.ReplyTo.Name + m.ReplyTo.Addr}, {"message id", m.MessageID},
	} {
		if err := CheckHeader(h.value); err != nil {
			return nil, fmt.Errorf("%s: %w", h.name, err)
		}
	}
	if m.HTML == "" && m.Text == "" {
		return nil, errors.New("body: empty")
	}
	if len(m.HTML)+len(m.Text) > MaxMessage {
		return nil, ErrTooLarge
	}
	out := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	out.FromMailAddress(m.From.header())
	out.SetAddrHeaderFromMailAddress(gomail.HeaderTo, m.To.header())
	if m.ReplyTo.Addr != "" {
		out.ReplyToMailAddress(m.ReplyTo.header())
	}
	if slices.ContainsFunc(strings.Fields(m.Subject), func(word string) bool { return len(word) > maxWord }) {
		out.SetGenHeaderPreformatted(gomail.HeaderSubject, encodedWords(m.Subject))
	} else {
		out.Subject(m.Subject)
	}
	out.SetMessageIDWithValue(m.MessageID)
	out.SetDateWithValue(m.Date)
	if m.Auto {
		out.SetGenHeader("Auto-Submitted", "auto-generated")
	}
	text := m.Text
	if text == "" {
		text = TextOf(m.HTML)
	}
	out.SetBodyString(gomail.TypeTextPlain, crlf(text))
	if m.HTML != "" {
		out.AddAlternativeString(gomail.TypeTextHTML, crlf(m.HTML))
	}
	return out, nil
}

// maxWord is the longest word, in bytes, that folding can bring into a line of a header.
const maxWord = 500

// encodedWords writes a text in pieces that each fit a line, as RFC 2047 has it: readers put them together again.
func encodedWords(s string) string {
	var out strings.Builder
	for len(s) > 0 {
		n := min(39, len(s)) // with "Subject: " before it, 76 bytes
		for n < len(s) && n > 1 && !utf8.RuneStart(s[n]) {
			n--
		}
		if out.Len() > 0 {
			out.WriteString("\r\n ")
		}
		out.WriteString("=?utf-8?b?" + base64.StdEncoding.EncodeToString([]byte(s[:n])) + "?=")
		s = s[n:]
	}
	return out.String()
}

// crlf gives every line the ending that mail wants, without doubling one that is there.
func crlf(s string) string {
	s = strings.ReplaceAll(s, "\r\n", "\n")
	s = strings.ReplaceAll(s, "\r", "\n")
	return strings.ReplaceAll(s, "\n", "\r\n")
}

// AllowedLink reports whether a link target may stand in a message: http, https, mailto, tel or relative.
func AllowedLink(target string) bool {
	t := strings.ToLower(strings.TrimSpace(target))
	scheme, _, found := strings.Cut(t, ":")
	if !found || strings.ContainsAny(scheme, "/?#") {
		return true
	}
	return slices.Contains([]string{"http", "https", "mailto", "tel"}, scheme)
}
