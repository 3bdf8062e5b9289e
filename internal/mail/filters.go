package mail

import (
	"errors"
	"html"
	"net/url"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/osteele/liquid"
	"github.com/osteele/tuesday"
)

// maxValue bounds what a filter may make of a value, in bytes: a few doublings would fill the memory.
const maxValue = 256 << 10

var (
	errValueTooLarge = errors.New("a value grew larger than 256 KiB")
	errDateFormat    = errors.New("a date's format has at most 60 characters, and no widths")
)

// register puts our filters in: the escapes, and those of the library that know no bounds, panic on odd arguments or
// cut letters in half.
func register(e *liquid.Engine) {
	e.RegisterFilter("leadloom_text", func(v any) string { return html.EscapeString(text(v)) })
	e.RegisterFilter("leadloom_part", func(v any) string { return strings.ReplaceAll(url.QueryEscape(text(v)), "+", "%20") })
	e.RegisterFilter("leadloom_link", func(v any) string {
		if s := text(v); AllowedLink(s) {
			return html.EscapeString(s)
		}
		return "#"
	})
	e.RegisterFilter("append", func(s, with string) (string, error) { return joined(s, with) })
	e.RegisterFilter("prepend", func(s, with string) (string, error) { return joined(with, s) })
	e.RegisterFilter("replace", func(s, old, with string) (string, error) { return replaced(s, old, with, strings.Count(s, old)) })
	e.RegisterFilter("replace_first", func(s, old, with string) (string, error) {
		return replaced(s, old, with, min(strings.Count(s, old), 1))
	})
	e.RegisterFilter("join", func(a []any, sep func(string) string) (string, error) {
		words, with, size := make([]string, 0, len(a)), sep(" "), 0
		for _, v := range a {
			if v != nil {
				words = append(words, text(v))
				size += len(words[len(words)-1]) + len(with)
			}
		}
		if size > maxValue {
			return "", errValueTooLarge
		}
		return strings.Join(words, with), nil
	})
	e.RegisterFilter("at_least", func(a, b float64) float64 { return max(a, b) })
	e.RegisterFilter("at_most", func(a, b float64) float64 { return min(a, b) })
	e.RegisterFilter("capitalize", func(s string) string {
		r, n := utf8.DecodeRuneInString(s)
		if n == 0 {
			return s
		}
		return string(unicode.ToTitle(r)) + s[n:]
	})
	e.RegisterFilter("slice", func(s string, start int, length func(int) int) string {
		r, n := []rune(s), length(1)
		if start < 0 {
			start += len(r)
		}
		if start < 0 || start >= len(r) || n <= 0 {
			return ""
		}
		return string(r[start : start+min(n, len(r)-start)])
	})
	e.RegisterFilter("truncate", func(s string, length func(int) int, ellipsis func(string) string) string {
		n, dots := max(length(50), 0), ellipsis("...")
		if utf8.RuneCountInString(s) <= n {
			return s
		}
		return string([]rune(s)[:max(n-utf8.RuneCountInString(dots), 0)]) + dots
	})
	e.RegisterFilter("truncatewords", func(s string, length func(int) int, ellipsis func(string) string) string {
		n, dots := max(length(15), 1), ellipsis("...")
		words := strings.Fields(s)
		if len(words) <= n {
			return s
		}
		return strings.Join(words[:n], " ") + dots
	})
	e.RegisterFilter("date", func(t time.Time, format func(string) string) (string, error) {
		f := format("%a, %b %d, %y")
		if len(f) > 60 || dateWidth.MatchString(f) {
			return "", errDateFormat
		}
		return tuesday.Strftime(f, t)
	})
}

func joined(a, b string) (string, error) {
	if len(a)+len(b) > maxValue {
		return "", errValueTooLarge
	}
	return a + b, nil
}

func replaced(s, old, with string, n int) (string, error) {
	if len(s)+n*(len(with)-len(old)) > maxValue {
		return "", errValueTooLarge
	}
	return strings.Replace(s, old, with, n), nil
}
