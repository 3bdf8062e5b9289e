package simulator

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"strings"

	"leadloom/internal/crm/connector"
)

type fieldSpec = connector.FieldSpec

// Kind is something that goes wrong.
type Kind string

// The faults. Before: the write does not happen. After: it does, and the reply lies.
const (
	Fail           Kind = "fail"          // Status before the write
	FailAfter      Kind = "fail_after"    // Status after the write
	Hang           Kind = "hang"          // headers never come
	Drip           Kind = "drip"          // half a body, then nothing
	Reset          Kind = "reset"         // the connection breaks after the write
	Truncate       Kind = "truncate"      // 200 with half a JSON after the write
	Reorder        Kind = "reorder"       // results in reverse order
	DropResult     Kind = "drop_result"   // the first result is missing
	ExtraResult    Kind = "extra_result"  // a result that nobody asked for
	EmptyResults   Kind = "empty_results" // 200, nothing done, no results
	RejectWhole    Kind = "reject_whole"  // 422 for the whole batch while it holds Key
	Redirect       Kind = "redirect"      // 307 to Location
	HugeBody       Kind = "huge_body"     // an endless body
	GzipBomb       Kind = "gzip_bomb"     // small, then huge
	DeepJSON       Kind = "deep_json"     // a million brackets
	BadUTF8        Kind = "bad_utf8"      // invalid bytes in a JSON text
	NULText        Kind = "nul_text"      // an escaped NUL
	HTML           Kind = "html"          // a web page with 200
	DuplicateThere Kind = "duplicate"     // the record Key exists twice
	Merged         Kind = "merged"        // the record Key is now NewID
	ExpireToken    Kind = "expire_token"  // every token is forgotten just before the call
	Echo           Kind = "echo"          // 422 that quotes the caller's credentials and body
	Instance       Kind = "instance"      // the reply of a server of our own kind whose id is NewID
)

// Fault makes one kind of call go wrong: the First-th to the Last-th of that operation, counted from 1 since the start;
// First 0 means the next one, Last 0 the same as First, Last -1 for ever.
type Fault struct {
	Op          string // test, describe, upsert, batch, fetch, changes, forget, token; * for any
	First, Last int    // for * too they count the calls of each operation, save that 0 means the very next call
	Kind        Kind
	Status      int
	RetryAfter  string
	Location    string
	Key, NewID  string
	at          int // the one call of all that it acts on; 0 when First and Last say which
}

// Inject adds a fault. Several act in the order in which they were added; the first that fits a call wins.
func (s *Simulator) Inject(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case f.First == 0 && f.Op == "*":
		f.at = s.total + 1
	case f.First == 0:
		f.First = s.counts[f.Op] + 1
	}
	if f.Last == 0 {
		f.Last = f.First
	}
	s.faults = append(s.faults, &f)
}

// Heal removes every fault.
func (s *Simulator) Heal() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = nil
}

func (s *Simulator) nextFault(op string, n int) *Fault {
	for _, f := range s.faults {
		if f.at == s.total || f.at == 0 && (f.Op == op || f.Op == "*") && n >= f.First && (f.Last < 0 || n <= f.Last) {
			return f
		}
	}
	return nil
}

// before reports whether the write does not happen.
func (f *Fault) before(s *Simulator, body []byte) bool {
	switch f.Kind {
	case ExpireToken:
		clear(s.tokens)
		return false
	case RejectWhole:
		return bytes.Contains(body, []byte(strconv.Quote(f.Key)))
	case Fail, Hang, Redirect, HugeBody, GzipBomb, DeepJSON, BadUTF8, NULText, HTML, EmptyResults, Echo, Instance:
		return true
	}
	return false
}

