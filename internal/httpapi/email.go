package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/mail"
	"leadloom/internal/optional"
	"leadloom/internal/service"
)

const tagEmail = "E-mail"

// email registers the routes of single messages, templates and suppressions.
func (a *API) email() {
	register(a, Route{Method: "POST", Path: "/api/email/send", ID: "send-email", Tag: tagEmail, Summary: "Send one transactional message",
		Description: "Answered once it is durably queued. subject and body are Liquid; the address's lead is found, or made when nobody has it.", Permission: account.CampaignExecute, MaxBody: 4 << 20}, a.sendEmail)
	register(a, Route{Method: "POST", Path: "/api/email/campaign", ID: "launch-campaign", Tag: tagEmail, Summary: "Create a campaign and schedule it at once", Permission: account.CampaignExecute, MaxBody: 10 << 20}, a.launchCampaign)
	register(a, Route{Method: "GET", Path: "/api/email/campaign/{id}/stats", ID: "get-campaign-stats", Tag: tagEmail, Summary: "A campaign's figures in one flat object", Permission: account.CampaignRead}, a.getCampaignStats)
	register(a, Route{Method: "GET", Path: "/api/email/messages/{id}", ID: "get-message", Tag: tagEmail, Summary: "What became of one message", Permission: account.CampaignRead}, a.getMessage)
	register(a, Route{Method: "GET", Path: "/api/email/templates", ID: "list-email-templates", Tag: tagEmail, Summary: "List templates by name", Permission: account.CampaignRead}, a.listTemplates)
	register(a, Route{Method: "POST", Path: "/api/templates", ID: "create-template", Tag: tagEmail, Summary: "Create a template", Description: "Its Liquid is checked now: unknown values, filters and tags are refused.", Permission: account.CampaignCreate}, a.createTemplate)
	register(a, Route{Method: "GET", Path: "/api/templates/{id}", ID: "get-template", Tag: tagEmail, Summary: "Get a template", Permission: account.CampaignRead}, a.getTemplate)
	register(a, Route{Method: "PUT", Path: "/api/templates/{id}", ID: "update-template", Tag: tagEmail, Summary: "Change a template", Permission: account.CampaignUpdate}, a.updateTemplate)
	register(a, Route{Method: "DELETE", Path: "/api/templates/{id}", ID: "delete-template", Tag: tagEmail, Summary: "Delete a template", Permission: account.CampaignDelete}, a.deleteTemplate)
	register(a, Route{Method: "GET", Path: "/api/suppressions", ID: "list-suppressions", Tag: tagEmail, Summary: "List addresses that must not be written to", Permission: account.CampaignRead}, a.listSuppressions)
	register(a, Route{Method: "POST", Path: "/api/suppressions", ID: "add-suppression", Tag: tagEmail, Summary: "Suppress an address", Permission: account.CampaignUpdate}, a.addSuppression)
	register(a, Route{Method: "DELETE", Path: "/api/suppressions/{address}", ID: "remove-suppression", Tag: tagEmail, Summary: "Let an address be written to again; needs a reason", Permission: account.CampaignDelete}, a.removeSuppression)
}

// recipientInput is an address, or an object with one.
type recipientInput campaign.Person

// UnmarshalJSON takes both forms.
func (r *recipientInput) UnmarshalJSON(b []byte) error {
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '"' {
		*r = recipientInput{}
		return json.Unmarshal(b, &r.Email)
	}
	return json.Unmarshal(b, (*campaign.Person)(r))
}

// Schema says that both forms are taken.
func (recipientInput) Schema(r huma.Registry) *huma.Schema {
	return &huma.Schema{OneOf: []*huma.Schema{{Type: huma.TypeString, Description: "an e-mail address"}, r.Schema(reflect.TypeFor[campaign.Person](), true, "Person")}}
}

// rawJSON is any JSON value, kept as it was written.
type rawJSON struct{ json.RawMessage }

// UnmarshalJSON keeps the text.
func (r *rawJSON) UnmarshalJSON(b []byte) error { return r.RawMessage.UnmarshalJSON(b) }

// MarshalJSON gives it back; an empty one is null.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r.RawMessage.MarshalJSON() }

