package httpapi

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/fault"
)

// cursorKey signs list cursors, so that a caller cannot walk where his filter does not lead.
type cursorKey []byte

const cursorLife = 24 * time.Hour

type cursor struct {
	At       int64    `json:"t"` // when it was made, Unix seconds
	Position []string `json:"p"` // the sort key and id of the last row
}

// encode makes the cursor that follows a row. list names the list with its filter and order: another filter is another list.
func (k cursorKey) encode(sc account.Scope, list string, now time.Time, position ...string) string {
	b, err := json.Marshal(cursor{now.Unix(), position})
	if err != nil {
		return ""
	}
	return base64.RawURLEncoding.EncodeToString(append(k.mac(sc, list, b), b...))
}

// decode reads a cursor; nil for an empty one.
func (k cursorKey) decode(sc account.Scope, list string, now time.Time, text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	b, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(b) < 17 {
		return nil, fault.Invalid("cursor", "bad_cursor", "Send next_cursor of the last reply unchanged, or none to start again.")
	}
	if !hmac.Equal(b[:16], k.mac(sc, list, b[16:])) {
		return nil, fault.Invalid("cursor", "cursor_mismatch", "This cursor belongs to another list, filter or order. Start again without a cursor.")
	}
	var c cursor
	if json.Unmarshal(b[16:], &c) != nil {
		return nil, fault.Invalid("cursor", "bad_cursor", "Send next_cursor of the last reply unchanged, or none to start again.")
	}
	if now.Sub(time.Unix(c.At, 0)) > cursorLife {
		return nil, fault.Invalid("cursor", "cursor_expired", "Cursors are valid for 24 hours. Start again without a cursor.")
	}
	return c.Position, nil
}

func (k cursorKey) mac(sc account.Scope, list string, b []byte) []byte {
	h := hmac.New(sha256.New, k)
	h.Write([]byte(string(sc.Tenant()) + "\x00" + list + "\x00"))
	h.Write(b)
	return h.Sum(nil)[:16]
}