// act answers in place of the simulator; false lets the ordinary answer go out. It runs without the lock.
func (f *Fault) act(s *Simulator, w http.ResponseWriter, r *http.Request, a answer) bool {
	jsonReply := func(text string) { w.Header().Set("Content-Type", "application/json"); _, _ = io.WriteString(w, text) }
	switch f.Kind {
	case Fail, FailAfter:
		if f.RetryAfter != "" {
			w.Header().Set("Retry-After", f.RetryAfter)
		}
		w.WriteHeader(f.Status)
	case RejectWhole:
		if a.status != 0 {
			return false
		}
		s.write(w, refuse(http.StatusUnprocessableEntity, "refused", "", "one record is not acceptable"))
	case Hang:
		f.wait(s, r)
	case Drip:
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"results":[`)
		_ = http.NewResponseController(w).Flush()
		f.wait(s, r)
	case Reset:
		panic(http.ErrAbortHandler)
	case Truncate:
		b, _ := json.Marshal(a.body)
		jsonReply(string(b[:len(b)/2]))
	case EmptyResults:
		jsonReply(`{"results":[]}`)
	case Redirect:
		w.Header().Set("Location", f.Location)
		w.WriteHeader(http.StatusTemporaryRedirect)
	case HugeBody:
		w.Header().Set("Content-Type", "application/json")
		endless(w, r)
	case GzipBomb:
		w.Header().Set("Content-Encoding", "gzip")
		z := gzip.NewWriter(w)
		endless(z, r)
	case DeepJSON:
		jsonReply(strings.Repeat("[", 1_000_000))
	case BadUTF8:
		jsonReply("{\"results\":[{\"external_id\":\"\xff\xfe\"}]}")
	case NULText:
		jsonReply(`{"results":[{"external_id":"a\u0000b","status":"ok"}]}`)
	case Echo:
		body, _ := json.Marshal(map[string]any{"errors": []any{map[string]any{"code": "refused", "message": "cannot take " + a.quoted + " sent with " + r.Header.Get("Authorization")}}})
		w.WriteHeader(http.StatusUnprocessableEntity)
		_, _ = w.Write(body)
	case Instance:
		w.Header().Set("X-Leadloom-Instance", f.NewID)
		jsonReply(`{"results":[]}`)
	case ExpireToken:
		return false
	case HTML:
		w.Header().Set("Content-Type", "text/html")
		_, _ = io.WriteString(w, "<!doctype html><title>Sign in</title>")
	default:
		return f.twist(s, w, r, a)
	}
	return true
}

// twist changes the results of an ordinary answer.
func (f *Fault) twist(s *Simulator, w http.ResponseWriter, r *http.Request, a answer) bool {
	m, _ := a.body.(map[string]any)
	results, _ := m["results"].([]any)
	if len(results) == 0 {
		return false
	}
	switch f.Kind {
	case Reorder:
		for i, j := 0, len(results)-1; i < j; i, j = i+1, j-1 {
			results[i], results[j] = results[j], results[i]
		}
	case DropResult:
		results = results[1:]
	case ExtraResult:
		results = append(results, map[string]any{"external_id": "nobody", "status": "ok", "id": "x"})
	case DuplicateThere, Merged:
		for i, item := range results {
			if rec, ok := item.(map[string]any); ok && rec["external_id"] == f.Key {
				if f.Kind == Merged {
					results[i] = map[string]any{"external_id": f.Key, "status": "moved", "id": f.NewID, "code": "merged", "message": "merged into another record"}
				} else {
					results[i] = map[string]any{"external_id": f.Key, "status": "error", "code": "duplicate_there", "message": "two records have this key"}
				}
			}
		}
	}
	m["results"] = results
	s.write(w, a)
	return true
}

// wait holds the reply back until the caller gives up or the simulator ends.
func (f *Fault) wait(s *Simulator, r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-s.done:
	}
	panic(http.ErrAbortHandler)
}

func endless(w io.Writer, r *http.Request) {
	block := []byte(strings.Repeat(" ", 64<<10))
	for r.Context().Err() == nil {
		if _, err := w.Write(block); err != nil {
			return
		}
	}
}
