package simulator

import (
	"encoding/json"
	"io"
	"net/http"
)

// answer is what a route decided.
type answer struct {
	status int
	body   any
	header map[string]string
	keys   []string
	quoted string // the request's body, for a reply that echoes it
}

func refuse(status int, code, field, message string) answer {
	return answer{status: status, body: map[string]any{"errors": []any{map[string]any{"code": code, "field": field, "message": message}}}}
}

func (s *Simulator) routes() http.Handler {
	mux := http.NewServeMux()
	api := func(pattern, op string, h func(r *http.Request, body []byte) answer) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.serve(w, r, op, h) })
	}
	api("GET /api/{$}", "test", func(*http.Request, []byte) answer {
		return answer{status: 200, body: map[string]any{"account": s.opts.Account}}
	})
	api("GET /api/schema", "describe", s.describe)
	api("PUT /api/leads/{key}", "upsert", s.putOne)
	if !s.opts.NoBatch {
		api("POST /api/leads/batch", "batch", s.putMany)
	}
	api("GET /api/leads/{key}", "fetch", s.getOne)
	api("GET /api/leads", "changes", s.list)
	api("DELETE /api/leads/{key}", "forget", s.deleteOne)
	api("POST /oauth/token", "token", s.token)
	mux.HandleFunc("GET /{$}", s.page)
	mux.HandleFunc("GET /records/{id}", s.recordPage)
	return mux
}

// serve checks what every route checks, lets the injected faults act, and keeps the call.
func (s *Simulator) serve(w http.ResponseWriter, r *http.Request, op string, h func(*http.Request, []byte) answer) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, 64<<20))
	if err != nil {
		s.write(w, refuse(http.StatusRequestEntityTooLarge, "too_large", "", "the body is too large"))
		return
	}
	s.mu.Lock()
	s.counts[op]++
	s.total++
	if s.onCall != nil {
		s.onCall(op)
	}
	fault := s.nextFault(op, s.counts[op])
	a := answer{quoted: string(body[:min(len(body), 2000)])}
	early := fault != nil && fault.before(s, body)
	if !early {
		if refused := s.admit(r, op); refused != nil {
			a = *refused
		} else {
			a = h(r, body)
		}
		if s.journal != nil {
			s.journal.flush()
		}
	}
	if !s.noKeep {
		s.calls = append(s.calls, Call{Op: op, Status: a.status, Header: r.Header.Clone(), Keys: a.keys, At: s.opts.Now()})
	}
	s.mu.Unlock()
	if fault != nil && fault.act(s, w, r, a) {
		return
	}
	s.write(w, a)
}

func (s *Simulator) write(w http.ResponseWriter, a answer) {
	for k, v := range a.header {
		w.Header().Set(k, v)
	}
	if a.body == nil {
		w.WriteHeader(a.status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	_ = json.NewEncoder(w).Encode(a.body)
}
