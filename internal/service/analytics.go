package service

import (
	"context"
	"math"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/fault"
	"leadloom/internal/store"
)

// Analytics are the figures of dashboards and reports, as of the moment of the question: those of leads are totals kept
// with each change, the others are counted from indexes.
type Analytics struct{ *core }

// Period is what figures are about: whole days in the tenant's zone up to now, the first of them included.
type Period struct {
	From time.Time `json:"from"`
	To   time.Time `json:"to" doc:"Exclusive: the moment of the question."`
	Days int       `json:"days"`
	Zone string    `json:"timezone"`
	zone *time.Location
}

// MaxDays is the longest period.
const MaxDays = 366

// period is the last days whole days, today's part included.
func (a *Analytics) period(r *store.Reader, sc account.Scope, days int) (Period, error) {
	if days < 1 || days > MaxDays {
		return Period{}, fault.Invalid("days", "out_of_range", "send 1 to 366")
	}
	name, err := r.Zone(sc)
	if err != nil {
		return Period{}, err
	}
	zone, err := time.LoadLocation(name)
	if err != nil || name == "" {
		zone = time.UTC
	}
	now := a.now()
	return Period{From: dayStart(now, 1-days, zone).UTC(), To: now.Add(time.Microsecond), Days: days, Zone: zone.String(), zone: zone}, nil
}

// dayStart is the first moment of the day that is so many days from now's in a zone. Where clocks change at midnight a
// day has no 00:00 and begins later, or has it twice.
func dayStart(now time.Time, days int, zone *time.Location) time.Time {
	y, m, d := now.In(zone).Date()
	noon := time.Date(y, m, d+days, 12, 0, 0, 0, zone)
	y, m, d = noon.Date()
	t := time.Date(y, m, d, 0, 0, 0, 0, zone)
	for t.Day() != d { // it fell into the hour before
		t = t.Add(15 * time.Minute)
	}
	for t.Add(-15*time.Minute).Day() == d { // the second of two
		t = t.Add(-15 * time.Minute)
	}
	return t
}

// LeadFigures are about the leads created in the period.
type LeadFigures struct {
	Total             int64         `json:"total" doc:"Live leads now."`
	Created           int64         `json:"created" doc:"Live leads created in the period."`
	Qualified         int64         `json:"qualified" doc:"Of those, ever qualified or converted."`
	Converted         int64         `json:"converted" doc:"Of those, ever converted."`
	QualificationRate *float64      `json:"qualification_rate" doc:"qualified ÷ created; null when none was created. Still moving: late ones count for the period of their creation."`
	ConversionRate    *float64      `json:"conversion_rate" doc:"converted ÷ created"`
	AverageScore      *float64      `json:"average_score" doc:"Of the leads created in the period."`
	ByStatus          []store.Named `json:"by_status"`
	BySource          []store.Named `json:"by_source"`
}

// WorkflowFigures are about runs started in the period.
type WorkflowFigures struct {
	Active         int64         `json:"active" doc:"Active workflows now."`
	Runs           int64         `json:"runs" doc:"Runs started in the period."`
	Running        int64         `json:"running" doc:"Of those, not ended yet."`
	Completed      int64         `json:"completed" doc:"Of those, ended by themselves."`
	Goals          int64         `json:"goals" doc:"Of those, ended because the goal was met."`
	Parked         int64         `json:"parked" doc:"Of those, waiting for a person."`
	Cancelled      int64         `json:"cancelled"`
	ConversionRate *float64      `json:"conversion_rate" doc:"goals ÷ runs"`
	ByWorkflow     []store.Named `json:"by_workflow"`
}

// EmailFigures are about messages that ended in the period, tests left out, and what became of them, whenever that was
// learned.
type EmailFigures struct {
	campaign.Metrics
	Reasons []store.Named `json:"reasons"`
}

func named(in []store.Named) []store.Named {
	if in == nil {
		return []store.Named{}
	}
	return in
}

// Leads gives the lead figures of the last days.
func (a *Analytics) Leads(ctx context.Context, sc account.Scope, days int) (LeadFigures, Period, error) {
	r := a.st.Read(ctx)
	p, err := a.period(r, sc, days)
	if err != nil {
		return LeadFigures{}, p, err
	}
	f, err := a.leads(r, sc, p)
	return f, p, err
}

