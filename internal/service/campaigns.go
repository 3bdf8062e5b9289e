package service

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/mail"
	"leadloom/internal/optional"
	"leadloom/internal/store"
)

// Campaigns are the verbs on campaigns, their ledgers and their metrics.
type Campaigns struct {
	*core
	ended endedCounts
}

// endedCounts remembers the sums of ledgers that cannot change any more, so that a list does not count them each time.
type endedCounts struct {
	mu   sync.Mutex
	sums map[string]campaign.Counts
}

const maxEnded = 10_000

func (e *endedCounts) get(key string) (campaign.Counts, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	c, ok := e.sums[key]
	return c, ok
}

func (e *endedCounts) put(key string, c campaign.Counts) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.sums == nil || len(e.sums) >= maxEnded {
		e.sums = map[string]campaign.Counts{}
	}
	e.sums[key] = c
}

// CampaignInput is a campaign as a caller sends it; absent and null keys keep what is stored.
type CampaignInput struct {
	Name, Topic, From, ReplyTo    optional.Optional[string]
	Template, Subject, HTML, Text optional.Optional[string]
	Missing                       optional.Optional[string]
	PerMinute                     optional.Optional[int64]
	Audience                      AudienceInput
}

// CampaignView is a campaign with its counts from rows.
type CampaignView struct {
	*campaign.Campaign
	Counts campaign.Counts
}

// apply changes c as asked and checks the result.
func (s *Campaigns) apply(r *store.Reader, sc account.Scope, c *campaign.Campaign, in CampaignInput) error {
	var problems []fault.Field
	if in.Template.Has() {
		ref := strings.TrimSpace(in.Template.V)
		if ref != "" {
			t, err := s.findTemplate(r, sc, ref)
			switch {
			case fault.IsKind(err, fault.KindInvalid):
				problems = fault.As(err).Fields
			case err != nil:
				return err
			default:
				ref = t.ID
			}
		}
		if ref != "" && ref != c.Content.Template { // what came from the old one goes with it
			c.Content = campaign.Content{}
		}
		c.Content.Template = ref
	}
	for _, f := range []struct {
		in   optional.Optional[string]
		into *string
	}{{in.Name, &c.Name}, {in.Topic, &c.Topic}, {in.From, &c.From}, {in.ReplyTo, &c.ReplyTo}, {in.Subject, &c.Content.Subject}, {in.HTML, &c.Content.HTML}, {in.Text, &c.Content.Text}} {
		if f.in.Has() {
			*f.into = strings.TrimSpace(f.in.V)
		}
	}
	if in.Missing.Has() {
		c.Missing = campaign.Missing(in.Missing.V)
	}
	c.PerMinute = in.PerMinute.Or(c.PerMinute)
	in.Audience.apply(&c.Audience)
	problems = append(problems, checkCampaign(c)...)
	c.Audience = c.Audience.Cut()
	return fault.InvalidFields(problems).OrNil()
}

// checkCampaign finds every problem of a draft.
func checkCampaign(c *campaign.Campaign) []fault.Field {
	var out []fault.Field
	bad := func(path, code, message string) {
		out = append(out, fault.Field{Path: path, Code: code, Message: message})
	}
	switch n := utf8.RuneCountInString(c.Name); {
	case n == 0:
		bad("name", "required", "send a name")
	case n > 200 || mail.CheckHeader(c.Name) != nil:
		bad("name", "invalid", "send a name of at most 200 characters without control characters")
	}
	if utf8.RuneCountInString(c.Topic) > 200 || mail.CheckHeader(c.Topic) != nil {
		bad("topic", "invalid", "send a topic of at most 200 characters without control characters")
	}
	for _, a := range []struct{ path, value string }{{"from", c.From}, {"reply_to", c.ReplyTo}} {
		if a.value != "" {
			if _, err := mail.ParseAddress(a.value); err != nil {
				bad(a.path, "not_an_address", err.Error())
			}
		}
	}
	if c.Missing != campaign.MissingEmpty && c.Missing != campaign.MissingSkip {
		bad("missing", "unknown_value", "send empty or skip")
	}
	if c.PerMinute < 0 || c.PerMinute > 1_000_000 {
		bad("throttle.per_minute", "out_of_range", "send 0 (no limit) to 1000000")
	}
	if c.Content.Subject != "" || c.Content.HTML != "" || c.Content.Text != "" {
		parsed, problems := parseContent(c.Content, "")
		for _, p := range append(problems, parsed.absent()...) {
			if p.Code != "required" { // a draft may be incomplete
				out = append(out, p)
			}
		}
	}
	return append(out, checkAudience(&c.Audience)...)
}

