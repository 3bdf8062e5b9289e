package httpapi

import (
	"context"
	"regexp"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/service"
	"leadloom/internal/store"
)

// leadNotes registers the routes of what hangs on a lead: notes, timeline, score ledger.
func (a *API) leadNotes() {
	register(a, Route{Method: "GET", Path: "/api/leads/{id}/notes", ID: "list-notes", Tag: tagLeads, Summary: "List a lead's notes, newest first", Permission: account.LeadRead}, a.listNotes)
	register(a, Route{Method: "POST", Path: "/api/leads/{id}/notes", ID: "add-note", Tag: tagLeads, Summary: "Write a note about a lead", Permission: account.LeadUpdate}, a.addNote)
	register(a, Route{Method: "PUT", Path: "/api/leads/{id}/notes/{note}", ID: "edit-note", Tag: tagLeads, Summary: "Replace a note's text; the old one stays in the timeline",
		Permission: account.LeadUpdate}, a.editNote)
	register(a, Route{Method: "DELETE", Path: "/api/leads/{id}/notes/{note}", ID: "delete-note", Tag: tagLeads, Summary: "Delete a note's text; a stub stays",
		Permission: account.LeadUpdate}, a.deleteNote)
	register(a, Route{Method: "GET", Path: "/api/leads/{id}/timeline", ID: "get-timeline", Tag: tagLeads, Summary: "What happened to a lead, newest first", Permission: account.LeadRead}, a.timeline)
	register(a, Route{Method: "GET", Path: "/api/leads/{id}/score", ID: "get-score", Tag: tagLeads, Summary: "A lead's score and the ledger whose sum it is", Permission: account.LeadRead}, a.scoreLedger)
	register(a, Route{Method: "POST", Path: "/api/leads/{id}/score", ID: "give-points", Tag: tagLeads, Summary: "Give or take points by hand, with a reason", Permission: account.LeadUpdate}, a.givePoints)
}

type noteView struct {
	ID        string        `json:"id"`
	LeadID    lead.ID       `json:"lead_id"`
	Body      string        `json:"body"`
	Author    account.Actor `json:"author"`
	Deleted   bool          `json:"deleted,omitempty"`
	Version   int64         `json:"version"`
	CreatedAt time.Time     `json:"created_at"`
	UpdatedAt time.Time     `json:"updated_at"`
}

func viewNote(n *store.Note) noteView {
	return noteView{n.ID, n.LeadID, n.Body, n.Author, !n.DeletedAt.IsZero(), n.Version, n.CreatedAt, n.UpdatedAt}
}

type noteOutput struct {
	ETag string `header:"ETag"`
	Body noteView
}

func (a *API) noteReply(n *store.Note, err error) (*noteOutput, error) {
	if err != nil {
		return nil, a.showCurrent(err)
	}
	return &noteOutput{etag(n.Version), viewNote(n)}, nil
}

type listNotesOutput struct {
	Body struct {
		Notes      []noteView `json:"notes"`
		NextCursor *string    `json:"next_cursor"`
	}
}

type leadPageInput struct {
	ID     string `path:"id" maxLength:"128"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor string `query:"cursor" maxLength:"1000"`
}

func (a *API) listNotes(ctx context.Context, sc account.Scope, in *leadPageInput) (*listNotesOutput, error) {
	list := "notes\x00" + in.ID
	before, err := a.idCursor(sc, list, in.Cursor)
	if err != nil {
		return nil, err
	}
	notes, err := a.Services.Leads.Notes(ctx, sc, lead.ID(in.ID), before, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &listNotesOutput{}
	out.Body.Notes = make([]noteView, len(notes))
	for i, n := range notes {
		out.Body.Notes[i] = viewNote(n)
	}
	out.Body.NextCursor = a.nextID(sc, list, len(notes) == in.Limit, func() string { return notes[len(notes)-1].ID })
	return out, nil
}

type noteText struct {
	Body string `json:"body" doc:"Up to 10,000 characters."`
}

type addNoteInput struct {
	ID   string `path:"id" maxLength:"128"`
	Body noteText
}

func (a *API) addNote(ctx context.Context, sc account.Scope, in *addNoteInput) (*noteOutput, error) {
	return a.noteReply(a.Services.Leads.AddNote(ctx, sc, lead.ID(in.ID), in.Body.Body))
}

type noteID struct {
	ID      string `path:"id" maxLength:"128"`
	Note    string `path:"note" maxLength:"128"`
	IfMatch string `header:"If-Match"`
}

type editNoteInput struct {
	ID      string `path:"id" maxLength:"128"`
	Note    string `path:"note" maxLength:"128"`
	IfMatch string `header:"If-Match"`
	Body    noteText
}

func (a *API) editNote(ctx context.Context, sc account.Scope, in *editNoteInput) (*noteOutput, error) {
	e := service.NoteEdit{LeadID: lead.ID(in.ID), ID: in.Note, IfMatch: ifMatch(in.IfMatch)}
	return a.noteReply(a.Services.Leads.EditNote(ctx, sc, e, in.Body.Body))
}

func (a *API) deleteNote(ctx context.Context, sc account.Scope, in *noteID) (*leadDoneOutput, error) {
	e := service.NoteEdit{LeadID: lead.ID(in.ID), ID: in.Note, IfMatch: ifMatch(in.IfMatch)}
	return leadDone("deleted", in.Note, a.showCurrent(a.Services.Leads.DeleteNote(ctx, sc, e)))
}

type timelineInput struct {
	ID     string `path:"id" maxLength:"128"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor string `query:"cursor" maxLength:"1000"`
	Types  string `query:"types" maxLength:"1000" doc:"Event types or, with a dot at the end, all of a noun, separated by commas: lead.updated,note."`
}

