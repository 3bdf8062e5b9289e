package httpapi

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/service"
	"leadloom/internal/store"
)

const tagLeads = "Leads"

// leads registers the routes of leads.
func (a *API) leads() {
	register(a, Route{Method: "POST", Path: "/api/leads", ID: "create-lead", Tag: tagLeads, Summary: "Create a lead, or update the one its identities name",
		Description: "An upsert by the tenant's identity rule (default: external_id, then email); outcome says what happened. With dry_run=true nothing is written.",
		Permission:  account.LeadCreate, OwnChecks: true}, a.createLead)
	register(a, Route{Method: "GET", Path: "/api/leads", ID: "list-leads", Tag: tagLeads, Summary: "List leads", Permission: account.LeadRead}, a.listLeads)
	register(a, Route{Method: "GET", Path: "/api/leads/{id}", ID: "get-lead", Also: []int{308}, Tag: tagLeads, Summary: "Get a lead",
		Description: "The id of a lead that was merged away redirects (308) to its survivor.", Permission: account.LeadRead}, a.getLead)
	register(a, Route{Method: "PUT", Path: "/api/leads/{id}", ID: "update-lead", Tag: tagLeads, Summary: "Change some fields of a lead",
		Description: "Partial: absent and null fields keep the stored value, an empty text clears, custom_fields merge key by key. With dry_run=true nothing is written.",
		Permission:  account.LeadUpdate, OwnChecks: true}, a.updateLead)
	register(a, Route{Method: "PUT", Path: "/api/leads/{id}/debug", ID: "rehearse-lead-update", Tag: tagLeads, Summary: "Say what an update would do, without doing it",
		Permission: account.LeadUpdate, OwnChecks: true}, a.debugLead)
	register(a, Route{Method: "PATCH", Path: "/api/leads/{id}", ID: "patch-lead", Tag: tagLeads, Summary: "Change a lead by JSON Merge Patch (RFC 7396)",
		Description: "null clears a field or removes a custom field.", Permission: account.LeadUpdate, OwnChecks: true}, a.patchLead)
	register(a, Route{Method: "DELETE", Path: "/api/leads/{id}", ID: "delete-lead", Tag: tagLeads, Summary: "Delete a lead; it can be restored for 30 days",
		Permission: account.LeadDelete}, a.deleteLead)
	register(a, Route{Method: "POST", Path: "/api/leads/{id}/restore", ID: "restore-lead", Tag: tagLeads, Summary: "Bring a deleted lead back",
		Permission: account.LeadDelete}, a.restoreLead)
	a.leadBulk()
	a.leadFields()
	a.leadNotes()
	a.leadTasks()
}

// leadView is a lead as the API shows it.
type leadView struct {
	ID           lead.ID         `json:"id"`
	ExternalID   string          `json:"external_id,omitempty"`
	FirstName    string          `json:"first_name"`
	LastName     string          `json:"last_name"`
	Email        string          `json:"email"`
	Phone        string          `json:"phone"`
	PhoneE164    string          `json:"phone_e164,omitempty"`
	Company      string          `json:"company"`
	Source       string          `json:"source"`
	Status       string          `json:"status"`
	Score        int64           `json:"score"`
	OwnerID      string          `json:"owner_id"`
	Tags         []string        `json:"tags"`
	CustomFields json.RawMessage `json:"custom_fields"`
	Notes        string          `json:"notes,omitempty"`
	Timezone     string          `json:"timezone,omitempty"`
	Language     string          `json:"language,omitempty"`
	CRM          json.RawMessage `json:"crm"`
	Version      int64           `json:"version"`
	CreatedAt    time.Time       `json:"created_at"`
	UpdatedAt    time.Time       `json:"updated_at"`
}

var (
	noTags   = []string{}
	noObject = json.RawMessage("{}")
)

func viewLead(l *lead.Lead) leadView {
	v := leadView{ID: l.ID, ExternalID: l.ExternalID, FirstName: l.FirstName, LastName: l.LastName, Email: l.Email, Phone: l.Phone, PhoneE164: l.PhoneE164,
		Company: l.Company, Source: l.Source, Status: l.Status, Score: l.Score, OwnerID: l.OwnerID, Tags: l.Tags, CustomFields: l.CustomFields, Notes: l.Notes,
		Timezone: l.Timezone, Language: l.Language, CRM: noObject, Version: l.Version, CreatedAt: l.CreatedAt, UpdatedAt: l.UpdatedAt}
	if v.Tags == nil {
		v.Tags = noTags
	}
	if len(v.CustomFields) == 0 {
		v.CustomFields = noObject
	}
	return v
}

