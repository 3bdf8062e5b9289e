package campaign_test

import (
	"strings"
	"testing"
	"time"

	"leadloom/internal/campaign"
	"leadloom/internal/fault"
)

func TestNext_OnlyListedTransitions(t *testing.T) {
	allowed := map[string]campaign.State{
		"draft schedule": campaign.Scheduled, "draft start": campaign.Preparing, "draft edit": campaign.Draft, "draft delete": campaign.Draft,
		"scheduled schedule": campaign.Scheduled, "scheduled start": campaign.Preparing, "scheduled prepare": campaign.Preparing, "scheduled cancel": campaign.Cancelled, "scheduled edit": campaign.Scheduled,
		"preparing prepared": campaign.Sending, "preparing cancel": campaign.Cancelled,
		"sending pause": campaign.Paused, "sending finish": campaign.Done, "sending cancel": campaign.Cancelled,
		"paused resume": campaign.Sending, "paused cancel": campaign.Cancelled,
		"sent delete": campaign.Done, "cancelled delete": campaign.Cancelled,
	}
	for _, s := range campaign.States {
		for _, a := range []campaign.Act{campaign.Schedule, campaign.Start, campaign.Pause, campaign.Resume, campaign.Cancel, campaign.Edit, campaign.Delete, campaign.Prepare, campaign.Prepared, campaign.Finish} {
			to, err := campaign.Next(s, a)
			want, ok := allowed[string(s)+" "+string(a)]
			switch {
			case ok && (err != nil || to != want):
				t.Errorf("%s %s: %s (%v), want %s", s, a, to, err, want)
			case !ok && (!fault.IsKind(err, fault.KindConflict) || to != s):
				t.Errorf("%s %s: %s (%v), want a conflict and no change", s, a, to, err)
			case !ok && !strings.Contains(err.Error(), string(s)):
				t.Errorf("%s %s: %v does not name the state", s, a, err)
			}
		}
	}
}

func TestMeasure_RatesAreNullWithoutDenominator(t *testing.T) {
	m := campaign.Measure(campaign.Counts{}, nil, nil)
	for name, r := range map[string]*float64{"delivery": m.DeliveryRate, "open": m.OpenRate, "click": m.ClickRate, "cto": m.ClickToOpenRate, "bounce": m.BounceRate, "complaint": m.ComplaintRate} {
		if r != nil {
			t.Errorf("%s rate of nothing = %v, want null", name, *r)
		}
	}
	var c campaign.Counts
	for s, n := range map[campaign.RowState]int64{campaign.RowSent: 8, campaign.RowFailed: 1, campaign.RowSkipped: 1, campaign.RowPending: 2, campaign.RowUnknown: 3} {
		c.Add(s, n)
	}
	m = campaign.Measure(c, map[campaign.Fact]int64{campaign.FactSent: 8, campaign.FactBounced: 2, campaign.FactOpened: 3, campaign.FactClicked: 1}, nil)
	if m.Recipients != 15 || m.Sent != 8 || m.Delivered != 6 || *m.OpenRate != 0.5 || *m.BounceRate != 0.25 || *m.ClickToOpenRate != 0.3333 {
		t.Errorf("metrics = %+v", m)
	}
}

func TestMeasure_WhatWasMeasuredElsewhere(t *testing.T) {
	for name, c := range map[string]struct {
		elsewhere               map[campaign.Fact]int64
		sent, delivered, bounce int64
	}{
		"all said":           {map[campaign.Fact]int64{campaign.FactSent: 400, campaign.FactDelivered: 391, campaign.FactBounced: 9}, 408, 397, 11},
		"sent and bounced":   {map[campaign.Fact]int64{campaign.FactSent: 100, campaign.FactBounced: 10}, 108, 96, 12},
		"only delivered":     {map[campaign.Fact]int64{campaign.FactDelivered: 50}, 58, 56, 2},
		"nothing":            {nil, 8, 6, 2},
		"delivered and lost": {map[campaign.Fact]int64{campaign.FactDelivered: 50, campaign.FactBounced: 1}, 59, 56, 3},
	} {
		m := campaign.Measure(campaign.Counts{Sent: 8}, map[campaign.Fact]int64{campaign.FactBounced: 2, campaign.FactSent: 8}, c.elsewhere)
		if m.Sent != c.sent || m.Delivered != c.delivered || m.Bounced != c.bounce {
			t.Errorf("%s: sent %d, delivered %d, bounced %d; want %d, %d, %d", name, m.Sent, m.Delivered, m.Bounced, c.sent, c.delivered, c.bounce)
		}
	}
}

func TestExhausted_CountsThePausesOnly(t *testing.T) {
	var waited time.Duration
	for n := int64(1); ; n++ {
		waited += campaign.RetryAfter(n)
		if campaign.Exhausted(n) != (waited > campaign.SoftLimit) {
			t.Fatalf("after %d deferrals and %v: exhausted %v", n, waited, campaign.Exhausted(n))
		}
		if waited > campaign.SoftLimit+24*time.Hour {
			return
		}
	}
}

func TestSuppression_Holds(t *testing.T) {
	now := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
	for kind, transactional := range map[string]bool{campaign.SuppressUnsubscribed: false, campaign.SuppressComplaint: false, campaign.SuppressManual: false,
		campaign.SuppressHard: true, campaign.SuppressErased: true, campaign.SuppressInvalid: true} {
		s := campaign.Suppression{Kind: kind}
		if !s.Holds(false, now) {
			t.Errorf("%s does not stop marketing", kind)
		}
		if s.Holds(true, now) != transactional {
			t.Errorf("%s on transactional mail: %v, want %v", kind, !transactional, transactional)
		}
		if s.Until = now; s.Holds(false, now) {
			t.Errorf("%s holds after its end", kind)
		}
	}
}

func TestParseFact(t *testing.T) {
	for in, want := range map[string]campaign.Fact{"opens": campaign.FactOpened, "emails_sent": campaign.FactSent, "Clicked": campaign.FactClicked, "email.bounced": campaign.FactBounced} {
		if f, ok := campaign.ParseFact(in); !ok || f != want {
			t.Errorf("%s = %s %v, want %s", in, f, ok, want)
		}
	}
	if _, ok := campaign.ParseFact("revenue"); ok {
		t.Error("revenue is no fact of a campaign")
	}
}
