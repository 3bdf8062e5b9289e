package httpapi

import (
	"context"
	"encoding/json"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/store"
)

// leadFields registers the routes of custom fields, tags and the tenant's rules for leads.
func (a *API) leadFields() {
	const tag = "Custom fields"
	register(a, Route{Method: "GET", Path: "/api/fields", ID: "list-fields", Tag: tag, Summary: "List custom fields", Permission: account.LeadRead}, a.listFields)
	register(a, Route{Method: "POST", Path: "/api/fields", ID: "define-field", Tag: tag, Summary: "Define a custom field", Permission: account.SystemConfig}, a.defineField)
	register(a, Route{Method: "GET", Path: "/api/fields/{key}", ID: "get-field", Tag: tag, Summary: "Get a custom field", Permission: account.LeadRead}, a.getField)
	register(a, Route{Method: "PUT", Path: "/api/fields/{key}", ID: "change-field", Tag: tag, Summary: "Replace a custom field's definition",
		Description: "Key and type are fixed.", Permission: account.SystemConfig}, a.changeField)
	register(a, Route{Method: "DELETE", Path: "/api/fields/{key}", ID: "remove-field", Tag: tag, Summary: "Remove a custom field that nothing uses",
		Permission: account.SystemConfig}, a.removeField)
	register(a, Route{Method: "GET", Path: "/api/leads/rules", ID: "get-lead-rules", Tag: tagLeads, Summary: "Statuses, required fields and identity rule of the tenant",
		Permission: account.LeadRead}, a.getLeadRules)
	register(a, Route{Method: "PUT", Path: "/api/leads/rules", ID: "save-lead-rules", Tag: tagLeads, Summary: "Set statuses, required fields and identity rule",
		Permission: account.SystemConfig}, a.saveLeadRules)
	register(a, Route{Method: "GET", Path: "/api/tags", ID: "list-tags", Tag: tagLeads, Summary: "List tags with the number of live leads", Permission: account.LeadRead}, a.listTags)
	register(a, Route{Method: "POST", Path: "/api/leads/{id}/tags", ID: "add-tags", Tag: tagLeads, Summary: "Add tags to a lead", Permission: account.LeadUpdate}, a.addTags)
	register(a, Route{Method: "DELETE", Path: "/api/leads/{id}/tags/{tag}", ID: "remove-tag", Tag: tagLeads, Summary: "Remove a tag from a lead",
		Permission: account.LeadUpdate}, a.removeTag)
}