// leadEnvelope answers creates, updates and rehearsals; the last fill valid, errors and changes instead of data.
type leadEnvelope struct {
	ID             lead.ID                 `json:"id,omitempty"`
	Status         string                  `json:"status" enum:"success,updated,dry_run"`
	Message        string                  `json:"message"`
	CRMID          *string                 `json:"crm_id" doc:"The lead's id in the first CRM that has it; null until one does."`
	Timestamp      time.Time               `json:"timestamp"`
	Data           *leadView               `json:"data,omitempty"`
	Outcome        lead.Outcome            `json:"outcome,omitempty" enum:"created,updated,duplicate_suspected,unchanged"`
	Restored       bool                    `json:"restored,omitempty" doc:"A deleted lead came back."`
	Suspected      []lead.ID               `json:"suspected_duplicates,omitempty"`
	Merged         []lead.ID               `json:"merged_ids,omitempty" doc:"Leads that this one has taken in."`
	RedirectedFrom lead.ID                 `json:"redirected_from,omitempty" doc:"The merged-away id that was asked for."`
	Warnings       []fault.Field           `json:"warnings,omitempty"`
	Valid          *bool                   `json:"valid,omitempty" doc:"Rehearsals only."`
	Errors         *[]fault.Field          `json:"errors,omitempty" doc:"Rehearsals only."`
	Changes        map[string]event.Change `json:"changes,omitempty" doc:"Rehearsals only."`
}

// showCRM puts the lead's state in each connection into its view.
func (v *leadView) showCRM(of map[lead.ID]map[string]service.LeadCRM) error {
	if len(of[v.ID]) == 0 {
		return nil
	}
	b, err := json.Marshal(of[v.ID])
	v.CRM = b
	return err
}

type leadOutput struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     leadEnvelope
}

// leadReply shows a stored lead. The change has committed: what is wrong with reading the CRMs' state is not told.
func (a *API) leadReply(ctx context.Context, sc account.Scope, c *service.LeadChange, status, message string) *leadOutput {
	v := viewLead(c.Lead)
	outcome := c.Outcome
	if outcome == lead.Unchanged {
		outcome = lead.Updated
	}
	out := &leadOutput{ETag: etag(c.Lead.Version), Body: leadEnvelope{ID: c.Lead.ID, Status: status, Message: message, Timestamp: c.At, Data: &v, Outcome: outcome,
		Restored: c.Restored, Suspected: c.Suspected, Merged: c.Merged, RedirectedFrom: c.RedirectedFrom, Warnings: c.Warnings}}
	if c.Outcome == lead.Created {
		return out
	}
	if of, err := a.Services.Leads.CRM(ctx, sc, c.Lead); err == nil && v.showCRM(of) == nil {
		out.Body.CRMID = firstRemoteID(of[c.Lead.ID])
	}
	return out
}

// firstRemoteID is the lead's id in the CRM, as old clients know it: of the first connection that has one.
func firstRemoteID(of map[string]service.LeadCRM) *string {
	for _, connection := range slices.Sorted(maps.Keys(of)) {
		if id := of[connection].RemoteID; id != "" {
			return &id
		}
	}
	return nil
}

// rehearsal answers a dry run: what is wrong, or what would change.
func (a *API) rehearsal(c *service.LeadChange, err error) (*leadOutput, error) {
	valid, errs := err == nil, []fault.Field{}
	out := &leadOutput{Body: leadEnvelope{Status: "dry_run", Timestamp: a.Now().UTC(), Valid: &valid, Errors: &errs, Changes: map[string]event.Change{}}}
	if err != nil {
		f := fault.As(err)
		if f == nil || len(f.Fields) == 0 {
			return nil, a.showCurrent(err)
		}
		errs = f.Fields
		out.Body.Message = "Nothing was written. With this body the request would be refused."
		return out, nil
	}
	out.Body.Message = "Nothing was written. The request would be accepted."
	out.Body.ID, out.Body.Outcome, out.Body.Warnings = c.Lead.ID, c.Outcome, c.Warnings
	if c.Outcome == lead.Created {
		out.Body.ID = "" // it would get another one
	}
	if c.Changes != nil {
		out.Body.Changes = c.Changes
	}
	return out, nil
}

