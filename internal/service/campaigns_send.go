package service

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/event"
	"leadloom/internal/failpoint"
	"leadloom/internal/lead"
	"leadloom/internal/mail"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// claimSize is how many rows one worker takes at a time.
const claimSize = 200

// round is what to do next with a campaign.
type round struct {
	campaign *campaign.Campaign
	messages []*campaign.Message
	wait     time.Duration // look again after this; 0 with no messages: the job is over
}

// sendJob hands a campaign's rows over, a claim at a time, until none is left or the campaign is no longer sending.
func (s *Campaigns) sendJob(ctx context.Context, job queue.Job[campaignArgs]) error {
	sc := account.SystemScope(account.TenantID(job.Args.TenantID), "campaigns")
	id := campaign.ID(job.Args.CampaignID)
	claim := fmt.Sprintf("%s:c%d.%d", s.claimant(job.Node()), job.ID, job.Attempt)
	if _, err := s.Recover(ctx, job.Node()); err != nil {
		return err
	}
	var parsed *content
	for until := time.Now().Add(time.Minute); time.Now().Before(until) && ctx.Err() == nil; {
		var r round
		if err := s.st.Write(ctx, func(tx *store.Tx) (err error) {
			if r, err = s.nextRound(tx, sc, id, claim); err == nil && len(r.messages) == 0 && r.wait == 0 {
				err = job.Finish(tx)
			}
			return err
		}); err != nil {
			return err
		}
		if len(r.messages) == 0 {
			if r.wait == 0 {
				return nil
			}
			return queue.Snooze(r.wait)
		}
		if parsed == nil {
			var problems any
			if parsed, problems = s.parsedContent(r.campaign); problems != nil {
				return fmt.Errorf("campaign %s has content that cannot be read: %v", id, problems)
			}
		}
		failpoint.Hit(failpoint.Claimed)
		if err := s.handOver(ctx, sc, r, parsed); err != nil {
			return err
		}
	}
	return queue.Snooze(time.Second)
}

func (s *Campaigns) parsedContent(c *campaign.Campaign) (*content, any) {
	parsed, problems := parseContent(c.Content, "")
	if len(problems) > 0 {
		return nil, problems
	}
	return parsed, nil
}

// nextRound claims the next rows, or says what the campaign waits for, or ends it.
func (s *Campaigns) nextRound(tx *store.Tx, sc account.Scope, id campaign.ID, claim string) (round, error) {
	c, err := tx.Campaign(sc, id)
	if errors.Is(err, store.ErrNotFound) {
		return round{}, nil
	}
	if err != nil {
		return round{}, err
	}
	r := round{campaign: c}
	if c.State == campaign.Cancelled {
		return s.cancelRest(tx, sc, r)
	}
	if c.State != campaign.Sending {
		return r, nil
	}
	wait, hold, text := s.mailer.ready()
	if err := s.hold(tx, sc, c, hold, text); err != nil || wait > 0 {
		r.wait = wait
		return r, err
	}
	limit := claimSize
	if c.PerMinute > 0 {
		used, err := tx.HandedOverSince(sc, id, tx.Now().Add(-time.Minute))
		if err != nil {
			return r, err
		}
		if limit = int(min(claimSize, c.PerMinute-used)); limit <= 0 {
			r.wait = 2 * time.Second
			return r, nil
		}
	}
	if r.messages, err = tx.ClaimMessages(sc, id, claim, tx.Now().Add(lease), limit); err != nil || len(r.messages) > 0 {
		return r, err
	}
	return s.rest(tx, sc, r)
}

// rest decides what an empty claim means: others are at work, some are due later, or the campaign is sent.
func (s *Campaigns) rest(tx *store.Tx, sc account.Scope, r round) (round, error) {
	b, err := tx.CampaignBacklog(sc, r.campaign.ID)
	switch {
	case err != nil:
		return r, err
	case b.Waiting > 0:
		r.wait = min(max(b.NextAt.Sub(tx.Now()), time.Second), time.Minute)
		return r, nil
	case b.Working > 0:
		r.wait = 5 * time.Second
		return r, nil
	}
	to, err := campaign.Next(r.campaign.State, campaign.Finish)
	if err != nil {
		return r, err
	}
	r.campaign.FinishedAt = tx.Now()
	return r, s.move(tx, sc, r.campaign, to)
}

func (s *Campaigns) cancelRest(tx *store.Tx, sc account.Scope, r round) (round, error) {
	n, err := cancelPending(tx, sc, r.campaign.ID)
	if err != nil {
		return r, err
	}
	b, err := tx.CampaignBacklog(sc, r.campaign.ID)
	if n > 0 || b.Waiting > 0 || b.Working > 0 {
		r.wait = time.Second
	}
	return r, err
}

// hold shows on the campaign why nothing moves; it writes only when that is new.
func (s *Campaigns) hold(tx *store.Tx, sc account.Scope, c *campaign.Campaign, hold, text string) error {
	if c.Hold == hold && c.HoldText == text {
		return nil
	}
	before := c.Hold
	if c.Hold != hold {
		c.HoldSince = tx.Now()
	}
	c.Hold, c.HoldText = hold, text
	if hold == "" {
		c.HoldSince = time.Time{}
	}
	if before == hold {
		return tx.UpdateCampaign(sc, c)
	}
	return s.save(tx, sc, c, event.CampaignUpdated, map[string]event.Change{"hold": {From: before, To: hold}})
}

