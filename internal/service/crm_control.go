package service

import (
	"context"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// SetPaused pauses or resumes a connection. Resuming tests it anew.
func (m *CRM) SetPaused(ctx context.Context, sc account.Scope, id crm.ConnectionID, paused bool) (*ConnectionView, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (*ConnectionView, error) {
		con, err := tx.Connection(sc, id)
		if err != nil {
			return nil, notFound(err, "connection", string(id))
		}
		before := con.Standing()
		switch {
		case !con.Enabled:
			return nil, fault.Conflict(or(con.StateCode, "disabled"), "This connection is switched off: "+con.StateReason)
		case paused && con.State != crm.StatePaused:
			con.State, con.StateCode, con.StateReason = crm.StatePaused, "paused", "Paused by a person."
		case !paused && con.State != crm.StateOK:
			con.State, con.StateCode, con.StateReason, con.Failures = crm.StateDegraded, crm.CodeNotTested, "Not tested yet: the test is queued.", 0
		default:
			return m.view(tx.Reader, sc, con)
		}
		if !paused {
			con.StateUntil = time.Time{}
			if err := tx.Enqueue(testArgs{connectionArgs{Tenant: string(sc.Tenant()), Connection: string(id)}}, queue.Unique()); err != nil {
				return nil, err
			}
		}
		if err := tx.UpdateConnection(sc, con); err != nil {
			return nil, err
		}
		if err := m.tellState(tx, sc, con.ID, before, con.Standing()); err != nil {
			return nil, err
		}
		return m.view(tx.Reader, sc, con)
	})
}

// Test queues a test of the connection.
func (m *CRM) Test(ctx context.Context, sc account.Scope, id crm.ConnectionID) (*ConnectionView, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (*ConnectionView, error) {
		con, err := tx.Connection(sc, id)
		if err != nil {
			return nil, notFound(err, "connection", string(id))
		}
		if !con.Enabled {
			return nil, fault.Conflict(or(con.StateCode, "disabled"), "This connection is switched off: "+con.StateReason)
		}
		if err := tx.Enqueue(testArgs{connectionArgs{Tenant: string(sc.Tenant()), Connection: string(id)}}, queue.Unique()); err != nil {
			return nil, err
		}
		return m.view(tx.Reader, sc, con)
	})
}

// Remove ends a connection. What it has sent stays in the CRM; our links, marks and problems go, in a job.
func (m *CRM) Remove(ctx context.Context, sc account.Scope, id crm.ConnectionID, match IfMatch) error {
	_, err := write(ctx, m.core, sc, func(tx *store.Tx) (struct{}, error) {
		var none struct{}
		con, err := tx.Connection(sc, id)
		if err != nil {
			return none, notFound(err, "connection", string(id))
		}
		if !match.Holds(con.Version) {
			return none, fault.Stale(nil)
		}
		if err := tx.DeleteConnection(sc, id); err != nil {
			return none, err
		}
		if _, err := tx.AppendEvent(sc, event.Event{Type: event.ConnectionRemoved, Subject: string(id), Data: data(map[string]any{"crm_type": con.Type, "name": con.Name})}); err != nil {
			return none, err
		}
		return none, tx.Enqueue(clearArgs{connectionArgs{Tenant: string(sc.Tenant()), Connection: string(id)}}, queue.Unique())
	})
	return err
}
