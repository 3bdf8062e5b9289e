package lead

import (
	"regexp"
	"strings"

	"github.com/nyaruka/phonenumbers"

	"leadloom/internal/fault"
)

// extension ends a number behind a switchboard: many people share what stands before it.
var extension = regexp.MustCompile(`(?i)\d\s*(;ext=|ext\.?|extension|x|#|durchwahl|dw)[\s.:]*\d{1,8}$`)

var scientific = regexp.MustCompile(`^[+-]?\d+([.,]\d+)?[eE][+-]?\d+$`)

// ParsePhone checks a number as typed and derives its E.164 form for the region (ISO 3166 code, "" when unknown).
// A number that cannot be parsed is kept as typed with an empty E.164 and a warning; the problem is for input that
// can't be kept at all.
func ParsePhone(path, s, region string) (typed, e164 string, warning, problem *fault.Field) {
	typed, problem = checkText(path, s, maxPhone, false)
	if problem != nil || typed == "" {
		return "", "", nil, problem
	}
	if scientific.MatchString(typed) {
		return "", "", nil, &fault.Field{Path: path, Code: "scientific_notation",
			Message: "A spreadsheet has cut this number's digits. Format the column as text and send all digits, like +49 170 1234567."}
	}
	if extension.MatchString(typed) {
		return typed, "", &fault.Field{Path: path, Code: "phone_extension",
			Message: "The number was kept as sent. With its extension it is no number of its own, so that nobody is recognised by it."}, nil
	}
	if e164 = E164(typed, region); e164 == "" {
		warning = &fault.Field{Path: path, Code: "phone_not_understood",
			Message: "The number was kept as sent, but is no valid one here; send it with its country code, like +49 170 1234567."}
	}
	return typed, e164, warning, nil
}

// E164 is the number in E.164 form, empty when it is not a valid number. Without a region only numbers with a
// country code can be understood.
func E164(s, region string) string {
	s = strings.TrimSpace(s)
	if len(s) < 5 {
		return ""
	}
	if strings.HasPrefix(s, "00") {
		s = "+" + s[2:]
	}
	if region == "" {
		if s[0] != '+' {
			return ""
		}
		region = "ZZ"
	}
	n, err := phonenumbers.Parse(s, region)
	if err != nil || !phonenumbers.IsValidNumber(n) {
		return ""
	}
	return phonenumbers.Format(n, phonenumbers.E164)
}

// digits keeps the decimal digits of s.
func digits(s string) string {
	return strings.Map(func(r rune) rune {
		if r >= '0' && r <= '9' {
			return r
		}
		return -1
	}, s)
}