// Create stores a draft.
func (s *Campaigns) Create(ctx context.Context, sc account.Scope, in CampaignInput) (*CampaignView, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*CampaignView, error) {
		c, err := s.create(tx, sc, in)
		return &CampaignView{Campaign: c}, err
	})
}

func (s *Campaigns) create(tx *store.Tx, sc account.Scope, in CampaignInput) (*campaign.Campaign, error) {
	c := &campaign.Campaign{ID: campaign.ID(tx.NewID()), Kind: campaign.Broadcast, State: campaign.Draft, Missing: campaign.MissingEmpty, Version: 1, CreatedAt: tx.Now(), UpdatedAt: tx.Now()}
	if err := s.apply(tx.Reader, sc, c, in); err != nil {
		return nil, err
	}
	if err := tx.InsertCampaign(sc, c); err != nil {
		return nil, err
	}
	if err := in.Audience.save(tx, sc, c.ID); err != nil {
		return nil, err
	}
	_, err := tx.AppendEvent(sc, event.Event{Type: event.CampaignCreated, Subject: string(c.ID), Data: jsonData(map[string]any{"name": c.Name})})
	return c, err
}

// Launch creates a campaign and schedules it at once: now when at is nil.
func (s *Campaigns) Launch(ctx context.Context, sc account.Scope, in CampaignInput, at *time.Time) (*CampaignView, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*CampaignView, error) {
		start := tx.Now()
		if at != nil {
			if err := checkStart("schedule_at", *at, start); err != nil {
				return nil, err
			}
			start = *at
		}
		c, err := s.create(tx, sc, in)
		if err != nil {
			return nil, err
		}
		return &CampaignView{Campaign: c}, s.schedule(tx, sc, c, start)
	})
}

// Get is one campaign with its counts.
func (s *Campaigns) Get(ctx context.Context, sc account.Scope, id campaign.ID) (*CampaignView, error) {
	r := s.st.Read(ctx)
	c, err := r.Campaign(sc, id)
	if err != nil {
		return nil, notFound(err, "campaign", string(id))
	}
	return s.view(r, sc, c)
}

func (s *Campaigns) view(r *store.Reader, sc account.Scope, c *campaign.Campaign) (*CampaignView, error) {
	key := ""
	if c.State.Final() {
		key = fmt.Sprint(sc.Tenant(), " ", c.ID, " ", c.FinishedAt.UnixMicro())
		if counts, ok := s.ended.get(key); ok {
			return &CampaignView{Campaign: c, Counts: counts}, nil
		}
	}
	counts, err := r.LedgerCounts(sc, c.ID)
	if err == nil && key != "" && counts.Pending == 0 { // every row is final
		s.ended.put(key, counts)
	}
	return &CampaignView{Campaign: c, Counts: counts}, err
}

// CampaignPage is one page of a list.
type CampaignPage struct {
	Total     int64
	Campaigns []*CampaignView
	More      bool
}

// List gives campaigns, newest first; before is the id of the last one seen.
func (s *Campaigns) List(ctx context.Context, sc account.Scope, state campaign.State, before string, skip, limit int) (*CampaignPage, error) {
	r := s.st.Read(ctx)
	rows, err := r.Campaigns(sc, state, before, skip, limit+1)
	if err != nil {
		return nil, err
	}
	p := &CampaignPage{More: len(rows) > limit}
	for _, c := range rows[:min(limit, len(rows))] {
		v, err := s.view(r, sc, c)
		if err != nil {
			return nil, err
		}
		p.Campaigns = append(p.Campaigns, v)
	}
	p.Total, err = r.CountCampaigns(sc, state)
	return p, err
}