// Schema allows anything: the service checks it.
func (rawJSON) Schema(huma.Registry) *huma.Schema { return &huma.Schema{} }

// audienceInput says who is meant.
type audienceInput struct {
	_           struct{}                            `json:"-" additionalProperties:"true"`
	Recipients  optional.Optional[[]recipientInput] `json:"recipients,omitzero"`
	LeadIDs     optional.Optional[[]string]         `json:"lead_ids,omitzero"`
	All         optional.Optional[bool]             `json:"all,omitzero" doc:"Every lead; the filters may still narrow it."`
	Tags        optional.Optional[[]string]         `json:"tags,omitzero" doc:"Has any of them."`
	Statuses    optional.Optional[[]string]         `json:"statuses,omitzero" doc:"Is one of them."`
	Condition   rawJSON                             `json:"condition,omitzero" doc:"A condition over the lead's fields and tags; {} takes it away."`
	ExcludeTags optional.Optional[[]string]         `json:"exclude_tags,omitzero"`
}

func (a audienceInput) input() service.AudienceInput {
	in := service.AudienceInput{LeadIDs: a.LeadIDs, All: a.All, Tags: a.Tags, Statuses: a.Statuses, ExcludeTags: a.ExcludeTags}
	if a.Recipients.Has() {
		in.Recipients = optional.Of(people(a.Recipients.V))
	}
	if c := bytes.TrimSpace(a.Condition.RawMessage); len(c) > 0 && string(c) != "null" {
		in.Condition = optional.Of(json.RawMessage(c))
	}
	return in
}

func people(in []recipientInput) []campaign.Person {
	out := make([]campaign.Person, len(in))
	for i, p := range in {
		out[i] = campaign.Person(p)
	}
	return out
}

type sendEmailInput struct {
	Body struct {
		_        struct{}       `json:"-" additionalProperties:"true"`
		To       *string        `json:"to,omitempty" nullable:"true" doc:"name@domain or Name <name@domain>; absent: the lead's address."`
		Subject  *string        `json:"subject,omitempty" nullable:"true"`
		Body     *string        `json:"body,omitempty" nullable:"true" doc:"HTML when it holds tags, else plain text."`
		HTML     *string        `json:"html,omitempty" nullable:"true"`
		Text     *string        `json:"text,omitempty" nullable:"true"`
		Template *string        `json:"template,omitempty" nullable:"true" doc:"Id or name of a stored template."`
		LeadID   *string        `json:"lead_id,omitempty" nullable:"true"`
		From     *string        `json:"from,omitempty" nullable:"true"`
		ReplyTo  *string        `json:"reply_to,omitempty" nullable:"true"`
		Data     map[string]any `json:"data,omitempty" doc:"Further values for the template: {{ data.key }}."`
	}
}

type sendEmailOutput struct {
	Location string `header:"Location"`
	Body     struct {
		Status      string    `json:"status" enum:"queued"`
		ExecutionID string    `json:"execution_id" doc:"The message's id: GET /api/email/messages/{id}."`
		LeadID      string    `json:"lead_id"`
		Timestamp   time.Time `json:"timestamp"`
	}
}

func orBlank(p *string) string {
	if p == nil {
		return ""
	}
	return *p
}

// bodies sorts an old client's one body into HTML or text.
func bodies(body, html, text string) (string, string) {
	if body != "" && html == "" && strings.Contains(body, "<") && strings.Contains(body, ">") {
		return body, text
	}
	if body != "" && text == "" {
		return html, body
	}
	return html, text
}

func (a *API) sendEmail(ctx context.Context, sc account.Scope, in *sendEmailInput) (*sendEmailOutput, error) {
	b := in.Body
	s := mail.Send{To: orBlank(b.To), LeadID: orBlank(b.LeadID), Subject: orBlank(b.Subject), Template: orBlank(b.Template), From: orBlank(b.From), ReplyTo: orBlank(b.ReplyTo), Values: b.Data}
	s.HTML, s.Text = bodies(orBlank(b.Body), orBlank(b.HTML), orBlank(b.Text))
	q, err := a.Services.Mail.SendEmail(ctx, sc, s)
	if err != nil {
		return nil, err
	}
	out := &sendEmailOutput{Location: "/api/email/messages/" + q.MessageID}
	out.Body.Status, out.Body.ExecutionID, out.Body.LeadID, out.Body.Timestamp = "queued", q.MessageID, q.LeadID, q.At
	return out, nil
}

