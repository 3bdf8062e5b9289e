// Package connectortest is the suite that every connector passes against its simulator; the numbers are those of the
// conformance list. A behaviour that a kind of CRM cannot have is left out by a capability of its Info alone, and the
// run says so. What needs the database (17, 24's policies, 36, 37, 40, 44) is tested with the drain in package service.
package connectortest

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/lead"
	"leadloom/internal/outbound"
)

// Setup is how a kind of CRM is brought up for one case: its simulator with the given options, and the environment of
// a connector that may call it. The suite fills in the client, the clock and the memory.
type Setup struct {
	Type  connector.Type
	Start func(t testing.TB, o simulator.Options) (*simulator.Simulator, connector.Env)
	// Wrong spoils the credentials.
	Wrong func(*connector.Env)
	// OAuth makes simulator and connector use tokens that expire; nil when the kind has none.
	OAuth func(*simulator.Options, *connector.Env)
}

// world is one case: a simulator, a client and what a drain would remember.
type world struct {
	testing.TB
	setup  Setup
	Sim    *simulator.Simulator
	env    connector.Env
	con    connector.Connector
	client *outbound.Client
	log    *lockedBuffer
	agree  map[lead.ID]*crm.Link
	fields crm.Mapping
}

// instance is our own id in the suite.
const instance = "suite-instance"