func (a *Analytics) leads(r *store.Reader, sc account.Scope, p Period) (f LeadFigures, err error) {
	if f.Total, err = r.Count(sc, store.CountLeads); err != nil {
		return f, err
	}
	kept, err := r.LeadFigures(sc, p.From, p.To)
	if err != nil {
		return f, err
	}
	f.ByStatus, f.Created, f.Qualified, f.Converted = named(kept.States), kept.Created, kept.Qualified, kept.Converted
	if f.Created > 0 {
		v := math.Round(float64(kept.Score)*100/float64(f.Created)) / 100
		f.AverageScore = &v
	}
	f.QualificationRate, f.ConversionRate = campaign.Rate(f.Qualified, f.Created), campaign.Rate(f.Converted, f.Created)
	sources, err := r.LeadSources(sc, p.From, p.To)
	f.BySource = named(sources)
	return f, err
}

// Workflows gives the workflow figures of the last days.
func (a *Analytics) Workflows(ctx context.Context, sc account.Scope, days int) (WorkflowFigures, Period, error) {
	r := a.st.Read(ctx)
	p, err := a.period(r, sc, days)
	if err != nil {
		return WorkflowFigures{}, p, err
	}
	f, err := a.workflows(r, sc, p)
	return f, p, err
}

func (a *Analytics) workflows(r *store.Reader, sc account.Scope, p Period) (f WorkflowFigures, err error) {
	states, err := r.WorkflowStates(sc)
	if err != nil {
		return f, err
	}
	for _, s := range states {
		if s.Name == "active" {
			f.Active = s.N
		}
	}
	runs, err := r.RunStates(sc, p.From, p.To)
	if err != nil {
		return f, err
	}
	for _, x := range runs {
		f.Runs += x.N
		status, outcome, _ := strings.Cut(x.Name, ":")
		switch {
		case status == "cancelled":
			f.Cancelled += x.N
		case status == "parked":
			f.Parked += x.N
		case status == "finished" && outcome == "goal":
			f.Goals += x.N
		case status == "finished":
			f.Completed += x.N
		default:
			f.Running += x.N
		}
	}
	f.ConversionRate = campaign.Rate(f.Goals, f.Runs)
	by, err := r.RunsByWorkflow(sc, p.From, p.To)
	f.ByWorkflow = named(by)
	return f, err
}

// Emails gives the e-mail figures of the last days.
func (a *Analytics) Emails(ctx context.Context, sc account.Scope, days int) (EmailFigures, Period, error) {
	r := a.st.Read(ctx)
	p, err := a.period(r, sc, days)
	if err != nil {
		return EmailFigures{}, p, err
	}
	f, err := a.emails(r, sc, p)
	return f, p, err
}

func (a *Analytics) emails(r *store.Reader, sc account.Scope, p Period) (f EmailFigures, err error) {
	buckets, err := r.MailBuckets(sc, p.From, p.To)
	if err != nil {
		return f, err
	}
	var counts campaign.Counts
	for _, b := range buckets {
		counts.Add(campaign.RowState(b.Key), b.N)
	}
	ours, elsewhere, err := r.MailFacts(sc, p.From, p.To)
	if err != nil {
		return f, err
	}
	f.Metrics = campaign.Measure(counts, ours, elsewhere)
	reasons, err := r.MailReasons(sc, p.From, p.To)
	f.Reasons = named(reasons)
	return f, err
}

// Dashboard is the figures of the first screen, read at one moment each.
type Dashboard struct {
	Period    Period
	Leads     LeadFigures
	Workflows WorkflowFigures
	Emails    EmailFigures
}

// Dashboard gives all figures of the last days.
func (a *Analytics) Dashboard(ctx context.Context, sc account.Scope, days int) (*Dashboard, error) {
	r := a.st.Read(ctx)
	p, err := a.period(r, sc, days)
	if err != nil {
		return nil, err
	}
	d := &Dashboard{Period: p}
	if d.Leads, err = a.leads(r, sc, p); err != nil {
		return nil, err
	}
	if d.Workflows, err = a.workflows(r, sc, p); err != nil {
		return nil, err
	}
	d.Emails, err = a.emails(r, sc, p)
	return d, err
}

