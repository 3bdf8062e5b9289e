package service

import (
	"context"
	"errors"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/failpoint"
	"leadloom/internal/lead"
	"leadloom/internal/queue"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
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

// clearArgs asks for what a removed connection left behind to be deleted.
type clearArgs struct{ connectionArgs }

// Kind implements river.JobArgs.
func (clearArgs) Kind() string { return "crm.clear" }

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
	queue.Register(reg, queue.Kind{Queue: queue.QueueBulk, Timeout: time.Minute, Attempts: 12}, m.clearJob)
	queue.Register(reg, queue.Kind{Queue: queue.QueueSystem, Timeout: time.Minute, Attempts: 1}, m.sweepJob)
	return []queue.Periodic{{ID: "crm.sweep", Schedule: queue.Every(sweepCRMEvery), Missed: queue.MissedOnce,
		Job: func(time.Time) (river.JobArgs, *river.InsertOpts) { return sweepCRMArgs{}, queue.Unique() }}}
}

// syncPatience is how long a workflow step waits for a connection to take its lead: as long as an HTTP step is retried.
const syncPatience = workflow.RetryTotal

// swept is what a sweep found to do.
type swept struct {
	due, idle, unmarked, stranded []store.ConnectionRef
	overdue                       []store.OverdueWait
}

func (m *CRM) findSwept(r *store.Reader, now time.Time) (f swept, err error) {
	all := account.NewInstance("crm.sweep")
	if f.due, err = r.DueConnections(all, now); err != nil {
		return f, err
	}
	if f.idle, err = r.IdleConnections(all, now); err != nil {
		return f, err
	}
	if f.unmarked, err = r.UnmarkedConnections(all); err != nil {
		return f, err
	}
	if f.stranded, err = r.StrandedConnections(all); err != nil {
		return f, err
	}
	f.overdue, err = r.OverdueWaits(all, now.Add(-syncPatience), maxStranded)
	return f, err
}

// sweepJob wakes what was not woken: drains whose pause is over or whose job was dropped while one ran, tests of
// connections that would else never be tried again, markings whose job died, and steps that wait for a connection
// which was switched off or that has not taken their lead for too long.
func (m *CRM) sweepJob(ctx context.Context, job queue.Job[sweepCRMArgs]) error {
	f, err := m.findSwept(m.st.Read(ctx), m.now())
	if err != nil {
		return err
	}
	return m.st.Write(ctx, func(tx *store.Tx) error {
		for _, c := range f.due {
			if err := m.wakeDrain(tx, account.SystemScope(c.Tenant, "crm.sweep"), c.ID); err != nil {
				return err
			}
		}
		for _, c := range f.idle {
			if err := tx.Enqueue(testArgs{connectionArgs{string(c.Tenant), string(c.ID)}}, queue.Unique()); err != nil {
				return err
			}
		}
		for _, c := range f.unmarked {
			if err := tx.Enqueue(markArgs{connectionArgs{string(c.Tenant), string(c.ID)}}, queue.Unique()); err != nil {
				return err
			}
		}
		for _, c := range f.stranded {
			if err := m.freeStranded(tx, c); err != nil {
				return err
			}
		}
		for _, w := range f.overdue {
			if err := m.freeOverdue(tx, w); err != nil {
				return err
			}
		}
		return job.Finish(tx)
	})
}

// freeOverdue ends a wait that has lasted too long, with what is wrong with the connection.
func (m *CRM) freeOverdue(tx *store.Tx, w store.OverdueWait) error {
	sc := account.SystemScope(w.Tenant, "crm.sweep")
	con, err := tx.Connection(sc, w.ConnectionID)
	if errors.Is(err, store.ErrNotFound) {
		return nil // its removal ends its waits
	}
	if err != nil {
		return err
	}
	why := "The CRM connection " + con.Name + " has not taken the lead within a day."
	if con.StateReason != "" {
		why += " " + con.StateReason
	}
	return m.endWait(tx, sc, con.Name, w.Waiter, why)
}

func (m *CRM) freeStranded(tx *store.Tx, c store.ConnectionRef) error {
	sc := account.SystemScope(c.Tenant, "crm.sweep")
	con, err := tx.Connection(sc, c.ID)
	if errors.Is(err, store.ErrNotFound) || (err == nil && con.Enabled) {
		return nil
	}
	if err != nil {
		return err
	}
	_, err = m.failWaiters(tx, sc, c.ID, "The CRM connection "+con.Name+" is switched off: "+con.StateReason)
	return err
}

// clearChunk is how many rows of each kind one transaction of a removal deletes.
const clearChunk = 1000

// clearJob deletes what a removed connection left behind, in chunks.
func (m *CRM) clearJob(ctx context.Context, job queue.Job[clearArgs]) error {
	id := crm.ConnectionID(job.Args.Connection)
	sc := account.SystemScope(account.TenantID(job.Args.Tenant), "crm.clear")
	for ctx.Err() == nil {
		more := false
		err := m.st.Write(ctx, func(tx *store.Tx) error {
			waiting, err := m.failWaiters(tx, sc, id, "The CRM connection was removed.")
			if err != nil {
				return err
			}
			rows, err := tx.ClearConnection(sc, id, clearChunk)
			if more = waiting || rows; err != nil || more {
				return err
			}
			return job.Finish(tx)
		})
		if err != nil || !more {
			return err
		}
	}
	return ctx.Err()
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
			failpoint.Hit(failpoint.MarkedChunk)
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
