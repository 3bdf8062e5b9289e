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
//
// An address is one word that only those find who type an "@" or a point (see written), and its beginning is another: were
// the whole one found by any beginning, a first name would be the beginning of as many words as there are people of it.
func Words(l *Lead) []string {
	out := make([]string, 0, 12)
	for _, s := range []string{l.FirstName, l.LastName, l.Company} {
		out = appendText(out, s)
	}
	for _, t := range l.Tags {
		out = appendText(out, t)
	}
	if l.Email != "" {
		addr := Fold(l.Email)
		out = appendBeginning(append(out, cut("@"+addr)), addr)
		if _, domain, ok := strings.Cut(addr, "@"); ok {
			out = appendBeginning(append(out, cut("@"+domain)), domain)
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
	for f := range strings.FieldsSeq(Fold(q)) {
		if w := written(f); w != "" {
			out = append(out, w)
			continue
		}
		out = split(out, f)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	return out[:min(len(out), 10)]
}

// written is the word of an address, a domain or a name with a point in it, as it is written, after an "@" that no other
// word begins with; "" when f is none of them, or only begins to be one.
func written(f string) string {
	f = strings.TrimRight(strings.TrimLeft(f, "@<"), ">,;")
	if strings.ContainsRune(f, '@') || strings.ContainsRune(f, '.') && !strings.HasSuffix(f, ".") {
		return cut("@" + f)
	}
	return ""
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

// appendText appends the words of a name, a company or a tag.
func appendText(out []string, s string) []string {
	s = Fold(s)
	out = split(out, s)
	if strings.ContainsAny(s, ".@") {
		for f := range strings.FieldsSeq(s) {
			if w := written(f); w != "" {
				out = append(out, w)
			}
		}
	}
	return out
}

// appendBeginning appends the word that an address or a domain begins with.
func appendBeginning(out []string, folded string) []string {
	n := strings.IndexFunc(folded, betweenWords)
	if n < 0 {
		n = len(folded)
	}
	if n == 0 {
		return out
	}
	return append(out, cut(folded[:n]))
}

// split appends the words of a folded text.
func split(out []string, folded string) []string {
	for w := range strings.FieldsFuncSeq(folded, betweenWords) {
		out = append(out, cut(w))
	}
	return out
}

// betweenWords is true of what is no part of a word. Vowel signs that take up room, as Indic scripts write them, are; folding
// has removed those that don't.
func betweenWords(r rune) bool {
	return !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.Mc, r)
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
