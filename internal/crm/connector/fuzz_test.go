package connector

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"leadloom/internal/outbound"
	"leadloom/internal/secret"
)

const fuzzSecret = "s3cr3t-of-the-CRM"

func fuzzGeneric(s Settings, now time.Time) *generic {
	return newGeneric(Env{BaseURL: "https://crm.example.org/api", Settings: s, Memory: &Memory{}, Now: func() time.Time { return now },
		Secrets: map[string]secret.Masked{"api_key": fuzzSecret, "webhook_secret": fuzzSecret}}).(*generic)
}

// checkForeign fails when a text that we keep of a CRM is long, broken or tells our own secret.
func checkForeign(t *testing.T, what, s string) {
	t.Helper()
	if len(s) > 4*outbound.MaxStoredText || !utf8.ValidString(s) || strings.ContainsAny(s, "\x00\r\n") {
		t.Fatalf("%s is kept as %q", what, s)
	}
	if strings.Contains(s, fuzzSecret) {
		t.Fatalf("%s tells the secret: %q", what, s)
	}
}

// FuzzReply gives a CRM's reply to everything that reads one: what is kept is short text without our secrets, a refusal
// never counts as success, and a result belongs to a key that was named.
func FuzzReply(f *testing.F) {
	for status, body := range map[int]string{200: `{"results":[{"external_id":"a","id":"1","status":"created"},{"external_id":"b","status":"422","code":"X","field":"f","message":"no"}],"next_cursor":"c","records":[{"external_id":"a","deleted":true}]}`,
		207: `{"results":[{"external_id":7,"status":503},{"external_id":"","id":"x"},[],null]}`, 400: `{"errors":[{"code":"bad","field":"email","message":"s3cr3t-of-the-CRM a@b.example"}]}`,
		401: `[]`, 410: `{"a":{"b":{"c":[]}}}`, 429: ``, 500: `{"message":` + strings.Repeat("[", 100), 302: `{"results":{"results":1e999}}`} {
		f.Add(status, body, "results", "120")
	}
	f.Add(200, `{"d":{"r":[{"external_id":"k","id":true,"url":"https://crm.example.org@evil.example/"}]}}`, "d.r", "Wed, 21 Oct 2026 07:28:00 GMT")
	now := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, status int, body, path, after string) {
		g := fuzzGeneric(Settings{ResultsField: path, IDField: path, ErrorsField: path}, now)
		r := &outbound.Response{Status: status, Header: http.Header{"Retry-After": {after}, "Location": {after}}, Body: []byte(body)}
		for _, ofRecord := range []bool{true, false} {
			e := g.refusal(r, ofRecord)
			if (e == nil) != (status >= 200 && status < 300) {
				t.Fatalf("status %d is refused: %v", status, e)
			}
			if e == nil {
				continue
			}
			if e.Class == "" || e.Code == "" || e.Message == "" || e.After < 0 || e.After > outbound.MaxRetryAfter {
				t.Fatalf("status %d is %+v", status, e)
			}
			if !ofRecord && (e.Class == ClassRecord || e.Class == ClassGone) {
				t.Fatalf("status %d of a call that is about no record is %s", status, e.Class)
			}
			checkForeign(t, "the code", e.Code)
			checkForeign(t, "the field", e.Field)
			checkForeign(t, "the message", e.Message)
		}
		var reply any
		if outbound.DecodeJSON(r.Body, &reply) != nil {
			return
		}
		list, _ := at(reply, path).([]any)
		for _, res := range g.readResults(list) {
			if res.Key == "" || res.Err != nil && (res.Created || res.Err.Class == "" || res.Err.Code == "") {
				t.Fatalf("%s gives %+v", body, res)
			}
			if res.URL != "" && !strings.HasPrefix(strings.ToLower(res.URL), "https://crm.example.org/") {
				t.Fatalf("a link leads away: %q", res.URL)
			}
			if len(res.ID) > 255 || len(res.Stamp) > 255 {
				t.Fatalf("%d and %d bytes of id and stamp", len(res.ID), len(res.Stamp))
			}
			if res.Err != nil {
				checkForeign(t, "an item's code", res.Err.Code)
				checkForeign(t, "an item's field", res.Err.Field)
				checkForeign(t, "an item's message", res.Err.Message)
			}
		}
		if m, ok := reply.(map[string]any); ok {
			if rec := g.readRecord(m); len(rec.ID) > 255 || len(rec.Stamp) > 255 {
				t.Fatalf("%d and %d bytes of id and stamp", len(rec.ID), len(rec.Stamp))
			}
		}
	})
}

