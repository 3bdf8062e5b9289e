package service_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/mail"
	"leadloom/internal/mail/sink"
	"leadloom/internal/optional"
	"leadloom/internal/queue"
	"leadloom/internal/secret"
	"leadloom/internal/service"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

// mailHouse is the services with a real queue and a real relay.
type mailHouse struct {
	*service.Services
	st   *store.Store
	sink *sink.Server
	sc   account.Scope
}

func newMailHouse(t *testing.T, st *store.Store, o sink.Options) *mailHouse {
	t.Helper()
	h := mailHouseAt(t, st, startRelay(t, o))
	startQueue(t, st, h.Services)
	return h
}

// mailHouseAt is a house whose relay is the given one, nil for none. Its queue is not started.
func mailHouseAt(t *testing.T, st *store.Store, relay *sink.Server) *mailHouse {
	t.Helper()
	d := service.Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))}
	if relay != nil { // one of the five connections is kept for single messages
		d.SMTP = mail.Settings{Host: "127.0.0.1", Port: relay.Addr().Port, TLS: mail.TLSNone, From: "Leadloom <hello@sender.example>", MaxConns: 5, Timeout: patience}
	}
	svc := service.New(d)
	t.Cleanup(svc.Accounts.Close)
	return &mailHouse{svc, st, relay, account.NewScope("t-one", account.Actor{Kind: account.ActorUser, ID: "u", Name: "u"}, "", account.RoleAdmin.Permissions())}
}

