package store

import (
	"encoding/json"
	"fmt"
	"slices"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/lead"
)

var sqlLeadsAfter = "SELECT " + leadColumns + " FROM leads l WHERE l.tenant_id=$1 AND l.id>$2 AND l.deleted_at=0 ORDER BY l.id LIMIT $3" // primary key

// LeadsAfter walks all live leads in the order of their ids.
func (r *Reader) LeadsAfter(sc account.Scope, after lead.ID, limit int) ([]*lead.Lead, error) {
	return queryAll(r, scanLead, sqlLeadsAfter, string(sc.Tenant()), string(after), limit)
}

// The lists of an audience.
const (
	NamedPeople = "people"
	NamedLeads  = "leads"
)

// SaveNamed replaces one list of a campaign's audience by another, in pieces of a size.
func SaveNamed[T any](tx *Tx, sc account.Scope, id campaign.ID, list string, members []T, size int) error {
	if _, err := tx.exec(`DELETE FROM campaign_named WHERE tenant_id=$1 AND campaign_id=$2 AND list=$3`, string(sc.Tenant()), string(id), list); err != nil {
		return err
	}
	n := 0
	for piece := range slices.Chunk(members, size) {
		if _, err := tx.exec(`INSERT INTO campaign_named (tenant_id, campaign_id, list, piece, members) VALUES ($1,$2,$3,$4,$5)`, string(sc.Tenant()), string(id), list, n, jsonText(piece)); err != nil {
			return err
		}
		n++
	}
	return nil
}

// NamedPiece reads one piece of a list; empty past its end.
func NamedPiece[T any](r *Reader, sc account.Scope, id campaign.ID, list string, piece int) (out []T, err error) {
	text, err := queryAll(r, scanString, `SELECT members FROM campaign_named WHERE tenant_id=$1 AND campaign_id=$2 AND list=$3 AND piece=$4`, string(sc.Tenant()), string(id), list, piece)
	if err != nil || len(text) == 0 {
		return nil, err
	}
	if err := json.Unmarshal([]byte(text[0]), &out); err != nil {
		return nil, fmt.Errorf("audience of campaign %s: %w", id, err)
	}
	return out, nil
}
