package service_test

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/lead"
	"leadloom/internal/mail"
	"leadloom/internal/mail/sink"
	"leadloom/internal/optional"
	"leadloom/internal/service"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// abandon leaves the rows of a sending campaign as a process does that is killed at that moment: some claimed, some in
// a dialogue whose answer was never recorded. Its claims would hold for minutes.
func (h *mailHouse) abandon(t *testing.T, id campaign.ID, process string, claimed, open int) {
	t.Helper()
	err := h.st.Write(t.Context(), func(tx *store.Tx) error {
		rows, err := tx.ClaimMessages(h.sc, id, process+":c1.1", tx.Now().Add(4*time.Minute), claimed+open)
		if err != nil || len(rows) != claimed+open {
			return fmt.Errorf("claimed %d rows: %w", len(rows), err)
		}
		for _, m := range rows[:open] {
			if ok, err := tx.SetStage(h.sc, m, campaign.StageOpen, m.Claim, tx.Now().Add(4*time.Minute)); err != nil || !ok {
				return fmt.Errorf("open %s: %v %w", m.ID, ok, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCampaign_GoesOnAfterItsProcessDied: another process takes the campaign over. What was claimed is sent, what was in
// a dialogue is unknown and not sent again, and the ledger equals what the relay has.
func TestCampaign_GoesOnAfterItsProcessDied(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		relay := startRelay(t, sink.Options{})
		id := prepared(t, st, persons(300))
		h := mailHouseAt(t, st, relay)
		h.abandon(t, id, "dead-process", 40, 7)
		h.goOn(t, id)
		until(t, "the campaign to be sent", func() bool { return h.counts(t, id).State == campaign.Done })
		c := h.counts(t, id).Counts
		if c.Sent != 293 || c.Unknown != 7 || c.Pending != 0 || relay.Total() != 293 {
			t.Errorf("ledger %+v, relay %d: want 293 sent, 7 unknown", c, relay.Total())
		}
		sent, err := h.Campaigns.Recipients(t.Context(), h.sc, id, campaign.RowSent, "", 1000)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]int{}
		for _, e := range relay.Entries() {
			got[e.To]++
		}
		for _, r := range sent {
			if got[r.Address] != 1 {
				t.Errorf("%s is in the ledger as sent and at the relay %d times", r.Address, got[r.Address])
			}
		}
		checkClean(t, h)
	})
}

// On PostgreSQL a claim holds as long as its node's lease. A node that was only cut off finds its rows taken: it neither
// begins another dialogue nor changes what was decided about the one it was in.
func TestPostgres_ClaimsEndWithTheirNodesLease(t *testing.T) {
	st := storetest.Postgres(t)
	id := prepared(t, st, persons(10))
	h := mailHouseAt(t, st, nil)
	raw(t, st, "INSERT INTO queue_nodes (id, seen_at) VALUES ('node-a', now()), ('node', now())")
	h.abandon(t, id, "node-a", 3, 2)
	h.abandon(t, id, "node-b", 1, 1) // a node that has none
	rows := map[campaign.Stage]*campaign.Message{}
	each := func(fn func(tx *store.Tx, m *campaign.Message) error) {
		t.Helper()
		err := st.Write(t.Context(), func(tx *store.Tx) error {
			for _, m := range rows {
				if err := fn(tx, m); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, stage := range []campaign.Stage{campaign.StageClaimed, campaign.StageOpen} {
		var one string
		if err := st.Postgres().QueryRow(t.Context(), "SELECT id FROM messages WHERE stage=$1 AND claim='node-a:c1.1' LIMIT 1", string(stage)).Scan(&one); err != nil {
			t.Fatal(err)
		}
		m, err := h.Mail.Message(t.Context(), h.sc, one)
		if err != nil {
			t.Fatal(err)
		}
		rows[stage] = m
	}
	recovered := func(by string, want int) {
		t.Helper()
		if n, err := h.Mail.Recover(t.Context(), by); err != nil || n != want {
			t.Fatalf("%s took %d messages back (%v), want %d", by, n, err, want)
		}
	}
	recovered("node-c", 2) // those of node-b
	raw(t, st, "UPDATE queue_nodes SET seen_at=now() - interval '31 seconds' WHERE id='node-a'")
	recovered("node-a", 0) // after an outage: it is alive
	recovered("node-c", 5)
	if c := h.counts(t, id).Counts; c.Unknown != 3 || c.Pending != 7 {
		t.Errorf("ledger %+v: want the three that were in a dialogue unknown, the others waiting", c)
	}
	each(func(tx *store.Tx, m *campaign.Message) error {
		if ok, err := tx.SetStage(h.sc, m, campaign.StageOpen, m.Claim, tx.Now().Add(time.Minute)); err != nil || ok {
			return fmt.Errorf("node-a opened a row that was %q and is no longer its: %w", m.Stage, err)
		}
		sent := *m
		sent.State, sent.FinalAt = campaign.RowSent, tx.Now()
		if ok, err := tx.SaveMessage(h.sc, *m, &sent); err != nil || ok {
			return fmt.Errorf("node-a recorded a row that was %q and is no longer its: %w", m.Stage, err)
		}
		return nil
	})
}

// TestCampaign_GoesOnWhenTheDatabaseIsOpenedAgain: the process ends in mid-campaign without a word, the file is opened
// by the next one.
func TestCampaign_GoesOnWhenTheDatabaseIsOpenedAgain(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leadloom.db")
	open := func() *store.Store {
		st, err := store.Open(t.Context(), store.Options{Path: path})
		if err != nil {
			t.Fatal(err)
		}
		if err := st.MigrateUp(t.Context(), account.NewInstance("test")); err != nil {
			t.Fatal(err)
		}
		return st
	}
	var stalled atomic.Bool
	enough := make(chan struct{})
	var rcpts atomic.Int64
	relay := startRelay(t, sink.Options{Fault: func(stage, _ string) error {
		if stage == "rcpt" && rcpts.Add(1) == 100 {
			stalled.Store(true)
			close(enough)
		}
		if stage == "data" && stalled.Load() && rcpts.Load() <= 110 {
			return sink.ErrDrop // the relay's connections die with the process
		}
		return nil
	}})
	st := open()
	h := mailHouseAt(t, st, relay)
	stop := startQueueStoppable(t, st, h.Services)
	id := h.launch(t, persons(400))
	<-enough
	stop()
	if err := st.Close(); err != nil {
		t.Fatal(err)
	}
	stalled.Store(false)
	st = open()
	defer st.Close()
	h = mailHouseAt(t, st, relay)
	startQueue(t, st, h.Services)
	until(t, "the campaign to be sent", func() bool { return h.counts(t, id).State == campaign.Done })
	c := h.counts(t, id).Counts
	if c.Sent != relay.Total() || c.Sent+c.Unknown != 400 || c.Unknown > 20 {
		t.Errorf("ledger %+v, relay %d: want the same number sent, the rest unknown", c, relay.Total())
	}
	got := map[string]int{}
	for _, e := range relay.Entries() {
		if got[e.To]++; got[e.To] > 1 {
			t.Errorf("%s got the message twice", e.To)
		}
	}
	checkClean(t, h)
}

// lead makes a lead of an input as a client sends it.
func (h *mailHouse) lead(t *testing.T, body string) string {
	t.Helper()
	in, err := lead.Decode([]byte(body))
	if err != nil {
		t.Fatal(err)
	}
	c, err := h.Leads.Create(t.Context(), h.sc, in, false)
	if err != nil {
		t.Fatal(err)
	}
	return string(c.Lead.ID)
}

func checkClean(t *testing.T, h *mailHouse) {
	t.Helper()
	found, err := h.System.Check(context.WithoutCancel(t.Context()), account.NewInstance("test"))
	found = slices.DeleteFunc(found, func(f store.Finding) bool { return f.Check == "rows_have_a_tenant" }) // the house makes none
	if err != nil || len(found) > 0 {
		t.Errorf("check: %+v %v", found, err)
	}
}

func TestCampaign_RelayTroubleFailsNobody(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		var down atomic.Bool
		down.Store(true)
		h := newMailHouse(t, st, sink.Options{Fault: func(stage, _ string) error {
			if stage == "mail" && down.Load() {
				return &smtp.SMTPError{Code: 421, EnhancedCode: smtp.EnhancedCode{4, 3, 2}, Message: "closing for a while"}
			}
			return nil
		}})
		id := h.launch(t, persons(30))
		until(t, "the campaign to say what it waits for", func() bool { return h.counts(t, id).Hold == campaign.HoldRelay })
		v := h.counts(t, id)
		if v.State != campaign.Sending || v.Counts.Pending != 30 || v.HoldText == "" || v.HoldSince.IsZero() {
			t.Errorf("while the relay is down: %+v %+v, want sending, 30 pending, and the relay's words", v.Campaign, v.Counts)
		}
		down.Store(false)
		until(t, "the campaign to be sent", func() bool { return h.counts(t, id).State == campaign.Done })
		v = h.counts(t, id)
		if v.Counts.Sent != 30 || h.sink.Total() != 30 || v.Hold != "" || v.HoldText != "" {
			t.Errorf("after the relay came back: %+v hold %q, relay %d; want 30 and no hold", v.Counts, v.Hold, h.sink.Total())
		}
	})
}

// TestCampaign_AudienceFromManySources: a lead in several of them once, a shared address once, each other row with its
// reason; nobody at all ends as sent.
func TestCampaign_AudienceFromManySources(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		h := newMailHouse(t, st, sink.Options{})
		var ids []string
		for _, in := range []string{`{"email":"a@example.com","tags":["vip"]}`, `{"email":"b@example.com","tags":["VIP","lost"]}`, `{"phone":"+4930123456","tags":["vip"]}`, `{"email":"jürgen@example.com","tags":["vip"]}`} {
			ids = append(ids, h.lead(t, in))
		}
		gone := h.lead(t, `{"email":"gone@example.com","tags":["vip"]}`)
		if _, err := h.Leads.Delete(t.Context(), h.sc, service.LeadEdit{ID: lead.ID(gone)}); err != nil {
			t.Fatal(err)
		}
		v, err := h.Campaigns.Launch(t.Context(), h.sc, service.CampaignInput{Name: optional.Of("All ways"), Subject: optional.Of("Hi"), Text: optional.Of("Hello"),
			Audience: service.AudienceInput{Recipients: optional.Of([]campaign.Person{{Email: "A@example.com"}, {Email: "new@example.com", FirstName: "New"}, {Email: "new@example.com"}, {Email: "not an address"}}),
				LeadIDs: optional.Of([]string{ids[0], ids[1], gone, "nobody", "nobody"}), Tags: optional.Of([]string{"vip"}), ExcludeTags: optional.Of([]string{"lost"})}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the campaign to be sent", func() bool { return h.counts(t, v.ID).State == campaign.Done })
		m, err := h.Campaigns.Metrics(t.Context(), h.sc, v.ID)
		if err != nil {
			t.Fatal(err)
		}
		for reason, n := range map[string]int64{"accepted": 2, "invalid_address": 2, "excluded": 1, "no_address": 1, "lead_gone": 2} {
			if m.Reasons[reason] != n {
				t.Errorf("%s: %d, want %d (%v)", reason, m.Reasons[reason], n, m.Reasons)
			}
		}
		if h.sink.Total() != 2 {
			t.Errorf("the relay has %d messages, want 2", h.sink.Total())
		}
		rows, err := h.Campaigns.Recipients(t.Context(), h.sc, v.ID, campaign.RowSkipped, "", 100)
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range rows {
			if x.Reason == campaign.ReasonLeadGone && x.LeadID != gone && (x.LeadID != "" || !strings.Contains(x.Detail, "nobody")) {
				t.Errorf("an id of no lead of ours is referred to: %+v", x)
			}
		}
		none, err := h.Campaigns.Launch(t.Context(), h.sc, service.CampaignInput{Name: optional.Of("Nobody"), Subject: optional.Of("Hi"), Text: optional.Of("Hello"),
			Audience: service.AudienceInput{Tags: optional.Of([]string{"no such tag"})}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the empty campaign to end", func() bool { return h.counts(t, none.ID).State == campaign.Done })
		if c := h.counts(t, none.ID).Counts; c.Recipients != 0 {
			t.Errorf("counts = %+v", c)
		}
		checkClean(t, h)
	})
}

// TestCampaign_SuppressionIsCheckedAtTheClaim: someone who unsubscribes in mid-campaign gets nothing more of it.
func TestCampaign_SuppressionIsCheckedAtTheClaim(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		id := prepared(t, st, persons(5))
		h := mailHouseAt(t, st, startRelay(t, sink.Options{}))
		if _, err := h.Mail.Suppress(t.Context(), h.sc, "P003@example.com", "asked by phone"); err != nil {
			t.Fatal(err)
		}
		h.goOn(t, id)
		until(t, "the campaign to be sent", func() bool { return h.counts(t, id).State == campaign.Done })
		if c := h.counts(t, id).Counts; c.Sent != 4 || c.Skipped != 1 {
			t.Errorf("counts = %+v, want 4 sent and 1 skipped", c)
		}
		for _, e := range h.sink.Entries() {
			if e.To == "p003@example.com" {
				t.Error("a suppressed address was written to")
			}
		}
	})
}

func TestDeliver_ProvidersEvents(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		h := newMailHouse(t, st, sink.Options{})
		id := h.launch(t, persons(4))
		until(t, "the campaign to be sent", func() bool { return h.counts(t, id).State == campaign.Done })
		byTo := map[string]string{}
		for _, e := range h.sink.Entries() {
			byTo[e.To] = "<" + e.MessageID + ">"
		}
		events := []service.DeliveryEvent{
			{EventID: "1", Type: "sent", MessageID: byTo["p000@example.com"]}, {EventID: "2", Type: "delivered", MessageID: byTo["p000@example.com"]},
			{EventID: "3", Type: "open", MessageID: byTo["p000@example.com"]}, {EventID: "4", Type: "open", MessageID: byTo["p000@example.com"], Email: "P000@example.com"},
			{EventID: "5", Type: "bounce", MessageID: byTo["p001@example.com"], Reason: "smtp; 550 5.1.1 user unknown"},
			{EventID: "6", Type: "bounce", MessageID: byTo["p002@example.com"], Reason: "550 5.7.1 listed"},
			{EventID: "7", Type: "complaint", MessageID: byTo["p003@example.com"], Email: "stranger@example.com"},
			{EventID: "8", Type: "complaint", MessageID: "<forged@sender.example>", Email: "p003@example.com"}}
		for round := range 2 { // the second time in reverse
			if round == 1 {
				for i, j := 0, len(events)-1; i < j; i, j = i+1, j-1 {
					events[i], events[j] = events[j], events[i]
				}
			}
			r, err := h.Campaigns.Deliver(t.Context(), h.sc, events)
			if err != nil || r.Recorded != 6*(1-round) || r.Duplicate != 6*round || r.Unmatched != 2 {
				t.Fatalf("round %d: %+v %v, want 6 recorded once, 2 unmatched", round, r, err)
			}
		}
		other := account.NewScope("t-two", account.Actor{Kind: account.ActorUser, ID: "u", Name: "u"}, "", account.RoleAdmin.Permissions())
		if r, err := h.Campaigns.Deliver(t.Context(), other, events[len(events)-1:]); err != nil || r.Unmatched != 1 {
			t.Errorf("another tenant's event: %+v %v", r, err)
		}
		m, err := h.Campaigns.Metrics(t.Context(), h.sc, id)
		if err != nil {
			t.Fatal(err)
		}
		if x := m.Metrics; x.Sent != 4 || x.Delivered != 2 || x.Opened != 1 || x.Bounced != 2 || x.Complained != 0 || *x.OpenRate != 0.5 {
			t.Errorf("metrics = %+v, want 4 sent once, 2 delivered, 1 unique open, 2 bounced", x)
		}
		list, err := h.Mail.Suppressions(t.Context(), h.sc, "", "", 10)
		if err != nil || len(list) != 1 || list[0].Address != "p001@example.com" {
			t.Errorf("suppressions = %+v %v, want the hard bounce only", list, err)
		}
		e, p, err := h.Analytics.Emails(t.Context(), h.sc, 1)
		if err != nil || e.Sent != 4 || e.Delivered != 2 || e.Opened != 1 || e.Bounced != 2 {
			t.Errorf("analytics of %v: %+v %v, want the campaign's figures", p, e.Metrics, err)
		}
	})
}

// TestCampaign_MissedScheduleWaitsForAPerson: the server was down at the time and for longer than the grace.
func TestCampaign_MissedScheduleWaitsForAPerson(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		h := mailHouseAt(t, st, startRelay(t, sink.Options{}))
		openQueue(t, st, h.Services, true)
		id := h.launch(t, persons(3))
		raw(t, st, "UPDATE campaigns SET scheduled_at = scheduled_at - 7200000000")
		startQueue(t, st, h.Services)
		until(t, "the campaign to be held", func() bool { return h.counts(t, id).Hold == campaign.HoldMissed })
		alerts, _, err := h.System.Alerts(t.Context(), h.sc, map[string]float64{})
		if err != nil || !slices.ContainsFunc(alerts, func(a service.Alert) bool { return a.ID == "campaign.missed."+string(id) }) {
			t.Errorf("alerts = %+v %v, want the missed campaign", alerts, err)
		}
		if _, err := h.Campaigns.Start(t.Context(), h.sc, id, service.IfMatch{}); err != nil {
			t.Fatal(err)
		}
		until(t, "the campaign to be sent", func() bool { return h.counts(t, id).State == campaign.Done })
		if h.sink.Total() != 3 {
			t.Errorf("the relay has %d messages, want 3", h.sink.Total())
		}
	})
}

// TestRecord_FirstDeferralAfterALongWait: a message that waited for days for its campaign is not given up at once.
func TestRecord_FirstDeferralAfterALongWait(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		h := mailHouseAt(t, st, startRelay(t, sink.Options{Fault: func(stage, _ string) error {
			if stage == "rcpt" {
				return &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "greylisted \x01\x1b[0m"}
			}
			return nil
		}}))
		openQueue(t, st, h.Services, true)
		q, err := h.Mail.SendEmail(t.Context(), h.sc, mail.Send{To: "a@example.com", Subject: "s", Text: "t"})
		if err != nil {
			t.Fatal(err)
		}
		id := q.MessageID
		raw(t, st, "UPDATE messages SET queued_at = queued_at - 864000000000")
		startQueue(t, st, h.Services)
		until(t, "the deferral to be recorded", func() bool {
			m, err := h.Mail.Message(t.Context(), h.sc, id)
			return err == nil && m.Attempts == 1
		})
		m, err := h.Mail.Message(t.Context(), h.sc, id)
		if err != nil || m.State != campaign.RowPending || m.Reason != campaign.ReasonRetry || !m.DueAt.After(m.QueuedAt.Add(10*24*time.Hour)) {
			t.Errorf("message = %+v %v, want pending, to be tried again", m, err)
		}
	})
}
