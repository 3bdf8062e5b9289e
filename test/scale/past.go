package scale

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/lead"
	"leadloom/internal/queue"
	"leadloom/internal/service"
	"leadloom/internal/store"
)

var authority = account.NewInstance("scale")

// past lives a story by the product's rules and gives the rows that its verbs would have written.
func (w *world) past(rules *lead.Rules, i int, into *store.Past) error {
	s, r := w.story(i), rand.New(rand.NewPCG(w.seed+1, uint64(i)))
	made, err := rules.New(s.in)
	if err != nil {
		return fmt.Errorf("lead %d: %w", i, err)
	}
	l := made.Lead
	l.ID, l.Version, l.CreatedAt, l.UpdatedAt = lead.ID(uuidAt(s.at, r)), 1, s.at, s.at
	tell := func(at time.Time, by account.Actor, e event.Event) {
		e.ID, e.At, e.Actor, e.LeadID = uuidAt(at, r), at, by, string(l.ID)
		into.Events = append(into.Events, e)
	}
	tell(s.at, s.by, event.Event{Type: event.LeadCreated, Changes: lead.Diff(nil, l)})
	for _, a := range s.acts {
		before := l.Clone()
		switch {
		case a.change != nil:
			res, err := rules.Apply(l, a.change)
			if err != nil {
				return fmt.Errorf("lead %d: %w", i, err)
			}
			l = res.Lead
			changes := lead.Diff(before, l)
			if len(changes) == 0 {
				continue
			}
			tellUpdate(func(e event.Event) { tell(a.at, a.by, e) }, before, l, changes)
		case a.points != 0:
			l.Score += a.points
			into.Scores = append(into.Scores, store.ScoreRow{ID: uuidAt(a.at, r), LeadID: l.ID, Points: a.points, Reason: a.text, Actor: a.by, CreatedAt: a.at})
			tell(a.at, a.by, event.Event{Type: event.ScoreChanged, Data: data(map[string]any{"points": a.points, "reason": a.text, "source_id": ""}), Changes: lead.Diff(before, l)})
		default:
			n := store.Note{ID: uuidAt(a.at, r), LeadID: l.ID, Body: a.text, Author: a.by, Version: 1, CreatedAt: a.at, UpdatedAt: a.at}
			into.Notes = append(into.Notes, n)
			tell(a.at, a.by, event.Event{Type: event.NoteAdded, Subject: n.ID, Data: data(map[string]string{"note_id": n.ID, "body": n.Body})})
			continue // a note is no change of the lead
		}
		l.Version, l.UpdatedAt = l.Version+1, a.at
	}
	into.Leads, into.Identities = append(into.Leads, l), append(into.Identities, rules.Identities(l))
	return nil
}

// id of the i-th lead.
func (w *world) id(i int) string {
	return uuidAt(w.story(i).at, rand.New(rand.NewPCG(w.seed+1, uint64(i))))
}

func tellUpdate(tell func(event.Event), before, after *lead.Lead, changes map[string]event.Change) {
	tell(event.Event{Type: event.LeadUpdated, Changes: changes})
	if c, ok := changes["status"]; ok {
		tell(event.Event{Type: event.LeadStatusChanged, Changes: map[string]event.Change{"status": c}})
	}
	if c, ok := changes["owner_id"]; ok {
		tell(event.Event{Type: event.LeadOwnerChanged, Changes: map[string]event.Change{"owner_id": c}})
	}
	if more := lead.Minus(after.Tags, before.Tags); len(more) > 0 {
		tell(event.Event{Type: event.LeadTagged, Data: data(map[string]any{"tags": more})})
	}
}

func data(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a constant of this package is no JSON
	}
	return b
}

// chunkLeads is how many leads are stored in one transaction.
const chunkLeads = 50_000

