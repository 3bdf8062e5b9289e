package store

import (
	"encoding/json"

	"leadloom/internal/account"
	"leadloom/internal/event"
)

const eventColumns = "id, at, type, lead_id, subject_id, actor_kind, actor_id, actor_name, cause, data, changes, request_id"

// AppendEvent stores a fact and returns it with its id, time, actor, cause and request filled in where it had none.
// It is the only way an event is ever written.
func (tx *Tx) AppendEvent(sc account.Scope, e event.Event) (event.Event, error) {
	if e.ID == "" {
		e.ID = tx.NewID()
	}
	if e.At.IsZero() {
		e.At = tx.now
	}
	if e.Actor == (account.Actor{}) {
		e.Actor = sc.Actor
	}
	if e.Cause.EventID == "" && e.Cause.RunID == "" && e.Cause.Depth == 0 {
		e.Cause = sc.Cause
	}
	if e.Request == "" {
		e.Request = sc.RequestID
	}
	_, err := tx.exec(`INSERT INTO events (`+eventTable+`)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14)`, tx.eventRow(sc, &e)...)
	return e, err
}

const eventTable = "commit_epoch, tenant_id, id, at, type, lead_id, subject_id, actor_kind, actor_id, actor_name, cause, data, changes, request_id"

// eventRow is a complete event as the columns of eventTable hold it.
func (tx *Tx) eventRow(sc account.Scope, e *event.Event) []any {
	cause := "{}"
	if e.Cause.EventID != "" || e.Cause.RunID != "" || e.Cause.Depth != 0 {
		cause = jsonText(e.Cause)
	}
	var changes any
	if len(e.Changes) > 0 {
		changes = jsonText(e.Changes)
	}
	return []any{tx.s.epoch, string(sc.Tenant()), e.ID, micros(e.At), string(e.Type), orNull(e.LeadID), orNull(e.Subject),
		string(e.Actor.Kind), e.Actor.ID, e.Actor.Name, cause, orNull(string(e.Data)), changes, orNull(e.Request)}
}

func scanEvent(r row) (event.Event, error) {
	var e event.Event
	var at int64
	var lead, subject, data, changes, request *string
	var cause string
	if err := r.Scan(&e.ID, &at, &e.Type, &lead, &subject, &e.Actor.Kind, &e.Actor.ID, &e.Actor.Name, &cause, &data, &changes, &request); err != nil {
		return e, err
	}
	e.At = fromMicros(at)
	e.LeadID, e.Subject, e.Request = orEmpty(lead), orEmpty(subject), orEmpty(request)
	if data != nil {
		e.Data = json.RawMessage(*data)
	}
	if err := json.Unmarshal([]byte(cause), &e.Cause); err != nil {
		return e, err
	}
	if changes != nil {
		if err := json.Unmarshal([]byte(*changes), &e.Changes); err != nil {
			return e, err
		}
	}
	return e, nil
}

// orNull keeps empty texts out of partial indexes.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func orEmpty(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}
