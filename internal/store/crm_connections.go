package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
)

const connectionColumns = `id, type, name, api_url, settings, credentials, credentials_digest, credentials_hint, enabled, state, state_code, state_reason,
	state_until, failures, mapping_version, quota_key, schema_hash, account, peer, marked_through, version, created_at, updated_at, saved_at, tested_at, synced_at`

func scanConnection(r row) (*crm.Connection, error) {
	var c crm.Connection
	var settings string
	var enabled, until, created, updated, saved, tested, synced int64
	if err := r.Scan(&c.ID, &c.Type, &c.Name, &c.APIURL, &settings, &c.Credentials, &c.CredentialsDigest, &c.CredentialsHint, &enabled, &c.State, &c.StateCode,
		&c.StateReason, &until, &c.Failures, &c.MappingVersion, &c.QuotaKey, &c.SchemaHash, &c.Account, &c.Peer, &c.MarkedThrough, &c.Version, &created, &updated,
		&saved, &tested, &synced); err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(settings), &c.Settings); err != nil {
		return nil, fmt.Errorf("settings of connection %s: %w", c.ID, err)
	}
	c.Enabled = enabled == 1
	c.StateUntil, c.CreatedAt, c.UpdatedAt = fromMicros(until), fromMicros(created), fromMicros(updated)
	c.SavedAt, c.TestedAt, c.SyncedAt = fromMicros(saved), fromMicros(tested), fromMicros(synced)
	return &c, nil
}

// Connection reads one of the tenant's connections.
func (r *Reader) Connection(sc account.Scope, id crm.ConnectionID) (*crm.Connection, error) {
	return queryOne(r, scanConnection, "SELECT "+connectionColumns+" FROM connections WHERE tenant_id=$1 AND id=$2"+r.lock(), string(sc.Tenant()), string(id))
}

const connectionsSQL = "SELECT " + connectionColumns + " FROM connections WHERE tenant_id=$1 AND id > $2 ORDER BY id LIMIT $3" // primary key

// Connections lists the tenant's connections by id after the given one.
func (r *Reader) Connections(sc account.Scope, after crm.ConnectionID, limit int) ([]*crm.Connection, error) {
	return queryAll(r, scanConnection, connectionsSQL, string(sc.Tenant()), string(after), limit)
}

// ConnectionRef names a connection of any tenant.
type ConnectionRef struct {
	Tenant account.TenantID
	ID     crm.ConnectionID
}

func scanConnectionRef(r row) (c ConnectionRef, err error) { err = r.Scan(&c.Tenant, &c.ID); return }

const dueConnectionsSQL = `SELECT c.tenant_id, c.id FROM connections c WHERE c.state IN ('ok','degraded','paused_quota') AND c.state_until <= $1 AND c.enabled = 1
	AND EXISTS (SELECT 1 FROM crm_dirty d WHERE d.tenant_id = c.tenant_id AND d.connection_id = c.id AND d.not_before <= $1) LIMIT 1000` // connections_by_state, crm_dirty_due

// DueConnections finds at most 1,000 connections of all tenants that may be called and have something to send.
func (r *Reader) DueConnections(_ account.Instance, now time.Time) ([]ConnectionRef, error) {
	return queryAll(r, scanConnectionRef, dueConnectionsSQL, micros(now))
}

const unmarkedConnectionsSQL = `SELECT tenant_id, id FROM connections WHERE state IN ('ok','degraded','paused_quota','paused','needs_reauth','config_error','refused_self_loop')
	AND enabled = 1 AND marked_through IS NOT NULL LIMIT 1000` // connections_by_state

// UnmarkedConnections finds at most 1,000 connections of all tenants whose first marking has not ended.
func (r *Reader) UnmarkedConnections(_ account.Instance) ([]ConnectionRef, error) {
	return queryAll(r, scanConnectionRef, unmarkedConnectionsSQL)
}

