// Package connectortest is the suite that every connector passes against its simulator. A behaviour that a kind of CRM
// cannot have is left out by a capability of its Info alone, and the run says so.
package connectortest

import (
	"context"
	"fmt"
	"testing"
	"time"

	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/lead"
)

// Target is a connector under test and the simulator behind it. Wrong is the same with credentials that are not valid.
type Target struct {
	Sim       *simulator.Simulator
	Connector connector.Connector
	Wrong     connector.Connector
}

// Run makes a fresh target for each case.
func Run(t *testing.T, fresh func(t *testing.T) Target) {
	for _, c := range []struct {
		name string
		run  func(*testing.T, Target)
	}{
		{"1 test names the account", testAccount}, {"2 wrong secret", wrongSecret}, {"5 create, then same again", sameAgain},
		{"7 empty clears, absent stays", clears}, {"8 full batch and one more", batchPlusOne}, {"10 reordered results", reordered},
		{"13 poison is bisected", bisected}, {"14 missing result is ambiguous", missing}, {"16 throttled", throttled},
		{"18 failure after the write", failAfter}, {"35 forget", forget}, {"38 hostile replies", hostile},
	} {
		t.Run(c.name, func(t *testing.T) { c.run(t, fresh(t)) })
	}
}

func items(n int) []crm.Item {
	out := make([]crm.Item, n)
	for i := range out {
		key := fmt.Sprintf("lead-%04d", i)
		out[i] = crm.Item{Lead: &lead.Lead{ID: lead.ID(key), Version: 1}, Record: connector.Record{Key: key, Version: 1, IdempotencyKey: "k-" + key,
			Fields: map[string]any{"email": key + "@example.com"}}}
	}
	return out
}

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return c
}

func good(t *testing.T, g Target, in []crm.Item) []crm.Verdict {
	t.Helper()
	v, stop := crm.Send(ctx(t), g.Connector, in)
	if stop != nil {
		t.Fatalf("stopped: %v", stop)
	}
	return v
}

func wantClass(t *testing.T, err error, c connector.Class) {
	t.Helper()
	if e := connector.AsError(err); e == nil || e.Class != c {
		t.Fatalf("error %v; want class %s", err, c)
	}
}

func testAccount(t *testing.T, g Target) {
	if a, err := g.Connector.Test(ctx(t)); err != nil || a.Name == "" {
		t.Fatalf("Test = %+v, %v", a, err)
	}
}

func wrongSecret(t *testing.T, g Target) {
	_, err := g.Wrong.Test(ctx(t))
	wantClass(t, err, connector.ClassReauth)
}

func sameAgain(t *testing.T, g Target) {
	good(t, g, items(3))
	good(t, g, items(3))
	if r, _ := g.Sim.Record("lead-0000"); g.Sim.Count() != 3 || r.Writes != 1 {
		t.Fatalf("%d records, %d writes; want 3 written once", g.Sim.Count(), r.Writes)
	}
}

func clears(t *testing.T, g Target) {
	in := items(1)
	in[0].Record.Fields["company"] = "Acme"
	good(t, g, in)
	in[0].Record.Fields, in[0].Record.IdempotencyKey = map[string]any{"company": ""}, "second"
	good(t, g, in)
	if r, _ := g.Sim.Record("lead-0000"); r.Fields["company"] != nil || r.Fields["email"] == nil {
		t.Fatalf("fields %v; want company cleared and email kept", r.Fields)
	}
}

func batchPlusOne(t *testing.T, g Target) {
	n := g.Connector.Info().BatchSize + 1
	if v := good(t, g, items(n)); len(v) != n || g.Sim.Count() != n {
		t.Fatalf("%d verdicts, %d records; want %d", len(v), g.Sim.Count(), n)
	}
}

func reordered(t *testing.T, g Target) {
	g.Sim.Inject(simulator.Fault{Op: "batch", Kind: simulator.Reorder})
	for _, v := range good(t, g, items(5)) {
		if r, _ := g.Sim.Record(v.Item.Record.Key); v.Err != nil || r.ID != v.Result.ID {
			t.Fatalf("%s got the result of %s (%v)", v.Item.Record.Key, v.Result.ID, v.Err)
		}
	}
}

func bisected(t *testing.T, g Target) {
	g.Sim.Inject(simulator.Fault{Op: "*", First: 1, Last: -1, Kind: simulator.RejectWhole, Key: "lead-0011"})
	bad := 0
	for _, v := range good(t, g, items(32)) {
		if v.Err != nil {
			bad++
		}
	}
	if bad != 1 || g.Sim.Count() != 31 {
		t.Fatalf("%d refused, %d arrived; want 1 and 31", bad, g.Sim.Count())
	}
}

func missing(t *testing.T, g Target) {
	g.Sim.Inject(simulator.Fault{Op: "batch", Kind: simulator.DropResult})
	v := good(t, g, items(4))
	if v[0].Err == nil || v[0].Err.Class != connector.ClassAmbiguous || v[1].Err != nil {
		t.Fatalf("verdicts %+v; want the first ambiguous", v)
	}
}

func throttled(t *testing.T, g Target) {
	g.Sim.Inject(simulator.Fault{Op: "batch", Kind: simulator.Fail, Status: 429, RetryAfter: "7"})
	_, stop := crm.Send(ctx(t), g.Connector, items(2))
	if stop == nil || stop.Class != connector.ClassThrottled || stop.After != 7*time.Second {
		t.Fatalf("stop %+v; want throttled for 7 s", stop)
	}
}

func failAfter(t *testing.T, g Target) {
	for _, k := range []simulator.Kind{simulator.FailAfter, simulator.Reset, simulator.Truncate} {
		g.Sim.Inject(simulator.Fault{Op: "batch", Kind: k, Status: 503})
		if _, stop := crm.Send(ctx(t), g.Connector, items(3)); stop == nil && k != simulator.Reset { // after a reset net/http itself repeats a call that has an Idempotency-Key
			t.Fatalf("%s: no error", k)
		}
		good(t, g, items(3))
		if r, _ := g.Sim.Record("lead-0000"); r.Writes != 1 {
			t.Fatalf("%s: written %d times; want once", k, r.Writes)
		}
	}
}

func forget(t *testing.T, g Target) {
	good(t, g, items(2))
	for range 2 {
		if err := g.Connector.Forget(ctx(t), "lead-0000"); err != nil {
			t.Fatal(err)
		}
	}
	if g.Sim.Count() != 1 {
		t.Fatalf("%d records; want 1", g.Sim.Count())
	}
}

func hostile(t *testing.T, g Target) {
	for _, k := range []simulator.Kind{simulator.HTML, simulator.BadUTF8, simulator.NULText, simulator.DeepJSON, simulator.GzipBomb, simulator.Redirect} {
		g.Sim.Inject(simulator.Fault{Op: "batch", Kind: k, Location: "http://169.254.169.254/"})
		if v, stop := crm.Send(ctx(t), g.Connector, items(2)); stop == nil || stop.Class != connector.ClassConfig || len(v) != 0 {
			t.Errorf("%s: %+v, %v; want a config error and no success", k, v, stop)
		}
	}
}
