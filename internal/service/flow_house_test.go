package service

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"sync"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/mail"
	"leadloom/internal/mail/sink"
	"leadloom/internal/outbound"
	"leadloom/internal/queue"
	"leadloom/internal/secret"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
	"leadloom/internal/workflow"
)

// patience is how long a test waits for what must happen by itself. It is no measure of speed: only a machine that does
// nothing at all takes this long.
const patience = 2 * time.Minute

// flowClock is the store's time, which only the test moves.
type flowClock struct {
	mu sync.Mutex
	at time.Time
}

func newFlowClock() *flowClock { return &flowClock{at: time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)} }

func (c *flowClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.at
}

func (c *flowClock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at = c.at.Add(d)
}

// receiver is an HTTP server that answers as the test says and remembers what it was asked.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	calls  []received
	answer func(n int, w http.ResponseWriter, r *http.Request) // n from 1
}

type received struct {
	Method, Path, Key, Body string
}

func newReceiver(t testing.TB) *receiver {
	r := &receiver{}
	r.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		body, _ := io.ReadAll(q.Body)
		r.mu.Lock()
		r.calls = append(r.calls, received{q.Method, q.URL.RequestURI(), q.Header.Get("Idempotency-Key"), string(body)})
		n, answer := len(r.calls), r.answer
		r.mu.Unlock()
		if answer != nil {
			answer(n, w, q)
		}
	}))
	t.Cleanup(r.Server.Close)
	return r
}

func (r *receiver) say(answer func(n int, w http.ResponseWriter, r *http.Request)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *receiver) got() []received {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]received(nil), r.calls...)
}

// flowHouse is the services over a real store, with a real mail sink, HTTP receiver and, once work is called, the queue.
type flowHouse struct {
	*Services
	t     testing.TB
	st    *store.Store
	clock *flowClock
	sc    account.Scope
	out   *outbound.Client
	sink  *sink.Server
	recv  *receiver

	mu     sync.Mutex
	signal chan struct{} // closed and renewed after each job
	client *queue.Client
}

// eachFlow runs f on both engines with a house of its own; at the end every invariant of runs must hold.
func eachFlow(t *testing.T, f func(t *testing.T, h *flowHouse)) {
	t.Helper()
	storetest.EachDB(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
		c := newFlowClock()
		h := newFlowHouse(t, open(c.now), c)
		f(t, h)
		h.mustHold()
	})
}

func newFlowHouse(t testing.TB, st *store.Store, c *flowClock) *flowHouse {
	t.Helper()
	s, err := sink.Start("127.0.0.1:0", sink.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	h := &flowHouse{t: t, st: st, clock: c, sink: s, recv: newReceiver(t), signal: make(chan struct{}),
		sc: account.NewScope("t-one", account.Actor{Kind: account.ActorUser, ID: "u-1", Name: "una"}, "u-1", account.AllPermissions)}
	h.build()
	return h
}

// build makes services and an inserting queue, as a process that starts does.
func (h *flowHouse) build() {
	h.out = outbound.New(outbound.Policy{Instance: h.st.InstanceID(), UserAgent: "Leadloom/test"})
	h.t.Cleanup(h.out.Close)
	h.out.AllowTarget(netip.MustParseAddrPort(h.recv.Listener.Addr().String()))
	h.Services = New(Deps{Store: h.st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32)), Outbound: h.out,
		SMTP: mail.Settings{Host: "127.0.0.1", Port: h.sink.Addr().Port, TLS: mail.TLSNone, From: "Leadloom <hello@sender.example>", MaxConns: 4, Timeout: patience}})
	h.t.Cleanup(h.Accounts.Close)
	o := h.queueOptions()
	if err := queue.MigrateUp(context.Background(), o); err != nil {
		h.t.Fatal(err)
	}
	o.InsertOnly = true
	q, err := queue.Open(context.Background(), o)
	if err != nil {
		h.t.Fatal(err)
	}
	h.st.SetInserter(q)
}

func (h *flowHouse) queueOptions() queue.Options {
	reg := queue.NewRegistry()
	h.Jobs(reg)
	return queue.Options{SQLite: h.st.SQLite(), Postgres: h.st.Postgres(), Registry: reg, TestOnly: true, PollInterval: 50 * time.Millisecond,
		Observe: func(queue.Observation) { h.ring() }}
}

// work starts the workers.
func (h *flowHouse) work() {
	h.t.Helper()
	q, err := queue.Open(context.Background(), h.queueOptions())
	if err != nil {
		h.t.Fatal(err)
	}
	h.st.SetInserter(q)
	if err := q.Start(context.Background()); err != nil {
		h.t.Fatal(err)
	}
	h.client = q
	h.t.Cleanup(func() {
		if h.client == q { // one that died with its database has nothing to end
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			_ = q.Stop(ctx)
		}
	})
}

func (h *flowHouse) ring() {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.signal)
	h.signal = make(chan struct{})
}

// until waits for a condition on committed rows, looking again after each finished job; a slow tick is the net.
func (h *flowHouse) until(what string, ok func() bool) {
	h.t.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		h.mu.Lock()
		s := h.signal
		h.mu.Unlock()
		if ok() {
			return
		}
		select {
		case <-s:
		case <-tick.C:
		case <-deadline:
			h.t.Fatalf("waited %s for: %s", patience, what)
		}
	}
}

func (h *flowHouse) workflow(def string) workflow.ID {
	h.t.Helper()
	v, err := h.Workflows.Create(context.Background(), h.sc, "", json.RawMessage(def))
	if err != nil {
		h.t.Fatalf("%v\n%s", err, def)
	}
	return v.Workflow.ID
}