type createLeadInput struct {
	DryRun bool `query:"dry_run"`
	Body   leadBody
}

func (a *API) createLead(ctx context.Context, sc account.Scope, in *createLeadInput) (*leadOutput, error) {
	if in.Body.err != nil {
		return nil, in.Body.err
	}
	c, err := a.Services.Leads.Create(ctx, sc, in.Body.Input, in.DryRun)
	if in.DryRun {
		return a.rehearsal(c, err)
	}
	if err != nil {
		return nil, err
	}
	out := a.leadReply(ctx, sc, c, "success", createMessages[c.Outcome])
	out.Location = "/api/leads/" + string(c.Lead.ID)
	return out, nil
}

var createMessages = map[lead.Outcome]string{
	lead.Created: "Lead created", lead.Updated: "Lead updated: an identity of it was known",
	lead.DuplicateSuspected: "Lead stored; another lead may be the same person",
}

type editLeadInput struct {
	ID      string `path:"id" maxLength:"128"`
	IfMatch string `header:"If-Match"`
	DryRun  bool   `query:"dry_run"`
	Body    leadBody
}

func (in *editLeadInput) edit() service.LeadEdit {
	return service.LeadEdit{ID: lead.ID(in.ID), IfMatch: ifMatch(in.IfMatch), DryRun: in.DryRun}
}

func (a *API) updateLead(ctx context.Context, sc account.Scope, in *editLeadInput) (*leadOutput, error) {
	if in.Body.err != nil {
		return nil, in.Body.err
	}
	c, err := a.Services.Leads.Update(ctx, sc, in.edit(), in.Body.Input)
	if in.DryRun {
		return a.rehearsal(c, err)
	}
	if err != nil {
		return nil, a.showCurrent(err)
	}
	return a.leadReply(ctx, sc, c, "updated", updateMessages[c.Outcome]), nil
}

var updateMessages = map[lead.Outcome]string{lead.Updated: "Lead updated", lead.Unchanged: "Nothing to change: the lead has these values already"}

func (a *API) debugLead(ctx context.Context, sc account.Scope, in *editLeadInput) (*leadOutput, error) {
	in.DryRun = true
	return a.updateLead(ctx, sc, in)
}

func (a *API) patchLead(ctx context.Context, sc account.Scope, in *editLeadInput) (*leadOutput, error) {
	if in.Body.err != nil {
		return nil, in.Body.err
	}
	in.Body.Input.ClearNulls()
	return a.updateLead(ctx, sc, in)
}

type leadID struct {
	ID      string `path:"id" maxLength:"128"`
	IfMatch string `header:"If-Match"`
}

type getLeadOutput struct {
	Status   int
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     leadView
}

func (a *API) getLead(ctx context.Context, sc account.Scope, in *leadID) (*getLeadOutput, error) {
	l, err := a.Services.Leads.Get(ctx, sc, lead.ID(in.ID))
	if err != nil {
		return nil, err
	}
	out := &getLeadOutput{Status: http.StatusOK, ETag: etag(l.Version), Body: viewLead(l)}
	of, err := a.Services.Leads.CRMDetail(ctx, sc, l)
	if err != nil {
		return nil, err
	}
	if err := out.Body.showCRM(of); err != nil {
		return nil, err
	}
	if string(l.ID) != in.ID {
		out.Status, out.Location = http.StatusPermanentRedirect, "/api/leads/"+string(l.ID)
	}
	return out, nil
}

type deleteLeadOutput struct {
	Body struct {
		Status         string  `json:"status" enum:"deleted"`
		LeadID         lead.ID `json:"lead_id"`
		RedirectedFrom string  `json:"redirected_from,omitempty"`
	}
}

func (a *API) deleteLead(ctx context.Context, sc account.Scope, in *leadID) (*deleteLeadOutput, error) {
	id, err := a.Services.Leads.Delete(ctx, sc, service.LeadEdit{ID: lead.ID(in.ID), IfMatch: ifMatch(in.IfMatch)})
	if err != nil {
		return nil, a.showCurrent(err)
	}
	out := &deleteLeadOutput{}
	out.Body.Status, out.Body.LeadID = "deleted", id
	if string(id) != in.ID {
		out.Body.RedirectedFrom = in.ID
	}
	return out, nil
}

