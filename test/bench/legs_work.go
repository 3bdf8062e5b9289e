package bench

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"
)

// What the legs of work send.
const (
	crmBatch  = 200
	bulkConns = 12 // SMTP connections that the product uses for campaigns
	stepCount = 40
	flowRuns  = `{"name":"bench runs","triggers":[{"id":"api","type":"api"}],"entry":{"reentry":"always"},"start":"a","nodes":{
		"a":{"type":"action.add_score","config":{"points":5},"next":"b"},
		"b":{"type":"branch.if","config":{"condition":{"field":"custom_fields.budget","op":">=","value":0}},"exits":{"yes":"c","no":"d"}},
		"c":{"type":"action.add_tag","config":{"tag":"hot"},"next":"d"},
		"d":{"type":"action.set_field","config":{"field":"notes","value":"seen {{ run.id }}"},"next":"end"}}}`
)

var campaignHTML = "<p>Dear Ada,</p><p>" + strings.Repeat("three customers tell how they answer a new lead within five minutes. ", 30) + "</p>"

// flowSteps is a workflow of so many steps that need nothing but the database.
func flowSteps() string {
	nodes := make([]string, stepCount)
	for i := range nodes {
		action, next := "add_tag", strconv.Itoa(i+1)
		if i%2 == 1 {
			action = "remove_tag"
		}
		if i == stepCount-1 {
			next = "end"
		} else {
			next = "n" + next
		}
		nodes[i] = fmt.Sprintf(`"n%d":{"type":"action.%s","config":{"tag":"t%d"},"next":"%s"}`, i, action, i/2, next)
	}
	return `{"name":"bench steps","triggers":[{"id":"api","type":"api"}],"entry":{"reentry":"always"},"start":"n0","nodes":{` + strings.Join(nodes, ",") + `}}`
}

// workLegs are workflows, campaigns, the CRM and logins.
func workLegs() []leg {
	return []leg{
		{name: "runs", title: "Trigger by API → 4 steps → saved run", unit: "runs/s", aim: aim{value: 1000, cpu: 1},
			note:    "River alone: the request inserts one job, whose worker does nothing",
			ceiling: aloneRuns(0, 1), product: productRuns("runs", flowRuns, 0, 1)},
		{name: "steps", title: "Pure workflow steps", unit: "steps/s", aim: aim{value: 4000},
			note:    "River alone with a job for each step; the product walks a run's steps in one transaction",
			ceiling: aloneRuns(stepRunsPerSecond, stepCount), product: productRuns("steps", flowSteps(), stepRunsPerSecond, stepCount)},
		{name: "start", title: fmt.Sprintf("Trigger → first step, at %d triggers/s", paced), unit: "ms p95", lower: true, aim: aim{value: 50},
			note:    "River alone: from the insertion to the start of the worker",
			ceiling: aloneStart, product: productStart},
		{name: "campaign", title: "Campaign into a mail sink", unit: "messages/s", aim: aim{value: 4000, cpu: 0.2},
			note:    fmt.Sprintf("net/smtp over %d connections into the same sink, no ledger", bulkConns),
			ceiling: smtpTurns, product: campaignTurns},
		{name: "crm", title: "CRM drain into a simulator", unit: "leads/s", aim: aim{value: 2000},
			note:    fmt.Sprintf("net/http sends the same batches of %d to the same simulator, no marks or links", crmBatch),
			ceiling: crmLoopTurns, product: drainTurns},
		{name: "login", title: "Log in", unit: "logins/s",
			note:    "the same argon2id hashing in a loop, as many at once as the product allows itself",
			ceiling: hashTurns, product: loginTurns},
	}
}

const (
	stepRunsPerSecond = 250 // runs of stepCount steps for each second of a turn
	paced             = 100 // triggers a second of the leg that looks at waiting
)

// triggers is a load of API triggers: for a time, or perSecond for each second of a turn when that is given.
func (w *world) triggers(perSecond int, path string, body func(c, n int) string) load {
	l := w.endless(func(c, n int) (string, string, string) { return "POST", path, body(c, n) })
	if perSecond > 0 {
		all := max(int(w.o.For.Seconds()*float64(perSecond)), 10)
		l.lasts = 0
		l.next = func(c, n int) (string, string, string, bool) {
			return "POST", path, body(c, n), n*w.o.Connections+c < all
		}
	}
	return l
}

