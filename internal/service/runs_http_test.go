package service

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"leadloom/internal/store"
	"leadloom/internal/storetest"
	"leadloom/internal/workflow"
)

// callNode is a call of the receiver; more is further configuration, policy the rest of the node.
func (h *flowHouse) callNode(more, policy string) string {
	return `{"type":"action.http","config":{"url":"` + h.recv.URL + `/hook/{{ lead.company }}?n={{ lead.first_name | url }}","body":{"lead":"{{ lead.id }}","score":7}` + more + `}` + policy + `}`
}

// nextAttempt waits until n attempts are recorded and the next has its timer, then turns the clock to it.
func (h *flowHouse) nextAttempt(id workflow.RunID, n int, within time.Duration) {
	h.t.Helper()
	h.until(fmt.Sprintf("attempt %d to be recorded", n), func() bool {
		i := h.run(id).Intents
		return len(i) == 1 && len(i[0].Attempts) == n && i[0].State == workflow.IntentPlanned
	})
	if fired := h.fire(within); fired != 1 {
		h.t.Fatalf("%d timers within %s after attempt %d, want the retry", fired, within, n)
	}
}

func TestHTTPStep_RetriesWithOneKeyAndUsesTheReply(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		l := h.person()
		h.recv.say(func(n int, w http.ResponseWriter, _ *http.Request) {
			switch n {
			case 1:
				w.WriteHeader(500)
			case 2:
				w.Header().Set("Retry-After", "1800")
				w.WriteHeader(429)
			case 3:
				w.Header().Set("Retry-After", h.clock.now().Add(2*time.Hour).Format(http.TimeFormat))
				w.WriteHeader(503)
			default:
				fmt.Fprint(w, `{"id":12345678901234567890,"items":[{"name":"first"}]}`)
			}
		})
		w := h.chain(``, h.callNode(`,"save":{"call_id":"$.id","name":"$.items[0].name","none":"$.items[9]"}`, ``),
			`{"type":"action.set_field","config":{"field":"notes","value":"{{ context.call_id }} {{ context.name }}{{ context.none }}"}}`)
		id := h.trigger(w, l.ID)
		h.work()
		h.nextAttempt(id, 1, 6*time.Second) // 5 s ± 20 %
		h.nextAttempt(id, 2, 30*time.Minute)
		h.nextAttempt(id, 3, 2*time.Hour)
		v := h.becomes(id, workflow.Finished)
		calls := h.recv.got()
		if len(calls) != 4 {
			t.Fatalf("%d calls, want 4", len(calls))
		}
		for _, c := range calls {
			want := received{"POST", "/hook/Engines%20%26%20Co?n=Ada", v.Intents[0].Ref.Key(), `{"lead":"` + string(l.ID) + `","score":7}`}
			if c != want {
				t.Errorf("call %+v, want %+v", c, want)
			}
		}
		if got := h.now(l.ID).Notes; got != "12345678901234567890 first" {
			t.Errorf("the reply became %q", got)
		}
		var codes []string
		for _, a := range v.Intents[0].Attempts {
			codes = append(codes, a.Code)
		}
		if fmt.Sprint(codes) != "[http_500 http_429 http_503 http_200]" {
			t.Errorf("attempts %v", codes)
		}
	})
}

func TestHTTPStep_FailuresThatNoRetryHelps(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		l := h.person()
		elsewhere := newReceiver(t) // on loopback, and not allowed
		h.recv.say(func(_ int, w http.ResponseWriter, r *http.Request) {
			switch {
			case strings.HasPrefix(r.URL.Path, "/missing"):
				w.WriteHeader(404)
			case strings.HasPrefix(r.URL.Path, "/moved"):
				http.Redirect(w, r, elsewhere.URL, http.StatusFound)
			case strings.HasPrefix(r.URL.Path, "/big"):
				fmt.Fprintf(w, `{"v":%q}`, strings.Repeat("x", workflow.MaxContext))
			}
		})
		h.work()
		for _, c := range []struct{ config, code string }{
			{`{"url":"` + h.recv.URL + `/missing"}`, "http_404"},
			{`{"url":"` + h.recv.URL + `/moved"}`, "http_302"},
			{`{"url":"` + h.recv.URL + `/big","save":{"v":"$.v"}}`, "context_too_large"},
			{`{"url":"` + elsewhere.URL + `/"}`, "bad_url"},
			{`{"url":"https://169.254.169.254/latest"}`, "address_not_allowed"},
			{`{"url":"https://localhost/"}`, "address_not_allowed"},
		} {
			before := len(h.recv.got())
			id := h.trigger(h.chain(``, `{"type":"action.http","config":`+c.config+`}`), l.ID)
			v := h.becomes(id, workflow.Parked)
			if v.Run.Parked.Code != c.code || v.Run.Parked.Message == "" || v.Steps[0].State != workflow.StepFailed {
				t.Errorf("%s: %+v, want %s", c.config, v.Run.Parked, c.code)
			}
			if n := len(h.recv.got()) - before; n > 1 {
				t.Errorf("%s: called %d times", c.config, n)
			}
		}
		if n := len(elsewhere.got()); n != 0 {
			t.Errorf("an address that is not allowed was called %d times", n)
		}
	})
}

