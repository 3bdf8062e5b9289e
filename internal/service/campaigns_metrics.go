package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/mail"
	"leadloom/internal/store"
)

// CampaignMetrics are a campaign's figures with the reasons behind its skipped and failed rows.
type CampaignMetrics struct {
	Campaign *campaign.Campaign
	Metrics  campaign.Metrics
	Reasons  map[string]int64
	At       time.Time
}

// Metrics computes a campaign's figures from rows.
func (s *Campaigns) Metrics(ctx context.Context, sc account.Scope, id campaign.ID) (*CampaignMetrics, error) {
	return s.metrics(s.st.Read(ctx), sc, id, s.now())
}

func (s *Campaigns) metrics(r *store.Reader, sc account.Scope, id campaign.ID, now time.Time) (*CampaignMetrics, error) {
	c, err := r.Campaign(sc, id)
	if err != nil {
		return nil, notFound(err, "campaign", string(id))
	}
	counts, err := r.LedgerCounts(sc, id)
	if err != nil {
		return nil, err
	}
	facts, err := r.CampaignFacts(sc, id)
	if err != nil {
		return nil, err
	}
	reasons, err := r.ReasonCounts(sc, id)
	return &CampaignMetrics{Campaign: c, Metrics: campaign.Measure(counts, facts), Reasons: reasons, At: now}, err
}

// OutsideEvent is one result measured elsewhere, as a caller sends it.
type OutsideEvent struct {
	EventID string
	Type    string
	Count   *int64
	LeadID  string
	At      time.Time
}

// RecordedResults say what a post of results did.
type RecordedResults struct {
	*CampaignMetrics
	Recorded  int // rows that are new or changed
	Duplicate int // event ids that were known
}

// Record stores results measured elsewhere. Events count once per event_id; metrics are the totals as that place sees
// them now: the same total again changes nothing.
func (s *Campaigns) Record(ctx context.Context, sc account.Scope, id campaign.ID, totals map[string]int64, events []OutsideEvent) (*RecordedResults, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*RecordedResults, error) {
		if _, err := tx.SharedCampaign(sc, id); err != nil {
			return nil, notFound(err, "campaign", string(id))
		}
		rows, err := outsideRows(totals, events, tx.Now(), tx.NewID)
		if err != nil {
			return nil, err
		}
		out := &RecordedResults{}
		for i, x := range rows {
			isNew, err := tx.InsertResult(sc, id, x, i < len(totals))
			if err != nil {
				return nil, err
			}
			if isNew {
				out.Recorded++
			} else {
				out.Duplicate++
			}
		}
		out.CampaignMetrics, err = s.metrics(tx.Reader, sc, id, tx.Now())
		return out, err
	})
}

// outsideRows checks everything at once: first the totals, in order of name, then the events.
func outsideRows(totals map[string]int64, events []OutsideEvent, now time.Time, newID func() string) ([]campaign.Result, error) {
	var problems []fault.Field
	var rows []campaign.Result
	unknown := fault.Field{Code: "unknown_value", Message: "send one of " + campaign.FactNames()}
	for _, name := range slices.Sorted(maps.Keys(totals)) {
		f, ok := campaign.ParseFact(name)
		if !ok {
			unknown.Path = "metrics." + name
			problems = append(problems, unknown)
		}
		if p := campaign.CheckCount("metrics."+name, totals[name]); p != nil {
			problems = append(problems, *p)
		}
		rows = append(rows, campaign.Result{EventID: "total:" + string(f), Type: f, Count: totals[name], At: now, Source: "api"})
	}
	if len(events) > campaign.MaxResults {
		problems = append(problems, fault.Field{Path: "events", Code: "too_many", Message: "send at most 1000 events in one request"})
	}
	for i, e := range events[:min(len(events), campaign.MaxResults)] {
		path := fmt.Sprintf("events[%d]", i)
		f, ok := campaign.ParseFact(e.Type)
		if !ok {
			unknown.Path = path + ".type"
			problems = append(problems, unknown)
		}
		n := int64(1)
		if e.Count != nil {
			n = *e.Count
		}
		if p := campaign.CheckCount(path+".count", n); p != nil {
			problems = append(problems, *p)
		}
		if len(e.EventID) > 200 {
			problems = append(problems, fault.Field{Path: path + ".event_id", Code: "too_long", Message: "send at most 200 bytes"})
		}
		if e.At.IsZero() {
			e.At = now
		}
		if e.At.After(now.Add(24 * time.Hour)) {
			problems = append(problems, fault.Field{Path: path + ".at", Code: "in_the_future", Message: "send the time at which it happened"})
		}
		eventID := "event:" + e.EventID
		if e.EventID == "" {
			eventID = "event:" + newID()
		}
		rows = append(rows, campaign.Result{EventID: eventID, Type: f, Count: n, LeadID: e.LeadID, At: e.At, Source: "api"})
	}
	return rows, fault.InvalidFields(problems).OrNil()
}