func (a *API) restoreLead(ctx context.Context, sc account.Scope, in *leadID) (*leadOutput, error) {
	c, err := a.Services.Leads.Restore(ctx, sc, lead.ID(in.ID))
	if err != nil {
		return nil, err
	}
	return a.leadReply(ctx, sc, c, "success", "Lead restored"), nil
}

type listLeadsInput struct {
	Skip    int    `query:"skip" minimum:"0" maximum:"10000" doc:"For old clients; beyond 10000 use cursor."`
	Limit   int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Source  string `query:"source" maxLength:"800"`
	Email   string `query:"email" maxLength:"254"`
	Status  string `query:"status" maxLength:"200"`
	Tag     string `query:"tag" maxLength:"256"`
	Owner   string `query:"owner" maxLength:"128"`
	Q       string `query:"q" maxLength:"200" doc:"Words of names, company, e-mail, phone or tags; each matches as a prefix."`
	Segment string `query:"segment" maxLength:"128" doc:"Refused: there are no segments yet."`
	Sort    string `query:"sort" doc:"created_at, updated_at, score or owner; with a leading - from high to low. Leads without an owner come last both ways. Default: -created_at."`
	Cursor  string `query:"cursor" maxLength:"1000"`
	Count   string `query:"count" enum:"none,auto" doc:"none leaves the total out."`
}

type listLeadsOutput struct {
	Body struct {
		Total           int64      `json:"total" doc:"-1 when count=none."`
		TotalIsEstimate bool       `json:"total_is_estimate,omitempty" doc:"There are at least so many."`
		Skip            int        `json:"skip"`
		Limit           int        `json:"limit"`
		Leads           []leadView `json:"leads"`
		NextCursor      *string    `json:"next_cursor" doc:"Null at the end of the list, and only there: where several filters or words together, or a filter under another order, find few leads, a page may end before it is full, even without a lead. Go on with the cursor."`
	}
}

// filter turns the query into a filter and names the list for its cursors.
func (in *listLeadsInput) filter() (f store.LeadFilter, list string, err error) {
	var problems []fault.Field
	if in.Segment != "" {
		problems = append(problems, fault.Field{Path: "segment", Code: "not_yet_available", Message: "This version has no segments yet. Leave the parameter out, and filter by source, status, tag or owner."})
	}
	sort, descending := strings.CutPrefix(in.Sort, "-")
	if in.Sort == "" {
		sort, descending = "created_at", true
	}
	if !slices.Contains(store.LeadSorts, sort) {
		problems = append(problems, fault.Field{Path: "sort", Code: "unknown_sort", Message: "Send one of " + strings.Join(store.LeadSorts, ", ") + ", with a leading - from high to low."})
	}
	if in.Cursor != "" && in.Skip > 0 {
		problems = append(problems, fault.Field{Path: "skip", Code: "with_cursor", Message: "Send either skip or cursor."})
	}
	f = store.LeadFilter{Source: in.Source, Email: in.Email, Status: in.Status, Tag: in.Tag, Owner: in.Owner, Q: in.Q, Sort: sort, Ascending: !descending, Skip: in.Skip, Limit: in.Limit}
	list = strings.Join([]string{"leads", in.Source, in.Email, in.Status, in.Tag, in.Owner, in.Q, sort, strconv.FormatBool(descending)}, "\x00")
	return f, list, fault.InvalidFields(problems).OrNil()
}

func (a *API) listLeads(ctx context.Context, sc account.Scope, in *listLeadsInput) (*listLeadsOutput, error) {
	f, list, err := in.filter()
	if err != nil {
		return nil, err
	}
	if f.After, err = a.leadCursor(sc, list, in.Cursor); err != nil {
		return nil, err
	}
	page, err := a.Services.Leads.List(ctx, sc, service.LeadQuery{LeadFilter: f, NoCount: in.Count == "none"})
	if err != nil {
		return nil, err
	}
	out := &listLeadsOutput{}
	b := &out.Body
	b.Total, b.TotalIsEstimate, b.Skip, b.Limit = page.Total, page.Estimate, in.Skip, in.Limit
	b.Leads = make([]leadView, len(page.Leads))
	of, err := a.Services.Leads.CRM(ctx, sc, page.Leads...)
	if err != nil {
		return nil, err
	}
	for i, l := range page.Leads {
		b.Leads[i] = viewLead(l)
		if err := b.Leads[i].showCRM(of); err != nil {
			return nil, err
		}
	}
	if page.Next != nil {
		b.NextCursor = a.nextLeads(sc, list, *page.Next)
	}
	return out, nil
}
