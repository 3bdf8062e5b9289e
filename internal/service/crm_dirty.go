package service

import (
	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/queue"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// txConnections is connections inside a transaction: what it reads is kept for others only once it has committed.
func (c *core) txConnections(tx *store.Tx, sc account.Scope) (*tenantConnections, error) {
	t, err := c.connections(tx.Reader, sc)
	if err == nil {
		tx.OnCommit(func() { c.crm.put(sc.Tenant(), t) })
	}
	return t, err
}

// markDirty notes, in the change's own transaction, that connected CRMs don't have this version of the lead yet. A
// change that came from a connection is not marked for that connection.
func (c *core) markDirty(tx *store.Tx, sc account.Scope, l *lead.Lead, reason string) error {
	all, err := c.txConnections(tx, sc)
	if err != nil {
		return err
	}
	for _, con := range all.list {
		if !con.Enabled || (sc.Actor.Kind == account.ActorConnection && sc.Actor.ID == string(con.ID)) {
			continue
		}
		if err := c.mark(tx, sc, con, crm.Dirty{LeadID: l.ID, LeadVersion: l.Version, Reason: reason, Hops: sc.Cause.Hops, NotBefore: tx.Now()}); err != nil {
			return err
		}
	}
	return nil
}

// mark writes one dirty row and wakes the connection's drain when it may call now; the sweeper wakes the others.
func (c *core) mark(tx *store.Tx, sc account.Scope, con *crm.Connection, d crm.Dirty) error {
	if err := tx.MarkDirty(sc, con.ID, d); err != nil {
		return err
	}
	if !con.Ready(tx.Now()) {
		return nil
	}
	return c.wakeDrain(tx, sc, con.ID)
}

func (c *core) wakeDrain(tx *store.Tx, sc account.Scope, id crm.ConnectionID) error {
	return tx.Enqueue(drainArgs{Tenant: string(sc.Tenant()), Connection: string(id)}, queue.Unique())
}

// syncLeadNow puts a lead at the head of a connection's line ("" for every connection). With ref, the workflow step is
// resumed once each of them has an answer; at once when there is nothing to send to.
func (c *core) syncLeadNow(tx *store.Tx, sc account.Scope, id lead.ID, connectionID string, ref *workflow.StepRef) error {
	l, err := tx.Lead(sc, id)
	if err != nil {
		return notFound(err, "lead", string(id))
	}
	all, err := c.txConnections(tx, sc)
	if err != nil {
		return err
	}
	n := 0
	for _, con := range all.list {
		if !con.Enabled || (connectionID != "" && string(con.ID) != connectionID) {
			continue
		}
		n++
		if err := c.mark(tx, sc, con, crm.Dirty{LeadID: id, LeadVersion: l.Version, Reason: "sync"}); err != nil {
			return err
		}
		if ref == nil {
			continue
		}
		if err := tx.AddWaiter(sc, crm.Waiter{ConnectionID: con.ID, LeadID: id, Step: ref.Key()}); err != nil {
			return err
		}
	}
	if n > 0 || ref == nil {
		return nil
	}
	if connectionID != "" {
		return c.resumeStep(tx, sc, *ref, workflow.Outcome{State: workflow.Failed, Code: "no_connection", Message: "The connection this step names does not exist or is switched off."})
	}
	return c.resumeStep(tx, sc, *ref, workflow.Outcome{State: workflow.Skipped, Code: "no_connection", Message: "No CRM is connected."})
}

// wakeWaiters resumes the steps that wait for these leads in one connection, save of those that were marked again while
// they were sent. failed is what to say for a lead that the CRM refused; a lead without an entry is in step.
func (c *core) wakeWaiters(tx *store.Tx, sc account.Scope, con *crm.Connection, leads []lead.ID, failed map[lead.ID]string) error {
	if len(leads) == 0 {
		return nil
	}
	waiting, err := tx.Waiters(sc, con.ID, leads)
	if err != nil {
		return err
	}
	for _, w := range waiting {
		if err := c.endWait(tx, sc, con.Name, w, failed[w.LeadID]); err != nil {
			return err
		}
	}
	return nil
}

// maxStranded is how many steps one transaction resumes.
const maxStranded = 200

// failWaiters resumes steps that wait for a connection which nothing is sent to any more; more says that some are left.
func (c *core) failWaiters(tx *store.Tx, sc account.Scope, id crm.ConnectionID, why string) (more bool, err error) {
	waiting, err := tx.WaitersOf(sc, id, maxStranded)
	if err != nil {
		return false, err
	}
	for _, w := range waiting {
		if err := c.endWait(tx, sc, "", w, why); err != nil {
			return false, err
		}
	}
	return len(waiting) == maxStranded, nil
}

// endWait ends one wait and resumes its step when it was the last one. failed is empty when the lead is in step.
func (c *core) endWait(tx *store.Tx, sc account.Scope, connection string, w crm.Waiter, failed string) error {
	earlier := w.Failed
	w.Failed = failed
	left, err := tx.EndWaiter(sc, w)
	if err != nil {
		return err
	}
	ref, ok := workflow.ParseStepRef(w.Step)
	if left > 0 || !ok {
		return nil
	}
	if w.Failed == "" {
		w.Failed = earlier
	}
	out := workflow.Outcome{State: workflow.Done, Output: map[string]any{"connection": connection}}
	if w.Failed != "" {
		out = workflow.Outcome{State: workflow.Failed, Code: "crm_problem", Message: w.Failed}
	}
	if err := c.resumeStep(tx, sc, ref, out); err != nil && !fault.IsKind(err, fault.KindNotFound) {
		return err
	}
	return nil
}