const idleConnectionsSQL = `SELECT c.tenant_id, c.id FROM connections c WHERE c.state IN ('degraded','paused_quota','config_error') AND c.state_until <= $1 AND c.enabled = 1
	AND (c.state = 'config_error' AND c.state_code IN ('bad_reply','too_large') OR c.state <> 'config_error'
		AND NOT EXISTS (SELECT 1 FROM crm_dirty d WHERE d.tenant_id = c.tenant_id AND d.connection_id = c.id AND d.not_before <= $1)) LIMIT 1000` // connections_by_state, crm_dirty_due

// IdleConnections finds at most 1,000 connections of all tenants that a test must show to work again: those that failed
// or were never tested and have nothing to send, and those whose replies were rubbish.
func (r *Reader) IdleConnections(_ account.Instance, now time.Time) ([]ConnectionRef, error) {
	return queryAll(r, scanConnectionRef, idleConnectionsSQL, micros(now))
}

const strandedConnectionsSQL = `SELECT c.tenant_id, c.id FROM connections c WHERE c.state IN ('config_error','refused_self_loop') AND c.enabled = 0
	AND EXISTS (SELECT 1 FROM crm_waiters w WHERE w.tenant_id = c.tenant_id AND w.connection_id = c.id) LIMIT 1000` // connections_by_state, crm_waiters key

// StrandedConnections finds at most 1,000 connections of all tenants that are switched off while workflow steps wait
// for them.
func (r *Reader) StrandedConnections(_ account.Instance) ([]ConnectionRef, error) {
	return queryAll(r, scanConnectionRef, strandedConnectionsSQL)
}

// DeleteConnection removes a connection's own row and its mappings; ClearConnection removes the rest.
func (tx *Tx) DeleteConnection(sc account.Scope, id crm.ConnectionID) error {
	for _, table := range []string{"connections WHERE tenant_id=$1 AND id=$2", "mappings WHERE tenant_id=$1 AND connection_id=$2"} {
		if _, err := tx.exec("DELETE FROM "+table, string(sc.Tenant()), string(id)); err != nil {
			return fmt.Errorf("delete a connection: %w", err)
		}
	}
	return tx.BumpCache(sc, "connections")
}

// ClearConnection deletes at most limit rows each of a removed connection's marks, links and problems; more says that
// there may be others.
func (tx *Tx) ClearConnection(sc account.Scope, id crm.ConnectionID, limit int) (more bool, err error) {
	for table, key := range map[string]string{"crm_dirty": "lead_id", "crm_links": "lead_id", "crm_problems": "id"} {
		n, err := tx.exec("DELETE FROM "+table+" WHERE tenant_id=$1 AND connection_id=$2 AND "+key+" IN (SELECT "+key+" FROM "+table+" WHERE tenant_id=$1 AND connection_id=$2 LIMIT $3)",
			string(sc.Tenant()), string(id), limit)
		if err != nil {
			return false, fmt.Errorf("clear a connection: %w", err)
		}
		more = more || n == int64(limit)
	}
	return more, nil
}

// InsertConnection stores a new connection; ConflictError on connections when the tenant has one of that type and name.
func (tx *Tx) InsertConnection(sc account.Scope, c *crm.Connection) error {
	if c.ID == "" {
		c.ID = crm.ConnectionID(tx.NewID())
	}
	c.Version, c.CreatedAt, c.UpdatedAt = 1, tx.Now(), tx.Now()
	_, err := tx.exec(`INSERT INTO connections (tenant_id, `+connectionColumns+`)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27)`,
		append([]any{string(sc.Tenant())}, connectionValues(c)...)...)
	if err != nil {
		return fmt.Errorf("insert connection: %w", err)
	}
	return tx.BumpCache(sc, "connections")
}

func connectionValues(c *crm.Connection) []any {
	enabled := 0
	if c.Enabled {
		enabled = 1
	}
	return []any{string(c.ID), string(c.Type), c.Name, c.APIURL, jsonText(c.Settings), c.Credentials, c.CredentialsDigest, c.CredentialsHint, enabled,
		string(c.State), c.StateCode, c.StateReason, micros(c.StateUntil), c.Failures, c.MappingVersion, c.QuotaKey, c.SchemaHash, c.Account, c.Peer,
		c.MarkedThrough, c.Version, micros(c.CreatedAt), micros(c.UpdatedAt), micros(c.SavedAt), micros(c.TestedAt), micros(c.SyncedAt)}
}

