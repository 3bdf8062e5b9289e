package faults

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
)

// everything says whether the whole tables run (make faults, LEADLOOM_TEST_FAULTS=all) or a few cases of each.
func everything() bool { return os.Getenv("LEADLOOM_TEST_FAULTS") == "all" }

// long leaves a test to make faults: one that takes many seconds, and of whose kind a shorter one always runs.
func long(t *testing.T) {
	t.Helper()
	if !everything() {
		t.Skip("takes long: make faults")
	}
}

// some gives the cases to run: all of them, or n that a seed has drawn. LEADLOOM_TEST_SEED repeats a draw.
func some[T any](t *testing.T, n int, cases []T) []T {
	t.Helper()
	if everything() || n >= len(cases) {
		return cases
	}
	s := seed(t)
	out := slices.Clone(cases)
	rand.New(rand.NewPCG(s, uint64(len(cases)))).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	t.Logf("%d of %d cases, LEADLOOM_TEST_SEED=%d", n, len(cases), s)
	return out[:n]
}

func seed(t *testing.T) uint64 {
	if v := os.Getenv("LEADLOOM_TEST_SEED"); v != "" {
		s, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("LEADLOOM_TEST_SEED=%q: want a number", v)
		}
		return s
	}
	return rand.Uint64()
}
