package httpapi

import (
	"bytes"
	"context"
	"encoding/json"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/fault"
	"leadloom/internal/optional"
	"leadloom/internal/service"
)

const tagCampaigns = "Campaigns"

// campaigns registers the routes of campaigns, their ledgers and metrics.
func (a *API) campaigns() {
	register(a, Route{Method: "GET", Path: "/api/campaigns", ID: "list-campaigns", Tag: tagCampaigns, Summary: "List campaigns, newest first", Permission: account.CampaignRead}, a.listCampaigns)
	register(a, Route{Method: "POST", Path: "/api/campaigns", ID: "create-campaign", Tag: tagCampaigns, Summary: "Create a draft", Permission: account.CampaignCreate, MaxBody: 10 << 20}, a.createCampaign)
	register(a, Route{Method: "GET", Path: "/api/campaigns/{id}", ID: "get-campaign", Tag: tagCampaigns, Summary: "Get a campaign", Permission: account.CampaignRead}, a.getCampaign)
	register(a, Route{Method: "PUT", Path: "/api/campaigns/{id}", ID: "update-campaign", Tag: tagCampaigns, Summary: "Change a draft or scheduled campaign",
		Description: "Partial: absent and null keys keep what is stored, also inside audience; \"\" and [] clear. Another template replaces the content that came from the old one. Only the name may change once it is being sent.", Permission: account.CampaignUpdate, MaxBody: 10 << 20}, a.updateCampaign)
	register(a, Route{Method: "DELETE", Path: "/api/campaigns/{id}", ID: "delete-campaign", Tag: tagCampaigns, Summary: "Delete a draft or finished campaign with its ledger", Permission: account.CampaignDelete}, a.deleteCampaign)
	register(a, Route{Method: "POST", Path: "/api/campaigns/{id}/schedule", ID: "schedule-campaign", Tag: tagCampaigns, Summary: "Set the time of the first message", Permission: account.CampaignExecute}, a.scheduleCampaign)
	act := func(name, summary string, do func(context.Context, account.Scope, campaign.ID, service.IfMatch) (*service.CampaignView, error)) {
		register(a, Route{Method: "POST", Path: "/api/campaigns/{id}/" + name, ID: name + "-campaign", Tag: tagCampaigns, Summary: summary,
			Description: "In a state that does not allow it: 409 with the state and what is possible.", Permission: account.CampaignExecute}, a.campaignAct(do))
	}
	act("start", "Send now", a.Services.Campaigns.Start)
	act("pause", "Stop handing messages over; exact once it has answered", a.Services.Campaigns.Pause)
	act("resume", "Go on with the pending rows", a.Services.Campaigns.Resume)
	act("cancel", "End it; what is pending becomes skipped: cancelled", a.Services.Campaigns.Cancel)
	register(a, Route{Method: "POST", Path: "/api/campaigns/{id}/test", ID: "test-campaign", Tag: tagCampaigns, Summary: "Send the content to users of this tenant, marked as a test", Permission: account.CampaignUpdate}, a.testCampaign)
	register(a, Route{Method: "GET", Path: "/api/campaigns/{id}/recipients", ID: "list-recipients", Tag: tagCampaigns, Summary: "List the send ledger: one row per recipient with its state and reason", Permission: account.CampaignRead}, a.listRecipients)
	a.campaignMetrics()
}

// campaignView is a campaign as the API shows it.
type campaignView struct {
	ID        campaign.ID     `json:"id"`
	Name      string          `json:"name"`
	Kind      campaign.Kind   `json:"kind"`
	Status    campaign.State  `json:"status"`
	Hold      *campaignHold   `json:"hold,omitempty" doc:"Why nothing moves though the status says so."`
	Topic     string          `json:"topic"`
	Audience  audienceView    `json:"audience"`
	Content   contentView     `json:"content"`
	From      string          `json:"from"`
	ReplyTo   string          `json:"reply_to"`
	Schedule  scheduleView    `json:"schedule"`
	Throttle  throttleView    `json:"throttle"`
	Missing   string          `json:"missing" doc:"What to do with recipients without a value that has no default: empty or skip."`
	Counts    campaign.Counts `json:"counts" doc:"The ledger's sums, from its rows."`
	Version   int64           `json:"version"`
	CreatedAt time.Time       `json:"created_at"`
	UpdatedAt time.Time       `json:"updated_at"`
	StartedAt *time.Time      `json:"started_at"`
	EndedAt   *time.Time      `json:"finished_at"`
}

type campaignHold struct {
	Code  string    `json:"code" enum:"scheduled_missed,waiting_for_relay,no_relay"`
	Text  string    `json:"text"`
	Since time.Time `json:"since"`
}

