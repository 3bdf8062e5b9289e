package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/optional"
	"leadloom/internal/store"
)

// Demo data, told like a season of a small software company's inbound leads. Everything goes through the same steps
// as a caller's requests, so that nothing in a demo is a shape that the product cannot make.

const (
	demoLeads   = 300
	demoChunk   = 150 // leads a transaction
	demoPast    = 60 * 24 * time.Hour
	demoLeadIDs = 3 // lead-1 … lead-3
)

// SeedDemoLeads gives a fresh tenant its custom fields, some hundreds of leads with a past, and lead-1 to lead-3. It
// leaves a tenant that has lead-1 as it is.
func (s *Services) SeedDemoLeads(ctx context.Context, sc account.Scope) error {
	if _, err := s.core.st.Read(ctx).Lead(sc, "lead-1"); err == nil {
		return nil
	} else if !errors.Is(err, store.ErrNotFound) {
		return err
	}
	random := rand.New(rand.NewPCG(7, 20)) // the same people in every demo
	now := s.core.now()
	for from := 0; from < demoLeads; from += demoChunk {
		// The function may run twice: it draws from a copy of the source.
		source := *rand.NewPCG(random.Uint64(), 1)
		err := s.core.st.Write(ctx, func(tx *store.Tx) error {
			own := source
			if from == 0 {
				if err := s.Leads.demoFields(tx, sc); err != nil {
					return err
				}
			}
			r := rand.New(&own)
			for i := from; i < from+demoChunk; i++ {
				at := now.Add(-demoPast).Add(time.Duration(i) * (demoPast - time.Hour) / demoLeads)
				if err := s.Leads.demoLead(tx, sc, r, i, at); err != nil {
					return fmt.Errorf("demo lead %d: %w", i, err)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return s.core.st.Write(ctx, func(tx *store.Tx) error {
		for i, in := range demoFixed {
			tx.UseID(fmt.Sprintf("lead-%d", i+1))
			tx.At(now.Add(-time.Duration(demoLeadIDs-i) * 10 * time.Minute))
			if _, err := s.Leads.upsert(tx, sc, in()); err != nil {
				return fmt.Errorf("lead-%d: %w", i+1, err)
			}
		}
		return nil
	})
}

func (s *Leads) demoFields(tx *store.Tx, sc account.Scope) error {
	for _, f := range []lead.FieldDef{
		{Key: "budget", Label: "Budget (EUR)", Type: "integer"},
		{Key: "city", Label: "City", Type: "text"},
		{Key: "employees", Label: "Employees", Type: "integer"},
		{Key: "interest", Label: "Interested in", Type: "choice", Choices: []string{"starter", "team", "enterprise"}},
	} {
		if err := s.defineField(tx, sc, f); err != nil {
			return err
		}
	}
	return nil
}

var demoFixed = []func() *lead.Input{
	func() *lead.Input {
		return demoInput(map[string]any{"first_name": "Ingrid", "last_name": "Solheim", "email": "ingrid.solheim@nordlys.example", "phone": "+47 22 12 34 56", "company": "Nordlys Energi",
			"source": "website", "tags": []string{"newsletter"}, "custom_fields": map[string]any{"budget": 24000, "city": "Oslo", "employees": 120, "interest": "team"}})
	},
	func() *lead.Input {
		return demoInput(map[string]any{"first_name": "Tomás", "last_name": "Herrera", "email": "tomas@herrera-logistica.example", "company": "Herrera Logística",
			"source": "trade fair", "custom_fields": map[string]any{"budget": 8000, "city": "Valencia", "employees": 35, "interest": "starter"}})
	},
	func() *lead.Input {
		return demoInput(map[string]any{"first_name": "Mei", "last_name": "Tanaka", "email": "m.tanaka@kawabata.example", "phone": "+81 3 1234 5678", "company": "Kawabata Precision",
			"source": "referral", "custom_fields": map[string]any{"budget": 90000, "city": "Osaka", "employees": 900, "interest": "enterprise"}})
	},
}

// demoInput is an input as a client sends it.
func demoInput(m map[string]any) *lead.Input {
	b, err := json.Marshal(m)
	if err == nil {
		var in *lead.Input
		if in, err = lead.Decode(b); err == nil {
			return in
		}
	}
	panic("service: demo data is no input: " + err.Error()) // a constant of this file is wrong
}

// demoLead creates one lead at a time in the past and lets some of what may happen to a lead happen to it.
func (s *Leads) demoLead(tx *store.Tx, sc account.Scope, r *rand.Rand, i int, at time.Time) error {
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	first, last, place := pick(demoFirst), pick(demoLast), demoPlaces[r.IntN(len(demoPlaces))]
	company := pick(demoTrades) + " " + last
	email := fmt.Sprintf("%s.%s@%s-%d.example", asciiName(first), asciiName(last), asciiName(last), i)
	employees := []int{3, 8, 14, 40, 95, 210, 600}[r.IntN(7)]
	tx.At(at)
	out, err := s.upsert(tx, sc, demoInput(map[string]any{"first_name": first, "last_name": last, "email": email, "company": company, "source": pick(demoSources),
		"custom_fields": map[string]any{"budget": 500 * (1 + r.IntN(80)), "city": place, "employees": employees, "interest": []string{"starter", "team", "enterprise"}[min(employees/80, 2)]}}))
	if err != nil {
		return err
	}
	id := out.Lead.ID
	at = at.Add(time.Duration(5+r.IntN(300)) * time.Minute)
	if r.IntN(3) == 0 {
		tx.At(at)
		if err := s.addScore(tx, sc, id, int64(5*(1+r.IntN(8))), pick(demoReasons), fmt.Sprintf("demo-%d", i)); err != nil {
			return err
		}
	}
	if r.IntN(4) == 0 {
		tx.At(at.Add(20 * time.Minute))
		if err := s.addNote(tx, sc, id, pick(demoNotes)); err != nil {
			return err
		}
	}
	if r.IntN(2) == 0 {
		tx.At(at.Add(40 * time.Minute))
		var in lead.Input
		in.Status = optional.Optional[string]{Set: true, V: pick(demoStatuses)}
		if r.IntN(3) == 0 {
			in.TagsAdd = optional.Optional[[]string]{Set: true, V: []string{pick(demoTags)}}
		}
		if _, _, err := s.changeLead(tx, sc, id, in); err != nil && !unchanged(err) {
			return err
		}
	}
	return nil
}

// unchanged reports a refusal that only says that nothing would change.
func unchanged(err error) bool {
	var f *fault.Error
	return errors.As(err, &f) && f.Kind == fault.KindConflict
}

// asciiName folds a name to what an address can hold.
func asciiName(s string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(s) {
		if i := slices.Index(demoAccents, c); i >= 0 {
			c = demoLetters[i]
		}
		if c >= 'a' && c <= 'z' {
			b.WriteRune(c)
		}
	}
	return b.String()
}

var (
	demoAccents  = []rune("äåáàéèêëíïøöóôüúñçłšž")
	demoLetters  = []rune("aaaaeeeeiioooouunclsz")
	demoFirst    = []string{"Anna", "Bogdan", "Camille", "Deniz", "Emeka", "Fatima", "Giulia", "Håkon", "Inês", "Jakub", "Katarina", "Liam", "Maja", "Noah", "Olga", "Priya", "Quentin", "Rosa", "Samuel", "Tuva", "Umar", "Vera", "Wout", "Xenia", "Yusuf", "Zofia"}
	demoLast     = []string{"Aalto", "Bergmann", "Costa", "Dubois", "Eriksen", "Fontaine", "Grabowski", "Hoekstra", "Ivanova", "Janssen", "Kovács", "Lindqvist", "Moreau", "Novák", "Okafor", "Petrov", "Quispe", "Rossi", "Schneider", "Torres", "Usman", "Vieira", "Wagner", "Yıldız", "Zimmermann"}
	demoPlaces   = []string{"Amsterdam", "Barcelona", "Copenhagen", "Dublin", "Gdańsk", "Hamburg", "Lisbon", "Lyon", "Milan", "Prague", "Tallinn", "Vienna", "Zurich"}
	demoTrades   = []string{"Atelier", "Bakery", "Clinic", "Consulting", "Farm Supplies", "Fitness", "Logistics", "Machines", "Media", "Optics", "Properties", "Robotics", "Solar", "Textiles"}
	demoSources  = []string{"website", "newsletter", "referral", "trade fair", "webinar", "partner", "advertisement"}
	demoReasons  = []string{"opened three mails in a week", "visited the pricing page", "company size fits", "asked for a demo", "downloaded the buyer's guide"}
	demoNotes    = []string{"Called; asks for an offer next week.", "Uses a spreadsheet today and loses track of follow-ups.", "Decision is made together with their partner in Lyon.", "Wants to know how an import from their old CRM works.", "Left a message on the answering machine."}
	demoStatuses = []string{"working", "nurturing", "qualified", "working", "unqualified", "converted", "lost"}
	demoTags     = []string{"hot", "newsletter", "follow-up", "fair-2026", "partner"}
)

// SeedDemoCampaign gives a fresh demo its campaign-1, with results that were measured elsewhere, as an ad's or a call
// list's are. It leaves one that is there as it is.
func (s *Services) SeedDemoCampaign(ctx context.Context, sc account.Scope) error {
	text := func(v string) optional.Optional[string] { return optional.Optional[string]{Set: true, V: v} }
	err := s.core.st.Write(ctx, func(tx *store.Tx) error {
		if _, err := tx.Campaign(sc, "campaign-1"); !errors.Is(err, store.ErrNotFound) {
			return err
		}
		tx.UseID("campaign-1")
		_, err := s.Campaigns.create(tx, sc, CampaignInput{Name: text("Winter launch"), Subject: text("{{ lead.first_name }}, a quieter way to work your leads"),
			Text:     text("Hello {{ lead.first_name }},\n\nthree customers tell how they answer a new lead within five minutes.\n\nThe Leadloom demo team\n"),
			Audience: AudienceInput{All: optional.Of(true), Tags: optional.Of([]string{"newsletter"})}})
		return err
	})
	if err != nil {
		return err
	}
	_, err = s.Campaigns.Record(ctx, sc, "campaign-1", nil, []OutsideEvent{
		{Type: "sent", Count: new(int64(400)), EventID: "demo-sent"}, {Type: "delivered", Count: new(int64(391)), EventID: "demo-delivered"},
		{Type: "opened", Count: new(int64(188)), EventID: "demo-opened"}, {Type: "clicked", Count: new(int64(42)), EventID: "demo-clicked"}, {Type: "bounced", Count: new(int64(9)), EventID: "demo-bounced"}})
	return err
}