type launchCampaignInput struct {
	Body struct {
		_          struct{}                            `json:"-" additionalProperties:"true"`
		Name       string                              `json:"name"`
		Subject    *string                             `json:"subject,omitempty" nullable:"true"`
		Template   *string                             `json:"template,omitempty" nullable:"true" doc:"Id or name of a stored template, or the body itself."`
		Body       *string                             `json:"body,omitempty" nullable:"true"`
		HTML       *string                             `json:"html,omitempty" nullable:"true"`
		Text       *string                             `json:"text,omitempty" nullable:"true"`
		Recipients optional.Optional[[]recipientInput] `json:"recipients,omitzero"`
		Audience   audienceInput                       `json:"audience,omitzero"`
		ScheduleAt *time.Time                          `json:"schedule_at,omitempty" nullable:"true" doc:"Absent: now."`
	}
}

type launchCampaignOutput struct {
	Location string `header:"Location"`
	ETag     string `header:"ETag"`
	Body     struct {
		CampaignID campaign.ID    `json:"campaign_id"`
		Status     campaign.State `json:"status"`
		Name       string         `json:"name"`
		Timestamp  time.Time      `json:"timestamp"`
	}
}

func (a *API) launchCampaign(ctx context.Context, sc account.Scope, in *launchCampaignInput) (*launchCampaignOutput, error) {
	b := in.Body
	c := service.CampaignInput{Name: optional.Of(b.Name), Subject: optional.Of(orBlank(b.Subject)), Audience: b.Audience.input()}
	html, text := bodies(orBlank(b.Body), orBlank(b.HTML), orBlank(b.Text))
	t := orBlank(b.Template)
	if strings.ContainsAny(t, "<{\n ") && html == "" && text == "" { // old clients put the body itself here
		known, err := a.Services.Mail.HasTemplate(ctx, sc, t)
		if err != nil {
			return nil, err
		}
		if !known {
			html, text = bodies(t, "", "")
			t = ""
		}
	}
	c.Template, c.HTML, c.Text = optional.Of(t), optional.Of(html), optional.Of(text)
	if b.Recipients.Has() {
		c.Audience.Recipients = optional.Of(append(c.Audience.Recipients.V, people(b.Recipients.V)...))
	}
	v, err := a.Services.Campaigns.Launch(ctx, sc, c, b.ScheduleAt)
	if err != nil {
		return nil, err
	}
	out := &launchCampaignOutput{Location: "/api/campaigns/" + string(v.ID), ETag: etag(v.Version)}
	out.Body.CampaignID, out.Body.Status, out.Body.Name, out.Body.Timestamp = v.ID, v.State, v.Name, a.Now().UTC()
	return out, nil
}

type campaignStatsOutput struct {
	Body struct {
		CampaignID campaign.ID    `json:"campaign_id"`
		Name       string         `json:"name"`
		Status     campaign.State `json:"status"`
		campaign.Metrics
		Timestamp time.Time `json:"timestamp"`
	}
}

func (a *API) getCampaignStats(ctx context.Context, sc account.Scope, in *objectPath) (*campaignStatsOutput, error) {
	m, err := a.Services.Campaigns.Metrics(ctx, sc, campaign.ID(in.ID))
	if err != nil {
		return nil, err
	}
	out := &campaignStatsOutput{}
	out.Body.CampaignID, out.Body.Name, out.Body.Status, out.Body.Metrics, out.Body.Timestamp = m.Campaign.ID, m.Campaign.Name, m.Campaign.State, m.Metrics, m.At
	return out, nil
}

