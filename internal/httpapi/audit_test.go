package httpapi

import (
	"context"
	"fmt"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/store"
)

func TestAudit_ListsFiltersAndShowsTheSeal(t *testing.T) {
	s := newServer(t)
	sc := account.SystemScope("t-one", "test")
	if err := s.st.Write(t.Context(), func(tx *store.Tx) error {
		for i := range 25 {
			typ := event.UserLogin
			if i%5 == 0 {
				typ = event.KeyCreated
			}
			if _, err := tx.AppendEvent(sc, event.Event{Type: typ, Subject: fmt.Sprint("s-", i)}); err != nil {
				return err
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	seen, cursor, id := map[string]bool{}, "", ""
	for range 10 {
		p := do(t, s, "analyst", "GET", "/api/audit/events?limit=10&cursor="+cursor, "").want(200).json()
		for _, e := range p["events"].([]any) {
			id = e.(map[string]any)["id"].(string)
			seen[id] = true
		}
		if p["next_cursor"] == nil {
			break
		}
		cursor = p["next_cursor"].(string)
	}
	if len(seen) != 25 {
		t.Errorf("%d events over the pages, want 25", len(seen))
	}
	if n := len(do(t, s, "admin", "GET", "/api/audit/events?type=key.", "").want(200).json()["events"].([]any)); n != 5 {
		t.Errorf("%d key events, want 5", n)
	}
	if n := len(do(t, s, "admin", "GET", "/api/audit/events?subject_id=s-3", "").want(200).json()["events"].([]any)); n != 1 {
		t.Errorf("%d events of the subject, want 1", n)
	}
	do(t, s, "admin", "GET", "/api/audit/events?type=key.&cursor="+cursor, "").problem(422, "validation_failed")
	do(t, s, "admin", "GET", "/api/audit/events?limit=0", "").problem(422, "validation_failed")
	do(t, s, "admin", "GET", "/api/audit/events?from=yesterday", "").problem(422, "validation_failed")
	do(t, s, "salesperson", "GET", "/api/audit/events", "").problem(403, "forbidden")
	do(t, s, "", "GET", "/api/audit/events", "").problem(401, "no_credential")

	if e := do(t, s, "admin", "GET", "/api/audit/events/"+id, "").want(200).json(); e["seal"] != nil || e["type"] != "key.created" {
		t.Errorf("not sealed yet: %v", e)
	}
	if _, _, err := s.st.SealEvents(context.Background(), account.NewInstance("test")); err != nil {
		t.Fatal(err)
	}
	e := do(t, s, "admin", "GET", "/api/audit/events/"+id, "").want(200).json()
	if seal, ok := e["seal"].(map[string]any); !ok || seal["seq"] != 1.0 || len(seal["hash"].(string)) != 64 {
		t.Errorf("the oldest event is number 1 of the chain: %v", e)
	}
	do(t, s, "admin@t-two", "GET", "/api/audit/events/"+id, "").problem(404, "not_found")
	do(t, s, "admin", "GET", "/api/audit/events/nothing", "").problem(404, "not_found")
	for _, method := range []string{"PUT", "DELETE", "PATCH"} {
		do(t, s, "admin", method, "/api/audit/events/"+id, "").problem(405, "method_not_allowed")
	}
}
