package store

import (
	"leadloom/internal/account"
	"leadloom/internal/campaign"
)

func scanSuppression(r row) (*campaign.Suppression, error) {
	var s campaign.Suppression
	var at, until int64
	err := r.Scan(&s.Address, &s.Kind, &s.Reason, &at, &until)
	s.At, s.Until = fromMicros(at), fromMicros(until)
	return &s, err
}

const (
	sqlSuppressionsOf = `SELECT address, kind, reason, at, until_at FROM suppressions WHERE tenant_id=$1 AND address_key=$2 ORDER BY kind`                                       // primary key
	sqlSuppressions   = `SELECT address, kind, reason, at, until_at FROM suppressions WHERE tenant_id=$1 AND (address_key, kind) > ($2, $3) ORDER BY address_key, kind LIMIT $4` // primary key
)

// SuppressionsOf lists why an address must not be written to, one row a kind, ended ones too.
func (r *Reader) SuppressionsOf(sc account.Scope, addressKey string) ([]*campaign.Suppression, error) {
	return queryAll(r, scanSuppression, sqlSuppressionsOf, string(sc.Tenant()), addressKey)
}

// Suppressions lists by address and kind, those after a pair of them.
func (r *Reader) Suppressions(sc account.Scope, afterKey, afterKind string, limit int) ([]*campaign.Suppression, error) {
	return queryAll(r, scanSuppression, sqlSuppressions, string(sc.Tenant()), afterKey, afterKind, limit)
}

// Suppress adds a reason to an address. One of the same kind stays, unless it has an end: then the new one replaces it.
func (tx *Tx) Suppress(sc account.Scope, addressKey string, s campaign.Suppression) (added bool, err error) {
	n, err := tx.exec(`INSERT INTO suppressions (tenant_id, address_key, address, kind, reason, at, until_at) VALUES ($1,$2,$3,$4,$5,$6,$7)
		ON CONFLICT (tenant_id, address_key, kind) DO UPDATE SET reason=excluded.reason, at=excluded.at, until_at=excluded.until_at
		WHERE suppressions.until_at > 0`, string(sc.Tenant()), addressKey, s.Address, s.Kind, s.Reason, micros(s.At), micros(s.Until))
	return n > 0, err
}

// Unsuppress takes one reason off an address.
func (tx *Tx) Unsuppress(sc account.Scope, addressKey, kind string) error {
	n, err := tx.exec(`DELETE FROM suppressions WHERE tenant_id=$1 AND address_key=$2 AND kind=$3`, string(sc.Tenant()), addressKey, kind)
	return one(n, err)
}