func TestHTTPStep_PolicyAfterTheLastAttempt(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		l := h.person()
		h.recv.say(func(_ int, w http.ResponseWriter, r *http.Request) {
			if strings.HasPrefix(r.URL.Path, "/slow") {
				<-r.Context().Done()
			}
			w.WriteHeader(503)
		})
		h.work()
		node := `{"type":"action.http","config":{"url":"` + h.recv.URL + `/slow","timeout_seconds":1},"on_error":{"retry":{"attempts":1},"then":"%s"}}`
		goesOn := h.trigger(h.chain(``, fmt.Sprintf(node, "continue"), tagNode("went-on")), l.ID)
		toNode := h.trigger(h.workflow(`{"name":"x","start":"a","nodes":{"a":{"type":"action.http","config":{"url":"`+h.recv.URL+`/x"},"next":"end","on_error":{"retry":{"attempts":1},"then":"b"}},
			"b":{"type":"action.create_task","config":{"title":"Look at {{ error.node }}: {{ error.code }}"},"next":"end"}}}`), l.ID)
		if v := h.becomes(goesOn, workflow.Finished); fmt.Sprint(states(v)) != "[n1 failed error n2 done next]" || v.Steps[0].Error.Code != "timeout" {
			t.Errorf("continue: %v %+v", states(v), v.Steps[0].Error)
		}
		h.becomes(toNode, workflow.Finished)
		tasks, err := h.Leads.Tasks(t.Context(), h.sc, store.TaskFilter{LeadID: l.ID, Limit: 5})
		if err != nil || len(tasks) != 1 || tasks[0].Title != "Look at a: http_503" {
			t.Errorf("the node after the failure: %v %+v", err, tasks)
		}
	})
}

// TestHTTPStep_LateResultOfAnAttemptThatWasTakenOver is kept as evidence and moves nothing.
func TestHTTPStep_LateResultOfAnAttemptThatWasTakenOver(t *testing.T) {
	eachFlow(t, func(t *testing.T, h *flowHouse) {
		l := h.person()
		called, release := make(chan struct{}), make(chan struct{})
		h.recv.say(func(int, http.ResponseWriter, *http.Request) { close(called); <-release })
		id := h.trigger(h.chain(``, h.callNode(``, ``), tagNode("after")), l.ID)
		h.work()
		<-called
		// As the rescue of a job thought dead does, but for later than this test lasts.
		h.exec("UPDATE river_job SET attempt=attempt+1, state='retryable', scheduled_at='2099-01-01 00:00:00' WHERE kind='step.http'")
		close(release)
		h.until("the late result", func() bool { return len(h.run(id).Intents[0].Attempts) == 1 })
		if v := h.run(id); v.Run.Status != workflow.Waiting || v.Intents[0].State != workflow.IntentStarted || v.Intents[0].Attempts[0].Code != "http_200" {
			t.Fatalf("a fenced result moved the run: %s %+v", v.Run.Status, v.Intents[0])
		}
		h.exec("UPDATE river_job SET state='available', scheduled_at=created_at WHERE kind='step.http'")
		if v := h.becomes(id, workflow.Parked); v.Run.Parked.Code != "outcome_unknown" || len(h.recv.got()) != 1 {
			t.Errorf("%+v after %d calls, want one call and a person asked", v.Run.Parked, len(h.recv.got()))
		}
	})
}

// TestCrash_RunsEndBeforeOrAfterAStep ends the process at each boundary of an outside step: with the intent committed,
// and between the call and its record. The database is all that is left.
func TestCrash_RunsEndBeforeOrAfterAStep(t *testing.T) {
	for _, c := range []struct {
		name, config string
		inCall       bool
		calls        int
		status       workflow.RunStatus
	}{
		{"after the intent", `{"method":"POST","url":"%s/x"}`, false, 1, workflow.Finished},
		{"in the call", `{"method":"POST","url":"%s/x"}`, true, 1, workflow.Parked},
		{"in the call, assume_done", `{"method":"POST","url":"%s/x","on_unknown":"assume_done"}`, true, 1, workflow.Finished},
		{"in the call, repeat", `{"method":"POST","url":"%s/x","on_unknown":"repeat"}`, true, 2, workflow.Finished},
		{"in a call that only reads", `{"method":"GET","url":"%s/x"}`, true, 2, workflow.Finished},
	} {
		t.Run(c.name, func(t *testing.T) {
			storetest.EachDB(t, func(t *testing.T, open func(func() time.Time) *store.Store) {
				clock := newFlowClock()
				h := newFlowHouse(t, open(clock.now), clock)
				l := h.person()
				w := h.chain(``, `{"type":"action.add_score","config":{"points":5}}`, fmt.Sprintf(`{"type":"action.http","config":`+c.config+`}`, h.recv.URL), tagNode("after"))
				id := h.trigger(w, l.ID)
				if c.inCall {
					dead := make(chan struct{})
					st := h.st
					h.recv.say(func(n int, w http.ResponseWriter, _ *http.Request) {
						if n == 1 {
							_ = st.Close() // from here on this process writes nothing any more
							close(dead)
						}
					})
					h.work()
					<-dead
				} else {
					h.advance(id)
					_ = h.st.Close()
				}
				h.st = open(clock.now)
				h.build()
				if h.st.Engine() == "postgres" { // what the rescue does there two minutes later
					h.exec("UPDATE river_job SET state='available' WHERE state='running'")
				}
				h.work()
				v := h.becomes(id, c.status)
				calls := h.recv.got()
				if len(calls) != c.calls {
					t.Errorf("%d calls, want %d", len(calls), c.calls)
				}
				for _, call := range calls {
					if call.Key != calls[0].Key {
						t.Errorf("keys %q and %q, want the same for each attempt", call.Key, calls[0].Key)
					}
				}
				if got := h.now(l.ID); got.Score != 5 || (len(got.Tags) == 1) != (c.status == workflow.Finished) {
					t.Errorf("score %d and tags %v: steps were lost or repeated", got.Score, got.Tags)
				}
				if c.status == workflow.Parked && (v.Run.Parked.Code != "outcome_unknown" || v.Steps[1].State != workflow.StepUnknown) {
					t.Errorf("%+v %v", v.Run.Parked, states(v))
				}
				h.mustHold()
			})
		})
	}
}
