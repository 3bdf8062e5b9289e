package service

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/condition"
	"leadloom/internal/event"
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/mail"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// Rows of one preparing transaction.
const (
	preparePeople = 100 // may have to make leads
	prepareLeads  = 500
)

// jobs registers the workers that prepare and send campaigns.
func (s *Campaigns) jobs(reg *queue.Registry) []queue.Periodic {
	queue.Register(reg, queue.Kind{Queue: queue.QueueBulk, Timeout: 2 * time.Minute, Attempts: 12}, s.prepareJob)
	queue.Register(reg, queue.Kind{Queue: queue.QueueBulk, Timeout: 5 * time.Minute, Attempts: 12}, s.sendJob)
	return nil
}

// prepareJob starts a campaign when its time has come and freezes its audience in chunks. Each chunk is one
// transaction that also moves the cursor, so that it goes on where it was after any end of the process.
func (s *Campaigns) prepareJob(ctx context.Context, job queue.Job[prepareArgs]) error {
	sc := account.SystemScope(account.TenantID(job.Args.TenantID), "campaigns")
	id := campaign.ID(job.Args.CampaignID)
	var wait time.Duration
	var c *campaign.Campaign
	err := s.st.Write(ctx, func(tx *store.Tx) (err error) {
		c, wait, err = s.begin(tx, sc, id)
		return err
	})
	if err != nil || c == nil {
		return err
	}
	if wait > 0 {
		return queue.Snooze(wait)
	}
	p, err := s.preparation(sc, c)
	if err != nil {
		return err
	}
	for until := time.Now().Add(time.Minute); time.Now().Before(until) && ctx.Err() == nil; {
		done, err := p.chunk(ctx)
		if err != nil || done {
			return err
		}
		failpoint.Hit(failpoint.PreparedChunk)
	}
	return queue.Snooze(time.Second)
}

// begin moves a due campaign to preparing. A nil campaign: there is nothing to do.
func (s *Campaigns) begin(tx *store.Tx, sc account.Scope, id campaign.ID) (*campaign.Campaign, time.Duration, error) {
	c, err := tx.Campaign(sc, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, 0, nil
	}
	if err != nil || c.State == campaign.Preparing {
		return c, 0, err
	}
	if c.State != campaign.Scheduled || c.Hold == campaign.HoldMissed {
		return nil, 0, nil
	}
	if wait := c.ScheduledAt.Sub(tx.Now()); wait > 0 {
		return c, wait, nil
	}
	if tx.Now().Sub(c.ScheduledAt) > campaign.MissedGrace {
		c.Hold, c.HoldSince = campaign.HoldMissed, tx.Now()
		c.HoldText = "The server was not running at the scheduled time and more than an hour has passed. Start the campaign now or schedule it again."
		return nil, 0, s.save(tx, sc, c, event.CampaignUpdated, map[string]event.Change{"hold": {From: "", To: campaign.HoldMissed}})
	}
	c.StartedAt, c.Prepared = tx.Now(), ""
	return c, 0, s.move(tx, sc, c, campaign.Preparing)
}

// preparation is one worker's view of the campaign that it prepares.
type preparation struct {
	*Campaigns
	sc        account.Scope
	id        campaign.ID
	content   *content
	condition *condition.Condition
}

func (s *Campaigns) preparation(sc account.Scope, c *campaign.Campaign) (*preparation, error) {
	parsed, problems := parseContent(c.Content, "")
	if len(problems) > 0 {
		return nil, fmt.Errorf("campaign %s was scheduled with content that cannot be read: %v", c.ID, problems)
	}
	cond, problems := condition.Parse(c.Audience.Condition, "audience.condition", condition.LeadFields)
	if len(problems) > 0 {
		return nil, fmt.Errorf("campaign %s was scheduled with a condition that cannot be read: %v", c.ID, problems)
	}
	return &preparation{s, sc, c.ID, parsed, cond}, nil
}

