package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/mail"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// prepareArgs and campaignArgs name a campaign to prepare, and one to send.
type (
	prepareArgs struct {
		TenantID   string `json:"tenant_id"`
		CampaignID string `json:"campaign_id"`
		Swept      bool   `json:"swept,omitempty"` // put in by the sweep, beside the first one
	}
	campaignArgs struct {
		TenantID   string `json:"tenant_id"`
		CampaignID string `json:"campaign_id"`
	}
)

// Kind implements river.JobArgs.
func (prepareArgs) Kind() string { return "campaign.prepare" }

// Kind implements river.JobArgs.
func (campaignArgs) Kind() string { return "campaign.send" }

// act changes a campaign's state by a person's wish.
func (s *Campaigns) act(ctx context.Context, sc account.Scope, id campaign.ID, match IfMatch, fn func(*store.Tx, *campaign.Campaign) error) (*CampaignView, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*CampaignView, error) {
		c, err := s.load(tx, sc, id, match)
		if err != nil {
			return nil, err
		}
		if err := fn(tx, c); err != nil {
			return nil, err
		}
		return s.view(tx.Reader, sc, c)
	})
}

// Schedule sets the time of the first message.
func (s *Campaigns) Schedule(ctx context.Context, sc account.Scope, id campaign.ID, match IfMatch, at *time.Time) (*CampaignView, error) {
	return s.act(ctx, sc, id, match, func(tx *store.Tx, c *campaign.Campaign) error {
		if at == nil {
			return fault.Invalid("at", "required", "send the time at which sending begins, RFC 3339, e.g. 2026-12-01T09:00:00Z")
		}
		if err := checkStart("at", *at, tx.Now()); err != nil {
			return err
		}
		return s.schedule(tx, sc, c, *at)
	})
}

// checkStart refuses a time at which sending cannot begin.
func checkStart(path string, at, now time.Time) error {
	if at.Before(now.Add(-time.Minute)) {
		return fault.Invalid(path, "in_the_past", "send a time in the future, or start the campaign now")
	}
	if at.After(now.AddDate(2, 0, 0)) {
		return fault.Invalid(path, "out_of_range", "send a time within two years")
	}
	return nil
}

// Start sends now.
func (s *Campaigns) Start(ctx context.Context, sc account.Scope, id campaign.ID, match IfMatch) (*CampaignView, error) {
	return s.act(ctx, sc, id, match, func(tx *store.Tx, c *campaign.Campaign) error {
		to, err := campaign.Next(c.State, campaign.Start)
		if err != nil {
			return err
		}
		if err := s.complete(tx, sc, c, true); err != nil {
			return err
		}
		c.ScheduledAt, c.StartedAt, c.Prepared = tx.Now(), tx.Now(), ""
		if err := s.move(tx, sc, c, to); err != nil {
			return err
		}
		return tx.Enqueue(prepareArgs{TenantID: string(sc.Tenant()), CampaignID: string(c.ID)}, &river.InsertOpts{Queue: queue.QueueBulk})
	})
}

// Pause takes effect exactly: once it has returned, no message is handed over any more.
func (s *Campaigns) Pause(ctx context.Context, sc account.Scope, id campaign.ID, match IfMatch) (*CampaignView, error) {
	return s.act(ctx, sc, id, match, func(tx *store.Tx, c *campaign.Campaign) error {
		to, err := campaign.Next(c.State, campaign.Pause)
		if err != nil {
			return err
		}
		return s.move(tx, sc, c, to)
	})
}

// Resume goes on with the pending rows.
func (s *Campaigns) Resume(ctx context.Context, sc account.Scope, id campaign.ID, match IfMatch) (*CampaignView, error) {
	return s.act(ctx, sc, id, match, func(tx *store.Tx, c *campaign.Campaign) error {
		to, err := campaign.Next(c.State, campaign.Resume)
		if err != nil {
			return err
		}
		if err := s.move(tx, sc, c, to); err != nil {
			return err
		}
		return s.enqueueSend(tx, sc, c.ID)
	})
}

// Cancel ends a campaign: what is still pending becomes skipped: cancelled.
func (s *Campaigns) Cancel(ctx context.Context, sc account.Scope, id campaign.ID, match IfMatch) (*CampaignView, error) {
	return s.act(ctx, sc, id, match, func(tx *store.Tx, c *campaign.Campaign) error {
		to, err := campaign.Next(c.State, campaign.Cancel)
		if err != nil {
			return err
		}
		c.FinishedAt = tx.Now()
		if err := s.move(tx, sc, c, to); err != nil {
			return err
		}
		if _, err := cancelPending(tx, sc, c.ID); err != nil {
			return err
		}
		return s.enqueueSend(tx, sc, c.ID) // ends the rest in chunks
	})
}

// cancelPending ends a chunk of what waits in a cancelled campaign, each message with its event, and says how many.
func cancelPending(tx *store.Tx, sc account.Scope, id campaign.ID) (int, error) {
	ended, err := tx.CancelPending(sc, id, 500)
	if err != nil {
		return 0, err
	}
	for _, m := range ended {
		if _, err := tx.AppendEvent(sc, event.Event{Type: event.EmailSkipped, LeadID: m.LeadID, Subject: m.ID, Data: emailData(m)}); err != nil {
			return 0, err
		}
	}
	return len(ended), nil
}

func (s *Campaigns) enqueueSend(tx *store.Tx, sc account.Scope, id campaign.ID) error {
	return enqueueCampaign(tx, sc.Tenant(), id)
}

func enqueueCampaign(tx *store.Tx, tenant account.TenantID, id campaign.ID) error {
	o := queue.Unique()
	o.Queue, o.Priority = queue.QueueBulk, 2
	return tx.Enqueue(campaignArgs{string(tenant), string(id)}, o)
}

