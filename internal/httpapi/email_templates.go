package httpapi

import (
	"context"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/optional"
	"leadloom/internal/service"
)

type templateView struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Subject   string    `json:"subject"`
	HTML      string    `json:"html"`
	Text      string    `json:"text"`
	Version   int64     `json:"version"`
	CreatedAt time.Time `json:"created_at"`
	UpdatedAt time.Time `json:"updated_at"`
}

func viewTemplate(t *campaign.Template) templateView {
	return templateView{t.ID, t.Name, t.Subject, t.HTML, t.Text, t.Version, t.CreatedAt, t.UpdatedAt}
}

type templateOutput struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     templateView
}

func templateReply(t *campaign.Template) *templateOutput {
	return &templateOutput{ETag: etag(t.Version), Location: "/api/templates/" + t.ID, Body: viewTemplate(t)}
}

type templateBody struct {
	Name    optional.Optional[string] `json:"name,omitzero"`
	Subject optional.Optional[string] `json:"subject,omitzero" doc:"Liquid."`
	HTML    optional.Optional[string] `json:"html,omitzero" doc:"Liquid; values are escaped by their place."`
	Text    optional.Optional[string] `json:"text,omitzero" doc:"Liquid; made from html when absent."`
}

func (b templateBody) input() service.TemplateInput {
	return service.TemplateInput{Name: b.Name, Subject: b.Subject, HTML: b.HTML, Text: b.Text}
}

type createTemplateInput struct{ Body templateBody }

func (a *API) createTemplate(ctx context.Context, sc account.Scope, in *createTemplateInput) (*templateOutput, error) {
	t, err := a.Services.Mail.CreateTemplate(ctx, sc, in.Body.input())
	if err != nil {
		return nil, err
	}
	return templateReply(t), nil
}

func (a *API) getTemplate(ctx context.Context, sc account.Scope, in *objectPath) (*templateOutput, error) {
	t, err := a.Services.Mail.Template(ctx, sc, in.ID)
	if err != nil {
		return nil, err
	}
	return templateReply(t), nil
}

type updateTemplateInput struct {
	ID      string `path:"id" maxLength:"100"`
	IfMatch string `header:"If-Match"`
	Body    templateBody
}

func (a *API) updateTemplate(ctx context.Context, sc account.Scope, in *updateTemplateInput) (*templateOutput, error) {
	t, err := a.Services.Mail.UpdateTemplate(ctx, sc, in.ID, ifMatch(in.IfMatch), in.Body.input())
	if err != nil {
		return nil, err
	}
	return templateReply(t), nil
}

func (a *API) deleteTemplate(ctx context.Context, sc account.Scope, in *campaignPath) (*deletedOutput, error) {
	out := &deletedOutput{}
	out.Body.Status, out.Body.ID = "deleted", in.ID
	return out, a.Services.Mail.DeleteTemplate(ctx, sc, in.ID, ifMatch(in.IfMatch))
}

type listTemplatesInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"200"`
	Cursor string `query:"cursor" maxLength:"2000"`
}

type listTemplatesOutput struct {
	Body struct {
		Total      int            `json:"total" doc:"Templates in this reply."`
		Templates  []templateView `json:"templates"`
		NextCursor string         `json:"next_cursor,omitempty"`
		Timestamp  time.Time      `json:"timestamp"`
	}
}

func (a *API) listTemplates(ctx context.Context, sc account.Scope, in *listTemplatesInput) (*listTemplatesOutput, error) {
	pos, err := a.cursors.decode(sc, "templates", a.Now(), in.Cursor)
	if err != nil {
		return nil, err
	}
	after := ""
	if len(pos) == 1 {
		after = pos[0]
	}
	rows, err := a.Services.Mail.Templates(ctx, sc, after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := &listTemplatesOutput{}
	out.Body.Templates, out.Body.Timestamp = []templateView{}, a.Now().UTC()
	for _, t := range rows[:min(len(rows), in.Limit)] {
		out.Body.Templates = append(out.Body.Templates, viewTemplate(t))
	}
	out.Body.Total = len(out.Body.Templates)
	if len(rows) > in.Limit {
		out.Body.NextCursor = a.cursors.encode(sc, "templates", a.Now(), rows[in.Limit-1].Name)
	}
	return out, nil
}