// chain makes a workflow of nodes in a row, each a JSON object without its way out; more is further top-level JSON.
func (h *flowHouse) chain(more string, nodes ...string) workflow.ID {
	h.t.Helper()
	def := `{"name":"test","start":"n1",` + more + `"nodes":{`
	for i, n := range nodes {
		next := "end"
		if i < len(nodes)-1 {
			next = fmt.Sprintf("n%d", i+2)
		}
		if i > 0 {
			def += ","
		}
		def += fmt.Sprintf(`"n%d":%s,"next":%q}`, i+1, n[:len(n)-1], next)
	}
	return h.workflow(def + "}}")
}

func leadInput(t testing.TB, text string) *lead.Input {
	t.Helper()
	in, err := lead.Decode([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return in
}

func (h *flowHouse) lead(text string) *lead.Lead {
	h.t.Helper()
	out, err := h.Leads.Create(context.Background(), h.sc, leadInput(h.t, text), false)
	if err != nil {
		h.t.Fatal(err)
	}
	return out.Lead
}

func (h *flowHouse) person() *lead.Lead {
	h.t.Helper()
	return h.lead(`{"first_name":"Ada","last_name":"Lovelace","email":"ada@example.com","company":"Engines & Co"}`)
}

func (h *flowHouse) now(id lead.ID) *lead.Lead {
	h.t.Helper()
	l, err := h.Leads.Get(context.Background(), h.sc, id)
	if err != nil {
		h.t.Fatal(err)
	}
	return l
}

func (h *flowHouse) trigger(w workflow.ID, l lead.ID) workflow.RunID {
	h.t.Helper()
	out, err := h.Workflows.Trigger(context.Background(), h.sc, TriggerInput{Workflow: w, Lead: l, Trigger: "api"})
	if err != nil {
		h.t.Fatal(err)
	}
	return out.RunID
}

func (h *flowHouse) run(id workflow.RunID) *RunView {
	h.t.Helper()
	v, err := h.Workflows.Run(context.Background(), h.sc, id, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func (h *flowHouse) runsOf(w workflow.ID) []*workflow.Run {
	h.t.Helper()
	runs, _, err := h.Workflows.Runs(context.Background(), h.sc, store.RunFilter{Workflow: w, Limit: 500})
	if err != nil {
		h.t.Fatal(err)
	}
	return runs
}

// becomes waits until the run has one of these states.
func (h *flowHouse) becomes(id workflow.RunID, states ...workflow.RunStatus) *RunView {
	h.t.Helper()
	var v *RunView
	defer func() {
		if h.t.Failed() && v != nil {
			h.t.Logf("the run is %+v, its intents %+v", *v.Run, v.Intents)
		}
	}()
	h.until(fmt.Sprintf("run to be %v", states), func() bool {
		v = h.run(id)
		for _, s := range states {
			if v.Run.Status == s {
				return true
			}
		}
		return false
	})
	return v
}

// advance walks a run in a transaction of the test's own, as its job would.
func (h *flowHouse) advance(id workflow.RunID) *RunView {
	h.t.Helper()
	turn := h.run(id).Run.Turn
	if err := h.st.Write(context.Background(), func(tx *store.Tx) error { return h.core.advance(tx, h.system(), id, turn) }); err != nil {
		h.t.Fatal(err)
	}
	return h.run(id)
}

func (h *flowHouse) system() account.Scope { return account.SystemScope(h.sc.Tenant(), "test") }

// sendMail makes one attempt at the message that the run waits for, as its job would.
func (h *flowHouse) sendMail(id workflow.RunID) {
	h.t.Helper()
	m, err := h.st.Read(context.Background()).MessageByStep(h.sc, refOf(h.run(id).Run).Key())
	if err != nil {
		h.t.Fatal(err)
	}
	if err := h.Mail.sendJob(context.Background(), queue.Job[sendArgs]{ID: 1, Args: sendArgs{string(h.sc.Tenant()), m.ID}}); err != nil && !queue.IsSnooze(err) {
		h.t.Fatal(err)
	}
}

// fire moves the clock and fires what is due then, as the loop would.
func (h *flowHouse) fire(d time.Duration) (fired int) {
	h.t.Helper()
	h.clock.add(d)
	for {
		n, err := h.Workflows.FireTimers(context.Background(), account.NewInstance("test"))
		if err != nil {
			h.t.Fatal(err)
		}
		if fired += n; n < timerChunk {
			return fired
		}
	}
}

// exec runs raw SQL: for what no code of ours does.
func (h *flowHouse) exec(text string, args ...any) {
	h.t.Helper()
	var err error
	if db := h.st.SQLite(); db != nil {
		_, err = db.ExecContext(context.Background(), text, args...)
	} else {
		_, err = h.st.Postgres().Exec(context.Background(), text, args...)
	}
	if err != nil {
		h.t.Fatalf("%v\n%s", err, text)
	}
}

// mustHold runs every check; the houses make no row of their tenant.
func (h *flowHouse) mustHold() {
	h.t.Helper()
	found, err := h.System.Check(context.Background(), account.NewInstance("test"))
	if err != nil {
		h.t.Error(err)
	}
	for _, f := range found {
		if f.Check != "rows_have_a_tenant" {
			h.t.Errorf("broken invariant %d, %s: %s %s", f.Invariant, f.Check, f.ID, f.Detail)
		}
	}
}

// refusedWith reports whether err is a fault with this code, of its own or of its only field.
func refusedWith(err error, code string) bool {
	f := fault.As(err)
	return f != nil && (f.Code == code || len(f.Fields) == 1 && f.Fields[0].Code == code)
}

// states lists the steps of a run as "node state exit".
func states(v *RunView) (out []string) {
	for _, s := range v.Steps {
		out = append(out, fmt.Sprintf("%s %s %s", s.Node, s.State, s.Exit))
	}
	return out
}

var errTest = errors.New("test")