type contentView struct {
	TemplateID string `json:"template_id,omitempty"`
	Subject    string `json:"subject"`
	HTML       string `json:"html"`
	Text       string `json:"text"`
}

type scheduleView struct {
	At *time.Time `json:"at"`
}

type throttleView struct {
	PerMinute int64 `json:"per_minute" doc:"Most messages handed over a minute; 0: no limit."`
}

type audienceView struct {
	Recipients  []campaign.Person `json:"recipients,omitempty" doc:"Shown up to 20; all of them are in the ledger."`
	LeadIDs     []string          `json:"lead_ids,omitempty" doc:"Shown up to 20."`
	All         bool              `json:"all,omitempty"`
	Tags        []string          `json:"tags,omitempty"`
	Statuses    []string          `json:"statuses,omitempty"`
	Condition   rawJSON           `json:"condition,omitzero"`
	ExcludeTags []string          `json:"exclude_tags,omitempty"`
	Named       int               `json:"named" doc:"How many recipients and lead ids are named."`
}

func viewAudience(a campaign.Audience) audienceView {
	out := audienceView{All: a.All, Tags: a.Tags, Statuses: a.Statuses, ExcludeTags: a.ExcludeTags, Named: a.People + a.Leads, Recipients: a.Recipients, LeadIDs: a.LeadIDs}
	out.Condition.RawMessage = a.Condition
	return out
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func viewCampaign(v *service.CampaignView) campaignView {
	c := v.Campaign
	out := campaignView{ID: c.ID, Name: c.Name, Kind: c.Kind, Status: c.State, Topic: c.Topic, Audience: viewAudience(c.Audience),
		Content: contentView{c.Content.Template, c.Content.Subject, c.Content.HTML, c.Content.Text}, From: c.From, ReplyTo: c.ReplyTo, Schedule: scheduleView{timeOrNil(c.ScheduledAt)},
		Throttle: throttleView{c.PerMinute}, Missing: string(c.Missing), Counts: v.Counts, Version: c.Version, CreatedAt: c.CreatedAt, UpdatedAt: c.UpdatedAt,
		StartedAt: timeOrNil(c.StartedAt), EndedAt: timeOrNil(c.FinishedAt)}
	if c.Hold != "" {
		out.Hold = &campaignHold{c.Hold, c.HoldText, c.HoldSince}
	}
	return out
}

type campaignOutput struct {
	ETag     string `header:"ETag"`
	Location string `header:"Location"`
	Body     campaignView
}

func campaignReply(v *service.CampaignView) *campaignOutput {
	return &campaignOutput{ETag: etag(v.Version), Body: viewCampaign(v)}
}

// campaignBody is a campaign as callers send it; old clients send more.
type campaignBody struct {
	_          struct{}                            `json:"-" additionalProperties:"true"`
	Name       optional.Optional[string]           `json:"name,omitzero"`
	Topic      optional.Optional[string]           `json:"topic,omitzero"`
	From       optional.Optional[string]           `json:"from,omitzero"`
	ReplyTo    optional.Optional[string]           `json:"reply_to,omitzero"`
	Template   optional.Optional[string]           `json:"template,omitzero" doc:"Id or name of a stored template."`
	Subject    optional.Optional[string]           `json:"subject,omitzero" doc:"Liquid."`
	HTML       optional.Optional[string]           `json:"html,omitzero" doc:"Liquid."`
	Text       optional.Optional[string]           `json:"text,omitzero" doc:"Liquid; made from html when absent."`
	Body       optional.Optional[string]           `json:"body,omitzero" doc:"HTML when it holds tags, else plain text."`
	Content    contentInput                        `json:"content,omitzero" doc:"The same four as replies show them; or the body as a text."`
	Missing    optional.Optional[string]           `json:"missing,omitzero"`
	Throttle   *throttleView                       `json:"throttle,omitempty"`
	Audience   audienceInput                       `json:"audience,omitzero" doc:"Key by key: absent ones keep what is stored."`
	Recipients optional.Optional[[]recipientInput] `json:"recipients,omitzero" doc:"Addresses, or objects with email, first_name, last_name: short for audience.recipients."`
}

// contentInput is a campaign's content in the form of replies. Old clients send a text: the body.
type contentInput struct {
	_          struct{}                  `json:"-" additionalProperties:"true"`
	TemplateID optional.Optional[string] `json:"template_id,omitzero"`
	Subject    optional.Optional[string] `json:"subject,omitzero"`
	HTML       optional.Optional[string] `json:"html,omitzero"`
	Text       optional.Optional[string] `json:"text,omitzero"`
	body       string
}

// UnmarshalJSON takes both forms.
func (c *contentInput) UnmarshalJSON(b []byte) error {
	if b = bytes.TrimSpace(b); len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &c.body)
	}
	type object contentInput
	return json.Unmarshal(b, (*object)(c))
}