func startRelay(t *testing.T, o sink.Options) *sink.Server {
	t.Helper()
	s, err := sink.Start("127.0.0.1:0", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// prepared launches a campaign in a process that has no relay and ends it: every row is there and none is sent.
func prepared(t *testing.T, st *store.Store, people []campaign.Person) campaign.ID {
	t.Helper()
	h := mailHouseAt(t, st, nil)
	stop := startQueueStoppable(t, st, h.Services)
	id := h.launch(t, people)
	until(t, "the campaign to say that there is no relay", func() bool { return h.counts(t, id).Hold == campaign.HoldNoRelay })
	stop()
	raw(t, st, "DELETE FROM river_job WHERE kind='campaign.send'") // it would come back in a minute
	return id
}

// raw changes rows past all rules.
func raw(t *testing.T, st *store.Store, text string) {
	t.Helper()
	var err error
	if st.SQLite() != nil {
		_, err = st.SQLite().ExecContext(t.Context(), text)
	} else {
		_, err = st.Postgres().Exec(t.Context(), text)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// goOn starts the queue and gives a sending campaign its job again.
func (h *mailHouse) goOn(t *testing.T, id campaign.ID) {
	t.Helper()
	startQueue(t, h.st, h.Services)
	for _, act := range []func(context.Context, account.Scope, campaign.ID, service.IfMatch) (*service.CampaignView, error){h.Campaigns.Pause, h.Campaigns.Resume} {
		if _, err := act(t.Context(), h.sc, id, service.IfMatch{}); err != nil {
			t.Fatal(err)
		}
	}
}

func startQueue(t *testing.T, st *store.Store, svc *service.Services) {
	t.Helper()
	t.Cleanup(startQueueStoppable(t, st, svc))
}

// startQueueStoppable starts the queue and returns how to end it, once.
func startQueueStoppable(t testing.TB, st *store.Store, svc *service.Services) (stop func()) {
	t.Helper()
	q := openQueue(t, st, svc, false)
	if err := q.Start(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	return sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		_ = q.Stop(ctx)
	})
}

// openQueue connects a queue to the store; with insertOnly it runs nothing.
func openQueue(t testing.TB, st *store.Store, svc *service.Services, insertOnly bool) *queue.Client {
	t.Helper()
	reg := queue.NewRegistry()
	svc.Jobs(reg)
	o := queue.Options{SQLite: st.SQLite(), Postgres: st.Postgres(), Registry: reg, TestOnly: true, InsertOnly: insertOnly}
	if err := queue.MigrateUp(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	q, err := queue.Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	st.SetInserter(q)
	return q
}

// patience is how long a test waits for what must happen by itself; it is no measure of speed.
const patience = 2 * time.Minute

// until waits for a condition on committed rows; it looks again each 10 ms.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	end := time.After(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("waited %s for %s", patience, what)
		}
	}
}

func (h *mailHouse) launch(t *testing.T, people []campaign.Person) campaign.ID {
	t.Helper()
	v, err := h.Campaigns.Launch(t.Context(), h.sc, service.CampaignInput{Name: optional.Of("Spring"), Subject: optional.Of("Hi {{ lead.first_name | default: 'you' }}"),
		HTML: optional.Of("<p>Dear {{ lead.first_name | default: 'you' }}</p>"), Audience: service.AudienceInput{Recipients: optional.Of(people)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return v.ID
}

func (h *mailHouse) counts(t *testing.T, id campaign.ID) *service.CampaignView {
	t.Helper()
	v, err := h.Campaigns.Get(context.WithoutCancel(t.Context()), h.sc, id)
	if err != nil {
		t.Fatal(err)
	}
	if c := v.Counts; c.Recipients != c.Pending+c.Sent+c.Skipped+c.Failed+c.Unknown {
		t.Fatalf("the ledger does not add up: %+v", c)
	}
	return v
}

func persons(n int) []campaign.Person {
	out := make([]campaign.Person, n)
	for i := range out {
		out[i] = campaign.Person{Email: fmt.Sprintf("p%03d@example.com", i), FirstName: fmt.Sprintf("P%d", i)}
	}
	return out
}

func TestCampaign_LedgerAddsUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		refuse := map[string]error{
			"rcpt p001@example.com": &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "user unknown"},
			"rcpt p002@example.com": &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "blocked by policy"},
			"data p003@example.com": sink.ErrDrop,
			"rcpt p005@example.com": &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "mailbox full"},
		}
		h := newMailHouse(t, st, sink.Options{Fault: func(stage, a string) error { return refuse[stage+" "+a] }})
		if _, err := h.Mail.Suppress(t.Context(), h.sc, "p004@example.com", "asked by phone"); err != nil {
			t.Fatal(err)
		}
		people := append(persons(40), campaign.Person{Email: "P007@example.com"}, campaign.Person{Email: "nonsense"})
		id := h.launch(t, people)
		until(t, "35 messages at the relay", func() bool { return h.sink.Total() >= 35 })
		until(t, "one pending row that was put off", func() bool {
			m, err := h.Campaigns.Metrics(t.Context(), h.sc, id)
			return err == nil && m.Reasons["soft_deferred"] == 1 && h.counts(t, id).Counts.Pending == 1
		})
		v := h.counts(t, id)
		if c := v.Counts; c.Sent != 35 || c.Failed != 2 || c.Unknown != 1 || c.Skipped != 2 || c.Recipients != 41 {
			t.Fatalf("counts = %+v, want 35 sent, 2 failed, 1 unknown, 2 skipped, 1 pending", c)
		}
		if v.State != campaign.Sending {
			t.Errorf("state = %s with a pending row, want sending", v.State)
		}
		m, err := h.Campaigns.Metrics(t.Context(), h.sc, id)
		if err != nil {
			t.Fatal(err)
		}
		for reason, n := range map[string]int64{"accepted": 35, "rejected_hard": 1, "rejected_block": 1, "cut_off": 1, "suppressed:manual": 1, "invalid_address": 1, "soft_deferred": 1} {
			if m.Reasons[reason] != n {
				t.Errorf("reason %s: %d, want %d (%v)", reason, m.Reasons[reason], n, m.Reasons)
			}
		}
		if h.sink.Total() != 35 {
			t.Errorf("the relay accepted %d messages, the ledger says 35", h.sink.Total())
		}
		list, err := h.Mail.Suppressions(t.Context(), h.sc, "", "", 10)
		if err != nil || len(list) != 2 || list[0].Address != "p001@example.com" || list[0].Kind != campaign.SuppressHard {
			t.Errorf("suppressions = %+v (%v), want the hard bounce and the manual one; the blocked one must not be there", list, err)
		}
		v, err = h.Campaigns.Cancel(t.Context(), h.sc, id, service.IfMatch{})
		if err != nil || v.State != campaign.Cancelled || v.Counts.Pending != 0 {
			t.Errorf("cancelled: %+v %v", v, err)
		}
		fs, err := h.System.Check(t.Context(), account.NewInstance("test"))
		fs = slices.DeleteFunc(fs, func(f store.Finding) bool { return f.Check != "messages_have_events" })
		if m, merr := h.Campaigns.Metrics(t.Context(), h.sc, id); err != nil || merr != nil || m.Reasons["cancelled"] != 1 || len(fs) > 0 {
			t.Errorf("the message that the cancel skipped: %+v, without an event %+v (%v, %v)", m, fs, err, merr)
		}
	})
}

