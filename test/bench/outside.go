package bench

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/mail/sink"
)

// arrivals is what the sink or the simulator has taken since the last POST /reset. Both sides of a leg are timed here,
// from the end of the first delivery to the end of the last one.
type arrivals struct {
	Target string `json:"target"` // where deliveries go
	Count  int64  `json:"count"`
	First  int64  `json:"first_us"`
	Last   int64  `json:"last_us"`
	Opener int64  `json:"opener"` // how many came with the first delivery
}

// rate is arrivals per second, the first delivery being where the clock starts.
func (a arrivals) rate() (perSecond float64, took time.Duration) {
	took = time.Duration(a.Last-a.First) * time.Microsecond
	return float64(a.Count-a.Opener) / max(took.Seconds(), 1e-6), took
}

type landing struct {
	mu  sync.Mutex
	now arrivals
}

func (l *landing) took(n int, at time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	us := at.UnixMicro()
	if l.now.Count == 0 {
		l.now.First, l.now.Opener = us, int64(n)
	}
	l.now.Count, l.now.Last = l.now.Count+int64(n), max(us, l.now.Last)
}

// control serves the count and its reset.
func (l *landing) control(target string) *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		s := l.now
		s.Target = target
		answer(w, s, nil)
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.now = arrivals{}
		answer(w, "ok", nil)
	})
	return mux
}

// newSink is the mail server that both the product and the bare loop send to.
func newSink(string) (http.Handler, error) {
	l := &landing{}
	s, err := sink.Start("127.0.0.1:0", sink.Options{Keep: 1, Fault: func(stage, _ string) error {
		if stage == "data" {
			l.took(1, time.Now())
		}
		return nil
	}})
	if err != nil {
		return nil, err
	}
	return l.control(s.Addr().String()), nil
}

// newCRM is the CRM that both the product and the bare loop write to.
func newCRM(string) (http.Handler, error) {
	s, err := simulator.Start(simulator.Options{})
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /state", func(w http.ResponseWriter, _ *http.Request) {
		l := &landing{}
		for _, c := range s.Calls("batch") {
			if c.Status >= 300 {
				answer(w, nil, fmt.Errorf("a batch was answered with %d", c.Status))
				return
			}
			l.took(len(c.Keys), c.At)
		}
		l.now.Target = s.Addr().String()
		answer(w, l.now, nil)
	})
	mux.HandleFunc("POST /reset", func(w http.ResponseWriter, _ *http.Request) {
		s.ForgetCalls(true)
		answer(w, "ok", nil)
	})
	return mux, nil
}
