package store

import (
	"leadloom/internal/account"
	"leadloom/internal/lead"
)

var sqlLeadsAfter = "SELECT " + leadColumns + " FROM leads l WHERE l.tenant_id=$1 AND l.id>$2 AND l.deleted_at=0 ORDER BY l.id LIMIT $3" // primary key

// LeadsAfter walks all live leads in the order of their ids.
func (r *Reader) LeadsAfter(sc account.Scope, after lead.ID, limit int) ([]*lead.Lead, error) {
	return queryAll(r, scanLead, sqlLeadsAfter, string(sc.Tenant()), string(after), limit)
}