func TestCampaign_PauseIsExact(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		var begun atomic.Int64
		gate := make(chan struct{})
		h := newMailHouse(t, st, sink.Options{Fault: func(stage, _ string) error {
			if stage == "mail" && begun.Add(1) > 20 {
				<-gate
			}
			return nil
		}})
		id := h.launch(t, persons(100))
		until(t, "four dialogues to be open", func() bool { return begun.Load() == 24 })
		if _, err := h.Campaigns.Pause(t.Context(), h.sc, id, service.IfMatch{}); err != nil {
			t.Fatal(err)
		}
		close(gate)
		until(t, "the open dialogues to be recorded", func() bool { return h.counts(t, id).Counts.Sent == 24 })
		if v := h.counts(t, id); v.State != campaign.Paused || v.Counts.Pending != 76 || begun.Load() != 24 {
			t.Errorf("%s with %+v and %d dialogues, want paused, 76 pending, and none begun after the pause had returned", v.State, v.Counts, begun.Load())
		}
		if _, err := h.Campaigns.Resume(t.Context(), h.sc, id, service.IfMatch{}); err != nil {
			t.Fatal(err)
		}
		until(t, "the campaign to be sent", func() bool { return h.counts(t, id).State == campaign.Done })
		if c := h.counts(t, id).Counts; c.Sent != 100 || h.sink.Total() != 100 {
			t.Errorf("ledger %+v, relay %d: want 100 each, nobody twice", c, h.sink.Total())
		}
	})
}

func TestCampaign_CrashBetweenOpenAndOutcomeIsUnknown(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		h := newMailHouse(t, st, sink.Options{})
		claimed, opened := seedAbandoned(t, h)
		n, err := h.Mail.Recover(t.Context(), "")
		if err != nil || n != 2 {
			t.Fatalf("recovered %d (%v), want 2", n, err)
		}
		m, err := h.Mail.Message(t.Context(), h.sc, opened)
		if err != nil || m.State != campaign.RowUnknown || m.Reason != campaign.ReasonCutOff {
			t.Errorf("the open message is %+v (%v), want unknown", m, err)
		}
		m, err = h.Mail.Message(t.Context(), h.sc, claimed)
		if err != nil || m.State != campaign.RowPending || m.Stage != campaign.StageWaiting {
			t.Errorf("the claimed message is %+v (%v), want pending again", m, err)
		}
		if h.sink.Total() != 0 {
			t.Errorf("recovering sent %d messages", h.sink.Total())
		}
	})
}

// seedAbandoned leaves two messages as a killed process would: one claimed, one in its dialogue.
func seedAbandoned(t *testing.T, h *mailHouse) (claimed, opened string) {
	t.Helper()
	err := h.st.Write(t.Context(), func(tx *store.Tx) error {
		past := tx.Now().Add(-time.Hour)
		for _, stage := range []campaign.Stage{campaign.StageClaimed, campaign.StageOpen} {
			m := &campaign.Message{ID: tx.NewID(), Kind: string(mail.KindTransactional), Address: "a@example.com", Subject: "s", Text: "t", State: campaign.RowPending,
				Stage: stage, Claim: "gone:m1", ClaimUntil: past, DueAt: past, QueuedAt: past}
			m.HeaderID = m.ID + "@sender.example"
			if err := tx.InsertMessage(h.sc, m, "a@example.com"); err != nil {
				return err
			}
			if stage == campaign.StageOpen {
				opened = m.ID
			} else {
				claimed = m.ID
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return claimed, opened
}

func TestSendEmail_TellsTheTimeline(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		h := newMailHouse(t, st, sink.Options{})
		q, err := h.Mail.SendEmail(t.Context(), h.sc, mail.Send{To: "Anna <anna@example.com>", Subject: "Hi", Text: "Hello {{ lead.email }}"})
		if err != nil {
			t.Fatal(err)
		}
		until(t, "the message to be sent", func() bool {
			m, err := h.Mail.Message(t.Context(), h.sc, q.MessageID)
			return err == nil && m.State == campaign.RowSent
		})
		e := h.sink.Entries()
		if len(e) != 1 || e[0].To != "anna@example.com" || e[0].Subject != "Hi" {
			t.Fatalf("relay has %+v", e)
		}
		if _, ok := mail.VerifyMessageID(secret.NewBox(bytes.Repeat([]byte{7}, 32)).Derive("message ids", 32), "t-one", e[0].MessageID); !ok {
			t.Errorf("Message-ID %s is not ours", e[0].MessageID)
		}
	})
}

func TestSendEmail_WaitsForTheRelay(t *testing.T) {
	st := storetest.SQLite(t)
	svc := service.New(service.Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
	t.Cleanup(svc.Accounts.Close)
	startQueue(t, st, svc)
	sc := account.SystemScope("t-one", "test")
	q, err := svc.Mail.SendEmail(t.Context(), sc, mail.Send{To: "anna@example.com", Subject: "Hi", Text: "Hello"})
	if err != nil {
		t.Fatal(err)
	}
	until(t, "the reason to be shown", func() bool {
		m, err := svc.Mail.Message(t.Context(), sc, q.MessageID)
		return err == nil && m.State == campaign.RowPending && m.Reason == campaign.HoldNoRelay && m.Detail != ""
	})
}
