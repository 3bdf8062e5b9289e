package service

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/lead"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// drainArgs asks for a connection's dirty leads to be sent.
type drainArgs struct {
	Tenant     string `json:"tenant_id"`
	Connection string `json:"connection_id"`
}

// Kind implements river.JobArgs.
func (drainArgs) Kind() string { return "crm.drain" }

type connectionArgs struct {
	Tenant     string `json:"tenant_id"`
	Connection string `json:"connection_id"`
}

// testArgs asks for a connection to be tested.
type testArgs struct{ connectionArgs }

// Kind implements river.JobArgs.
func (testArgs) Kind() string { return "crm.test" }

// markArgs asks for every lead to be marked for a connection, from where the last such job stopped.
type markArgs struct{ connectionArgs }

// Kind implements river.JobArgs.
func (markArgs) Kind() string { return "crm.mark" }

// sweepCRMArgs asks for drains of all connections that have something to send and none.
type sweepCRMArgs struct{}

// Kind implements river.JobArgs.
func (sweepCRMArgs) Kind() string { return "crm.sweep" }

// sweepCRMEvery is the longest that a due lead waits when the wake-up for it was lost.
const sweepCRMEvery = 15 * time.Second

func (m *CRM) jobs(reg *queue.Registry) []queue.Periodic {
	queue.Register(reg, queue.Kind{Queue: queue.QueueCRM, Timeout: 85 * time.Second, Attempts: 3}, m.drainJob)
	queue.Register(reg, queue.Kind{Queue: queue.QueueCRM, Timeout: time.Minute, Attempts: 3}, m.testJob)
	queue.Register(reg, queue.Kind{Queue: queue.QueueBulk, Timeout: time.Minute, Attempts: 12}, m.markJob)
	queue.Register(reg, queue.Kind{Queue: queue.QueueSystem, Timeout: time.Minute, Attempts: 1}, m.sweepJob)
	return []queue.Periodic{{ID: "crm.sweep", Schedule: queue.Every(sweepCRMEvery), Missed: queue.MissedOnce,
		Job: func(time.Time) (river.JobArgs, *river.InsertOpts) { return sweepCRMArgs{}, queue.Unique() }}}
}

// sweepJob wakes what was not woken: drains whose pause is over or whose job was dropped while one ran, and markings
// whose job died.
func (m *CRM) sweepJob(ctx context.Context, job queue.Job[sweepCRMArgs]) error {
	all := account.NewInstance("crm.sweep")
	r := m.st.Read(ctx)
	due, err := r.DueConnections(all, m.now())
	if err != nil {
		return err
	}
	unmarked, err := r.UnmarkedConnections(all)
	if err != nil {
		return err
	}
	return m.st.Write(ctx, func(tx *store.Tx) error {
		for _, c := range due {
			if err := m.wakeDrain(tx, account.SystemScope(c.Tenant, "crm.sweep"), c.ID); err != nil {
				return err
			}
		}
		for _, c := range unmarked {
			if err := tx.Enqueue(markArgs{connectionArgs{string(c.Tenant), string(c.ID)}}, queue.Unique()); err != nil {
				return err
			}
		}
		return job.Finish(tx)
	})
}

// markEvery starts the marking of every lead for a connection, or starts a running one anew.
func (m *CRM) markEvery(tx *store.Tx, sc account.Scope, id crm.ConnectionID) error {
	start := ""
	if err := tx.SetMarkedThrough(sc, id, &start); err != nil {
		return err
	}
	return tx.Enqueue(markArgs{connectionArgs{Tenant: string(sc.Tenant()), Connection: string(id)}}, queue.Unique())
}

// markChunk is how many leads one transaction of a marking takes.
const markChunk = 500

// markJob marks every lead of the tenant for a connection, in chunks, and remembers how far it got.
func (m *CRM) markJob(ctx context.Context, job queue.Job[markArgs]) error {
	id := crm.ConnectionID(job.Args.Connection)
	sc := account.SystemScope(account.TenantID(job.Args.Tenant), "crm.mark")
	for ctx.Err() == nil {
		done := false
		err := m.st.Write(ctx, func(tx *store.Tx) error {
			done = false
			con, err := tx.Connection(sc, id)
			if errors.Is(err, store.ErrNotFound) || (err == nil && (con.MarkedThrough == nil || !con.Enabled)) {
				done = true
				return job.Finish(tx)
			}
			if err != nil {
				return err
			}
			last, err := tx.MarkAllDirty(sc, id, lead.ID(*con.MarkedThrough), "first_sync", markChunk)
			if err != nil {
				return err
			}
			if last == "" {
				done = true
				if err := tx.SetMarkedThrough(sc, id, nil); err != nil {
					return err
				}
				return job.Finish(tx)
			}
			through := string(last)
			if err := tx.SetMarkedThrough(sc, id, &through); err != nil || !con.Ready(tx.Now()) {
				return err
			}
			return m.wakeDrain(tx, sc, id)
		})
		if err != nil || done {
			return err
		}
	}
	return ctx.Err()
}