type fieldView struct {
	lead.FieldDef
	Version   int64     `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

func viewField(f *store.Field) fieldView {
	return fieldView{f.FieldDef, f.Version, f.CreatedAt, f.UpdatedAt}
}

type listFieldsOutput struct {
	Body struct {
		Total  int         `json:"total"`
		Fields []fieldView `json:"fields"`
	}
}

func (a *API) listFields(ctx context.Context, sc account.Scope, _ *struct{}) (*listFieldsOutput, error) {
	fields, err := a.Services.Leads.Fields(ctx, sc)
	if err != nil {
		return nil, err
	}
	out := &listFieldsOutput{}
	out.Body.Total, out.Body.Fields = len(fields), make([]fieldView, len(fields))
	for i, f := range fields {
		out.Body.Fields[i] = viewField(f)
	}
	return out, nil
}

type fieldOutput struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     fieldView
}

func (a *API) fieldReply(f *store.Field, err error) (*fieldOutput, error) {
	if err != nil {
		return nil, a.showCurrent(err)
	}
	return &fieldOutput{ETag: etag(f.Version), Body: viewField(f)}, nil
}

// FieldInput is a definition without key and type; exported, because huma does not see unexported embedded structs.
type FieldInput struct {
	Label             string          `json:"label,omitempty" doc:"What people see; the key when empty."`
	Choices           []string        `json:"choices,omitempty" doc:"For choice and multi_choice."`
	Min               *float64        `json:"min,omitempty"`
	Max               *float64        `json:"max,omitempty"`
	MaxLength         int             `json:"max_length,omitempty"`
	Default           json.RawMessage `json:"default,omitempty" doc:"Given to a new lead that has no value."`
	Required          bool            `json:"required,omitempty"`
	RequiredForStatus []string        `json:"required_for_status,omitempty"`
	Unique            bool            `json:"unique,omitempty"`
	ReadOnly          bool            `json:"read_only,omitempty" doc:"Only workflows and syncs may set it."`
}

func (b FieldInput) def(key string, typ lead.FieldType) lead.FieldDef {
	return lead.FieldDef{Key: key, Type: typ, Label: b.Label, Choices: b.Choices, Min: b.Min, Max: b.Max, MaxLength: b.MaxLength, Required: b.Required,
		RequiredForStatus: b.RequiredForStatus, Unique: b.Unique, ReadOnly: b.ReadOnly, Default: b.Default}
}

type defineFieldInput struct {
	Body struct {
		Key  string         `json:"key" example:"budget"`
		Type lead.FieldType `json:"type" enum:"text,long_text,integer,number,boolean,date,datetime,choice,multi_choice,url,email,phone,user,json"`
		FieldInput
	}
}

func (a *API) defineField(ctx context.Context, sc account.Scope, in *defineFieldInput) (*fieldOutput, error) {
	out, err := a.fieldReply(a.Services.Leads.DefineField(ctx, sc, in.Body.def(in.Body.Key, in.Body.Type)))
	if err == nil {
		out.Location = "/api/fields/" + in.Body.Key
	}
	return out, err
}

type fieldKey struct {
	Key string `path:"key" maxLength:"128"`
}

func (a *API) getField(ctx context.Context, sc account.Scope, in *fieldKey) (*fieldOutput, error) {
	return a.fieldReply(a.Services.Leads.Field(ctx, sc, in.Key))
}

type changeFieldInput struct {
	Key     string `path:"key" maxLength:"128"`
	IfMatch string `header:"If-Match"`
	Body    struct {
		Type lead.FieldType `json:"type,omitempty" doc:"May be sent; it cannot change."`
		FieldInput
	}
}

func (a *API) changeField(ctx context.Context, sc account.Scope, in *changeFieldInput) (*fieldOutput, error) {
	return a.fieldReply(a.Services.Leads.ChangeField(ctx, sc, in.Body.def(in.Key, in.Body.Type), ifMatch(in.IfMatch)))
}

type leadDoneOutput struct {
	Body struct {
		Status string `json:"status"`
		ID     string `json:"id"`
	}
}

func leadDone(status, id string, err error) (*leadDoneOutput, error) {
	if err != nil {
		return nil, err
	}
	out := &leadDoneOutput{}
	out.Body.Status, out.Body.ID = status, id
	return out, nil
}

func (a *API) removeField(ctx context.Context, sc account.Scope, in *fieldKey) (*leadDoneOutput, error) {
	return leadDone("deleted", in.Key, a.Services.Leads.RemoveField(ctx, sc, in.Key))
}

type leadRulesBody struct {
	Statuses           []string `json:"statuses" doc:"In order; new leads get the first."`
	Required           []string `json:"required,omitempty" doc:"Fields that a new lead must have."`
	Identity           []string `json:"identity" doc:"What recognises a lead on create, strongest first: external_id, email, phone."`
	Region             string   `json:"region,omitempty" doc:"ISO 3166 country of phone numbers without country code; the tenant's when empty." pattern:"^([A-Z]{2})?$"`
	RoleNames          []string `json:"role_names,omitempty" doc:"Further local parts of shared mailboxes."`
	AllowUnknownFields bool     `json:"allow_unknown_fields,omitempty" doc:"Make text fields of unknown custom keys instead of refusing them."`
}

type leadRulesOutput struct{ Body leadRulesBody }

func viewRules(r *lead.Rules) leadRulesBody {
	return leadRulesBody{r.Statuses, r.Required, r.Identity, r.Region, r.RoleNames, r.AllowUnknownFields}
}

func (a *API) getLeadRules(ctx context.Context, sc account.Scope, _ *struct{}) (*leadRulesOutput, error) {
	r, err := a.Services.Leads.LeadRules(ctx, sc)
	if err != nil {
		return nil, err
	}
	return &leadRulesOutput{viewRules(r)}, nil
}

func (a *API) saveLeadRules(ctx context.Context, sc account.Scope, in *leadRulesOutput) (*leadRulesOutput, error) {
	b := in.Body
	r, err := a.Services.Leads.SaveLeadRules(ctx, sc, lead.Rules{Statuses: b.Statuses, Required: b.Required, Identity: b.Identity, Region: b.Region,
		RoleNames: b.RoleNames, AllowUnknownFields: b.AllowUnknownFields})
	if err != nil {
		return nil, err
	}
	return &leadRulesOutput{viewRules(r)}, nil
}

type pageInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"50"`
	Cursor string `query:"cursor" maxLength:"1000"`
}

type listTagsOutput struct {
	Body struct {
		Tags       []tagView `json:"tags"`
		NextCursor *string   `json:"next_cursor"`
	}
}

type tagView struct {
	Tag   string `json:"tag" doc:"Folded: without case and accents."`
	Leads int64  `json:"leads"`
}

func (a *API) listTags(ctx context.Context, sc account.Scope, in *pageInput) (*listTagsOutput, error) {
	after, err := a.idCursor(sc, "tags", in.Cursor)
	if err != nil {
		return nil, err
	}
	tags, err := a.Services.Leads.Tags(ctx, sc, after, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &listTagsOutput{}
	out.Body.Tags = make([]tagView, len(tags))
	for i, t := range tags {
		out.Body.Tags[i] = tagView{t.Tag, t.Leads}
	}
	out.Body.NextCursor = a.nextID(sc, "tags", len(tags) == in.Limit, func() string { return tags[len(tags)-1].Tag })
	return out, nil
}

type addTagsInput struct {
	ID      string `path:"id" maxLength:"128"`
	IfMatch string `header:"If-Match"`
	Body    struct {
		Tags []string `json:"tags" minItems:"1" maxItems:"100"`
	}
}

func (a *API) addTags(ctx context.Context, sc account.Scope, in *addTagsInput) (*leadOutput, error) {
	return a.changeTags(ctx, sc, leadID{in.ID, in.IfMatch}, lead.AddTags(in.Body.Tags))
}

type removeTagInput struct {
	ID      string `path:"id" maxLength:"128"`
	Tag     string `path:"tag" maxLength:"256"`
	IfMatch string `header:"If-Match"`
}

func (a *API) removeTag(ctx context.Context, sc account.Scope, in *removeTagInput) (*leadOutput, error) {
	return a.changeTags(ctx, sc, leadID{in.ID, in.IfMatch}, lead.RemoveTags([]string{in.Tag}))
}

func (a *API) changeTags(ctx context.Context, sc account.Scope, in leadID, change *lead.Input) (*leadOutput, error) {
	edit := editLeadInput{ID: in.ID, IfMatch: in.IfMatch, Body: leadBody{Input: change}}
	return a.updateLead(ctx, sc, &edit)
}