// UpdateConnection stores every column of a connection read in this transaction and raises its version.
func (tx *Tx) UpdateConnection(sc account.Scope, c *crm.Connection) error {
	c.Version++
	c.UpdatedAt = tx.Now()
	n, err := tx.exec(`UPDATE connections SET type=$3, name=$4, api_url=$5, settings=$6, credentials=$7, credentials_digest=$8, credentials_hint=$9, enabled=$10,
		state=$11, state_code=$12, state_reason=$13, state_until=$14, failures=$15, mapping_version=$16, quota_key=$17, schema_hash=$18, account=$19, peer=$20,
		marked_through=$21, version=$22, created_at=$23, updated_at=$24, saved_at=$25, tested_at=$26, synced_at=$27 WHERE tenant_id=$1 AND id=$2`,
		append([]any{string(sc.Tenant())}, connectionValues(c)...)...)
	if err != nil {
		return fmt.Errorf("update connection: %w", err)
	}
	if n != 1 {
		return ErrNotFound
	}
	return tx.BumpCache(sc, "connections")
}

// SetConnectionState stores the standing of a connection without a new version: it is not an edit. Changing what may
// be called makes the caches stale; a success that only moves synced_at does not.
func (tx *Tx) SetConnectionState(sc account.Scope, id crm.ConnectionID, s crm.Standing, synced time.Time, bump bool) error {
	n, err := tx.exec(`UPDATE connections SET state=$3, state_code=$4, state_reason=$5, state_until=$6, failures=$7,
		synced_at = CASE WHEN $8 > synced_at THEN $8 ELSE synced_at END WHERE tenant_id=$1 AND id=$2`,
		string(sc.Tenant()), string(id), string(s.State), s.Code, s.Reason, micros(s.Until), s.Failures, micros(synced))
	if err != nil {
		return fmt.Errorf("set the state of a connection: %w", err)
	}
	if n != 1 {
		return ErrNotFound
	}
	if bump {
		return tx.BumpCache(sc, "connections")
	}
	return nil
}

// ConnectionByName reads the tenant's connection of a kind and name.
func (r *Reader) ConnectionByName(sc account.Scope, kind connector.Type, name string) (*crm.Connection, error) {
	return queryOne(r, scanConnection, "SELECT "+connectionColumns+" FROM connections WHERE tenant_id=$1 AND type=$2 AND name=$3"+r.lock(),
		string(sc.Tenant()), string(kind), name)
}

// SetMarkedThrough records how far the marking of every lead has come; nil when it is complete, "" to start it.
func (tx *Tx) SetMarkedThrough(sc account.Scope, id crm.ConnectionID, through *string) error {
	n, err := tx.exec(`UPDATE connections SET marked_through=$3 WHERE tenant_id=$1 AND id=$2`, string(sc.Tenant()), string(id), through)
	if err != nil {
		return fmt.Errorf("record the marking of leads: %w", err)
	}
	if n != 1 {
		return ErrNotFound
	}
	return nil
}

// SetTested records what a test of a connection learned.
func (tx *Tx) SetTested(sc account.Scope, id crm.ConnectionID, accountName, peer, schemaHash string) error {
	_, err := tx.exec(`UPDATE connections SET account=$3, peer=$4, schema_hash=$5, tested_at=$6 WHERE tenant_id=$1 AND id=$2`,
		string(sc.Tenant()), string(id), accountName, peer, schemaHash, micros(tx.Now()))
	if err != nil {
		return fmt.Errorf("record a test: %w", err)
	}
	return nil
}

