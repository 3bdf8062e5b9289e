package bench

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"leadloom/test/live"
)

const (
	connections = 50
	preload     = 5_000
	password    = "bench-password-1"
)

// TestMain is the bare server when it is asked to be: it then has a process of its own, as the product has.
func TestMain(m *testing.M) {
	if path := os.Getenv("LEADLOOM_TEST_BARE"); path != "" {
		if err := serveBare(path); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// TestProductBesideTheCeiling prints the table of `make bench`. In a plain test run each leg lasts a moment, which
// shows that both sides answer rightly and nothing about speed.
func TestProductBesideTheCeiling(t *testing.T) {
	each := 500 * time.Millisecond
	if os.Getenv("LEADLOOM_TEST_BENCH") != "" {
		each = 6 * time.Second
	}
	bareAddr := startBare(t)
	data := t.TempDir()
	live.MustRun(t, password+"\n", "user", "create", "--username", "bench", "--email", "bench@example.com", "--password-stdin", "--data", data)
	srv := live.Start(t, "serve", "--addr", live.FreeAddr(t), "--data", data, "--log-level", "error")
	srv.Login("bench", password)
	srv.Must(nil, "POST", "/api/fields", map[string]any{"key": "budget", "type": "integer"})
	srv.Must(nil, "POST", "/api/fields", map[string]any{"key": "city", "type": "text"})
	addr := strings.TrimPrefix(srv.URL, "http://")

	ids := map[string][]string{bareAddr: fill(t, bareAddr, ""), addr: fill(t, addr, srv.Token)}
	t.Logf("%d leads on each side, %d connections, %v a leg; requests/s (p50 / p99 ms)", preload, connections, each)
	t.Logf("%-12s %28s %28s %7s", "", "bare net/http + driver", "leadloom", "ratio")
	for _, leg := range []struct {
		name string
		next func(addr string) request
	}{
		{"get", func(a string) request {
			return func(c, n int) (string, string, string) {
				return "GET", "/api/leads/" + ids[a][(c*7919+n*31)%len(ids[a])], ""
			}
		}},
		{"list of 100", func(string) request {
			return func(int, int) (string, string, string) { return "GET", "/api/leads?limit=100", "" }
		}},
		{"create", func(string) request {
			run := time.Now().UnixNano()
			return func(c, n int) (string, string, string) {
				return "POST", "/api/leads", person(fmt.Sprintf("%x.%d.%d", run, c, n))
			}
		}},
		{"update", func(a string) request {
			return func(c, n int) (string, string, string) {
				return "PUT", "/api/leads/" + ids[a][(c*7919+n*31)%len(ids[a])], fmt.Sprintf(`{"first_name":"Up%d","company":"Company %d.%d"}`, n, c, n)
			}
		}},
	} {
		ceiling := drive(t, bareAddr, "none", connections, each, leg.next(bareAddr))
		product := drive(t, addr, srv.Token, connections, each, leg.next(addr))
		for side, r := range map[string]result{"bare": ceiling, "leadloom": product} {
			if r.errors > 0 || r.rate == 0 {
				t.Errorf("%s, %s: %d wrong replies at %.0f requests/s; the first: %s", leg.name, side, r.errors, r.rate, r.first)
			}
		}
		t.Logf("%-12s %28s %28s %6.0f%%", leg.name, ceiling, product, 100*product.rate/max(ceiling.rate, 1))
	}
	t.Logf("memory after the run: %d MB", srv.Memory()>>20)
	srv.Stop()
}

func (r result) String() string {
	return fmt.Sprintf("%.0f (%.1f / %.1f)", r.rate, float64(r.p50)/1e6, float64(r.p99)/1e6)
}

func person(key string) string {
	return `{"first_name":"Ada","last_name":"Lovelace","email":"` + key + `@example.com","phone":"","company":"Analytical Engines","source":"bench","custom_fields":{"budget":1200,"city":"London"}}`
}

// fill creates the leads that are read and updated, over many connections, and returns their ids.
func fill(t *testing.T, addr, token string) []string {
	t.Helper()
	lists := make(chan []string)
	for w := range 10 {
		go func() {
			var ids []string
			defer func() { lists <- ids }()
			s := live.Server{URL: "http://" + addr, Token: token, Client: live.NewClient()}
			for n := range preload / 10 {
				status, body, err := s.Call(t.Context(), "POST", "/api/leads", json.RawMessage(person(fmt.Sprintf("fill.%d.%d", w, n))))
				var out struct{ ID string }
				if err != nil || status != 200 || json.Unmarshal(body, &out) != nil || out.ID == "" {
					t.Errorf("fill %s: status %d, %v: %.300s", addr, status, err, body)
					return
				}
				ids = append(ids, out.ID)
			}
		}()
	}
	var all []string
	for range 10 {
		all = append(all, <-lists...)
	}
	if len(all) != preload {
		t.Fatalf("%s: %s of %d leads were created", addr, strconv.Itoa(len(all)), preload)
	}
	return all
}

func startBare(t *testing.T) string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "LEADLOOM_TEST_BARE="+filepath.Join(t.TempDir(), "bare.db"))
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("the bare server did not start: %v", err)
	}
	return strings.TrimPrefix(strings.TrimSpace(line), "http://")
}
