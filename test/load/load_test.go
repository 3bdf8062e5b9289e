// Package load drives the real binary with the stress profile for a short while. The long runs are `make load` and
// test/load/profile.js; their figures are in docs/benchmarks.md.
package load

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"leadloom/internal/app/stress"
	"leadloom/test/live"
)

// TestProfile_NoRequestFails asserts what must hold on any machine: nobody is refused or answered wrongly, whatever
// the CRM connection points at. Latencies are printed, not asserted: a shared machine would make them a lottery.
func TestProfile_NoRequestFails(t *testing.T) {
	silent, dialled := neverAnswers(t)
	for _, c := range []struct{ name, crm string }{
		{"the server itself", ""},
		{"a dead host", live.FreeAddr(t)},
		{"a host that never answers", silent},
	} {
		t.Run(c.name, func(t *testing.T) {
			args, crm := []string{"demo", "--addr", live.FreeAddr(t), "--log-level", "warn"}, ""
			if c.crm != "" {
				args, crm = append(args, "--allow-targets", c.crm), "http://"+c.crm
			}
			srv := live.Start(t, args...)
			r, err := stress.Run(context.Background(), stress.Options{URL: srv.URL, CRMURL: crm, Users: 50, For: 12 * time.Second,
				Ramp: 2 * time.Second, PauseMin: 100 * time.Millisecond, PauseMax: 300 * time.Millisecond, Username: "admin", Password: "admin123", Seed: 1})
			if err != nil {
				t.Fatalf("%v\n%s", err, srv.Log())
			}
			if err := r.WriteTable(t.Output()); err != nil {
				t.Fatal(err)
			}
			if r.Failures() > 0 {
				t.Errorf("%d of %d requests failed; want none\n%s", r.Failures(), r.All.Count+r.Login.Count, srv.Log())
			}
			for _, f := range r.Endpoints {
				if f.Count == 0 {
					t.Errorf("%s was never asked: the run was too short to show anything about it", f.Endpoint)
				}
			}
			if c.crm == silent && dialled.Load() == 0 {
				t.Error("nobody has called the host that never answers: the run shows nothing about it")
			}
			srv.Stop()
		})
	}
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