// chunk freezes the next part of the audience and reports whether that was the last.
func (p *preparation) chunk(ctx context.Context) (done bool, err error) {
	err = p.st.Write(ctx, func(tx *store.Tx) error {
		done = false
		c, err := tx.Campaign(p.sc, p.id)
		if errors.Is(err, store.ErrNotFound) || err == nil && c.State != campaign.Preparing {
			done = true // cancelled or deleted meanwhile
			return nil
		}
		if err != nil {
			return err
		}
		next, err := p.freeze(tx, c)
		if err != nil {
			return err
		}
		failpoint.Hit(failpoint.PreparedRows)
		c.Prepared = next
		if next != campaign.PreparedAll {
			return tx.SavePrepared(p.sc, c.ID, next)
		}
		done = true
		if err := p.move(tx, p.sc, c, campaign.Sending); err != nil {
			return err
		}
		return p.enqueueSend(tx, p.sc, c.ID)
	})
	return done, err
}

// freeze makes the rows of one chunk. The cursor names the source and the position in it: people by piece, leads by
// piece, then leads by filter after an id.
func (p *preparation) freeze(tx *store.Tx, c *campaign.Campaign) (next string, err error) {
	source, at, _ := strings.Cut(c.Prepared, ":")
	n, _ := strconv.Atoi(at)
	switch source {
	case "", "people":
		people, err := store.NamedPiece[campaign.Person](tx.Reader, p.sc, c.ID, store.NamedPeople, n)
		if err != nil {
			return "", err
		}
		for _, person := range people {
			if err := p.person(tx, c, person); err != nil {
				return "", err
			}
		}
		if len(people) > 0 {
			return "people:" + strconv.Itoa(n+1), nil
		}
		return "leads:0", nil
	case "leads":
		ids, err := store.NamedPiece[lead.ID](tx.Reader, p.sc, c.ID, store.NamedLeads, n)
		if err != nil {
			return "", err
		}
		for _, id := range ids {
			if err := p.named(tx, c, id); err != nil {
				return "", err
			}
		}
		if len(ids) > 0 {
			return "leads:" + strconv.Itoa(n+1), nil
		}
		if !c.Audience.Filters() {
			return campaign.PreparedAll, nil
		}
		return "filter:", nil
	}
	leads, err := tx.LeadsAfter(p.sc, lead.ID(at), prepareLeads)
	if err != nil {
		return "", err
	}
	for _, l := range leads {
		if p.meant(c, l, tx.Now()) {
			if err := p.row(tx, c, l, ""); err != nil {
				return "", err
			}
		}
	}
	if len(leads) < prepareLeads {
		return campaign.PreparedAll, nil
	}
	return "filter:" + string(leads[len(leads)-1].ID), nil
}

// meant reports whether the filters choose a lead.
func (p *preparation) meant(c *campaign.Campaign, l *lead.Lead, now time.Time) bool {
	a := c.Audience
	if len(a.Tags) > 0 && !anyTag(l, a.Tags) {
		return false
	}
	if len(a.Statuses) > 0 && !slices.Contains(a.Statuses, l.Status) {
		return false
	}
	return p.condition == nil || p.condition.Eval(&condition.LeadView{Lead: l}, condition.Env{Now: now})
}

func anyTag(l *lead.Lead, tags []string) bool {
	return slices.ContainsFunc(tags, func(want string) bool {
		return slices.ContainsFunc(l.Tags, func(have string) bool { return condition.Fold(have) == condition.Fold(want) })
	})
}

// person makes the row of someone named by address; the lead is found or made.
func (p *preparation) person(tx *store.Tx, c *campaign.Campaign, x campaign.Person) error {
	a, err := mail.ParseAddress(x.Email)
	if err != nil {
		return p.insert(tx, c, &campaign.Recipient{Address: x.Email, State: campaign.RowSkipped, Reason: campaign.ReasonInvalid, Detail: err.Error()}, strings.ToLower(x.Email), nil)
	}
	x.Email = a.Addr
	l, err := p.leadAt(tx, p.sc, x, "campaign")
	if err != nil {
		if fault.IsKind(err, fault.KindInvalid) {
			return p.insert(tx, c, &campaign.Recipient{Address: a.Addr, State: campaign.RowSkipped, Reason: campaign.ReasonInvalid, Detail: err.Error()}, a.Key(), nil)
		}
		return err
	}
	return p.row(tx, c, l, a.Addr)
}