// requeueCampaign gives a campaign that should move a job, when its own has died.
func requeueCampaign(tx *store.Tx, c store.MovingCampaign) error {
	if c.State == campaign.Sending {
		return enqueueCampaign(tx, c.Tenant, c.ID)
	}
	if c.State == campaign.Scheduled && (c.Held || c.DueAt.After(tx.Now())) {
		return nil
	}
	o := queue.Unique()
	o.Queue = queue.QueueBulk
	return tx.Enqueue(prepareArgs{TenantID: string(c.Tenant), CampaignID: string(c.ID), Swept: true}, o)
}

// schedule checks that the campaign can be sent and sets its time.
func (s *Campaigns) schedule(tx *store.Tx, sc account.Scope, c *campaign.Campaign, at time.Time) error {
	to, err := campaign.Next(c.State, campaign.Schedule)
	if err != nil {
		return err
	}
	if err := s.complete(tx, sc, c, true); err != nil {
		return err
	}
	c.ScheduledAt = at.UTC()
	if err := s.move(tx, sc, c, to); err != nil {
		return err
	}
	o := &river.InsertOpts{Queue: queue.QueueBulk}
	if at.After(tx.Now()) {
		o.ScheduledAt = at
	}
	return tx.Enqueue(prepareArgs{TenantID: string(sc.Tenant()), CampaignID: string(c.ID)}, o)
}

// complete checks what sending needs. With freeze the content is taken from the template now.
func (s *Campaigns) complete(tx *store.Tx, sc account.Scope, c *campaign.Campaign, freeze bool) error {
	content, err := s.resolve(tx.Reader, sc, c)
	if err != nil {
		return err
	}
	parsed, problems := parseContent(content, "")
	problems = append(problems, parsed.absent()...)
	if c.Audience.Empty() {
		problems = append(problems, fault.Field{Path: "audience", Code: "required", Message: "say who gets it: recipients, lead_ids, tags, statuses, a condition, or all"})
	}
	if c.From == "" && s.mailer.sender.Settings().Configured() && s.mailer.sender.Settings().From == "" {
		problems = append(problems, fault.Field{Path: "from", Code: "required", Message: "send a sender; none is configured"})
	}
	if len(problems) > 0 {
		return fault.InvalidFields(problems)
	}
	if freeze {
		c.Content = content
	}
	return nil
}

// resolve fills what the campaign leaves to its template.
func (s *Campaigns) resolve(r *store.Reader, sc account.Scope, c *campaign.Campaign) (campaign.Content, error) {
	out := c.Content
	if out.Template == "" {
		return out, nil
	}
	t, err := s.findTemplate(r, sc, out.Template)
	if err != nil {
		if out.Subject != "" && (out.HTML != "" || out.Text != "") { // its content was taken before the template was deleted
			return out, nil
		}
		return out, err
	}
	out.Subject = firstOf(out.Subject, t.Subject)
	if out.HTML == "" && out.Text == "" {
		out.HTML, out.Text = t.HTML, t.Text
	}
	return out, nil
}

// move changes the state and tells it.
func (s *Campaigns) move(tx *store.Tx, sc account.Scope, c *campaign.Campaign, to campaign.State) error {
	from := c.State
	c.State, c.Hold, c.HoldText, c.HoldSince = to, "", "", time.Time{}
	return s.save(tx, sc, c, event.CampaignState, map[string]event.Change{"status": {From: string(from), To: string(to)}})
}

// TestMail is a test of a campaign.
type TestMail struct {
	To     []string // e-mail addresses of users of this tenant; empty: the caller's own
	LeadID string   // whose values fill the template; empty: none
}

// Test sends the campaign's content to users only: marked in the subject, outside the ledger's sums.
func (s *Campaigns) Test(ctx context.Context, sc account.Scope, id campaign.ID, t TestMail) ([]string, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) ([]string, error) {
		c, err := tx.Campaign(sc, id)
		if err != nil {
			return nil, notFound(err, "campaign", string(id))
		}
		content, err := s.resolve(tx.Reader, sc, c)
		if err != nil {
			return nil, err
		}
		if len(t.To) == 0 && sc.UserID != "" {
			u, err := tx.User(sc, sc.UserID)
			if err != nil && !errors.Is(err, store.ErrNotFound) {
				return nil, err
			}
			if err == nil && u.Email != "" {
				t.To = []string{u.Email}
			}
		}
		if len(t.To) == 0 || len(t.To) > 20 {
			return nil, fault.Invalid("to", "required", "send 1 to 20 e-mail addresses of users")
		}
		var out []string
		for i, to := range t.To {
			path := fmt.Sprintf("to[%d]", i)
			u, err := tx.UserByLogin(sc, account.FoldLogin(to), true)
			if errors.Is(err, store.ErrNotFound) || err == nil && !u.Active {
				return nil, fault.Invalid(path, "not_a_user", "tests go to users of this tenant only; create the user or send to another one")
			}
			if err != nil {
				return nil, err
			}
			id, err := s.queueTest(tx, sc, c, content, u.Email, t.LeadID)
			if err != nil {
				return nil, err
			}
			out = append(out, id)
		}
		return out, nil
	})
}

func (s *Campaigns) queueTest(tx *store.Tx, sc account.Scope, c *campaign.Campaign, content campaign.Content, to, leadID string) (string, error) {
	send := mail.Send{To: to, Subject: content.Subject, HTML: content.HTML, Text: content.Text, From: c.From, ReplyTo: c.ReplyTo, Kind: mail.KindTest,
		CampaignID: string(c.ID), CampaignName: c.Name}
	send.LeadID = leadID
	return s.queueEmail(tx, sc, send)
}
