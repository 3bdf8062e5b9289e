package crash

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/failpoint"
	"leadloom/internal/mail/sink"
)

// world is everything outside the server that its effects reach, each with a record of its own that no crash of the
// server touches.
type world struct {
	relay *sink.Server
	crm   *simulator.Simulator
	host  *httptest.Server

	mu    sync.Mutex
	calls map[string]int // Idempotency-Key of a workflow step's call to how often it came
}

func newWorld(t *testing.T) *world {
	w := &world{calls: map[string]int{}}
	var err error
	if w.relay, err = sink.Start("127.0.0.1:0", sink.Options{Keep: 1 << 30}); err != nil {
		t.Fatal(err)
	}
	if w.crm, err = simulator.Start(simulator.Options{KeepNoCalls: true}); err != nil {
		t.Fatal(err)
	}
	w.host = httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.calls[r.Header.Get("Idempotency-Key")]++
		w.mu.Unlock()
		rw.Header().Set("Content-Type", "application/json")
		_, _ = rw.Write([]byte(`{"ok":true}`))
	}))
	return w
}

func (w *world) close() {
	_ = w.relay.Close()
	_ = w.crm.Close()
	w.host.Close()
}

func (w *world) hostAddr() string { return strings.TrimPrefix(w.host.URL, "http://") }

// env lets the server reach this world.
func (w *world) env() string {
	return failpoint.TargetsVariable + "=" + w.hostAddr() + "," + w.crm.Addr().String()
}

// flags hand mail to this world's relay.
func (w *world) flags() []string {
	host, port, _ := net.SplitHostPort(w.relay.Addr().String())
	return []string{"--smtp-host", host, "--smtp-port", port, "--smtp-tls", "none", "--smtp-from", "Crash <crash@sender.example>"}
}

// called says how often a step's call came.
func (w *world) called(key string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[key]
}

// doubled names every effect that came twice: a message with one Message-ID to one recipient, a subject to one
// recipient (each campaign, run and single mail has its own), a step's call, a lead's record.
func (w *world) doubled() (out []string) {
	seen, subjects := map[string]int{}, map[string]int{}
	for _, e := range w.relay.Entries() {
		seen[e.MessageID+" to "+e.To]++
		subjects[e.Subject+" to "+e.To]++
	}
	for _, m := range []map[string]int{seen, subjects} {
		for k, n := range m {
			if n > 1 {
				out = append(out, fmt.Sprintf("mail %s: %d times", k, n))
			}
		}
	}
	w.mu.Lock()
	for k, n := range w.calls {
		if n > 1 {
			out = append(out, fmt.Sprintf("call of step %s: %d times", k, n))
		}
	}
	w.mu.Unlock()
	people := map[string]int{}
	for _, r := range w.crm.Records() {
		if email, _ := r.Fields["email"].(string); email != "" && !r.Deleted {
			if people[email]++; people[email] > 1 {
				out = append(out, "CRM record of "+email+": two or more")
			}
		}
	}
	slices.Sort(out)
	return out
}

// mails counts the recipients of a subject.
func (w *world) mails(subject string) map[string]int {
	out := map[string]int{}
	for _, e := range w.relay.Entries() {
		if e.Subject == subject {
			out[e.To]++
		}
	}
	return out
}

// inCRM is the addresses of the people that the CRM has.
func (w *world) inCRM() map[string]bool {
	out := map[string]bool{}
	for _, r := range w.crm.Records() {
		if email, _ := r.Fields["email"].(string); !r.Deleted {
			out[email] = true
		}
	}
	return out
}
