// Package load drives the real binary with the load of its clients, and with the company such a server keeps: idle
// connections, floods of logins. The tests here are short and assert what must hold on any machine: nobody is refused
// or answered wrongly. Latencies are judged by `make load`; its figures are in docs/benchmarks.md.
package load

import (
	"context"
	"net"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"leadloom/internal/app/stress"
	"leadloom/test/live"
)

const admin, adminPassword = "admin", "admin123"

// brief is a run of few seconds with hasty users, who share few logins: hashing is what a slow machine has no time for.
func brief(url string, users int) stress.Options {
	return stress.Options{URL: url, Users: users, Sessions: 2, For: 1200 * time.Millisecond, Ramp: time.Second / 2, PauseMin: 100 * time.Millisecond,
		PauseMax: 200 * time.Millisecond, Username: admin, Password: adminPassword, Seed: 1}
}

func demo(t *testing.T, more ...string) *live.Server {
	t.Helper()
	return live.Start(t, append([]string{"demo", "--addr", "127.0.0.1:0", "--log-level", "warn"}, more...)...)
}

// drive runs the profile and fails for each request that failed.
func drive(t *testing.T, srv *live.Server, opt stress.Options) *stress.Report {
	t.Helper()
	r, err := stress.Run(context.Background(), opt)
	if err != nil {
		t.Fatalf("%v\n%s", err, srv.Log())
	}
	if failed(r, srv) > 0 {
		_ = r.WriteTable(t.Output())
		t.Errorf("%d of %d requests failed; want none\n%s", r.Failures(), r.All.Count+r.Arriving.Count+r.Login.Count, srv.Log())
	}
	return r
}

// starved is a login that waited so long that this machine has no time for password workers, which work on what others
// leave. The server then refuses logins with 429, as it should.
const starved = 3 * time.Second

// failed counts failures, but for what this machine has to answer for: a health that is red while the disk lets a write
// wait, and logins that are refused while there is no time to hash.
func failed(r *stress.Report, srv *live.Server) int64 {
	n := r.Failures()
	if r.Login.Max > starved {
		n -= r.Login.Reasons["status 429 instead of 200: login_busy"]
	}
	if strings.Contains(srv.Log(), "a write has not come back") {
		for _, f := range append(r.Endpoints, r.Arriving) {
			if strings.HasPrefix(f.Endpoint, "GET /health") || f.Endpoint == r.Arriving.Endpoint {
				n -= f.Reasons["status 503 instead of 200"]
			}
		}
	}
	return n
}

// enoughRuns is how often a short run is repeated, at most, until it has asked everything.
const enoughRuns = 5

func TestProfile_NoRequestFails(t *testing.T) {
	silent, dialled := neverAnswers(t)
	for _, c := range []struct{ name, crm string }{
		{"the server itself", ""},
		{"a dead host", live.FreeAddr(t)},
		{"a host that never answers", silent},
	} {
		t.Run(c.name, func(t *testing.T) {
			var args []string
			crm := ""
			if c.crm != "" {
				args, crm = []string{"--allow-targets", c.crm}, "http://"+c.crm
			}
			srv := demo(t, args...)
			opt := brief(srv.URL, 40)
			opt.CRMURL = crm
			asked := map[string]int64{}
			never := ""
			for run := range uint64(enoughRuns) {
				opt.Seed = 1 + run
				for _, f := range drive(t, srv, opt).Endpoints {
					asked[f.Endpoint] += f.Count
				}
				never = ""
				for endpoint, n := range asked {
					if n == 0 {
						never = endpoint
					}
				}
				if never == "" {
					break
				}
			}
			if never != "" {
				t.Errorf("%s was never asked: the runs show nothing about it", never)
			}
			if c.crm == silent && dialled.Load() == 0 {
				t.Error("nobody has called the host that never answers: the run shows nothing about it")
			}
			srv.Stop()
		})
	}
}

// TestOpenLoop_EverythingThatArrivesIsAnswered: arrivals do not wait for replies, so that none is left out.
func TestOpenLoop_EverythingThatArrivesIsAnswered(t *testing.T) {
	srv := demo(t)
	opt := brief(srv.URL, 30)
	opt.Rate = 100
	r := drive(t, srv, opt)
	if got, want := float64(r.All.Count), opt.Rate*opt.For.Seconds(); got < want*0.7 || got > want*1.3 {
		t.Errorf("%v requests were sent; want about the %v that arrive", got, want)
	}
	srv.Stop()
}

// TestIdle_ConnectionsAreHeldBesideTheUsers: who has asked once keeps his connection, who never sends a byte does not.
func TestIdle_ConnectionsAreHeldBesideTheUsers(t *testing.T) {
	srv := demo(t)
	idle, err := stress.HoldIdle(context.Background(), stress.IdleOptions{URL: srv.URL, Open: 500, Silent: 50})
	if err != nil {
		t.Fatal(err)
	}
	drive(t, srv, brief(srv.URL, 20))
	r := idle.Report()
	idle.Close()
	if r.Lost > 0 {
		t.Errorf("%d of %d idle connections were lost; want all of them held", r.Lost, r.Open)
	}
	srv.Stop()
}

// TestFlood_OnlyTheFloodIsRefused: right logins of users who are not attacked come through, nobody gets in with a wrong
// password, and a refusal says when to come back.
func TestFlood_OnlyTheFloodIsRefused(t *testing.T) {
	srv := demo(t)
	names := []string{"attacked-1", "attacked-2", "attacked-3", "bystander"}
	const password = "a long password of the flood"
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	if err := stress.MakeUsers(ctx, srv.URL, admin, adminPassword, names, password); err != nil {
		t.Fatal(err)
	}
	done := make(chan *stress.FloodReport, 1)
	opt := brief(srv.URL, 10)
	opt.Arrived = func() {
		go func() {
			r, err := stress.Flood(ctx, stress.FloodOptions{URL: srv.URL, Connections: 30, Names: names[:3], Password: password, Addresses: 3,
				Victims: names[3:], Every: 100 * time.Millisecond, Seed: 1})
			if err != nil {
				t.Error(err)
			}
			done <- r
		}()
	}
	calm := drive(t, srv, opt)
	stop()
	r := <-done
	if err := r.WriteTable(t.Output()); err != nil {
		t.Fatal(err)
	}
	refused := r.Victims.Failures
	if calm.Login.Max > starved {
		refused -= r.Victims.Reasons["status 429 instead of 200"]
	}
	if r.Victims.Count == 0 || refused > 0 {
		t.Errorf("%d of %d right logins of a user who is not attacked failed", refused, r.Victims.Count)
	}
	if r.WrongAccepted > 0 || r.NoRetryAfter > 0 {
		t.Errorf("%d wrong passwords were accepted, %d refusals did not say when to come back", r.WrongAccepted, r.NoRetryAfter)
	}
	for status := range r.Answers {
		if status != 200 && status != 401 && status != 429 && status != 503 {
			t.Errorf("a login was answered with %d", status)
		}
	}
	srv.Stop()
}

// neverAnswers accepts connections, counts them and says nothing.
func neverAnswers(t *testing.T) (addr string, dialled *atomic.Int64) {
	dialled = &atomic.Int64{}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dialled.Add(1)
			t.Cleanup(func() { c.Close() })
		}
	}()
	return l.Addr().String(), dialled
}