// untilDone drives triggers and then waits for what they started.
func untilDone(ctx context.Context, w *world, t *target, l load, each int, done func(n int64) error) (measured, error) {
	l.connections = w.o.Connections
	before, began := t.cpu(), time.Now()
	d, err := drive(ctx, t.addr, t.token, l)
	if err != nil {
		return measured{}, err
	}
	if err := done(d.count); err != nil {
		return measured{}, err
	}
	took := time.Since(began)
	w.settle(ctx, t.process)
	n := d.count * int64(each)
	return measured{value: float64(n) / took.Seconds(), count: n, cpu: t.cpu() - before, latency: d.latency}, nil
}

func aloneRuns(perSecond, jobs int) func(context.Context, *world) (turner, error) {
	return func(ctx context.Context, w *world) (turner, error) {
		p, err := w.helper(ctx, "alone", filepath.Join(w.dir, "alone.db"))
		if err != nil {
			return nil, err
		}
		t := &target{process: p, token: "none"}
		path := fmt.Sprintf("/api/workflows/trigger?jobs=%d", jobs)
		return func(ctx context.Context, _ int) (measured, error) {
			if err := p.call(ctx, "", "POST", "/reset", nil, nil); err != nil {
				return measured{}, err
			}
			return untilDone(ctx, w, t, w.triggers(perSecond, path, func(int, int) string { return "{}" }), jobs, func(n int64) error {
				var s aloneState
				return p.until(ctx, "", "/state", 10*time.Millisecond, &s, func() bool { return s.Done >= n*int64(jobs) })
			})
		}, nil
	}
}

func productRuns(name, definition string, perSecond, steps int) func(context.Context, *world, *product) (turner, error) {
	return func(ctx context.Context, w *world, p *product) (turner, error) {
		flow, err := p.flow(ctx, name, definition)
		if err != nil {
			return nil, err
		}
		return func(ctx context.Context, _ int) (measured, error) {
			had, err := p.finished(ctx, flow)
			if err != nil {
				return measured{}, err
			}
			return untilDone(ctx, w, &p.target, w.triggers(perSecond, "/api/workflows/trigger", func(c, n int) string {
				return triggerBody(flow, p.spread(c, n))
			}), steps, func(n int64) error { return p.untilFinished(ctx, flow, had+n) })
		}, nil
	}
}

func triggerBody(flow, lead string) string {
	return `{"workflow_id":"` + flow + `","lead_id":"` + lead + `"}`
}

// pace asks every 1/paced s whatever the replies do (an open loop), for the time of a turn.
func pace(ctx context.Context, w *world, ask func(n int) error) (int, error) {
	ticks := time.NewTicker(time.Second / paced)
	defer ticks.Stop()
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	n := max(int(w.o.For.Seconds()*paced), 10)
	for i := range n {
		select {
		case <-ticks.C:
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		wg.Go(func() {
			if err := ask(i); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, err)
			}
		})
	}
	wg.Wait()
	return n, errors.Join(errs...)
}

func aloneStart(ctx context.Context, w *world) (turner, error) {
	p, err := w.helper(ctx, "alone", filepath.Join(w.dir, "alone.db"))
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, _ int) (measured, error) {
		if err := p.call(ctx, "", "POST", "/reset", nil, nil); err != nil {
			return measured{}, err
		}
		before := p.cpu()
		n, err := pace(ctx, w, func(int) error { return p.call(ctx, "", "POST", "/api/workflows/trigger", nil, nil) })
		if err != nil {
			return measured{}, err
		}
		var s aloneState
		if err := p.until(ctx, "", "/state?latency=1", 10*time.Millisecond, &s, func() bool { return s.Done >= int64(n) }); err != nil {
			return measured{}, err
		}
		w.settle(ctx, p)
		return measured{value: quantile(s.Latency, 0.95), count: int64(n), cpu: p.cpu() - before, latency: s.Latency}, nil
	}, nil
}