type timelineOutput struct {
	Body struct {
		LeadID     string        `json:"lead_id"`
		Events     []event.Event `json:"events"`
		NextCursor *string       `json:"next_cursor"`
	}
}

func (a *API) timeline(ctx context.Context, sc account.Scope, in *timelineInput) (*timelineOutput, error) {
	list := "timeline\x00" + in.ID + "\x00" + in.Types
	before, err := a.idCursor(sc, list, in.Cursor)
	if err != nil {
		return nil, err
	}
	types, err := timelineTypes(in.Types)
	if err != nil {
		return nil, err
	}
	events, err := a.Services.Leads.Timeline(ctx, sc, lead.ID(in.ID), types, before, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &timelineOutput{}
	out.Body.LeadID, out.Body.Events = in.ID, events
	if events == nil {
		out.Body.Events = []event.Event{}
	}
	out.Body.NextCursor = a.nextID(sc, list, len(events) == in.Limit, func() string { return events[len(events)-1].ID })
	return out, nil
}

var eventType = regexp.MustCompile(`^[a-z][a-z_]*\.[a-z_]*$`)

// timelineTypes reads types and nouns of events, separated by commas.
func timelineTypes(s string) ([]string, error) {
	var types []string
	for _, t := range strings.Split(s, ",") {
		t = strings.TrimSpace(t)
		switch {
		case t == "":
		case !eventType.MatchString(t):
			return nil, fault.Invalid("types", "not_an_event_type", "Send types like lead.updated or nouns like note. with a dot at the end, separated by commas.")
		default:
			types = append(types, t)
		}
	}
	return types, nil
}

type scoreRowView struct {
	ID       string        `json:"id"`
	Points   int64         `json:"points"`
	Reason   string        `json:"reason"`
	SourceID string        `json:"source_id,omitempty"`
	Actor    account.Actor `json:"actor"`
	At       time.Time     `json:"at"`
}

type scoreOutput struct {
	Body struct {
		LeadID     string         `json:"lead_id"`
		Score      int64          `json:"score"`
		Ledger     []scoreRowView `json:"ledger"`
		NextCursor *string        `json:"next_cursor"`
	}
}

func (a *API) scoreLedger(ctx context.Context, sc account.Scope, in *leadPageInput) (*scoreOutput, error) {
	list := "score\x00" + in.ID
	before, err := a.idCursor(sc, list, in.Cursor)
	if err != nil {
		return nil, err
	}
	sum, rows, err := a.Services.Leads.Score(ctx, sc, lead.ID(in.ID), before, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &scoreOutput{}
	out.Body.LeadID, out.Body.Score, out.Body.Ledger = in.ID, sum, make([]scoreRowView, len(rows))
	for i, r := range rows {
		out.Body.Ledger[i] = scoreRowView{r.ID, r.Points, r.Reason, r.SourceID, r.Actor, r.CreatedAt}
	}
	out.Body.NextCursor = a.nextID(sc, list, len(rows) == in.Limit, func() string { return rows[len(rows)-1].ID })
	return out, nil
}

type givePointsInput struct {
	ID   string `path:"id" maxLength:"128"`
	Body struct {
		Points int64  `json:"points" doc:"Negative ones take points away."`
		Reason string `json:"reason"`
	}
}

func (a *API) givePoints(ctx context.Context, sc account.Scope, in *givePointsInput) (*getLeadOutput, error) {
	l, err := a.Services.Leads.GivePoints(ctx, sc, lead.ID(in.ID), in.Body.Points, in.Body.Reason)
	if err != nil {
		return nil, err
	}
	return &getLeadOutput{Status: 200, ETag: etag(l.Version), Body: viewLead(l)}, nil
}
