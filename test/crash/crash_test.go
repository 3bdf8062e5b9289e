// Package crash ends the real server with kill -9 at random moments under concurrent writers and then looks for
// everything that had been acknowledged. LEADLOOM_TEST_CRASH_SQLITE and LEADLOOM_TEST_CRASH_POSTGRES set the rounds,
// LEADLOOM_TEST_SEED repeats a run.
package crash

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"leadloom/internal/testpg"
	"leadloom/test/live"
)

const (
	writers       = 16
	defaultRounds = 5
	password      = "crash-test-password-1"
)

func TestKill_NothingAcknowledgedIsLost_SQLite(t *testing.T) {
	kill(t, rounds(t, "LEADLOOM_TEST_CRASH_SQLITE"), "--data", t.TempDir())
}

func TestKill_NothingAcknowledgedIsLost_Postgres(t *testing.T) {
	kill(t, rounds(t, "LEADLOOM_TEST_CRASH_POSTGRES"), "--data", t.TempDir(), "--database-url", testpg.URL(t))
}

func rounds(t *testing.T, env string) int {
	v := os.Getenv(env)
	if v == "" {
		return defaultRounds
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number of rounds", env, v)
	}
	return n
}

func seed(t *testing.T) uint64 {
	if v := os.Getenv("LEADLOOM_TEST_SEED"); v != "" {
		n, err := strconv.ParseUint(v, 10, 64)
		if err != nil {
			t.Fatalf("LEADLOOM_TEST_SEED=%q: want a number", v)
		}
		return n
	}
	return rand.Uint64()
}

// ack is what the server answered with 200.
type ack struct {
	email string // of the lead, which must exist with at least this note of its version
	lead  string // its id, when the reply named it
	value int    // the value of custom field "n" that was acknowledged last
	run   string // execution id of a triggered workflow
}

func kill(t *testing.T, n int, data ...string) {
	s := seed(t)
	t.Logf("%d rounds, LEADLOOM_TEST_SEED=%d", n, s)
	random := rand.New(rand.NewPCG(s, 1))
	live.MustRun(t, password+"\n", append([]string{"user", "create", "--username", "crash", "--email", "crash@example.com", "--password-stdin"}, data...)...)
	addr := live.FreeAddr(t)
	start := func() *live.Server {
		srv := live.Start(t, append([]string{"serve", "--addr", addr, "--log-level", "error"}, data...)...)
		srv.Login("crash", password)
		return srv
	}
	srv := start()
	srv.Must(nil, "POST", "/api/fields", map[string]any{"key": "n", "type": "integer"})
	workflow := createWorkflow(srv)
	var acks []ack
	for round := range n {
		life := time.Duration(300+random.IntN(900)) * time.Millisecond
		got := write(srv, workflow, round, s, life)
		acks = append(acks, got...)
		srv.Kill()
		srv = start()
		// What was acknowledged just before the kill is the likeliest to be lost: look at it at once.
		for _, a := range got {
			find(t, srv, a)
		}
		if t.Failed() {
			t.Fatalf("lost in round %d", round)
		}
	}
	settle(t, srv, acks)
	for _, a := range acks {
		find(t, srv, a)
	}
	srv.Stop()
	if out, err := live.Run(t, "", append([]string{"check"}, data...)...); err != nil {
		t.Errorf("leadloom check after %d kills: %v\n%s", n, err, out)
	}
	t.Logf("%d kills, %d acknowledged writes, none lost", n, len(acks))
}

func createWorkflow(srv *live.Server) string {
	var out struct {
		ID string `json:"id"`
	}
	srv.Must(&out, "POST", "/api/workflows", map[string]any{"name": "Crash", "start": "score", "triggers": []any{map[string]any{"type": "api"}}, "entry": map[string]any{"reentry": "always"},
		"nodes": map[string]any{
			"score": map[string]any{"type": "action.add_score", "config": map[string]any{"points": 1, "reason": "crash test"}, "next": "tag"},
			"tag":   map[string]any{"type": "action.add_tag", "config": map[string]any{"tag": "walked"}, "next": "end"},
		}})
	return out.ID
}