func productStart(ctx context.Context, w *world, p *product) (turner, error) {
	flow, err := p.flow(ctx, "runs", flowRuns)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, round int) (measured, error) {
		had, err := p.finished(ctx, flow)
		if err != nil {
			return measured{}, err
		}
		var mu sync.Mutex
		var runs []string
		before := p.cpu()
		n, err := pace(ctx, w, func(i int) error {
			var out struct {
				ExecutionID string `json:"execution_id"`
			}
			err := p.call(ctx, p.token, "POST", "/api/workflows/trigger", map[string]string{"workflow_id": flow, "lead_id": p.spread(round, i)}, &out)
			mu.Lock()
			defer mu.Unlock()
			runs = append(runs, out.ExecutionID)
			return err
		})
		if err != nil {
			return measured{}, err
		}
		if err := p.untilFinished(ctx, flow, had+int64(n)); err != nil {
			return measured{}, err
		}
		w.settle(ctx, p.process)
		m := measured{count: int64(n), cpu: p.cpu() - before}
		for _, id := range runs {
			var run struct {
				StartedAt time.Time `json:"started_at"`
				Steps     []struct {
					StartedAt time.Time `json:"started_at"`
				} `json:"steps"`
			}
			if err := p.call(ctx, p.token, "GET", "/api/runs/"+id, nil, &run); err != nil {
				return measured{}, err
			}
			if len(run.Steps) == 0 {
				return measured{}, fmt.Errorf("the run %s has no step", id)
			}
			m.latency = append(m.latency, run.Steps[0].StartedAt.Sub(run.StartedAt).Microseconds())
		}
		m.value = quantile(m.latency, 0.95)
		return m, nil
	}, nil
}

// loop asks the process of bare loops for one.
func (w *world) loop(ctx context.Context, path string, o loopOrder) (loopResult, time.Duration, error) {
	p, err := w.helper(ctx, "loops", "")
	if err != nil {
		return loopResult{}, 0, err
	}
	var r loopResult
	before := p.cpu()
	err = p.call(ctx, "", "POST", path, o, &r)
	return r, p.cpu() - before, err
}

// arrived waits for n deliveries and returns how they came in.
func arrived(ctx context.Context, p *process, n int) (a arrivals, err error) {
	err = p.until(ctx, "", "/state", 20*time.Millisecond, &a, func() bool { return a.Count >= int64(n) })
	if err == nil && a.Count != int64(n) {
		err = fmt.Errorf("%d came in; want %d", a.Count, n)
	}
	return a, err
}

func smtpTurns(_ context.Context, w *world) (turner, error) {
	return func(ctx context.Context, _ int) (measured, error) {
		if err := w.sink.call(ctx, "", "POST", "/reset", nil, nil); err != nil {
			return measured{}, err
		}
		r, cpu, err := w.loop(ctx, "/smtp", loopOrder{Target: w.mail.Target, Count: w.o.messages(), AtOnce: bulkConns})
		if err != nil {
			return measured{}, err
		}
		a, err := arrived(ctx, w.sink, w.o.messages())
		rate, _ := a.rate()
		return measured{value: rate, count: r.Count, cpu: cpu, latency: r.Latency}, err
	}, nil
}

func campaignTurns(_ context.Context, w *world, p *product) (turner, error) {
	return func(ctx context.Context, _ int) (measured, error) {
		if err := w.sink.call(ctx, "", "POST", "/reset", nil, nil); err != nil {
			return measured{}, err
		}
		n := w.o.messages()
		people := make([]string, n)
		for i := range people {
			people[i] = fmt.Sprintf("p%06d@example.com", i+1)
		}
		var c struct {
			ID     string
			Status string
			Counts map[string]int64
		}
		if err := p.call(ctx, p.token, "POST", "/api/campaigns", map[string]any{"name": "Bench " + unique(), "subject": "Hi {{ lead.first_name | default: 'Ada' }}",
			"html": strings.Replace(campaignHTML, "Ada", "{{ lead.first_name | default: 'Ada' }}", 1), "recipients": people}, &c); err != nil {
			return measured{}, err
		}
		if err := p.call(ctx, p.token, "POST", "/api/campaigns/"+c.ID+"/start", map[string]any{}, nil); err != nil {
			return measured{}, err
		}
		var a arrivals // preparing the ledger is not what is measured: the clock starts with the first message
		if err := w.sink.until(ctx, "", "/state", 5*time.Millisecond, &a, func() bool { return a.Count > 0 }); err != nil {
			return measured{}, err
		}
		before := p.cpu()
		a, err := arrived(ctx, w.sink, n)
		if err != nil {
			return measured{}, err
		}
		if err := p.until(ctx, p.token, "/api/campaigns/"+c.ID, 20*time.Millisecond, &c, func() bool { return c.Status == "sent" }); err != nil {
			return measured{}, err
		}
		if c.Counts["sent"] != int64(n) {
			return measured{}, fmt.Errorf("the ledger says %v; want %d sent", c.Counts, n)
		}
		w.settle(ctx, p.process)
		rate, _ := a.rate()
		return measured{value: rate, count: int64(n), cpu: p.cpu() - before}, nil
	}, nil
}

