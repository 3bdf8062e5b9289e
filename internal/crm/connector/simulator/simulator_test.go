package simulator

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"leadloom/internal/crm/connector"
)

func start(t *testing.T, o Options) *Simulator {
	t.Helper()
	s, err := Start(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// ask sends a request with pairs of headers and gives status and body.
func ask(t *testing.T, s *Simulator, method, path, body string, header ...string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.URL()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	r, err := s.client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return r.StatusCode, string(b)
}

func (s *Simulator) client() *http.Client { return &http.Client{Timeout: time.Minute} }

// TestRefusesNonsense: a connector must not pass its suite by luck.
func TestRefusesNonsense(t *testing.T) {
	s := start(t, Options{APIKey: "key", MaxBatch: 2, Schema: []connector.FieldSpec{{Name: "external_id", Type: "text"}, {Name: "name", Type: "text", MaxLen: 3, Required: true},
		{Name: "score", Type: "number"}, {Name: "hot", Type: "bool"}, {Name: "tags", Type: "list"}, {Name: "size", Type: "text", Options: []string{"S", "L"}}}})
	good := []string{"Authorization", "Bearer key", "Content-Type", "application/json", "Idempotency-Key", "k-1"}
	with := func(pairs ...string) []string { return append(append([]string{}, good...), pairs...) }
	for name, c := range map[string]struct {
		method, path, body string
		header             []string
		status             int
		says               string
	}{
		"no credentials":       {"PUT", "/api/leads/a", `{"name":"x"}`, with("Authorization", ""), 401, "unauthorized"},
		"another scheme":       {"PUT", "/api/leads/a", `{"name":"x"}`, with("Authorization", "Basic key"), 401, "unauthorized"},
		"bare key":             {"PUT", "/api/leads/a", `{"name":"x"}`, with("Authorization", "key"), 401, "unauthorized"},
		"another key":          {"PUT", "/api/leads/a", `{"name":"x"}`, with("Authorization", "Bearer keys"), 401, "unauthorized"},
		"wrong method":         {"PATCH", "/api/leads/a", `{"name":"x"}`, good, 405, ""},
		"wrong path":           {"PUT", "/leads/a", `{"name":"x"}`, good, 404, ""},
		"content type":         {"PUT", "/api/leads/a", `{"name":"x"}`, with("Content-Type", "text/plain"), 415, "content_type"},
		"no idempotency key":   {"PUT", "/api/leads/a", `{"name":"x"}`, with("Idempotency-Key", ""), 400, "idempotency_key_missing"},
		"other key in body":    {"PUT", "/api/leads/a", `{"name":"x","external_id":"b"}`, good, 422, "key_mismatch"},
		"not an object":        {"PUT", "/api/leads/a", `[1]`, good, 400, "malformed"},
		"two values":           {"PUT", "/api/leads/a", `{"name":"x"} {}`, good, 400, "malformed"},
		"unknown field":        {"PUT", "/api/leads/a", `{"name":"x","colour":"red"}`, good, 422, "unknown_field"},
		"number as text":       {"PUT", "/api/leads/a", `{"name":"x","score":"7"}`, good, 422, "wrong_type"},
		"text as number":       {"PUT", "/api/leads/a", `{"name":7}`, good, 422, "wrong_type"},
		"bool as text":         {"PUT", "/api/leads/a", `{"name":"x","hot":"true"}`, good, 422, "wrong_type"},
		"list as text":         {"PUT", "/api/leads/a", `{"name":"x","tags":"a,b"}`, good, 422, "wrong_type"},
		"unknown option":       {"PUT", "/api/leads/a", `{"name":"x","size":"M"}`, good, 422, "unknown_option"},
		"too long":             {"PUT", "/api/leads/a", `{"name":"four"}`, good, 422, "too_long"},
		"required is missing":  {"PUT", "/api/leads/a", `{"score":1}`, good, 422, "required"},
		"required is empty":    {"PUT", "/api/leads/a", `{"name":""}`, good, 422, "required"},
		"empty batch":          {"POST", "/api/leads/batch", `{"records":[]}`, good, 400, "malformed"},
		"batch too large":      {"POST", "/api/leads/batch", `{"records":[{"external_id":"a"},{"external_id":"b"},{"external_id":"c"}]}`, good, 413, "batch_too_large"},
		"no key in a batch":    {"POST", "/api/leads/batch", `{"records":[{"name":"x"}]}`, good, 400, "bad_key"},
		"key twice in a batch": {"POST", "/api/leads/batch", `{"records":[{"external_id":"a","name":"x"},{"external_id":"a","name":"y"}]}`, good, 400, "bad_key"},
		"list without a limit": {"GET", "/api/leads?updated_since=2026-01-01T00:00:00Z", "", good, 400, "limit"},
		"list without a time":  {"GET", "/api/leads?limit=10", "", good, 400, "updated_since"},
		"nobody":               {"GET", "/api/leads/nobody", "", good, 404, "not_found"},
	} {
		if status, body := ask(t, s, c.method, c.path, c.body, c.header...); status != c.status || !strings.Contains(body, c.says) {
			t.Errorf("%s: %d %s; want %d %s", name, status, body, c.status, c.says)
		}
	}
	if s.Count() != 0 {
		t.Errorf("%d records after nothing but nonsense", s.Count())
	}
	if status, _ := ask(t, s, "PUT", "/api/leads/a", `{"name":"x"}`, good...); status != 201 {
		t.Errorf("a good record: %d", status)
	}
	if status, body := ask(t, s, "PUT", "/api/leads/a", `{"name":"y"}`, good...); status != 422 || !strings.Contains(body, "idempotency_key_reused") {
		t.Errorf("the same key for another body: %d %s", status, body)
	}
	if r, _ := s.Record("a"); r.Writes != 1 {
		t.Errorf("written %d times", r.Writes)
	}
}

func TestLimitsByItsOwnClock(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	s := start(t, Options{PerSecond: 2, PerDay: 5, Now: func() time.Time { return now }})
	count := func() (ok int) {
		for range 3 {
			if status, _ := ask(t, s, "GET", "/api/", ""); status == 200 {
				ok++
			}
		}
		return ok
	}
	if n := count(); n != 2 {
		t.Errorf("%d of 3 in a second; want 2", n)
	}
	now = now.Add(time.Second)
	if n := count(); n != 2 {
		t.Errorf("%d of 3 in the next second; want 2, the sixth call of the day being over its limit", n)
	}
	now = now.Add(24 * time.Hour)
	if n := count(); n != 2 {
		t.Errorf("%d of 3 on the next day; want 2", n)
	}
}

func TestFaultsActOnTheCallsTheyName(t *testing.T) {
	s := start(t, Options{})
	status := func() int { code, _ := ask(t, s, "GET", "/api/", ""); return code }
	s.Inject(Fault{Op: "test", First: 2, Last: 3, Kind: Fail, Status: 503})
	if a, b, c, d := status(), status(), status(), status(); a != 200 || b != 503 || c != 503 || d != 200 {
		t.Errorf("%d %d %d %d; want the second and the third to fail", a, b, c, d)
	}
	s.Inject(Fault{Op: "*", Kind: Fail, Status: 500})
	if a, b := status(), status(); a != 500 || b != 200 {
		t.Errorf("%d %d; want the very next call to fail, and only that", a, b)
	}
	s.Inject(Fault{Op: "*", First: 1, Last: -1, Kind: Fail, Status: 502})
	if a, b := status(), status(); a != 502 || b != 502 {
		t.Errorf("%d %d; want every call to fail", a, b)
	}
	s.Heal()
	if a := status(); a != 200 {
		t.Errorf("%d after healing", a)
	}
}

func TestJournalSurvivesACutLine(t *testing.T) {
	path := filepath.Join(t.TempDir(), "crm.jsonl")
	s, err := Start(Options{Journal: path})
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"a", "b"} {
		if status, _ := ask(t, s, "PUT", "/api/leads/"+key, `{"n":9007199254740993}`, "Content-Type", "application/json", "Idempotency-Key", key); status != 201 {
			t.Fatal(status)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, bytes.TrimSuffix(b, b[len(b)-9:]), 0o600); err != nil { // the crash came in the last line
		t.Fatal(err)
	}
	again := start(t, Options{Journal: path})
	if r, ok := again.Record("a"); !ok || r.Fields["n"] != json.Number("9007199254740993") || again.Count() != 1 {
		t.Errorf("%d records, %+v; want the whole line kept, the cut one left out", again.Count(), r)
	}
	if status, _ := ask(t, again, "PUT", "/api/leads/c", `{"n":1}`, "Content-Type", "application/json", "Idempotency-Key", "c"); status != 201 {
		t.Fatal(status)
	}
	if r, _ := again.Record("c"); r.ID == "rec-000001" || r.Seq < 2 {
		t.Errorf("record %+v; want ids and order to go on", r)
	}
}