// FuzzWebhook: only what was signed with our key and lately is read, and each hint names its event.
func FuzzWebhook(f *testing.F) {
	now := time.Unix(1_800_000_000, 0)
	for _, body := range []string{`{"event_id":"e","records":[{"external_id":"a","id":"1"}]}`, `{"event_id":""}`, `[]`, `{"event_id":"e","records":null}`, "\xff", `{"event_id":"e"}{}`} {
		f.Add([]byte(body), "t=1,v1=00", int64(0))
		f.Add([]byte(body), Sign(fuzzSecret, now, []byte(body)), int64(301))
	}
	f.Fuzz(func(t *testing.T, body []byte, header string, late int64) {
		g := fuzzGeneric(Settings{}, now)
		if changes, err := g.Webhook(http.Header{SignatureHeader: {header}}, append([]byte("other"), body...)); err == nil {
			t.Fatalf("%q is taken for a signature: %v", header, changes)
		}
		late %= 1_000_000
		changes, err := g.Webhook(http.Header{SignatureHeader: {Sign(fuzzSecret, now.Add(time.Duration(late)*time.Second), body)}}, body)
		if err == nil && (late > 300 || late < -300) {
			t.Fatalf("taken %d s away from its time", late)
		}
		for _, c := range changes {
			if c.EventID == "" || len(c.Key) > 255 || len(c.ID) > 255 || !utf8.ValidString(c.Key+c.ID) {
				t.Fatalf("%q gives %+v", body, c)
			}
		}
	})
}

// FuzzSettings: settings that are taken make no header, path or method that could break out of a call, and are the same
// after being stored.
func FuzzSettings(f *testing.F) {
	for _, s := range []string{`{}`, `{"auth":"header","auth_header":"X-Key"}`, `{"record_path":"/a/{external_id}","headers":{"X-A":"b"}}`, `{"record_path":"//evil.example/{external_id}"}`,
		`{"headers":{"Host":"x","X-A\r\n":"y","Authorization":"z"}}`, `{"batch_size":1001,"rate_per_second":-1,"timeout_seconds":31,"daily_limit":-1}`, `{"test_path":"/\\evil.example"}`, `{"test_path":"/%2e%2e/\u0000"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var s Settings
		if json.Unmarshal(raw, &s) != nil {
			return
		}
		problems := s.Check(Generic, "settings.")
		for _, p := range problems {
			if p.Path == "" || p.Code == "" || p.Message == "" {
				t.Fatalf("refused without a reason: %+v", p)
			}
		}
		if len(problems) > 0 {
			return
		}
		g := fuzzGeneric(s, time.Unix(0, 0))
		for _, p := range []string{g.recordPath("a/../b?c#d").path, s.TestPath, s.SchemaPath, s.ListPath, s.BatchPath} {
			if p == "" || p == "-" {
				continue
			}
			req, err := http.NewRequest(http.MethodGet, g.base+p, nil)
			if err != nil || req.URL.Host != "crm.example.org" || req.URL.RawQuery != "" || req.URL.Fragment != "" {
				t.Fatalf("the path %q makes %v (%v)", p, req, err)
			}
		}
		for name, value := range s.Headers {
			if strings.ContainsAny(name+value, "\r\n\x00") {
				t.Fatalf("the header %q: %q", name, value)
			}
		}
		if n := s.batchSize(); n < 1 || n > 1000 || s.timeout() < time.Second || s.timeout() > 30*time.Second {
			t.Fatalf("batches of %d, time-out %s", n, s.timeout())
		}
	})
}
