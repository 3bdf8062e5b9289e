package store

import (
	"time"

	"leadloom/internal/account"
)

// StoredResult is what an earlier request with the same Idempotency-Key did.
type StoredResult struct {
	Digest string
	Result []byte // sealed by the service; nil when the request that made it is this one
}

// ClaimIdempotency takes the caller's key for this transaction. It returns nil when the key is new: the transaction
// must then end in SaveResult. On PostgreSQL it waits for a twin that is still running, as long as for any lock; what it
// returns then has no Result, and the transaction can only be given up.
func (tx *Tx) ClaimIdempotency(sc account.Scope) (*StoredResult, error) {
	k := sc.Idempotency
	caller := string(sc.Actor.Kind) + ":" + sc.Actor.ID
	n, err := tx.exec(`INSERT INTO idempotency_keys (tenant_id, caller, route, key, digest, created_at) VALUES ($1,$2,$3,$4,$5,$6)
		ON CONFLICT (tenant_id, caller, route, key) DO NOTHING`, string(sc.Tenant()), caller, k.Route, k.Key, k.Digest, micros(tx.now))
	if lockTimeout(err) { // the twin has run for longer than we wait for a lock
		return &StoredResult{Digest: k.Digest}, nil
	}
	if err != nil || n == 1 {
		return nil, err
	}
	old, err := queryOne(tx.Reader, func(r row) (s StoredResult, err error) {
		err = r.Scan(&s.Digest, &s.Result)
		return
	}, `SELECT digest, result FROM idempotency_keys WHERE tenant_id=$1 AND caller=$2 AND route=$3 AND key=$4`, string(sc.Tenant()), caller, k.Route, k.Key)
	return &old, err
}

// SaveResult stores the sealed result of the request that claimed the key.
func (tx *Tx) SaveResult(sc account.Scope, sealed []byte) error {
	k := sc.Idempotency
	_, err := tx.exec(`UPDATE idempotency_keys SET result=$1 WHERE tenant_id=$2 AND caller=$3 AND route=$4 AND key=$5`,
		sealed, string(sc.Tenant()), string(sc.Actor.Kind)+":"+sc.Actor.ID, k.Route, k.Key)
	return err
}

// DeleteIdempotencyKeys removes at most limit keys older than before, oldest first, and says how many.
func (tx *Tx) DeleteIdempotencyKeys(_ account.Instance, before time.Time, limit int) (int64, error) {
	return tx.exec(`DELETE FROM idempotency_keys WHERE (tenant_id, caller, route, key) IN
		(SELECT tenant_id, caller, route, key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT $2)`, micros(before), limit)
}
