package store

import (
	"strconv"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
)

// EventFilter narrows a list of events; zero fields narrow nothing.
type EventFilter struct {
	Types    []string // exact types, or prefixes that end in a dot ("user.")
	Actor    string   // actor id
	Lead     string
	Subject  string
	Request  string
	From, To time.Time // From <= at < To
	Before   string    // event id: only what was recorded before it
	Limit    int
}

// eventWindow bounds the rows that one page looks at, so that a filter that matches nothing stays cheap.
const eventWindow = 5000

// Events lists the newest first. next is the Before of the following page, empty at the end: a page may hold fewer
// than Limit events although more follow, when its filter is rare. Uses events_by_id, by_lead or by_subject.
func (r *Reader) Events(sc account.Scope, f EventFilter) (page []event.Event, next string, err error) {
	where, args := "tenant_id=$1", []any{string(sc.Tenant())}
	param := func(v any) string {
		args = append(args, v)
		return "$" + strconv.Itoa(len(args))
	}
	if f.Lead != "" {
		where += " AND lead_id=" + param(f.Lead)
	}
	if f.Subject != "" {
		where += " AND subject_id=" + param(f.Subject)
	}
	if f.Before != "" {
		where += " AND id<" + param(f.Before)
	}
	window := "SELECT " + eventColumns + " FROM events WHERE " + where + " ORDER BY id DESC"
	last := "SELECT id FROM events WHERE " + where + " ORDER BY id DESC LIMIT 1 OFFSET " + strconv.Itoa(eventWindow-1)
	windowArgs := len(args)
	more := moreFilters(f, param)
	text := window + " LIMIT " + strconv.Itoa(f.Limit+1)
	if more != "" {
		text = "SELECT * FROM (" + window + " LIMIT " + strconv.Itoa(eventWindow) + ") AS seen WHERE " + more + " ORDER BY id DESC LIMIT " + strconv.Itoa(f.Limit+1)
	}
	if page, err = queryAll(r, scanEvent, text, args...); err != nil {
		return nil, "", err
	}
	if len(page) > f.Limit {
		return page[:f.Limit], page[f.Limit-1].ID, nil
	}
	if more == "" {
		return page, "", nil
	}
	end, err := queryAll(r, scanString, last, args[:windowArgs]...)
	if err != nil || len(end) == 0 {
		return page, "", err
	}
	return page, end[0], nil
}

// moreFilters are the conditions that no index serves.
func moreFilters(f EventFilter, param func(any) string) string {
	var conds []string
	if len(f.Types) > 0 {
		var any []string
		for _, t := range f.Types {
			if strings.HasSuffix(t, ".") {
				any = append(any, "(type>="+param(t)+" AND type<"+param(strings.TrimSuffix(t, ".")+"/")+")") // "/" follows "."
			} else {
				any = append(any, "type="+param(t))
			}
		}
		conds = append(conds, "("+strings.Join(any, " OR ")+")")
	}
	if f.Actor != "" {
		conds = append(conds, "actor_id="+param(f.Actor))
	}
	if f.Request != "" {
		conds = append(conds, "request_id="+param(f.Request))
	}
	if !f.From.IsZero() {
		conds = append(conds, "at>="+param(micros(f.From)))
	}
	if !f.To.IsZero() {
		conds = append(conds, "at<"+param(micros(f.To)))
	}
	return strings.Join(conds, " AND ")
}

// Event is one event of the tenant; ErrNotFound when there is none.
func (r *Reader) Event(sc account.Scope, id string) (event.Event, error) {
	return queryOne(r, scanEvent, "SELECT "+eventColumns+" FROM events WHERE tenant_id=$1 AND id=$2", string(sc.Tenant()), id)
}