// Update changes a draft or scheduled campaign; the name may change in any state.
func (s *Campaigns) Update(ctx context.Context, sc account.Scope, id campaign.ID, match IfMatch, in CampaignInput) (*CampaignView, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*CampaignView, error) {
		c, err := s.load(tx, sc, id, match)
		if err != nil {
			return nil, err
		}
		before := *c
		if err := s.apply(tx.Reader, sc, c, in); err != nil {
			return nil, err
		}
		changes := campaignChanges(&before, c)
		if len(changes) > 0 {
			delete(changes, "name")
			if _, err := campaign.Next(c.State, campaign.Edit); err != nil && len(changes) > 0 {
				return nil, err
			}
			if c.State == campaign.Scheduled && len(changes) > 0 {
				if err := s.complete(tx, sc, c, true); err != nil {
					return nil, err
				}
			}
			if err := in.Audience.save(tx, sc, id); err != nil {
				return nil, err
			}
			if err := s.save(tx, sc, c, event.CampaignUpdated, campaignChanges(&before, c)); err != nil {
				return nil, err
			}
		}
		return s.view(tx.Reader, sc, c)
	})
}

// campaignChanges lists what differs; long contents are named, not copied.
func campaignChanges(a, b *campaign.Campaign) map[string]event.Change {
	out := map[string]event.Change{}
	put := func(name string, from, to any) {
		if from != to {
			out[name] = event.Change{From: from, To: to}
		}
	}
	put("name", a.Name, b.Name)
	put("topic", a.Topic, b.Topic)
	put("from", a.From, b.From)
	put("reply_to", a.ReplyTo, b.ReplyTo)
	put("template_id", a.Content.Template, b.Content.Template)
	put("subject", a.Content.Subject, b.Content.Subject)
	put("missing", string(a.Missing), string(b.Missing))
	put("per_minute", a.PerMinute, b.PerMinute)
	if a.Content.HTML != b.Content.HTML || a.Content.Text != b.Content.Text {
		out["content"] = event.Change{From: "changed", To: "changed"}
	}
	x, _ := json.Marshal(a.Audience)
	y, _ := json.Marshal(b.Audience)
	if !slices.Equal(x, y) {
		out["audience"] = event.Change{From: "changed", To: "changed"}
	}
	return out
}

func (s *Campaigns) load(tx *store.Tx, sc account.Scope, id campaign.ID, match IfMatch) (*campaign.Campaign, error) {
	c, err := tx.Campaign(sc, id)
	if err != nil {
		return nil, notFound(err, "campaign", string(id))
	}
	if !match.Holds(c.Version) {
		return nil, fault.Stale(map[string]any{"id": c.ID, "version": c.Version, "status": c.State})
	}
	return c, nil
}

func (s *Campaigns) save(tx *store.Tx, sc account.Scope, c *campaign.Campaign, t event.Type, changes map[string]event.Change) error {
	c.Version, c.UpdatedAt = c.Version+1, tx.Now()
	if err := tx.UpdateCampaign(sc, c); err != nil {
		return err
	}
	_, err := tx.AppendEvent(sc, event.Event{Type: t, Subject: string(c.ID), Changes: changes, Data: jsonData(map[string]any{"name": c.Name, "status": c.State})})
	return err
}

// Delete removes a draft, or a finished campaign with its ledger.
func (s *Campaigns) Delete(ctx context.Context, sc account.Scope, id campaign.ID, match IfMatch) error {
	_, err := write(ctx, s.core, sc, func(tx *store.Tx) (string, error) {
		c, err := s.load(tx, sc, id, match)
		if err != nil {
			return "", err
		}
		if _, err := campaign.Next(c.State, campaign.Delete); err != nil {
			return "", err
		}
		counts, err := tx.LedgerCounts(sc, id)
		if err != nil {
			return "", err
		}
		if counts.Pending > 0 {
			return "", &fault.Error{Kind: fault.KindConflict, Code: "campaign_state", RetryAfter: time.Second, Message: "The campaign's last messages are still being cancelled. Try again shortly."}
		}
		if err := tx.DeleteCampaign(sc, id); err != nil {
			return "", err
		}
		_, err = tx.AppendEvent(sc, event.Event{Type: event.CampaignDeleted, Subject: string(id), Data: jsonData(map[string]any{"name": c.Name})})
		return string(id), err
	})
	return err
}

// Recipients lists a campaign's ledger; after is the id of the last row seen.
func (s *Campaigns) Recipients(ctx context.Context, sc account.Scope, id campaign.ID, state campaign.RowState, after string, limit int) ([]*campaign.Recipient, error) {
	r := s.st.Read(ctx)
	if _, err := r.Campaign(sc, id); err != nil {
		return nil, notFound(err, "campaign", string(id))
	}
	return r.Recipients(sc, id, state, after, limit)
}
