package httpapi

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/fault"
)

// FuzzCursor: a cursor that we did not make is refused with its field; one that we made comes back for its own list,
// tenant and day only.
func FuzzCursor(f *testing.F) {
	key := cursorKey("0123456789abcdef0123456789abcdef")
	sc := account.SystemScope("t-one", "test")
	at := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	f.Add("", "leads")
	f.Add(key.encode(sc, "leads", at, "5", "id", ""), "leads")
	f.Add(base64.RawURLEncoding.EncodeToString(make([]byte, 64)), "leads")
	f.Add("=", "x\x00y")
	f.Fuzz(func(t *testing.T, text, list string) {
		p, err := key.decode(sc, list, at, text)
		if err != nil {
			if e := fault.As(err); e == nil || e.Kind != fault.KindInvalid || e.Fields[0].Path != "cursor" {
				t.Fatalf("%q: %v", text, err)
			}
		} else if text != "" && (list != "leads" || len(p) != 3) {
			t.Fatalf("%q is taken for a cursor of %q: %q", text, list, p)
		}
		made := key.encode(sc, list, at, text, list)
		if p, err := key.decode(sc, list, at.Add(cursorLife), made); err != nil || len(p) != 2 {
			t.Fatalf("our own cursor: %q (%v)", p, err)
		}
		for _, bad := range []func() ([]string, error){
			func() ([]string, error) { return key.decode(sc, list+"x", at, made) },
			func() ([]string, error) { return key.decode(account.SystemScope("t-two", "test"), list, at, made) },
			func() ([]string, error) { return key.decode(sc, list, at.Add(cursorLife+2*time.Second), made) },
			func() ([]string, error) { return key.decode(sc, list, at, made[:len(made)-2]) },
		} {
			if p, err := bad(); err == nil {
				t.Fatalf("a cursor of elsewhere or long ago gives %q", p)
			}
		}
	})
}

// FuzzIfMatch: only the versions that are named hold.
func FuzzIfMatch(f *testing.F) {
	for _, s := range []string{"", "*", `"7"`, `W/"7"`, `"1", "7"`, `"x"`, `,,,`, `"-7"`, `7`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, header string) {
		m := ifMatch(header)
		if named := strings.TrimSpace(header); m.Versions == nil && named != "" && named != "*" {
			t.Fatalf("%q accepts any version", header)
		}
		for _, v := range m.Versions {
			if !m.Holds(v) {
				t.Fatalf("%q does not hold for its own version %d", header, v)
			}
		}
	})
}

// FuzzBulkBody: what it takes can be stored as text and splits into the rows that were sent.
func FuzzBulkBody(f *testing.F) {
	for _, s := range []string{`{"leads":[{}]}`, `[{"email":"a@b.de"},7]`, `{"leads":null}`, `{"leads":"x"}`, `{"leads":[[[]]],"x":1}`, `null`, `7`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if !json.Valid(raw) {
			return // huma has refused it
		}
		var b bulkBody
		if err := json.Unmarshal(raw, &b); err != nil {
			t.Fatalf("%q: %v", raw, err)
		}
		for _, row := range b.Leads {
			if b.err == nil && !json.Valid(row) {
				t.Fatalf("%q gives the row %q", raw, row)
			}
		}
	})
}

// FuzzDue: a time that is taken is shown as one that is taken for the same.
func FuzzDue(f *testing.F) {
	for _, s := range []string{"", "2026-03-31", "2026-03-31T14:00:00Z", "2026-03-31T14:00:00.123456789+14:00", "0001-01-01", "9999-12-31T23:59:59-12:00", "now"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		at, allDay, problem := parseDue(s)
		if problem != nil {
			return
		}
		shown := at.Format(time.RFC3339Nano)
		if allDay {
			shown = at.Format(time.DateOnly)
		}
		again, day, problem := parseDue(shown)
		if problem != nil || !again.Equal(at) || day != allDay || at.UnixMicro() == 0 {
			t.Fatalf("%q is shown as %q, which is %v (%v)", s, shown, again, problem)
		}
	})
}