// Schema says that both forms are taken.
func (contentInput) Schema(r huma.Registry) *huma.Schema {
	type Content contentInput
	return &huma.Schema{AnyOf: []*huma.Schema{{Type: huma.TypeString}, r.Schema(reflect.TypeFor[Content](), true, "Content"), {Type: "null"}}}
}

func (b *campaignBody) input() service.CampaignInput {
	in := service.CampaignInput{Name: b.Name, Topic: b.Topic, From: b.From, ReplyTo: b.ReplyTo, Missing: b.Missing, Audience: b.Audience.input(),
		Template: either(b.Template, b.Content.TemplateID), Subject: either(b.Subject, b.Content.Subject), HTML: either(b.HTML, b.Content.HTML), Text: either(b.Text, b.Content.Text)}
	if body := b.Body.Or(b.Content.body); body != "" {
		html, text := bodies(body, in.HTML.V, in.Text.V)
		in.HTML, in.Text = optional.Of(html), optional.Of(text)
	}
	if b.Throttle != nil {
		in.PerMinute = optional.Of(b.Throttle.PerMinute)
	}
	if b.Recipients.Has() {
		in.Audience.Recipients = optional.Of(append(in.Audience.Recipients.V, people(b.Recipients.V)...))
	}
	return in
}

// either is the first of two that was sent with a value.
func either(a, b optional.Optional[string]) optional.Optional[string] {
	if a.Has() {
		return a
	}
	return b
}

type createCampaignInput struct{ Body campaignBody }

func (a *API) createCampaign(ctx context.Context, sc account.Scope, in *createCampaignInput) (*campaignOutput, error) {
	v, err := a.Services.Campaigns.Create(ctx, sc, in.Body.input())
	if err != nil {
		return nil, err
	}
	out := campaignReply(v)
	out.Location = "/api/campaigns/" + string(v.ID)
	return out, nil
}

type campaignPath struct {
	ID      string `path:"id" maxLength:"100"`
	IfMatch string `header:"If-Match"`
}

func (a *API) getCampaign(ctx context.Context, sc account.Scope, in *campaignPath) (*campaignOutput, error) {
	v, err := a.Services.Campaigns.Get(ctx, sc, campaign.ID(in.ID))
	if err != nil {
		return nil, err
	}
	return campaignReply(v), nil
}

type updateCampaignInput struct {
	ID      string `path:"id" maxLength:"100"`
	IfMatch string `header:"If-Match"`
	Body    campaignBody
}

func (a *API) updateCampaign(ctx context.Context, sc account.Scope, in *updateCampaignInput) (*campaignOutput, error) {
	v, err := a.Services.Campaigns.Update(ctx, sc, campaign.ID(in.ID), ifMatch(in.IfMatch), in.Body.input())
	if err != nil {
		return nil, err
	}
	return campaignReply(v), nil
}

type deletedOutput struct {
	Body struct {
		Status string `json:"status" enum:"deleted"`
		ID     string `json:"id"`
	}
}

func (a *API) deleteCampaign(ctx context.Context, sc account.Scope, in *campaignPath) (*deletedOutput, error) {
	out := &deletedOutput{}
	out.Body.Status, out.Body.ID = "deleted", in.ID
	return out, a.Services.Campaigns.Delete(ctx, sc, campaign.ID(in.ID), ifMatch(in.IfMatch))
}

type listCampaignsInput struct {
	Status string `query:"status" enum:"draft,scheduled,preparing,sending,paused,sent,cancelled"`
	Skip   int    `query:"skip" minimum:"0" maximum:"10000"`
	Limit  int    `query:"limit" minimum:"1" maximum:"200" default:"50"`
	Cursor string `query:"cursor" maxLength:"500"`
}

type listCampaignsOutput struct {
	Body struct {
		Total      int64          `json:"total"`
		Campaigns  []campaignView `json:"campaigns"`
		NextCursor string         `json:"next_cursor,omitempty"`
		Timestamp  time.Time      `json:"timestamp"`
	}
}

func (a *API) listCampaigns(ctx context.Context, sc account.Scope, in *listCampaignsInput) (*listCampaignsOutput, error) {
	list := "campaigns " + in.Status
	pos, err := a.cursors.decode(sc, list, a.Now(), in.Cursor)
	if err != nil {
		return nil, err
	}
	var before string
	if len(pos) == 1 {
		if before = pos[0]; in.Skip > 0 {
			return nil, fault.Invalid("skip", "cursor_and_skip", "send cursor or skip, not both")
		}
	}
	p, err := a.Services.Campaigns.List(ctx, sc, campaign.State(in.Status), before, in.Skip, in.Limit)
	if err != nil {
		return nil, err
	}
	out := &listCampaignsOutput{}
	out.Body.Total, out.Body.Timestamp, out.Body.Campaigns = p.Total, a.Now().UTC(), make([]campaignView, 0, len(p.Campaigns))
	for _, c := range p.Campaigns {
		out.Body.Campaigns = append(out.Body.Campaigns, viewCampaign(c))
	}
	if p.More {
		out.Body.NextCursor = a.cursors.encode(sc, list, a.Now(), string(p.Campaigns[len(p.Campaigns)-1].ID))
	}
	return out, nil
}

