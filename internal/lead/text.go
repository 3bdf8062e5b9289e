package lead

import (
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"leadloom/internal/fault"
)

// Limits of text, in runes where not said otherwise (behaviours 2.1).
const (
	maxText       = 200
	maxNotes      = 10_000
	maxPhone      = 40
	maxEmailBytes = 254
	maxTag        = 64
	maxTags       = 100
	maxCustom     = 64 << 10 // bytes of a lead's custom fields
)

// Normalize brings text into the form in which it is stored: NFC, without invisible format characters, trimmed.
// Joiners stay, because several scripts need them.
func Normalize(s string) string {
	if ascii(s) {
		return strings.TrimSpace(s)
	}
	s = strings.Map(func(r rune) rune {
		if invisible(r) {
			return -1
		}
		return r
	}, s)
	return strings.TrimSpace(norm.NFC.String(s))
}

// invisible are the characters that are only ever smuggled into a name: zero-width space, byte order mark, word
// joiner, soft hyphen and the marks that turn the writing direction.
func invisible(r rune) bool {
	switch {
	case r == 0x200B, r == 0xFEFF, r == 0x2060, r == 0x00AD, r == 0x200E, r == 0x200F, r == 0x061C:
		return true
	}
	return r >= 0x202A && r <= 0x202E || r >= 0x2066 && r <= 0x2069
}

// Fold is the form in which text is compared: without case, accents and width, the same in every locale.
func Fold(s string) string {
	if ascii(s) {
		return strings.ToLower(strings.TrimSpace(s))
	}
	s = cases.Fold().String(norm.NFKD.String(s))
	s = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, norm.NFKD.String(s))
	return strings.TrimSpace(norm.NFC.String(s))
}

func ascii(s string) bool {
	for i := range len(s) {
		if s[i] >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// checkText normalises one text and reports what is wrong with it; lines allows line breaks and tabs.
func checkText(path, s string, limit int, lines bool) (string, *fault.Field) {
	s = Normalize(s)
	for _, r := range s {
		if unicode.IsControl(r) && !(lines && (r == '\n' || r == '\r' || r == '\t')) {
			return "", &fault.Field{Path: path, Code: "control_character", Message: "Send the text without control characters."}
		}
		if r == utf8.RuneError {
			return "", &fault.Field{Path: path, Code: "invalid_utf8", Message: "Send the text as valid UTF-8."}
		}
	}
	if n := utf8.RuneCountInString(s); n > limit {
		return "", &fault.Field{Path: path, Code: "too_long", Message: "Send at most " + number(limit) + " characters; these are " + number(n) + "."}
	}
	return s, nil
}

// CheckText normalises a short text of up to 200 characters; the error names path.
func CheckText(path, s string) (string, error) { return asError(checkText(path, s, maxText, false)) }

// CheckNote normalises a long text of up to 10,000 characters that must not be empty.
func CheckNote(path, s string) (string, error) {
	s, err := asError(checkText(path, s, maxNotes, true))
	if err == nil && s == "" {
		err = fault.Invalid(path, "required", "Send a text.")
	}
	return s, err
}

func asError(s string, problem *fault.Field) (string, error) {
	if problem != nil {
		return "", fault.InvalidFields([]fault.Field{*problem})
	}
	return s, nil
}
