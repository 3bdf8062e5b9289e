package service

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
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
	ours, elsewhere, err := r.CampaignFacts(sc, id)
	if err != nil {
		return nil, err
	}
	reasons, err := r.ReasonCounts(sc, id)
	return &CampaignMetrics{Campaign: c, Metrics: campaign.Measure(counts, ours, elsewhere), Reasons: reasons, At: now}, err
}

// OutsideEvent is one result measured elsewhere, as a caller sends it.
type OutsideEvent struct {
	EventID string
	Type    string
	Count   *int64
	LeadID  string
	At      *time.Time
}

// RecordedResults say what a post of results did.
type RecordedResults struct {
	*CampaignMetrics
	Recorded  int // rows that are new or changed
	Duplicate int // event ids that were known
}

// Record stores results measured elsewhere. Events count once per event_id; metrics are the totals as that place sees
// them now: the same total again changes nothing.
func (s *Campaigns) Record(ctx context.Context, sc account.Scope, id campaign.ID, totals map[string]float64, events []OutsideEvent) (*RecordedResults, error) {
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
func outsideRows(totals map[string]float64, events []OutsideEvent, now time.Time, newID func() string) ([]campaign.Result, error) {
	var problems []fault.Field
	rows, counts := make([]campaign.Result, 0, len(totals)+len(events)), map[campaign.Fact]int64{}
	add := func(path, field string, fact string, n float64) campaign.Result {
		f, ok := campaign.ParseFact(fact)
		if !ok {
			problems = append(problems, fault.Field{Path: path + field, Code: "unknown_value", Message: "send one of " + campaign.FactNames()})
		}
		if field != "" {
			path += ".count"
		}
		count, p := campaign.CheckCount(path, n)
		if p != nil {
			problems = append(problems, *p)
		}
		return campaign.Result{Type: f, Count: count, Source: "api"}
	}
	for _, name := range slices.Sorted(maps.Keys(totals)) {
		x := add("metrics."+name, "", name, totals[name])
		if _, twice := counts[x.Type]; twice {
			problems = append(problems, fault.Field{Path: "metrics." + name, Code: "given_twice", Message: "send one total of " + string(x.Type) + ", under one name"})
		}
		counts[x.Type] = x.Count
		x.EventID, x.At = "total:"+string(x.Type), now
		rows = append(rows, x)
	}
	if sent, told := counts[campaign.FactSent]; told && counts[campaign.FactDelivered]+counts[campaign.FactBounced] > sent {
		problems = append(problems, fault.Field{Path: "metrics.sent", Code: "impossible", Message: "delivered and bounced together are more than sent; send totals of the same moment"})
	}
	if len(events) > campaign.MaxResults {
		problems = append(problems, fault.Field{Path: "events", Code: "too_many", Message: "send at most 1000 events in one request"})
	}
	for i, e := range events[:min(len(events), campaign.MaxResults)] {
		path, n := fmt.Sprintf("events[%d]", i), 1.0
		if e.Count != nil {
			n = float64(*e.Count)
		}
		x := add(path, ".type", e.Type, n)
		if e.EventID == "" {
			e.EventID = newID()
		}
		problems = append(problems, checkID(path+".event_id", e.EventID)...)
		problems = append(problems, checkID(path+".lead_id", e.LeadID)...)
		at, wrong := happened(path+".at", e.At, now)
		problems = append(problems, wrong...)
		x.EventID, x.LeadID, x.At = "event:"+e.EventID, e.LeadID, at
		rows = append(rows, x)
	}
	return rows, fault.InvalidFields(problems).OrNil()
}

// checkID refuses what no other system's id looks like.
func checkID(path, id string) []fault.Field {
	if len(id) > 200 || mail.CheckHeader(id) != nil {
		return []fault.Field{{Path: path, Code: "invalid", Message: "send at most 200 bytes without control characters"}}
	}
	return nil
}

// happened is when something happened elsewhere: now when it is not said.
func happened(path string, at *time.Time, now time.Time) (time.Time, []fault.Field) {
	switch {
	case at == nil:
		return now, nil
	case at.After(now.Add(24 * time.Hour)):
		return now, []fault.Field{{Path: path, Code: "in_the_future", Message: "send the time at which it happened"}}
	case at.Year() < 2000:
		return now, []fault.Field{{Path: path, Code: "out_of_range", Message: "send the time at which it happened, since the year 2000"}}
	}
	return *at, nil
}

// DeliveryEvent is what a provider tells about one message of ours.
type DeliveryEvent struct {
	EventID    string
	Type       string
	MessageID  string // Message-ID header as we sent it
	Email      string // the recipient, when the provider names it
	CampaignID string // for results without a message of ours
	Reason     string
	At         *time.Time
}

// DeliveryResult says what a webhook's events did.
type DeliveryResult struct{ Recorded, Duplicate, Unmatched int }

// Deliver takes providers' events in any order. Only events about a message that we really sent to that address
// count: anything else is reported as unmatched and changes nothing.
func (s *Campaigns) Deliver(ctx context.Context, sc account.Scope, events []DeliveryEvent) (*DeliveryResult, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*DeliveryResult, error) {
		var problems []fault.Field
		times := make([]time.Time, len(events))
		for i, e := range events {
			path := fmt.Sprintf("events[%d]", i)
			if _, ok := campaign.ParseFact(e.Type); !ok {
				problems = append(problems, fault.Field{Path: path + ".type", Code: "unknown_value", Message: "send one of " + campaign.FactNames()})
			}
			if e.EventID == "" {
				problems = append(problems, fault.Field{Path: path + ".event_id", Code: "required", Message: "send the provider's id of the event: it is counted once"})
			}
			problems = append(problems, checkID(path+".event_id", e.EventID)...)
			if strings.ContainsRune(e.Reason, 0) || len(e.Reason) > 4000 {
				problems = append(problems, fault.Field{Path: path + ".reason", Code: "invalid", Message: "send at most 4000 bytes without NUL characters"})
			}
			var wrong []fault.Field
			times[i], wrong = happened(path+".at", e.At, tx.Now())
			problems = append(problems, wrong...)
		}
		if err := fault.InvalidFields(problems).OrNil(); err != nil {
			return nil, err
		}
		out := &DeliveryResult{}
		for i, e := range events {
			if err := s.deliver(tx, sc, e, times[i], out); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}

var factEvents = map[campaign.Fact]event.Type{campaign.FactDelivered: event.EmailDelivered, campaign.FactOpened: event.EmailOpened, campaign.FactClicked: event.EmailClicked,
	campaign.FactReplied: event.EmailReplied, campaign.FactBounced: event.EmailBounced, campaign.FactComplained: event.EmailComplained,
	campaign.FactUnsubscribed: event.EmailUnsubscribed, campaign.FactConverted: event.EmailConverted}

func (s *Campaigns) deliver(tx *store.Tx, sc account.Scope, e DeliveryEvent, at time.Time, out *DeliveryResult) error {
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
	isNew, err := tx.InsertMessageEvent(sc, "webhook:"+e.EventID, m, fact, "webhook", e.Reason, at)
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