type scheduleCampaignInput struct {
	ID      string `path:"id" maxLength:"100"`
	IfMatch string `header:"If-Match"`
	Body    struct {
		At *time.Time `json:"at" doc:"When the first message goes out, RFC 3339."`
	}
}

func (a *API) scheduleCampaign(ctx context.Context, sc account.Scope, in *scheduleCampaignInput) (*campaignOutput, error) {
	v, err := a.Services.Campaigns.Schedule(ctx, sc, campaign.ID(in.ID), ifMatch(in.IfMatch), in.Body.At)
	if err != nil {
		return nil, err
	}
	return campaignReply(v), nil
}

func (a *API) campaignAct(do func(context.Context, account.Scope, campaign.ID, service.IfMatch) (*service.CampaignView, error)) func(context.Context, account.Scope, *campaignPath) (*campaignOutput, error) {
	return func(ctx context.Context, sc account.Scope, in *campaignPath) (*campaignOutput, error) {
		v, err := do(ctx, sc, campaign.ID(in.ID), ifMatch(in.IfMatch))
		if err != nil {
			return nil, err
		}
		return campaignReply(v), nil
	}
}

type testCampaignInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body struct {
		To     []string `json:"to,omitempty" maxItems:"20" doc:"Addresses of users of this tenant; absent: your own."`
		LeadID string   `json:"lead_id,omitempty" doc:"Whose values fill the template."`
	}
}

type testCampaignOutput struct {
	Body struct {
		Status     string    `json:"status" enum:"queued"`
		MessageIDs []string  `json:"message_ids"`
		Timestamp  time.Time `json:"timestamp"`
	}
}

func (a *API) testCampaign(ctx context.Context, sc account.Scope, in *testCampaignInput) (*testCampaignOutput, error) {
	ids, err := a.Services.Campaigns.Test(ctx, sc, campaign.ID(in.ID), service.TestMail{To: in.Body.To, LeadID: in.Body.LeadID})
	out := &testCampaignOutput{}
	out.Body.Status, out.Body.MessageIDs, out.Body.Timestamp = "queued", ids, a.Now().UTC()
	return out, err
}

type listRecipientsInput struct {
	ID     string `path:"id" maxLength:"100"`
	State  string `query:"state" enum:"pending,sent,skipped,failed,unknown"`
	Limit  int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
	Cursor string `query:"cursor" maxLength:"500"`
}

type recipientView struct {
	ID        string            `json:"id"`
	LeadID    string            `json:"lead_id"`
	Address   string            `json:"address"`
	State     campaign.RowState `json:"state"`
	Reason    string            `json:"reason"`
	Detail    string            `json:"detail,omitempty"`
	MessageID string            `json:"message_id,omitempty"`
	UpdatedAt time.Time         `json:"updated_at"`
}

type listRecipientsOutput struct {
	Body struct {
		Recipients []recipientView `json:"recipients"`
		NextCursor string          `json:"next_cursor,omitempty"`
		Timestamp  time.Time       `json:"timestamp"`
	}
}

func (a *API) listRecipients(ctx context.Context, sc account.Scope, in *listRecipientsInput) (*listRecipientsOutput, error) {
	list := "recipients " + in.ID + " " + in.State
	pos, err := a.cursors.decode(sc, list, a.Now(), in.Cursor)
	if err != nil {
		return nil, err
	}
	after := ""
	if len(pos) == 1 {
		after = pos[0]
	}
	rows, err := a.Services.Campaigns.Recipients(ctx, sc, campaign.ID(in.ID), campaign.RowState(in.State), after, in.Limit+1)
	if err != nil {
		return nil, err
	}
	out := &listRecipientsOutput{}
	out.Body.Recipients, out.Body.Timestamp = []recipientView{}, a.Now().UTC()
	for _, r := range rows[:min(len(rows), in.Limit)] {
		out.Body.Recipients = append(out.Body.Recipients, recipientView{r.ID, r.LeadID, r.Address, r.State, r.Reason, r.Detail, r.MessageID, r.UpdatedAt})
	}
	if len(rows) > in.Limit {
		out.Body.NextCursor = a.cursors.encode(sc, list, a.Now(), rows[in.Limit-1].ID)
	}
	return out, nil
}