// settled is a message whose dialogue is over and not yet recorded.
type settled struct {
	message *campaign.Message
	outcome mail.Outcome
}

// handOver runs the dialogues of one claim side by side. Each dialogue begins with a transaction that looks at the
// campaign's state and the suppressions once more, and that also records the outcome of the dialogue before.
func (s *Campaigns) handOver(ctx context.Context, sc account.Scope, r round, parsed *content) error {
	todo := make(chan *campaign.Message, len(r.messages))
	ids := make([]lead.ID, 0, len(r.messages))
	for _, m := range r.messages {
		ids = append(ids, lead.ID(m.LeadID))
		todo <- m
	}
	close(todo)
	people, err := s.leadsNow(ctx, sc, ids)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	workers := min(s.mailer.sender.BulkConns(), len(r.messages))
	errs := make(chan error, workers)
	for range workers {
		wg.Go(func() {
			if err := s.worker(ctx, sc, handing{r.campaign, parsed, people}, todo); err != nil {
				errs <- err
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

// handing is what the workers of one claim share.
type handing struct {
	campaign *campaign.Campaign
	content  *content
	people   *leadsNow
}

// leadsNow are the leads of a claim as they were a moment ago.
type leadsNow struct {
	at   time.Time
	byID map[lead.ID]*lead.Lead
}

// leadsAge is how old a lead may be when a message to it is written; a slow claim reads it again.
const leadsAge = 2 * time.Second

func (s *Campaigns) leadsNow(ctx context.Context, sc account.Scope, ids []lead.ID) (*leadsNow, error) {
	out := &leadsNow{at: time.Now(), byID: make(map[lead.ID]*lead.Lead, len(ids))}
	rows, err := s.st.Read(ctx).LeadsByID(sc, ids)
	for _, l := range rows {
		out.byID[l.ID] = l
	}
	return out, err
}

// leadNow is one of them as it is now.
func (s *Campaigns) leadNow(ctx context.Context, sc account.Scope, people *leadsNow, id lead.ID) (*lead.Lead, error) {
	if l, ok := people.byID[id]; ok && time.Since(people.at) < leadsAge {
		return l, nil
	}
	return s.st.Read(ctx).Lead(sc, id)
}

func (s *Campaigns) worker(ctx context.Context, sc account.Scope, h handing, todo <-chan *campaign.Message) error {
	var last *settled
	for m := range todo {
		ready, why := s.fill(ctx, sc, h, m)
		var opened *campaign.Message
		if err := s.writeHard(ctx, func(tx *store.Tx) (err error) {
			if last != nil {
				if err := s.record(tx, sc, last.message, last.outcome); err != nil {
					return err
				}
			}
			x := *ready
			opened, err = s.openRow(ctx, tx, sc, &x, why)
			return err
		}); err != nil {
			return err
		}
		last = nil
		if opened != nil {
			failpoint.Hit(failpoint.RowOpened)
			last = &settled{opened, s.mailer.sender.Send(ctx, s.letter(opened))}
			failpoint.Hit(failpoint.RowAccepted)
		}
	}
	if last == nil {
		return nil
	}
	return s.writeHard(ctx, func(tx *store.Tx) error { return s.record(tx, sc, last.message, last.outcome) })
}

// refusal is why a row is not handed over after all.
type refusal struct {
	state          campaign.RowState
	reason, detail string
}

// fill renders the message for its recipient as the lead is now.
func (s *Campaigns) fill(ctx context.Context, sc account.Scope, h handing, m *campaign.Message) (*campaign.Message, *refusal) {
	x := *m
	l, err := s.leadNow(ctx, sc, h.people, lead.ID(m.LeadID))
	switch {
	case errors.Is(err, store.ErrNotFound) || err == nil && !l.Live():
		return &x, &refusal{campaign.RowSkipped, campaign.ReasonLeadGone, "the lead was deleted meanwhile"}
	case err != nil:
		return &x, &refusal{} // not now
	}
	to, err := mail.ParseAddress(m.Address)
	if err != nil {
		return &x, &refusal{campaign.RowSkipped, campaign.ReasonInvalid, err.Error()}
	}
	if x.Subject, x.HTML, x.Text, err = h.content.render(mergeValues(l, to, h.campaign.ID, h.campaign.Name)); err != nil {
		return &x, &refusal{campaign.RowFailed, campaign.ReasonRender, err.Error()}
	}
	return &x, nil
}

// openRow is the last look before handing over: a campaign that is no longer sending, or a worker that is to stop,
// gives the row back.
func (s *Campaigns) openRow(ctx context.Context, tx *store.Tx, sc account.Scope, x *campaign.Message, why *refusal) (*campaign.Message, error) {
	state, err := tx.SharedCampaign(sc, x.CampaignID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	wait, _, _ := s.mailer.ready()
	if err != nil || state != campaign.Sending || ctx.Err() != nil || wait > 0 || why != nil && why.state == "" {
		_, err := tx.SetStage(sc, x, campaign.StageWaiting, "", time.Time{})
		return nil, err
	}
	if why != nil {
		return nil, s.finishMessage(tx, sc, *x, x, why.state, why.reason, why.detail)
	}
	ok, err := s.openMessage(tx, sc, x)
	if err != nil || !ok {
		return nil, err
	}
	return x, nil
}
