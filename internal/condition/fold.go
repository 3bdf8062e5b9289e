package condition

import (
	"strings"
	"unicode"

	"golang.org/x/text/unicode/norm"
)

// Fold makes texts comparable: case, accents, width and outer blanks do not count. "Straße" equals "STRASSE".
func Fold(s string) string {
	s = strings.TrimSpace(s)
	ascii, upper := true, false
	for i := 0; i < len(s); i++ {
		if s[i] >= 0x80 {
			ascii = false
			break
		}
		upper = upper || (s[i] >= 'A' && s[i] <= 'Z')
	}
	if ascii {
		if upper {
			return strings.ToLower(s)
		}
		return s
	}
	var b strings.Builder
	for _, r := range norm.NFKD.String(s) {
		switch {
		case unicode.Is(unicode.Mn, r):
		case r == 'ß' || r == 'ẞ':
			b.WriteString("ss")
		default:
			b.WriteRune(unicode.ToLower(r))
		}
	}
	return b.String()
}

// Nearest is the candidate with the fewest edits from s, for "did you mean"; empty without candidates.
func Nearest(s string, candidates []string) string {
	best, bestCost := "", 1<<30
	s = strings.ToLower(s)
	if len(s) > 64 {
		s = s[:64]
	}
	for _, c := range candidates {
		if cost := edits(s, strings.ToLower(c)); cost < bestCost {
			best, bestCost = c, cost
		}
	}
	return best
}

func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		diagonal := row[0]
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := diagonal
			if a[i-1] != b[j-1] {
				cost = 1 + min(diagonal, row[j], row[j-1])
			}
			diagonal, row[j] = row[j], cost
		}
	}
	return row[len(b)]
}