func crmLoopTurns(_ context.Context, w *world) (turner, error) {
	return func(ctx context.Context, round int) (measured, error) {
		if err := w.crm.call(ctx, "", "POST", "/reset", nil, nil); err != nil {
			return measured{}, err
		}
		_, cpu, err := w.loop(ctx, "/crm", loopOrder{Target: w.simulator.Target, Count: w.o.drained(), Batch: crmBatch, Round: round})
		if err != nil {
			return measured{}, err
		}
		a, err := arrived(ctx, w.crm, w.o.drained())
		rate, _ := a.rate()
		return measured{value: rate, count: a.Count, cpu: cpu}, err
	}, nil
}

// drainTurns changes leads while the connection rests, and lets it go.
func drainTurns(ctx context.Context, w *world, p *product) (turner, error) {
	t, conn, err := p.withCRM(ctx, w)
	if err != nil {
		return nil, err
	}
	at := "/api/connections/" + conn
	return func(ctx context.Context, round int) (measured, error) {
		if err := t.call(ctx, t.token, "POST", at+"/pause", nil, nil); err != nil {
			return measured{}, err
		}
		n := w.o.drained()
		if _, err := t.store(ctx, "/api/leads/bulk", n, func(i int) string {
			return fmt.Sprintf(`{"first_name":"Ada","last_name":"Lovelace","email":"drain.%d@example.com","company":"Engines %s.%d","source":"drain"}`, i, p.name, round)
		}); err != nil {
			return measured{}, err
		}
		if err := w.crm.call(ctx, "", "POST", "/reset", nil, nil); err != nil {
			return measured{}, err
		}
		w.settle(ctx, t.process)
		before := t.cpu()
		if err := t.call(ctx, t.token, "POST", at+"/resume", nil, nil); err != nil {
			return measured{}, err
		}
		a, err := arrived(ctx, w.crm, n)
		if err != nil {
			return measured{}, err
		}
		if err := t.inStep(ctx, conn); err != nil {
			return measured{}, err
		}
		w.settle(ctx, t.process)
		rate, _ := a.rate()
		return measured{value: rate, count: int64(n), cpu: t.cpu() - before}, nil
	}, nil
}

func hashTurns(_ context.Context, w *world) (turner, error) {
	return func(ctx context.Context, _ int) (measured, error) {
		r, cpu, err := w.loop(ctx, "/hash", loopOrder{AtOnce: max(1, runtime.GOMAXPROCS(0)/2), For: w.o.For})
		return measured{value: float64(r.Count) / max(float64(r.Took)/1e6, 1e-6), count: r.Count, cpu: cpu, latency: r.Latency}, err
	}, nil
}

func loginTurns(_ context.Context, w *world, p *product) (turner, error) {
	body := `{"username":"bench","password":"` + benchPassword + `"}`
	r := requestLeg{next: func(_ *target, w *world, _ int) (load, error) {
		l := w.endless(func(int, int) (string, string, string) { return "POST", "/api/auth/login", body })
		l.connections = max(w.o.Connections/12, 1) // few: whoever waits longer than 20 s for a hashing is refused
		return l, nil
	}}
	return r.turn(w, &p.target), nil
}
