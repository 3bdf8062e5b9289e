package service

import (
	"context"
	"errors"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/store"
)

// AuditEvents lists the tenant's events, newest first; next is the Before of the following page, empty at the end.
// Needs audit:read.
func (s *System) AuditEvents(ctx context.Context, sc account.Scope, f store.EventFilter) (page []event.Event, next string, err error) {
	if err := sc.Require(account.AuditRead); err != nil {
		return nil, "", err
	}
	return s.st.Read(ctx).Events(sc, f)
}

// AuditEvent is one event with its place in the chain; the place is nil while no block holds it yet.
func (s *System) AuditEvent(ctx context.Context, sc account.Scope, id string) (event.Event, *store.EventSeal, error) {
	if err := sc.Require(account.AuditRead); err != nil {
		return event.Event{}, nil, err
	}
	r := s.st.Read(ctx)
	e, err := r.Event(sc, id)
	if err != nil {
		return e, nil, notFound(err, "event", id)
	}
	seal, err := r.EventSeal(sc, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return e, nil, nil
	case err != nil:
		return e, nil, err
	}
	return e, &seal, nil
}
