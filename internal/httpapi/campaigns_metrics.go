package httpapi

import (
	"context"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/fault"
	"leadloom/internal/service"
)

func (a *API) campaignMetrics() {
	register(a, Route{Method: "GET", Path: "/api/campaigns/{id}/metrics", ID: "get-campaign-metrics", Tag: tagCampaigns, Summary: "Figures of a campaign, computed from rows",
		Description: "A rate is null when there is nothing to divide by.", Permission: account.CampaignRead}, a.getCampaignMetrics)
	register(a, Route{Method: "POST", Path: "/api/campaigns/{id}/metrics", ID: "record-campaign-metrics", Tag: tagCampaigns, Summary: "Record results measured elsewhere",
		Description: "events count once per event_id; metrics are totals as that place sees them now, so that the same totals again change nothing.", Permission: account.CampaignUpdate}, a.recordCampaignMetrics)
	register(a, Route{Method: "POST", Path: "/api/campaigns/webhook", ID: "take-delivery-events", Tag: tagCampaigns, Summary: "Take a mail provider's delivery events",
		Description: "Call it with an API key that has campaign:update. Events count once per event_id, in any order, and only for messages that this installation sent to that address.", Permission: account.CampaignUpdate}, a.takeDeliveryEvents)
}

type campaignMetricsOutput struct {
	Body struct {
		CampaignID campaign.ID      `json:"campaign_id"`
		Name       string           `json:"name"`
		Status     campaign.State   `json:"status"`
		Metrics    campaign.Metrics `json:"metrics"`
		Reasons    map[string]int64 `json:"reasons" doc:"Ledger rows by reason."`
		Recorded   *int             `json:"recorded,omitempty" doc:"Results that were new."`
		Duplicate  *int             `json:"duplicates,omitempty" doc:"Results that were known already."`
		Timestamp  time.Time        `json:"timestamp"`
	}
}

func viewCampaignMetrics(m *service.CampaignMetrics) *campaignMetricsOutput {
	out := &campaignMetricsOutput{}
	out.Body.CampaignID, out.Body.Name, out.Body.Status = m.Campaign.ID, m.Campaign.Name, m.Campaign.State
	out.Body.Metrics, out.Body.Reasons, out.Body.Timestamp = m.Metrics, m.Reasons, m.At
	return out
}

type objectPath struct {
	ID string `path:"id" maxLength:"100"`
}

func (a *API) getCampaignMetrics(ctx context.Context, sc account.Scope, in *objectPath) (*campaignMetricsOutput, error) {
	m, err := a.Services.Campaigns.Metrics(ctx, sc, campaign.ID(in.ID))
	if err != nil {
		return nil, err
	}
	return viewCampaignMetrics(m), nil
}

type recordMetricsInput struct {
	ID   string `path:"id" maxLength:"100"`
	Body struct {
		_       struct{}            `json:"-" additionalProperties:"true"`
		Metrics map[string]*float64 `json:"metrics,omitempty" doc:"Totals by name, e.g. {\"opened\": 120}. Rates are computed, not taken."`
		Events  []struct {
			_       struct{}   `json:"-" additionalProperties:"true"`
			Type    string     `json:"type" doc:"sent, delivered, opened, clicked, replied, bounced, unsubscribed, complained or converted."`
			Count   *int64     `json:"count,omitempty" doc:"1 when absent."`
			LeadID  string     `json:"lead_id,omitempty"`
			At      *time.Time `json:"at,omitempty" nullable:"true"`
			EventID string     `json:"event_id,omitempty" doc:"Counted once; without it each post counts."`
		} `json:"events,omitempty" maxItems:"1000"`
	}
}

func (a *API) recordCampaignMetrics(ctx context.Context, sc account.Scope, in *recordMetricsInput) (*campaignMetricsOutput, error) {
	totals := map[string]float64{}
	for name, v := range in.Body.Metrics {
		if v != nil && !strings.HasSuffix(name, "_rate") { // rates are computed from the counts
			totals[name] = *v
		}
	}
	if len(in.Body.Metrics) == 0 && len(in.Body.Events) == 0 {
		return nil, fault.Invalid("metrics", "required", "send metrics (totals by name) or events")
	}
	events := make([]service.OutsideEvent, len(in.Body.Events))
	for i, e := range in.Body.Events {
		events[i] = service.OutsideEvent{EventID: e.EventID, Type: e.Type, Count: e.Count, LeadID: e.LeadID, At: e.At}
	}
	r, err := a.Services.Campaigns.Record(ctx, sc, campaign.ID(in.ID), totals, events)
	if err != nil {
		return nil, err
	}
	out := viewCampaignMetrics(r.CampaignMetrics)
	out.Body.Recorded, out.Body.Duplicate = &r.Recorded, &r.Duplicate
	return out, nil
}

type deliveryEvent struct {
	_         struct{}   `json:"-" additionalProperties:"true"`
	EventID   string     `json:"event_id"`
	Type      string     `json:"type"`
	MessageID string     `json:"message_id" doc:"The Message-ID header of the message."`
	Email     string     `json:"email,omitempty"`
	Reason    string     `json:"reason,omitempty"`
	At        *time.Time `json:"at,omitempty" nullable:"true"`
}

type deliveryInput struct {
	Body struct {
		_      struct{}        `json:"-" additionalProperties:"true"`
		Events []deliveryEvent `json:"events" maxItems:"1000"`
	}
}

type deliveryOutput struct {
	Body struct {
		Status     string    `json:"status" enum:"received"`
		Recorded   int       `json:"recorded"`
		Duplicates int       `json:"duplicates"`
		Unmatched  int       `json:"unmatched" doc:"About no message of ours to that address: nothing was changed."`
		Timestamp  time.Time `json:"timestamp"`
	}
}

func (a *API) takeDeliveryEvents(ctx context.Context, sc account.Scope, in *deliveryInput) (*deliveryOutput, error) {
	events := make([]service.DeliveryEvent, len(in.Body.Events))
	for i, e := range in.Body.Events {
		events[i] = service.DeliveryEvent{EventID: e.EventID, Type: e.Type, MessageID: e.MessageID, Email: e.Email, Reason: e.Reason, At: e.At}
	}
	r, err := a.Services.Campaigns.Deliver(ctx, sc, events)
	if err != nil {
		return nil, err
	}
	out := &deliveryOutput{}
	out.Body.Status, out.Body.Recorded, out.Body.Duplicates, out.Body.Unmatched, out.Body.Timestamp = "received", r.Recorded, r.Duplicate, r.Unmatched, a.Now().UTC()
	return out, nil
}