// named makes the row of a lead named by id.
func (p *preparation) named(tx *store.Tx, c *campaign.Campaign, id lead.ID) error {
	l, err := tx.Lead(p.sc, id)
	if errors.Is(err, store.ErrNotFound) { // the id is told, not referred to: it may be one of another tenant
		gone := &campaign.Recipient{State: campaign.RowSkipped, Reason: campaign.ReasonLeadGone, Detail: "there is no lead " + string(id)}
		return p.insert(tx, c, gone, "lead:"+string(id), nil)
	}
	if err == nil && !l.Live() {
		return p.insert(tx, c, &campaign.Recipient{LeadID: string(id), State: campaign.RowSkipped, Reason: campaign.ReasonLeadGone, Detail: "there is no such lead any more"}, "", nil)
	}
	if err != nil {
		return err
	}
	return p.row(tx, c, l, "")
}

// row decides about one lead: its ledger row is pending with a message, or skipped or failed with the reason.
func (p *preparation) row(tx *store.Tx, c *campaign.Campaign, l *lead.Lead, address string) error {
	x := &campaign.Recipient{LeadID: string(l.ID), Name: fullName(l), Address: firstOf(address, l.Email), State: campaign.RowPending}
	skip := func(state campaign.RowState, reason, detail string) {
		x.State, x.Reason, x.Detail = state, reason, detail
	}
	to, err := mail.ParseAddress(x.Address)
	switch {
	case x.Address == "":
		skip(campaign.RowSkipped, campaign.ReasonNoAddress, "the lead has no e-mail address")
	case err != nil:
		skip(campaign.RowSkipped, campaign.ReasonInvalid, err.Error())
	case len(c.Audience.ExcludeTags) > 0 && anyTag(l, c.Audience.ExcludeTags):
		skip(campaign.RowSkipped, campaign.ReasonExcluded, "has a tag that the campaign leaves out")
	default:
		values := mergeValues(l, to, c.ID, c.Name)
		if missing := p.content.missing(values); len(missing) > 0 && c.Missing == campaign.MissingSkip {
			skip(campaign.RowSkipped, campaign.ReasonMissing, "no value for "+strings.Join(missing, ", "))
			break
		}
		subject, html, text, err := p.content.render(values)
		if err != nil {
			skip(campaign.RowFailed, campaign.ReasonRender, err.Error())
			break
		}
		return p.insert(tx, c, x, to.Key(), &campaign.Message{Subject: subject, Size: int64(len(html) + len(text))})
	}
	key := ""
	if err == nil {
		key = to.Key()
	}
	return p.insert(tx, c, x, key, nil)
}

// insert stores a row and, for a pending one, its message, whose body is rendered when it is sent.
func (p *preparation) insert(tx *store.Tx, c *campaign.Campaign, x *campaign.Recipient, key string, m *campaign.Message) error {
	now := tx.Now()
	x.ID, x.CampaignID, x.CreatedAt, x.UpdatedAt = tx.NewID(), c.ID, now, now
	if m != nil {
		x.MessageID = tx.NewID()
	}
	id := x.MessageID
	isNew, err := tx.InsertRecipient(p.sc, x, key)
	if err != nil || !isNew || m == nil || x.State != campaign.RowPending {
		return err
	}
	m.ID, m.HeaderID = id, mail.MessageID(p.mailer.key, string(p.sc.Tenant()), id, p.mailer.sender.Settings().Domain())
	m.Kind, m.CampaignID, m.RecipientID, m.LeadID = string(mail.KindCampaign), c.ID, x.ID, x.LeadID
	m.ToName, m.Address, m.From, m.ReplyTo, m.Auto = x.Name, x.Address, c.From, c.ReplyTo, true
	m.State, m.DueAt, m.QueuedAt = campaign.RowPending, now, now
	return tx.InsertMessage(p.sc, m, key)
}