// DeliveryEvent is what a provider tells about one message of ours.
type DeliveryEvent struct {
	EventID    string
	Type       string
	MessageID  string // Message-ID header as we sent it
	Email      string // the recipient, when the provider names it
	CampaignID string // for results without a message of ours
	Reason     string
	At         time.Time
}

// DeliveryResult says what a webhook's events did.
type DeliveryResult struct{ Recorded, Duplicate, Unmatched int }

// Deliver takes providers' events in any order. Only events about a message that we really sent to that address
// count: anything else is reported as unmatched and changes nothing.
func (s *Campaigns) Deliver(ctx context.Context, sc account.Scope, events []DeliveryEvent) (*DeliveryResult, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*DeliveryResult, error) {
		var problems []fault.Field
		for i, e := range events {
			if _, ok := campaign.ParseFact(e.Type); !ok {
				problems = append(problems, fault.Field{Path: fmt.Sprintf("events[%d].type", i), Code: "unknown_value", Message: "send one of " + campaign.FactNames()})
			}
			if len(e.EventID) > 200 || e.EventID == "" {
				problems = append(problems, fault.Field{Path: fmt.Sprintf("events[%d].event_id", i), Code: "required", Message: "send the provider's id of the event, at most 200 bytes: it is counted once"})
			}
		}
		if err := fault.InvalidFields(problems).OrNil(); err != nil {
			return nil, err
		}
		out := &DeliveryResult{}
		for _, e := range events {
			if err := s.deliver(tx, sc, e, out); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}

var factEvents = map[campaign.Fact]event.Type{campaign.FactDelivered: event.EmailDelivered, campaign.FactOpened: event.EmailOpened, campaign.FactClicked: event.EmailClicked,
	campaign.FactReplied: event.EmailReplied, campaign.FactBounced: event.EmailBounced, campaign.FactComplained: event.EmailComplained,
	campaign.FactUnsubscribed: event.EmailUnsubscribed, campaign.FactConverted: event.EmailConverted}

func (s *Campaigns) deliver(tx *store.Tx, sc account.Scope, e DeliveryEvent, out *DeliveryResult) error {
	id, ours := mail.VerifyMessageID(s.mailer.key, string(sc.Tenant()), e.MessageID)
	if !ours {
		out.Unmatched++
		return nil
	}
	m, err := tx.Message(sc, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && m.State != campaign.RowSent && m.State != campaign.RowUnknown {
		out.Unmatched++
		return nil
	}
	if err != nil {
		return err
	}
	if a, err := mail.ParseAddress(e.Email); e.Email != "" {
		if sent, err2 := mail.ParseAddress(m.Address); err != nil || err2 != nil || a.Key() != sent.Key() {
			out.Unmatched++
			return nil
		}
	}
	fact, _ := campaign.ParseFact(e.Type)
	if e.At.IsZero() {
		e.At = tx.Now()
	}
	isNew, err := tx.InsertMessageEvent(sc, "webhook:"+e.EventID, m, fact, "webhook", e.Reason, e.At)
	if err != nil {
		return err
	}
	if !isNew {
		out.Duplicate++
		return nil
	}
	out.Recorded++
	if t, ok := factEvents[fact]; ok {
		if _, err := tx.AppendEvent(sc, event.Event{Type: t, LeadID: m.LeadID, Subject: m.ID, Data: jsonData(map[string]any{"message_id": m.ID, "campaign_id": m.CampaignID, "reason": e.Reason, "source": "webhook"})}); err != nil {
			return err
		}
	}
	switch {
	case fact == campaign.FactComplained:
		return s.suppress(tx, sc, m.Address, campaign.SuppressComplaint, firstOf(e.Reason, "reported as spam"), m.LeadID)
	case fact == campaign.FactUnsubscribed:
		return s.suppress(tx, sc, m.Address, campaign.SuppressUnsubscribed, firstOf(e.Reason, "unsubscribed at the provider"), m.LeadID)
	case fact == campaign.FactBounced && mail.Classify(550, mail.Enhanced(e.Reason), e.Reason) == mail.ClassHard && e.Reason != "":
		return s.suppress(tx, sc, m.Address, campaign.SuppressHard, e.Reason, m.LeadID)
	}
	return nil
}
