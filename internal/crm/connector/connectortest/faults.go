package connectortest

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/lead"
)

// faultItems are the cases of a CRM that fails.
func faultItems() []item {
	return []item{
		{name: "16 too many requests", run: throttled}, {name: "18 and 19 failure after the write", run: failAfter}, {name: "20 slow replies", run: slow}, {name: "21 cancelled", run: cancelled},
		{name: "server errors", run: serverErrors}, {name: "37 budget is asked for each call", run: budget}, {name: "43 marks of each call", run: marks},
	}
}

// tokens lets eight callers meet an expired token in the middle of a batch.
func tokens(t *testing.T, s Setup) {
	o := simulator.Options{}
	var env connector.Env
	s.OAuth(&o, &env)
	w := newWorld(t, s, o, func(e *connector.Env) { s.OAuth(&o, e) })
	w.good(leads(2)...)
	first := len(w.Sim.Calls("token"))
	w.Sim.ExpireTokens()
	all := leads(42)[2:]
	var wg sync.WaitGroup
	outs := make([]outcome, 8)
	for i := range outs {
		part := all[i*5 : i*5+5]
		items := w.plan(part...)
		wg.Go(func() {
			records := make([]connector.Record, len(items))
			for j, it := range items {
				records[j] = it.Record
			}
			results, err := w.con.UpsertBatch(w.ctx(), records)
			if err != nil || len(results) != len(records) {
				w.Errorf("%d results, %v; want all after one renewal", len(results), err)
			}
		})
	}
	wg.Wait()
	if n := len(w.Sim.Calls("token")) - first; n != 1 {
		w.Errorf("the token was renewed %d times by eight callers; want once", n)
	}
	for _, l := range all {
		if r := w.record(l.ID); r.Writes != 1 {
			w.Errorf("%s was written %d times; want once", l.ID, r.Writes)
		}
	}
	w.Sim.Inject(simulator.Fault{Op: "*", First: 1, Last: -1, Kind: simulator.ExpireToken})
	before := len(w.Sim.Calls(""))
	w.wantStop(w.sync(changed(all[0], func(l *lead.Lead) { l.Company = "Acme" }), changed(all[1], func(l *lead.Lead) { l.Company = "Acme" })), connector.ClassReauth)
	if n := len(w.Sim.Calls("")) - before; n > 4 {
		w.Errorf("%d calls with tokens that never hold; want one renewal and an end", n)
	}
	w.Sim.Heal()
	w.Sim.Inject(simulator.Fault{Op: "token", Kind: simulator.Fail, Status: 429, RetryAfter: "11"})
	w.Sim.ExpireTokens()
	if e := w.wantStop(w.sync(changed(all[2], func(l *lead.Lead) { l.Company = "Acme" })), connector.ClassThrottled); e.After != 11*time.Second {
		w.Errorf("a throttled renewal waits %s; want 11 s", e.After)
	}
	bad := w.wrong()
	_, err := bad.Test(w.ctx())
	w.wantClass(err, connector.ClassReauth)
}

func throttled(w *world) {
	soon := time.Now().Add(90 * time.Second).UTC()
	for header, want := range map[string]time.Duration{"7": 7 * time.Second, "": 0, "soon": 0, "999999": time.Hour, soon.Format(http.TimeFormat): 90 * time.Second} {
		w.Sim.Inject(simulator.Fault{Op: "*", Kind: simulator.Fail, Status: 429, RetryAfter: header})
		before := w.calls()
		e := w.wantStop(w.sync(leads(250)...), connector.ClassThrottled)
		late := time.Duration(0)
		if header == soon.Format(http.TimeFormat) { // a date: what is left of it when the reply is read
			late = time.Minute
		}
		if diff := want - e.After; diff < 0 || diff > late {
			w.Errorf("Retry-After %q: wait %s; want %s", header, e.After, want)
		}
		if n := w.calls() - before; n != 1 {
			w.Errorf("Retry-After %q: %d calls; want no second one", header, n)
		}
	}
}

