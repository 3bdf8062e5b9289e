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

// SyncRequest says which leads to send again to which connection. An empty one means every lead.
type SyncRequest struct {
	CRM     string // a kind, or a connection's id
	LeadIDs []lead.ID
}

// SyncResult says what was queued.
type SyncResult struct {
	Connections []crm.ConnectionID `json:"connections"`
	Marked      int                `json:"marked"`
	All         bool               `json:"all"`
}

// Sync queues leads to be sent now, whether or not they seem to have changed.
func (m *CRM) Sync(ctx context.Context, sc account.Scope, in SyncRequest) (*SyncResult, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (*SyncResult, error) {
		chosen, err := m.choose(tx, sc, in.CRM)
		if err != nil {
			return nil, err
		}
		leads, err := m.liveLeads(tx, sc, in.LeadIDs)
		if err != nil {
			return nil, err
		}
		out := &SyncResult{All: len(in.LeadIDs) == 0, Marked: len(leads)}
		for _, con := range chosen {
			out.Connections = append(out.Connections, con.ID)
			if out.All {
				if err := m.markEvery(tx, sc, con.ID); err != nil {
					return nil, err
				}
			}
			for _, l := range leads {
				if err := m.mark(tx, sc, con, crm.Dirty{LeadID: l.ID, LeadVersion: l.Version, Reason: crm.RetryManual, Forced: true}); err != nil {
					return nil, err
				}
			}
		}
		return out, nil
	})
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

func (m *CRM) liveLeads(tx *store.Tx, sc account.Scope, ids []lead.ID) ([]*lead.Lead, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found, err := leadMap(tx.Reader, sc, ids)
	if err != nil {
		return nil, err
	}
	var bad []fault.Field
	out := make([]*lead.Lead, 0, len(ids))
	for i, id := range ids {
		l := found[id]
		if l == nil {
			bad = append(bad, fault.Field{Path: fmt.Sprintf("lead_ids[%d]", i), Code: "not_found", Message: "there is no such lead here"})
			continue
		}
		out = append(out, l)
	}
	return out, fault.InvalidFields(bad).OrNil()
}