// InsertMapping stores a new version of a connection's mapping.
func (tx *Tx) InsertMapping(sc account.Scope, id crm.ConnectionID, m crm.Mapping) error {
	_, err := tx.exec(`INSERT INTO mappings (tenant_id, connection_id, version, fields, created_at, created_by) VALUES ($1,$2,$3,$4,$5,$6)`,
		string(sc.Tenant()), string(id), m.Version, jsonText(m.Fields), micros(tx.Now()), sc.Actor.ID)
	if err != nil {
		return fmt.Errorf("insert mapping: %w", err)
	}
	return nil
}

// Mapping reads one version of a connection's mapping.
func (r *Reader) Mapping(sc account.Scope, id crm.ConnectionID, version int64) (*crm.Mapping, error) {
	m := &crm.Mapping{Version: version}
	text, err := queryOne(r, scanString, `SELECT fields FROM mappings WHERE tenant_id=$1 AND connection_id=$2 AND version=$3`, string(sc.Tenant()), string(id), version)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal([]byte(text), &m.Fields); err != nil {
		return nil, fmt.Errorf("mapping %d of connection %s: %w", version, id, err)
	}
	return m, nil
}

const budgetColumns = "quota_key, capacity, refill_milli, tokens, daily_limit, daily_used, daily_reset_at, blocked_until, updated_at"

func scanBudget(r row) (b crm.Budget, err error) {
	var reset, blocked, updated int64
	err = r.Scan(&b.Key, &b.Capacity, &b.RefillMilli, &b.Tokens, &b.DailyLimit, &b.DailyUsed, &reset, &blocked, &updated)
	b.DailyResetAt, b.BlockedUntil, b.UpdatedAt = fromMicros(reset), fromMicros(blocked), fromMicros(updated)
	return b, err
}

// Budget reads an account's budget; in a Tx its row is locked, so that nodes share it.
func (r *Reader) Budget(sc account.Scope, key string) (crm.Budget, error) {
	return queryOne(r, scanBudget, "SELECT "+budgetColumns+" FROM quota_budgets WHERE tenant_id=$1 AND quota_key=$2"+r.lock(), string(sc.Tenant()), key)
}

// OpenBudget reads an account's budget and locks its row; the given one is stored when there is none yet.
func (tx *Tx) OpenBudget(sc account.Scope, first crm.Budget) (crm.Budget, error) {
	b, err := tx.Budget(sc, first.Key)
	if !errors.Is(err, ErrNotFound) {
		return b, err
	}
	if _, err := tx.exec(`INSERT INTO quota_budgets (tenant_id, `+budgetColumns+`) VALUES (`+budgetPlaces+`) ON CONFLICT DO NOTHING`, budgetValues(sc, first)...); err != nil {
		return b, fmt.Errorf("open budget: %w", err)
	}
	return tx.Budget(sc, first.Key)
}

const budgetPlaces = "$1,$2,$3,$4,$5,$6,$7,$8,$9,$10"

func budgetValues(sc account.Scope, b crm.Budget) []any {
	return []any{string(sc.Tenant()), b.Key, b.Capacity, b.RefillMilli, b.Tokens, b.DailyLimit, b.DailyUsed, micros(b.DailyResetAt), micros(b.BlockedUntil), micros(b.UpdatedAt)}
}

// SaveBudget stores an account's budget.
func (tx *Tx) SaveBudget(sc account.Scope, b crm.Budget) error {
	_, err := tx.exec(`INSERT INTO quota_budgets (tenant_id, `+budgetColumns+`) VALUES (`+budgetPlaces+`)
		ON CONFLICT (tenant_id, quota_key) DO UPDATE SET capacity=excluded.capacity, refill_milli=excluded.refill_milli, tokens=excluded.tokens,
		daily_limit=excluded.daily_limit, daily_used=excluded.daily_used, daily_reset_at=excluded.daily_reset_at, blocked_until=excluded.blocked_until,
		updated_at=excluded.updated_at`,
		budgetValues(sc, b)...)
	if err != nil {
		return fmt.Errorf("save budget: %w", err)
	}
	return nil
}