type messageOutput struct {
	Body struct {
		ID         string            `json:"id"`
		MessageID  string            `json:"message_id" doc:"The Message-ID header."`
		Kind       string            `json:"kind"`
		CampaignID campaign.ID       `json:"campaign_id,omitempty"`
		LeadID     string            `json:"lead_id,omitempty"`
		To         string            `json:"to"`
		Subject    string            `json:"subject"`
		State      campaign.RowState `json:"state"`
		Reason     string            `json:"reason"`
		Detail     string            `json:"detail,omitempty"`
		SMTP       *struct {
			Code     int64  `json:"code"`
			Enhanced string `json:"enhanced,omitempty"`
		} `json:"smtp,omitempty"`
		Attempts int64      `json:"attempts"`
		Size     int64      `json:"size"`
		QueuedAt time.Time  `json:"queued_at"`
		DueAt    *time.Time `json:"due_at"`
		SentAt   *time.Time `json:"sent_at"`
	}
}

func (a *API) getMessage(ctx context.Context, sc account.Scope, in *objectPath) (*messageOutput, error) {
	m, err := a.Services.Mail.Message(ctx, sc, in.ID)
	if err != nil {
		return nil, err
	}
	out := &messageOutput{}
	b := &out.Body
	b.ID, b.MessageID, b.Kind, b.CampaignID, b.LeadID, b.To, b.Subject = m.ID, m.HeaderID, m.Kind, m.CampaignID, m.LeadID, m.Address, m.Subject
	b.State, b.Reason, b.Detail, b.Attempts, b.Size, b.QueuedAt = m.State, m.Reason, m.Detail, m.Attempts, m.Size, m.QueuedAt
	if m.State == campaign.RowPending {
		b.DueAt = timeOrNil(m.DueAt)
	}
	if m.State == campaign.RowSent {
		b.SentAt = timeOrNil(m.FinalAt)
	}
	if m.SMTPCode != 0 {
		b.SMTP = &struct {
			Code     int64  `json:"code"`
			Enhanced string `json:"enhanced,omitempty"`
		}{m.SMTPCode, m.Enhanced}
	}
	return out, nil
}

type suppressionsInput struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
	Cursor string `query:"cursor" maxLength:"1000"`
}

type suppressionsOutput struct {
	Body struct {
		Suppressions []*campaign.Suppression `json:"suppressions"`
		NextCursor   string                  `json:"next_cursor,omitempty"`
		Timestamp    time.Time               `json:"timestamp"`
	}
}

func (a *API) listSuppressions(ctx context.Context, sc account.Scope, in *suppressionsInput) (*suppressionsOutput, error) {
	pos, err := a.cursors.decode(sc, "suppressions", a.Now(), in.Cursor)
	if err != nil {
		return nil, err
	}
	var afterAddress, afterKind string
	if len(pos) == 2 {
		afterAddress, afterKind = pos[0], pos[1]
	}
	rows, err := a.Services.Mail.Suppressions(ctx, sc, afterAddress, afterKind, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := &suppressionsOutput{}
	out.Body.Suppressions, out.Body.Timestamp = append([]*campaign.Suppression{}, rows[:min(len(rows), in.Limit)]...), a.Now().UTC()
	if len(rows) > in.Limit {
		last := rows[in.Limit-1]
		out.Body.NextCursor = a.cursors.encode(sc, "suppressions", a.Now(), last.Address, last.Kind)
	}
	return out, nil
}

type suppressionInput struct {
	Body struct {
		Address string `json:"address"`
		Reason  string `json:"reason,omitempty" maxLength:"500"`
	}
}

type suppressionOutput struct{ Body *campaign.Suppression }

func (a *API) addSuppression(ctx context.Context, sc account.Scope, in *suppressionInput) (*suppressionOutput, error) {
	s, err := a.Services.Mail.Suppress(ctx, sc, in.Body.Address, in.Body.Reason)
	return &suppressionOutput{s}, err
}

type removeSuppressionInput struct {
	Address string `path:"address" maxLength:"254"`
	Kind    string `query:"kind" enum:"unsubscribed,hard_bounce,complaint,manual,invalid" doc:"Absent: all of the address's."`
	Reason  string `query:"reason" maxLength:"500"`
}

func (a *API) removeSuppression(ctx context.Context, sc account.Scope, in *removeSuppressionInput) (*deletedOutput, error) {
	out := &deletedOutput{}
	out.Body.Status, out.Body.ID = "deleted", in.Address
	return out, a.Services.Mail.Unsuppress(ctx, sc, in.Address, in.Kind, in.Reason)
}
