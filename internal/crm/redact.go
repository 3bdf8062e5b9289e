package crm

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"leadloom/internal/lead"
)

// HidePerson takes the lead's own personal values out of a CRM's words: a refusal often quotes what it refuses, and a
// problem is kept and shown longer than the value.
func HidePerson(text string, l *lead.Lead) string {
	for _, v := range []string{l.Email, l.Phone, l.PhoneE164, strings.TrimSpace(l.FirstName + " " + l.LastName), l.LastName, l.FirstName, l.Notes} {
		if utf8.RuneCountInString(v) >= 3 {
			text = hideWord(text, v)
		}
	}
	return text
}

// hideWord puts … for a value wherever it stands in the text in any case, with no letter or digit right before or after
// it. Two that share one border are both hidden.
func hideWord(text, v string) string {
	var out strings.Builder
	kept, before := 0, ' '
	for i := 0; i < len(text); {
		if n := foldedPrefix(text[i:], v); n > 0 && !inWord(before) {
			if after, _ := utf8.DecodeRuneInString(text[i+n:]); i+n == len(text) || !inWord(after) {
				out.WriteString(text[kept:i])
				out.WriteString("…")
				i += n
				kept, before = i, '…'
				continue
			}
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		i, before = i+size, r
	}
	if kept == 0 {
		return text
	}
	out.WriteString(text[kept:])
	return out.String()
}

func inWord(r rune) bool { return unicode.IsLetter(r) || unicode.IsNumber(r) }

// foldedPrefix is how many bytes of the text's beginning are the value in any case; 0 when it begins with something else.
func foldedPrefix(text, v string) int {
	n := 0
	for v != "" {
		a, asize := utf8.DecodeRuneInString(text[n:])
		b, bsize := utf8.DecodeRuneInString(v)
		if asize == 0 || !sameFold(a, b) {
			return 0
		}
		n, v = n+asize, v[bsize:]
	}
	return n
}

func sameFold(a, b rune) bool {
	if a == b {
		return true
	}
	for r := unicode.SimpleFold(b); r != b; r = unicode.SimpleFold(r) {
		if r == a {
			return true
		}
	}
	return false
}
