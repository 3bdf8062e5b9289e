package lead

import (
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/nyaruka/phonenumbers"
)

// MaxWord is the longest word that is indexed, in bytes; longer ones are cut.
const MaxWord = 64

// Words are the folded words by which a lead is found while typing: names, company, e-mail address and its domain,
// phone digits, tags. Sorted, without repeats, each at most MaxWord bytes.
func Words(l *Lead) []string {
	out := make([]string, 0, 12)
	for _, s := range []string{l.FirstName, l.LastName, l.Company} {
		out = split(out, s)
	}
	for _, t := range l.Tags {
		out = split(out, t)
	}
	if l.Email != "" {
		addr := Fold(l.Email)
		out = append(out, cut(addr))
		if _, domain, ok := strings.Cut(addr, "@"); ok {
			out = append(out, cut(domain))
		}
	}
	if d := digits(l.PhoneE164); d != "" {
		out = append(out, d, national(d))
	}
	if d := phoneWord(digits(l.Phone)); len(d) >= 3 {
		out = append(out, cut(d))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// QueryWords splits what a person typed the same way; all of them must be found, each as a prefix. A number in any
// spacing is one word.
func QueryWords(q string) []string {
	q = Normalize(q)
	if d := digits(q); len(d) >= 3 && strings.Trim(q, "0123456789 +-()/.") == "" {
		return []string{cut(phoneWord(d))}
	}
	var out []string
	for _, f := range strings.Fields(q) {
		if strings.ContainsRune(f, '@') {
			if w := strings.Trim(Fold(f), "@<>,;"); w != "" {
				out = append(out, cut(w))
			}
			continue
		}
		if strings.ContainsRune(f, '.') && !strings.HasSuffix(f, ".") { // a domain as it is typed
			out = append(out, cut(Fold(f)))
			continue
		}
		out = split(out, f)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), 10)]
}

// phoneWord is a number without the zeros that stand for "abroad" or "in this country": 0049 170, +49 170 and 0170
// are found as what follows them.
func phoneWord(digits string) string {
	if rest := strings.TrimLeft(digits, "0"); rest != "" {
		return rest
	}
	return digits
}

// national is an E.164 number's digits without the country code. Codes are free of prefixes of one another.
func national(digits string) string {
	for n := 1; n <= 3 && n < len(digits); n++ {
		code, err := strconv.Atoi(digits[:n])
		if err == nil && phonenumbers.GetSupportedCallingCodes()[code] {
			return phoneWord(digits[n:])
		}
	}
	return digits
}

// split appends the words of s, folded. Vowel signs that take up room, as Indic scripts write them, are part of a word;
// folding has removed those that don't.
func split(out []string, s string) []string {
	if s == "" {
		return out
	}
	for w := range strings.FieldsFuncSeq(Fold(s), func(r rune) bool { return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.Mc, r) }) {
		out = append(out, cut(w))
	}
	return out
}

// cut shortens a word to MaxWord bytes at a rune's edge.
func cut(w string) string {
	if len(w) <= MaxWord {
		return w
	}
	n := MaxWord
	for !utf8.RuneStart(w[n]) {
		n--
	}
	return w[:n]
}
