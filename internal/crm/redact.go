package crm

import (
	"regexp"
	"strings"
	"unicode/utf8"

	"leadloom/internal/lead"
)

// HidePerson takes the lead's own personal values out of a CRM's words: a refusal often quotes what it refuses, and a
// problem is kept and shown longer than the value.
func HidePerson(text string, l *lead.Lead) string {
	for _, v := range []string{l.Email, l.Phone, l.PhoneE164, strings.TrimSpace(l.FirstName + " " + l.LastName), l.LastName, l.FirstName, l.Notes} {
		if utf8.RuneCountInString(v) < 3 {
			continue
		}
		whole, err := regexp.Compile(`(?i)(^|[^\pL\pN])` + regexp.QuoteMeta(v) + `($|[^\pL\pN])`)
		if err == nil {
			text = whole.ReplaceAllString(text, "${1}…${2}")
		}
	}
	return text
}
