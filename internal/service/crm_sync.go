package service

import (
	"context"
	"fmt"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/store"
)

// SyncRequest says which leads to send again to which connection: those named, those a filter finds, or every one.
type SyncRequest struct {
	CRM     string // a kind, or a connection's id
	LeadIDs []lead.ID
	Filter  *store.LeadFilter
	All     bool
}

// SyncResult says what was queued.
type SyncResult struct {
	Connections []crm.ConnectionID `json:"connections"`
	Marked      int                `json:"marked"`
	All         bool               `json:"all"`
}

// maxFiltered is how many leads a filter may find; whoever means more means all of them.
const maxFiltered = 10_000

// Sync queues leads to be sent now. Named and filtered ones go whether or not they seem to have changed; of all of them,
// those that differ.
func (m *CRM) Sync(ctx context.Context, sc account.Scope, in SyncRequest) (*SyncResult, error) {
	if in.Filter != nil {
		ids, err := m.filtered(ctx, sc, *in.Filter)
		if err != nil {
			return nil, err
		}
		in.LeadIDs = ids
	}
	return write(ctx, m.core, sc, func(tx *store.Tx) (*SyncResult, error) {
		chosen, err := m.choose(tx, sc, in.CRM)
		if err != nil {
			return nil, err
		}
		if in.Filter == nil { // what a filter finds and is deleted meanwhile is left out
			if err := liveLeads(tx, sc, in.LeadIDs); err != nil {
				return nil, err
			}
		}
		out := &SyncResult{All: in.All, Marked: len(in.LeadIDs)}
		for _, con := range chosen {
			out.Connections = append(out.Connections, con.ID)
			if err := m.syncInto(tx, sc, con, in); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}

func (m *CRM) syncInto(tx *store.Tx, sc account.Scope, con *crm.Connection, in SyncRequest) error {
	if in.All {
		return m.markEvery(tx, sc, con.ID)
	}
	if len(in.LeadIDs) == 0 {
		return nil
	}
	if err := tx.MarkLeads(sc, con.ID, in.LeadIDs, crm.RetryManual); err != nil || !con.Ready(tx.Now()) {
		return err
	}
	return m.wakeDrain(tx, sc, con.ID)
}

// filtered finds the leads of a filter, a page at a time.
func (m *CRM) filtered(ctx context.Context, sc account.Scope, f store.LeadFilter) ([]lead.ID, error) {
	leads := Leads{core: m.core}
	ids := []lead.ID{}
	f.Limit, f.After = 500, nil
	for {
		page, err := leads.List(ctx, sc, LeadQuery{LeadFilter: f, NoCount: true})
		if err != nil {
			return nil, err
		}
		for _, l := range page.Leads {
			ids = append(ids, l.ID)
		}
		if len(ids) > maxFiltered {
			return nil, fault.Invalid("filter", "too_many", fmt.Sprintf("it finds more than %d leads: narrow it, or leave it out to sync every lead that differs", maxFiltered))
		}
		if page.Next == nil {
			return ids, nil
		}
		f.After = page.Next
	}
}

// choose finds the connections that "salesforce" or a connection's id names and that may be sent to.
func (m *CRM) choose(tx *store.Tx, sc account.Scope, name string) ([]*crm.Connection, error) {
	list, err := tx.Connections(sc, "", maxConnections)
	if err != nil {
		return nil, err
	}
	var on []*crm.Connection
	var off *crm.Connection
	for _, con := range list {
		switch {
		case string(con.Type) != name && string(con.ID) != name:
		case con.Enabled:
			on = append(on, con)
		default:
			off = con
		}
	}
	switch {
	case len(on) > 0:
		return on, nil
	case off != nil:
		return nil, fault.Conflict(or(off.StateCode, "disabled"), "This connection is switched off: "+off.StateReason)
	case connector.Known(connector.Type(name)):
		return nil, fault.Conflict("not_configured", "No connection of that kind is configured: POST /api/crm/config first.")
	}
	return nil, fault.NotFound("connection", name)
}

// liveLeads reports every named lead that is not there.
func liveLeads(tx *store.Tx, sc account.Scope, ids []lead.ID) error {
	if len(ids) == 0 {
		return nil
	}
	found, err := leadMap(tx.Reader, sc, ids)
	if err != nil {
		return err
	}
	var bad []fault.Field
	for i, id := range ids {
		if found[id] == nil {
			bad = append(bad, fault.Field{Path: fmt.Sprintf("lead_ids[%d]", i), Code: "not_found", Message: "there is no such lead here"})
		}
	}
	return fault.InvalidFields(bad).OrNil()
}
