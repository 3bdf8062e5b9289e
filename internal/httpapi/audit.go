package httpapi

import (
	"context"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/store"
)

type auditListInput struct {
	Limit   int       `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor  string    `query:"cursor" doc:"next_cursor of the page before."`
	Type    string    `query:"type" doc:"Types separated by commas; user. takes all that begin so."`
	Actor   string    `query:"actor" doc:"Id of who did it."`
	Lead    string    `query:"lead_id"`
	Subject string    `query:"subject_id" doc:"Id of the object when it is no lead: user, key, workflow, run …"`
	Request string    `query:"request_id"`
	From    time.Time `query:"from" doc:"Not before this time."`
	To      time.Time `query:"to" doc:"Before this time."`
}

type auditListOutput struct {
	Body struct {
		Events     []event.Event `json:"events"`
		NextCursor string        `json:"next_cursor,omitempty" doc:"Send it as cursor for the next page, even when this one is short; absent at the end."`
		Limit      int           `json:"limit"`
		Timestamp  time.Time     `json:"timestamp"`
	}
}

type auditGetInput struct {
	ID string `path:"event_id"`
}

// auditEvent is an event with its place in the tenant's chain.
type auditEvent struct {
	event.Event
	Seal *store.EventSeal `json:"seal,omitempty" doc:"Absent until the event is sealed, a few seconds after it happened."`
}

type auditGetOutput struct{ Body auditEvent }

func (a *API) audit() {
	register(a, Route{Method: "GET", Path: "/api/audit/events", ID: "list-audit-events", Tag: "Audit", Summary: "Who did what, newest first", Permission: account.AuditRead},
		func(ctx context.Context, sc account.Scope, in *auditListInput) (*auditListOutput, error) {
			f := store.EventFilter{Types: splitList(in.Type), Actor: in.Actor, Lead: in.Lead, Subject: in.Subject, Request: in.Request, From: in.From, To: in.To, Limit: in.Limit}
			list := strings.Join([]string{"audit", in.Type, in.Actor, in.Lead, in.Subject, in.Request, in.From.String(), in.To.String()}, "\x00")
			position, err := a.cursors.decode(sc, list, a.Now(), in.Cursor)
			if err != nil {
				return nil, err
			}
			if len(position) == 1 {
				f.Before = position[0]
			}
			events, next, err := a.Services.System.AuditEvents(ctx, sc, f)
			if err != nil {
				return nil, err
			}
			out := &auditListOutput{}
			out.Body.Events, out.Body.Limit, out.Body.Timestamp = events, in.Limit, a.Now().UTC()
			if out.Body.Events == nil {
				out.Body.Events = []event.Event{}
			}
			if next != "" {
				out.Body.NextCursor = a.cursors.encode(sc, list, a.Now(), next)
			}
			return out, nil
		})
	register(a, Route{Method: "GET", Path: "/api/audit/events/{event_id}", ID: "get-audit-event", Tag: "Audit", Summary: "One event and its place in the chain", Permission: account.AuditRead},
		func(ctx context.Context, sc account.Scope, in *auditGetInput) (*auditGetOutput, error) {
			e, seal, err := a.Services.System.AuditEvent(ctx, sc, in.ID)
			if err != nil {
				return nil, err
			}
			return &auditGetOutput{auditEvent{e, seal}}, nil
		})
}

func splitList(s string) []string {
	var out []string
	for _, p := range strings.Split(s, ",") {
		if p = strings.TrimSpace(p); p != "" {
			out = append(out, p)
		}
	}
	return out
}