func newWorld(t testing.TB, s Setup, o simulator.Options, change ...func(*connector.Env)) *world {
	t.Helper()
	w := &world{TB: t, setup: s, log: &lockedBuffer{}, agree: map[lead.ID]*crm.Link{},
		fields: crm.Mapping{Version: 1, Fields: []crm.FieldMap{{Ours: "first_name", Theirs: "first_name"}, {Ours: "last_name", Theirs: "last_name"},
			{Ours: "email", Theirs: "email"}, {Ours: "company", Theirs: "company"}, {Ours: "score", Theirs: "score"}}}}
	w.Sim, w.env = s.Start(t, o)
	w.client = outbound.New(outbound.Policy{Instance: instance, UserAgent: "Leadloom/suite", Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	t.Cleanup(w.client.Close)
	w.client.AllowTarget(w.Sim.Addr())
	w.env.Client, w.env.Now, w.env.Memory = w.client, time.Now, &connector.Memory{}
	for _, c := range change {
		c(&w.env)
	}
	w.con = w.connector(w.env)
	return w
}

func (w *world) connector(env connector.Env) connector.Connector {
	w.Helper()
	c, err := connector.New(w.setup.Type, env)
	if err != nil {
		w.Fatal(err)
	}
	return c
}

// wrong is the connector with credentials that are not valid.
func (w *world) wrong() connector.Connector {
	env := w.env
	env.Secrets, env.Memory = maps.Clone(env.Secrets), &connector.Memory{}
	w.setup.Wrong(&env)
	return w.connector(env)
}

// outcome is what came of a round.
type outcome struct {
	plan     crm.Plan
	verdicts []crm.Verdict
	stop     *connector.Error
}

// sync does what a drain does with leads, save for the database: plan, send, remember.
func (w *world) sync(leads ...*lead.Lead) outcome {
	w.Helper()
	return w.syncWith(w.ctx(), leads...)
}

func (w *world) syncWith(ctx context.Context, leads ...*lead.Lead) outcome {
	w.Helper()
	rows := make([]crm.Dirty, len(leads))
	byID := map[lead.ID]*lead.Lead{}
	for i, l := range leads {
		rows[i], byID[l.ID] = crm.Dirty{LeadID: l.ID, LeadVersion: l.Version}, l
	}
	out := outcome{plan: crm.MakePlan(&crm.Connection{ID: "suite"}, &w.fields, rows, byID, w.agree)}
	if len(out.plan.Send) > 0 {
		out.verdicts, out.stop = crm.Send(ctx, w.con, out.plan.Send)
	}
	for _, v := range out.verdicts {
		if v.Err == nil {
			w.agree[v.Item.Lead.ID] = &crm.Link{LeadID: v.Item.Lead.ID, RemoteID: v.Result.ID, SyncedVersion: v.Item.Lead.Version, MappingVersion: w.fields.Version, Base: v.Item.Values, SentHash: v.Item.Hash}
		}
	}
	return out
}

// good is sync of which every lead must arrive.
func (w *world) good(leads ...*lead.Lead) outcome {
	w.Helper()
	out := w.sync(leads...)
	if out.stop != nil || len(out.plan.Refused) > 0 {
		w.Fatalf("stopped by %v, refused %v; want every lead to arrive", out.stop, out.plan.Refused)
	}
	for _, v := range out.verdicts {
		if v.Err != nil {
			w.Fatalf("%s: %v; want it to arrive", v.Item.Lead.ID, v.Err)
		}
	}
	return out
}

func (w *world) record(id lead.ID) simulator.Record {
	w.Helper()
	r, ok := w.Sim.Record(string(id))
	if !ok {
		w.Fatalf("the CRM has no record of %s", id)
	}
	return r
}

// calls counts the requests that carry records.
func (w *world) calls() int { return len(w.Sim.Calls("batch")) + len(w.Sim.Calls("upsert")) }

func (w *world) ctx() context.Context {
	c, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	w.Cleanup(cancel)
	return c
}

// leads are n made-up people at version 1.
func leads(n int) []*lead.Lead {
	out := make([]*lead.Lead, n)
	for i := range out {
		id := fmt.Sprintf("lead-%04d", i)
		out[i] = &lead.Lead{ID: lead.ID(id), Version: 1, FirstName: "Ada", LastName: "Lovelace", Email: id + "@example.com"}
	}
	return out
}

// changed is a lead's next version.
func changed(l *lead.Lead, f func(*lead.Lead)) *lead.Lead {
	c := l.Clone()
	c.Version++
	f(c)
	return c
}

func (w *world) wantClass(err error, c connector.Class) *connector.Error {
	w.Helper()
	e := connector.AsError(err)
	if err == nil || e == nil || e.Class != c {
		w.Fatalf("error %v; want class %s", err, c)
	}
	if e.Message == "" || e.Code == "" {
		w.Errorf("error %+v has no code or no words for a person", e)
	}
	return e
}

func (w *world) wantStop(out outcome, c connector.Class) *connector.Error {
	w.Helper()
	if out.stop == nil {
		w.Fatalf("nothing stopped the round (verdicts %v); want class %s", out.verdicts, c)
	}
	return w.wantClass(out.stop, c)
}

// verdict of one lead in a round.
func (o outcome) verdict(id lead.ID) (crm.Verdict, bool) {
	for _, v := range o.verdicts {
		if v.Item.Lead.ID == id {
			return v, true
		}
	}
	return crm.Verdict{}, false
}

// lockedBuffer collects the log of concurrent calls.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// item is one point of the conformance list.
type item struct {
	name  string
	needs func(connector.Capabilities) bool // nil: every kind
	opts  simulator.Options
	run   func(*world)
}

// items is the list in its order.
func items() []item {
	return append(append(append(pushItems(), faultItems()...), hostileItems()...), pullItems()...)
}

// Run makes a fresh world for each item.
func Run(t *testing.T, s Setup) {
	for _, it := range items() {
		t.Run(it.name, func(t *testing.T) {
			w := newWorld(t, s, it.opts)
			if can := w.con.Info().Can; it.needs != nil && !it.needs(can) {
				t.Skipf("%s cannot do this (capabilities %+v)", s.Type, can)
			}
			it.run(w)
		})
	}
	t.Run("15 token expiry", func(t *testing.T) {
		if s.OAuth == nil {
			t.Skipf("%s has no tokens that expire", s.Type)
		}
		tokens(t, s)
	})
	t.Run("42 no leaks", func(t *testing.T) { leaks(t, s) })
}

// leaks runs good and failing rounds and counts goroutines before and after.
func leaks(t *testing.T, s Setup) {
	runtime.GC()
	before := runtime.NumGoroutine()
	t.Run("rounds", func(t *testing.T) {
		w := newWorld(t, s, simulator.Options{})
		w.good(leads(3)...)
		w.env.Settings.TimeoutSeconds = 1 // for the calls that hang
		w.con = w.connector(w.env)
		for _, k := range []simulator.Kind{simulator.Hang, simulator.Drip, simulator.Reset, simulator.GzipBomb, simulator.Redirect} {
			w.Sim.Inject(simulator.Fault{Op: "*", Kind: k, Location: "https://elsewhere.example"})
			w.sync(changed(leads(1)[0], func(l *lead.Lead) { l.Company = string(k) }), leads(5)[4])
		}
	})
	deadline := time.Now().Add(time.Minute)
	for runtime.NumGoroutine() > before {
		if time.Now().After(deadline) {
			stacks := make([]byte, 1<<16)
			t.Fatalf("%d goroutines before, %d after:\n%s", before, runtime.NumGoroutine(), stacks[:runtime.Stack(stacks, true)])
		}
		runtime.Gosched()
	}
}

func contains(text string, parts ...string) (found []string) {
	for _, p := range parts {
		if p != "" && strings.Contains(text, p) {
			found = append(found, p)
		}
	}
	return found
}
