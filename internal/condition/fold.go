package condition

import (
	"strings"

	"leadloom/internal/lead"
)

// Fold makes texts comparable as leads compare them: case, accents, width and outer blanks do not count.
func Fold(s string) string { return lead.Fold(s) }

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