// write lets concurrent clients create, update and trigger until the server is about to be killed, and returns what was
// acknowledged. The kill comes while they are at it: requests in flight may be lost or stored, only answers count.
func write(srv *live.Server, workflow string, round int, s uint64, life time.Duration) []ack {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	timer := time.AfterFunc(life, func() { _ = srv.Signal(os.Kill); cancel() })
	defer timer.Stop()
	var mu sync.Mutex
	var all []ack
	var wg sync.WaitGroup
	for w := range writers {
		wg.Go(func() {
			mine := client(ctx, srv, workflow, fmt.Sprintf("w%d.r%d.%x", w, round, s&0xffff))
			mu.Lock()
			defer mu.Unlock()
			all = append(all, mine...)
		})
	}
	wg.Wait()
	return all
}

func client(ctx context.Context, srv *live.Server, workflow, name string) (out []ack) {
	for i := 0; ctx.Err() == nil; i++ {
		a := ack{email: fmt.Sprintf("%s.%d@example.com", name, i)}
		status, body, err := srv.Call(ctx, "POST", "/api/leads", map[string]any{"email": a.email, "last_name": "Crash", "custom_fields": map[string]any{"n": 1}})
		if err != nil || status != http.StatusOK {
			return out
		}
		var created struct {
			ID string `json:"id"`
		}
		if json.Unmarshal(body, &created) != nil || created.ID == "" {
			return append(out, ack{email: "no id in the reply of POST /api/leads"})
		}
		a.lead, a.value = created.ID, 1
		out = append(out, a)
		at := len(out) - 1
		if status, _, err := srv.Call(ctx, "PUT", "/api/leads/"+a.lead, map[string]any{"custom_fields": map[string]any{"n": 2}}); err != nil || status != 200 {
			return out
		}
		out[at].value = 2
		status, body, err = srv.Call(ctx, "POST", "/api/workflows/trigger", map[string]any{"workflow_id": workflow, "lead_id": a.lead})
		if err != nil || status != 200 {
			return out
		}
		var run struct {
			ID string `json:"execution_id"`
		}
		if json.Unmarshal(body, &run) != nil || run.ID == "" {
			run.ID = "no execution_id in the reply of POST /api/workflows/trigger"
		}
		out[at].run = run.ID
	}
	return out
}

// find fails when an acknowledged lead or run is not there as it was acknowledged.
func find(t *testing.T, srv *live.Server, a ack) {
	t.Helper()
	var l struct {
		Email        string `json:"email"`
		CustomFields struct {
			N int `json:"n"`
		} `json:"custom_fields"`
	}
	status, body, err := srv.Call(context.Background(), "GET", "/api/leads/"+url.PathEscape(a.lead), nil)
	if err != nil || status != 200 || json.Unmarshal(body, &l) != nil {
		t.Errorf("lead %s (%s) was acknowledged and is not there: status %d, %v\n%s", a.lead, a.email, status, err, body)
		return
	}
	if l.Email != a.email || l.CustomFields.N < a.value {
		t.Errorf("lead %s: e-mail %q, n %d; acknowledged were %q and %d", a.lead, l.Email, l.CustomFields.N, a.email, a.value)
	}
	if a.run == "" {
		return
	}
	if status, body, err := srv.Call(context.Background(), "GET", "/api/runs/"+a.run, nil); err != nil || status != 200 {
		t.Errorf("run %s of lead %s was acknowledged and is not there: status %d, %v\n%s", a.run, a.lead, status, err, body)
	}
}

// settle waits until every acknowledged run has finished, and fails for those that never do: their job was lost.
func settle(t *testing.T, srv *live.Server, acks []ack) {
	t.Helper()
	var open []string
	for _, a := range acks {
		if a.run != "" {
			open = append(open, a.run)
		}
	}
	deadline := time.Now().Add(3 * time.Minute) // PostgreSQL's rescuer takes up jobs of a killed node after two
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for len(open) > 0 && time.Now().Before(deadline) {
		open = slices.DeleteFunc(open, func(id string) bool {
			var r struct {
				Status string `json:"status"`
			}
			status, body, err := srv.Call(context.Background(), "GET", "/api/runs/"+id, nil)
			return err == nil && status == 200 && json.Unmarshal(body, &r) == nil && strings.HasPrefix(r.Status, "finished")
		})
		<-tick.C
	}
	for _, id := range open {
		_, body, _ := srv.Call(context.Background(), "GET", "/api/runs/"+id, nil)
		t.Errorf("run %s never finished: its job was lost\n%.600s", id, body)
	}
}
