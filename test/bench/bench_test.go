package bench

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"leadloom/test/live"
)

// TestMain is a helper process when it is asked to be one.
func TestMain(m *testing.M) {
	if Helper() {
		return
	}
	os.Exit(m.Run())
}

// moment is a run that shows that both sides answer rightly, and nothing about speed.
func moment(t *testing.T, legs string) Options {
	return Options{Binary: live.Binary(t), Commit: "0123456789abcdef", For: 150 * time.Millisecond, Repeat: 1, Connections: 6, Leads: 400, Bulk: 20,
		Only: regexp.MustCompile("^(" + legs + ")$"), Progress: t.Output()}
}

// TestRun_EveryLegIsAnsweredRightlyOnBothSides takes one short turn of each leg; the replies are looked at on both sides.
func TestRun_EveryLegIsAnsweredRightlyOnBothSides(t *testing.T) {
	r, err := Run(t.Context(), moment(t, ".*"))
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Failed(); err != nil {
		t.Error(err)
	}
	if len(r.Legs) < 17 {
		t.Errorf("%d legs were measured; want 17 at least", len(r.Legs))
	}
	for _, l := range r.Legs {
		for _, s := range l.Sides {
			if l.Error == "" && (len(s.Turns) != 1 || s.Turns[0].Count == 0 || s.Value.Median <= 0) {
				t.Errorf("%s, %s: %+v; want one turn with operations in it", l.Name, s.Name, s.Turns)
			}
		}
	}
	var table strings.Builder
	if err := r.WriteTable(&table); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(t.Output(), table.String())
}