// Day is one day in the tenant's zone; on a change of the clock it has 23 or 25 hours.
type Day struct {
	Date          string `json:"date"`
	LeadsCreated  int64  `json:"leads_created"`
	RunsStarted   int64  `json:"runs_started"`
	EmailsSent    int64  `json:"emails_sent"`
	EmailsFailed  int64  `json:"emails_failed"`
	EmailsSkipped int64  `json:"emails_skipped"`
	EmailsUnknown int64  `json:"emails_unknown"`
}

// Daily gives one row per day of the period, empty days too.
func (a *Analytics) Daily(ctx context.Context, sc account.Scope, days int) ([]Day, Period, error) {
	r := a.st.Read(ctx)
	p, err := a.period(r, sc, days)
	if err != nil {
		return nil, p, err
	}
	out, index := make([]Day, days), make(map[string]*Day, days)
	y, m, d := p.From.In(p.zone).Date()
	for i := range out {
		out[i].Date = time.Date(y, m, d+i, 12, 0, 0, 0, p.zone).Format(time.DateOnly)
		index[out[i].Date] = &out[i]
	}
	add := func(rows []store.Bucket, put func(*Day, store.Bucket)) {
		for _, b := range rows {
			if day := index[time.UnixMicro(b.Quarter*store.QuarterMicros).In(p.zone).Format(time.DateOnly)]; day != nil {
				put(day, b)
			}
		}
	}
	leads, err := r.LeadBuckets(sc, p.From, p.To)
	if err != nil {
		return nil, p, err
	}
	add(leads, func(d *Day, b store.Bucket) { d.LeadsCreated += b.N })
	runs, err := r.RunBuckets(sc, p.From, p.To)
	if err != nil {
		return nil, p, err
	}
	add(runs, func(d *Day, b store.Bucket) { d.RunsStarted += b.N })
	mails, err := r.MailBuckets(sc, p.From, p.To)
	add(mails, func(d *Day, b store.Bucket) {
		switch campaign.RowState(b.Key) {
		case campaign.RowSent:
			d.EmailsSent += b.N
		case campaign.RowFailed:
			d.EmailsFailed += b.N
		case campaign.RowSkipped:
			d.EmailsSkipped += b.N
		case campaign.RowUnknown:
			d.EmailsUnknown += b.N
		}
	})
	return out, p, err
}

// ROI is a projection from the caller's own numbers; nothing in it is invented.
type ROI struct {
	Leads          int64    `json:"leads" doc:"Live leads created in the period."`
	Qualified      int64    `json:"qualified"`
	Converted      int64    `json:"converted"`
	LeadValue      *float64 `json:"lead_value" doc:"As sent."`
	ConversionRate *float64 `json:"conversion_rate" doc:"As sent, else converted ÷ leads of the period."`
	Cost           *float64 `json:"cost" doc:"As sent."`
	Revenue        *float64 `json:"estimated_revenue" doc:"leads × conversion_rate × lead_value; null when a factor is missing."`
	ROI            *float64 `json:"roi" doc:"(estimated_revenue − cost) ÷ cost; null without a cost."`
	Formula        string   `json:"formula"`
}

// ROI computes the projection for the last days.
func (a *Analytics) ROI(ctx context.Context, sc account.Scope, days int, value, rate, cost *float64) (ROI, Period, error) {
	l, p, err := a.Leads(ctx, sc, days)
	if err != nil {
		return ROI{}, p, err
	}
	out := ROI{Leads: l.Created, Qualified: l.Qualified, Converted: l.Converted, LeadValue: value, ConversionRate: rate, Cost: cost,
		Formula: "estimated_revenue = leads × conversion_rate × lead_value; roi = (estimated_revenue − cost) ÷ cost"}
	if rate == nil {
		out.ConversionRate = l.ConversionRate
	}
	if value != nil && out.ConversionRate != nil {
		v := float64(l.Created) * *out.ConversionRate * *value
		out.Revenue = &v
		if cost != nil && *cost > 0 {
			roi := (v - *cost) / *cost
			out.ROI = &roi
		}
	}
	return out, p, nil
}