// pasts lives the stories of leads from up to to, on all cores.
func (w *world) pasts(rules *lead.Rules, from, to int) (*store.Past, error) {
	n := runtime.GOMAXPROCS(0)
	parts, errs := make([]store.Past, n), make([]error, n)
	var wg sync.WaitGroup
	for k := range n {
		wg.Go(func() {
			for i := from + (to-from)*k/n; i < from+(to-from)*(k+1)/n && errs[k] == nil; i++ {
				errs[k] = w.past(rules, i, &parts[k])
			}
		})
	}
	wg.Wait()
	var all store.Past
	for k := range parts {
		if errs[k] != nil {
			return nil, errs[k]
		}
		all.Leads, all.Identities = append(all.Leads, parts[k].Leads...), append(all.Identities, parts[k].Identities...)
		all.Events = append(all.Events, parts[k].Events...)
		all.Scores, all.Notes = append(all.Scores, parts[k].Scores...), append(all.Notes, parts[k].Notes...)
	}
	slices.SortStableFunc(all.Events, func(a, b event.Event) int { return a.At.Compare(b.At) })
	return &all, nil
}

// fill stores the whole world; the next chunk is lived while the last one is written.
func (w *world) fill(ctx context.Context, st *store.Store, sc account.Scope, rules *lead.Rules, progress func(leads int)) error {
	type chunk struct {
		past *store.Past
		to   int
		err  error
	}
	lived := make(chan chunk)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(lived)
		for from := 0; from < w.size; from += chunkLeads {
			to := min(from+chunkLeads, w.size)
			p, err := w.pasts(rules, from, to)
			select {
			case lived <- chunk{p, to, err}:
			case <-ctx.Done():
				return
			}
		}
	}()
	for c := range lived {
		if c.err != nil {
			return c.err
		}
		if err := st.Load(ctx, authority, sc, c.past); err != nil {
			return err
		}
		progress(c.to)
	}
	return nil
}

// migrate brings the product's and the queue's tables up.
func migrate(ctx context.Context, st *store.Store) error {
	if err := st.MigrateUp(ctx, authority); err != nil {
		return err
	}
	return queue.MigrateUp(ctx, queue.Options{SQLite: st.SQLite(), Postgres: st.Postgres()})
}

// found makes the tenant with its users and custom fields by the product's own verbs.
func found(ctx context.Context, svc *service.Services, password string) (sc account.Scope, owners []account.Actor, err error) {
	sc = account.SystemScope(account.FirstTenant, "scale")
	if _, err = svc.Accounts.CreateUserIn(ctx, authority, account.FirstTenant, account.NewUser{Username: "scale", Email: "scale@example.com", Role: "admin", Password: password}); err != nil {
		return
	}
	for i := range 8 {
		name := fmt.Sprintf("owner%d", i+1)
		u, err := svc.Accounts.CreateUserIn(ctx, authority, account.FirstTenant, account.NewUser{Username: name, Email: name + "@example.com", Role: "salesperson", Password: password})
		if err != nil {
			return sc, nil, err
		}
		owners = append(owners, account.Actor{Kind: account.ActorUser, ID: string(u.ID), Name: name})
	}
	for _, f := range []lead.FieldDef{{Key: "budget", Label: "Budget", Type: "integer"}, {Key: "city", Label: "City", Type: "text"},
		{Key: "employees", Label: "Employees", Type: "integer"}, {Key: "interest", Label: "Interested in", Type: "choice", Choices: []string{"starter", "team", "enterprise"}}} {
		if _, err = svc.Leads.DefineField(ctx, sc, f); err != nil {
			return
		}
	}
	return sc, owners, err
}

// replay lives a story through the product's verbs. clock is what they take for now.
func (w *world) replay(ctx context.Context, svc *service.Services, sc account.Scope, i int, clock *time.Time) error {
	s := w.story(i)
	as := func(a account.Actor) account.Scope {
		return account.NewScope(sc.Tenant(), a, account.UserID(a.ID), account.AllPermissions)
	}
	*clock = s.at
	made, err := svc.Leads.Create(ctx, as(s.by), s.in, false)
	if err != nil {
		return err
	}
	if made.Outcome != lead.Created {
		return fmt.Errorf("lead %d came to be %s: the generator must make people who are somebody else", i, made.Outcome)
	}
	for _, a := range s.acts {
		*clock = a.at
		switch {
		case a.change != nil:
			_, err = svc.Leads.Update(ctx, as(a.by), service.LeadEdit{ID: made.Lead.ID}, a.change)
		case a.points != 0:
			_, err = svc.Leads.GivePoints(ctx, as(a.by), made.Lead.ID, a.points, a.text)
		default:
			_, err = svc.Leads.AddNote(ctx, as(a.by), made.Lead.ID, a.text)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
