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

// Suppression finds the suppression of an address, ended ones too.
func (r *Reader) Suppression(sc account.Scope, addressKey string) (*campaign.Suppression, error) {
	return queryOne(r, scanSuppression, `SELECT address, kind, reason, at, until_at FROM suppressions WHERE tenant_id=$1 AND address_key=$2`, string(sc.Tenant()), addressKey)
}

const sqlSuppressions = `SELECT address, kind, reason, at, until_at FROM suppressions WHERE tenant_id=$1 AND address_key>$2 ORDER BY address_key LIMIT $3` // primary key

// Suppressions lists by address, those after an address key.
func (r *Reader) Suppressions(sc account.Scope, after string, limit int) ([]*campaign.Suppression, error) {
	return queryAll(r, scanSuppression, sqlSuppressions, string(sc.Tenant()), after, limit)
}

// Suppress adds an address. An existing suppression stays, unless it has an end: then the new one replaces it.
func (tx *Tx) Suppress(sc account.Scope, addressKey string, s campaign.Suppression) (added bool, err error) {
	n, err := tx.exec(`INSERT INTO suppressions (tenant_id, address_key, address, kind, reason, at, until_at) VALUES ($1,$2,$3,$4,$5,$6,$7)
		ON CONFLICT (tenant_id, address_key) DO UPDATE SET kind=excluded.kind, reason=excluded.reason, at=excluded.at, until_at=excluded.until_at
		WHERE suppressions.until_at > 0`, string(sc.Tenant()), addressKey, s.Address, s.Kind, s.Reason, micros(s.At), micros(s.Until))
	return n > 0, err
}

// Unsuppress removes an address from the list.
func (tx *Tx) Unsuppress(sc account.Scope, addressKey string) error {
	n, err := tx.exec(`DELETE FROM suppressions WHERE tenant_id=$1 AND address_key=$2`, string(sc.Tenant()), addressKey)
	return one(n, err)
}
