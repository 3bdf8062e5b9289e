package service

import (
	"context"
	"errors"
	"fmt"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/failpoint"
	"leadloom/internal/lead"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// Limits of one drain job; longer work queues again, so that one connection never keeps a worker for itself.
const (
	drainBatch = 200
	drainFor   = 30 * time.Second
)

// drain is one run of a connection's drain job.
type drain struct {
	*CRM
	sc      account.Scope
	id      crm.ConnectionID
	started time.Time
	wait    time.Duration // before the next round, when it is short enough for a worker to wait
	stopped bool          // the connection may not be called any more for now
}

// drainJob sends a connection's dirty leads, batch by batch, until none is due, the CRM or its budget says stop, or its
// time is up. Each batch's results are one transaction; a crash between call and record sends the same records with
// the same keys again.
func (m *CRM) drainJob(ctx context.Context, job queue.Job[drainArgs]) error {
	sc := account.SystemScope(account.TenantID(job.Args.Tenant), "crm.drain")
	d := &drain{CRM: m, id: crm.ConnectionID(job.Args.Connection), started: m.now()}
	d.sc = sc.As(account.Actor{Kind: account.ActorConnection, ID: job.Args.Connection, Name: "CRM"}, account.Cause{})
	for {
		more, err := d.round(ctx)
		if err != nil {
			return err
		}
		if !more {
			done, err := d.finish(ctx, job)
			if err != nil || done {
				return err
			}
		}
		if m.now().Sub(d.started) > drainFor {
			return queue.Snooze(time.Millisecond)
		}
		if err := pause(ctx, d.wait); err != nil {
			return err
		}
		d.wait = 0
	}
}

// pause waits for a budget or a short back-off; never longer than crm.MaxInDrainWait.
func pause(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// errMore undoes the end of a job: there is still something to send.
var errMore = errors.New("crm: leads were marked while the drain ran")

// finish ends the job together with a last look at the dirty set: a lead marked while this job ran could not queue
// another one. The job's row is taken first: on PostgreSQL a change that finds this job running holds that row until
// it commits, so that its mark is seen here.
func (d *drain) finish(ctx context.Context, job queue.Job[drainArgs]) (done bool, err error) {
	err = d.st.Write(ctx, func(tx *store.Tx) error {
		if err := job.Finish(tx); err != nil {
			return err
		}
		con, err := tx.Connection(d.sc, d.id)
		if errors.Is(err, store.ErrNotFound) || (err == nil && (d.stopped || !con.Ready(tx.Now()))) {
			return nil
		}
		if err != nil {
			return err
		}
		due, err := tx.DueDirty(d.sc, d.id, tx.Now(), 1)
		if err == nil && len(due) > 0 {
			return errMore
		}
		return err
	})
	if errors.Is(err, errMore) {
		return false, nil
	}
	return err == nil, err
}

// round sends one batch. more says that there may be another one.
func (d *drain) round(ctx context.Context) (more bool, err error) {
	r := d.st.Read(ctx)
	con, err := r.Connection(d.sc, d.id)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	if err != nil || !con.Ready(d.now()) {
		return false, err
	}
	d.sc.Actor.Name = con.Name
	rows, err := r.DueDirty(d.sc, d.id, d.now(), drainBatch)
	if err != nil || len(rows) == 0 {
		return false, err
	}
	plan, mp, err := d.plan(r, con, rows)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil // removed meanwhile, with its mappings
	}
	if err != nil {
		return false, err
	}
	var verdicts []crm.Verdict
	var stop *connector.Error
	if len(plan.Send) > 0 {
		c, err := d.connector(d.sc, con, d.takeTurn(con), hopsOf(plan.Send))
		if err != nil {
			stop = connector.AsError(err)
		} else {
			var left []lead.ID
			verdicts, stop, left = crm.SendFrom(ctx, c, plan.Send, d.crm.suspects(d.id))
			d.crm.suspect(d.id, left)
			failpoint.Hit(failpoint.Called)
		}
	}
	if stop != nil && stop.Class == connector.ClassPause {
		stop = nil
	}
	if ctx.Err() != nil { // cancelled in the middle: the rows are still dirty and the keys the same
		return false, ctx.Err()
	}
	after, err := d.record(ctx, con, mp, plan, verdicts, stop)
	if err != nil {
		return false, err
	}
	failpoint.Hit(failpoint.Recorded)
	if wait := after.Until.Sub(d.now()); wait > 0 {
		d.wait = wait
		if wait > crm.MaxInDrainWait {
			d.stopped = true
			return false, nil
		}
	}
	return stop == nil || after.State == crm.StateOK || after.State == crm.StateDegraded, nil
}

// plan loads the leads and links of a batch and decides what to send.
func (d *drain) plan(r *store.Reader, con *crm.Connection, rows []crm.Dirty) (crm.Plan, *crm.Mapping, error) {
	ids := make([]lead.ID, len(rows))
	for i, row := range rows {
		ids[i] = row.LeadID
	}
	mp, err := r.Mapping(d.sc, con.ID, con.MappingVersion)
	if err != nil {
		return crm.Plan{}, nil, fmt.Errorf("mapping of connection %s: %w", con.ID, err)
	}
	leads, err := leadMap(r, d.sc, ids)
	if err != nil {
		return crm.Plan{}, nil, err
	}
	links, err := r.LinksOf(d.sc, con.ID, ids)
	if err != nil {
		return crm.Plan{}, nil, err
	}
	return crm.MakePlan(con, mp, rows, leads, links), mp, nil
}

func hopsOf(items []crm.Item) (most int) {
	for _, it := range items {
		most = max(most, it.Dirty.Hops)
	}
	return most
}

// connector builds the connection's connector with its credentials, budget and memory.
func (c *core) connector(sc account.Scope, con *crm.Connection, take func(context.Context) error, hops int) (connector.Connector, error) {
	secrets, err := c.secretsOf(sc, con)
	if err != nil {
		return nil, &connector.Error{Class: connector.ClassReauth, Code: "credentials_unreadable", Message: "The stored credentials cannot be opened with this server's key: enter them again."}
	}
	memory := c.crm.memory(fmt.Sprintf("%s/%s/%d", sc.Tenant(), con.ID, con.Version))
	out, err := connector.New(con.Type, connector.Env{Client: c.Outbound, Now: c.now, BaseURL: con.APIURL, Settings: con.Settings, Secrets: secrets, Take: take, Memory: memory, Hops: hops})
	if err != nil {
		return nil, &connector.Error{Class: connector.ClassConfig, Code: crm.CodeNoSuchKind, Message: "This kind of CRM arrives in a later release."}
	}
	return out, nil
}

// takeTurn takes a call's budget as long as this job's time lasts. A batch that goes one record a call, or is taken
// apart, can take far longer than a job may: what has an answer by then is recorded, the rest waits for the next job.
func (d *drain) takeTurn(con *crm.Connection) func(context.Context) error {
	take := d.takeBudget(d.sc, con)
	return func(ctx context.Context) error {
		if d.now().Sub(d.started) > drainFor {
			return &connector.Error{Class: connector.ClassPause, Code: "turn_over", Message: "Sending goes on in a moment."}
		}
		return take(ctx)
	}
}

// takeBudget takes calls from the account's budget row, which all nodes share. A short wait happens here, a longer one
// gives the worker back.
func (m *CRM) takeBudget(sc account.Scope, con *crm.Connection) func(context.Context) error {
	return func(ctx context.Context) error {
		for {
			wait, daily, err := m.takeCall(ctx, sc, con)
			switch {
			case err != nil:
				return err
			case wait == 0:
				return nil
			case daily:
				return &connector.Error{Class: connector.ClassQuota, Code: "daily_budget", Until: m.now().Add(wait), Message: "Today's share of the CRM's quota is used up. Sending goes on by itself when it is renewed."}
			case wait > crm.MaxInDrainWait:
				return &connector.Error{Class: connector.ClassThrottled, Code: "budget", After: wait, Message: "The CRM's limit is reached. Sending goes on by itself."}
			}
			if err := pause(ctx, wait); err != nil {
				return err
			}
		}
	}
}

// takeCall takes one call, or says how long there is none.
func (m *CRM) takeCall(ctx context.Context, sc account.Scope, con *crm.Connection) (wait time.Duration, daily bool, err error) {
	rate, limit := con.Settings.RatePerSecond, con.Settings.DailyLimit
	err = m.st.Write(ctx, func(tx *store.Tx) error {
		b, err := tx.OpenBudget(sc, crm.NewBudget(con.QuotaKey, rate, limit, tx.Now()))
		if err != nil {
			return err
		}
		b, wait, daily = b.Resize(rate, limit).Take(tx.Now())
		return tx.SaveBudget(sc, b)
	})
	return wait, daily, err
}

// leadMap reads the live leads among the given ones.
func leadMap(r *store.Reader, sc account.Scope, ids []lead.ID) (map[lead.ID]*lead.Lead, error) {
	list, err := r.LeadsByID(sc, ids)
	if err != nil {
		return nil, err
	}
	out := make(map[lead.ID]*lead.Lead, len(list))
	for _, l := range list {
		out[l.ID] = l
	}
	return out, nil
}