func failAfter(w *world) {
	for i, k := range []simulator.Kind{simulator.FailAfter, simulator.Reset, simulator.Truncate} {
		in := leads(3 * (i + 1))[3*i:]
		w.Sim.Inject(simulator.Fault{Op: "*", Kind: k, Status: 503})
		out := w.sync(in...)
		if k != simulator.Reset && out.stop == nil { // after a reset net/http itself repeats a call that has an Idempotency-Key
			w.Fatalf("%s: verdicts %v and no stop: a false success", k, out.verdicts)
		}
		w.Sim.Heal()
		w.good(in...)
		for _, l := range in {
			if r := w.record(l.ID); r.Writes != 1 {
				w.Errorf("%s: %s was written %d times; want once", k, l.ID, r.Writes)
			}
		}
	}
	if w.Sim.Count() != 9 {
		w.Errorf("%d records; want 9 and no duplicate", w.Sim.Count())
	}
}

func serverErrors(w *world) {
	for status, class := range map[int]connector.Class{500: connector.ClassRetry, 503: connector.ClassRetry, 408: connector.ClassRetry, 425: connector.ClassRetry,
		403: connector.ClassConfig, 415: connector.ClassConfig, 302: connector.ClassConfig} {
		w.Sim.Inject(simulator.Fault{Op: "*", Kind: simulator.Fail, Status: status})
		if out := w.sync(leads(2)...); out.stop == nil || out.stop.Class != class || len(out.verdicts) != 0 {
			w.Errorf("status %d: stop %v, verdicts %v; want %s and the leads kept", status, out.stop, out.verdicts, class)
		}
		w.Sim.Heal()
	}
	if n := w.Sim.Count(); n != 0 {
		w.Errorf("%d records after failures before the write", n)
	}
}

func slow(w *world) {
	w.env.Settings.TimeoutSeconds = 1
	w.con = w.connector(w.env)
	for _, k := range []simulator.Kind{simulator.Hang, simulator.Drip} {
		w.Sim.Inject(simulator.Fault{Op: "*", Kind: k})
		start := time.Now()
		e := w.wantStop(w.sync(leads(2)...), connector.ClassRetry)
		if took := time.Since(start); e.Code != "timeout" || took > time.Minute { // half of what the round may take
			w.Errorf("%s: %s after %s; want it cut at its deadline of 1 s", k, e.Code, took)
		}
	}
}

func cancelled(w *world) {
	w.Sim.Inject(simulator.Fault{Op: "*", Kind: simulator.Hang})
	ctx, cancel := context.WithCancel(w.ctx())
	w.Sim.OnCall(func(string) { cancel() })
	out := w.syncWith(ctx, leads(2)...)
	if out.stop == nil || len(out.verdicts) != 0 {
		w.Errorf("verdicts %v, stop %v; want a call given up to decide nothing", out.verdicts, out.stop)
	}
	w.Sim.OnCall(nil)
	w.Sim.Heal()
	w.good(leads(2)...)
}

func budget(w *world) {
	n := 0
	w.env.Take = func(context.Context) error {
		if n++; n > 3 {
			return &connector.Error{Class: connector.ClassThrottled, Code: "budget", Message: "no more"}
		}
		return nil
	}
	w.con = w.connector(w.env)
	in := leads(8)
	w.Sim.Inject(simulator.Fault{Op: "*", First: 1, Last: -1, Kind: simulator.RejectWhole, Key: string(in[0].ID)})
	w.wantStop(w.sync(in...), connector.ClassThrottled)
	if c := len(w.Sim.Calls("")); c != 3 {
		w.Errorf("%d calls with a budget of 3: bisecting counts too", c)
	}
}

func marks(w *world) {
	w.env.Hops = 1
	w.con = w.connector(w.env)
	if _, err := w.con.Test(w.ctx()); err != nil {
		w.Fatal(err)
	}
	w.good(leads(2)...)
	w.good(leads(3)[2])
	seen := map[string]bool{}
	for _, c := range w.Sim.Calls("") {
		id := c.Header.Get("X-Request-Id")
		if c.Header.Get("User-Agent") != "Leadloom/suite" || id == "" || seen[id] || c.Header.Get("X-Leadloom-From") != instance || c.Header.Get("X-Leadloom-Hops") != "2" {
			w.Errorf("%s: headers %v; want our User-Agent, a request id of its own, who sends it and how far it has come", c.Op, c.Header)
		}
		seen[id] = true
	}
}
