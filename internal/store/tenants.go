package store

import (
	"time"

	"leadloom/internal/account"
)

const tenantColumns = "id, name, plan, created_at, updated_at"

func scanTenant(r row) (*account.Tenant, error) {
	var t account.Tenant
	var created, updated int64
	err := r.Scan(&t.ID, &t.Name, &t.Plan, &created, &updated)
	t.CreatedAt, t.UpdatedAt, t.Version = fromMicros(created), fromMicros(updated), updated
	return &t, err
}

const tenantSQL = "SELECT " + tenantColumns + " FROM tenants WHERE id=$1"

// Tenant finds any tenant. Inside a Tx it locks it.
func (r *Reader) Tenant(_ account.Instance, id account.TenantID) (*account.Tenant, error) {
	return queryOne(r, scanTenant, tenantSQL+r.lock(), string(id))
}

// LockTenant makes changes that depend on several of the tenant's users wait for each other until the commit.
func (tx *Tx) LockTenant(sc account.Scope) error {
	_, err := queryOne(tx.Reader, scanTenant, tenantSQL+tx.lock(), string(sc.Tenant()))
	return err
}

const tenantsSQL = "SELECT " + tenantColumns + " FROM tenants WHERE id > $1 ORDER BY id LIMIT $2" // primary key

// Tenants lists all tenants by id, after the given one ("" from the start).
func (r *Reader) Tenants(_ account.Instance, after account.TenantID, limit int) ([]*account.Tenant, error) {
	return queryAll(r, scanTenant, tenantsSQL, string(after), limit)
}

// TenantsCounter is the maintained total of tenants, counted under the first tenant.
const TenantsCounter = "tenants"

// InsertTenant stores a new tenant; a taken id is a conflict on tenants.
func (tx *Tx) InsertTenant(_ account.Instance, t *account.Tenant) error {
	_, err := tx.exec(`INSERT INTO tenants (id, name, plan, status, timezone, region, created_at, updated_at) VALUES ($1,$2,$3,'active','UTC','',$4,$4)`,
		string(t.ID), t.Name, string(t.Plan), micros(tx.now))
	if err != nil {
		return err
	}
	t.CreatedAt, t.UpdatedAt, t.Version = tx.now, tx.now, micros(tx.now)
	tx.AddCount(account.SystemScope(account.FirstTenant, "tenants"), TenantsCounter, 1)
	return nil
}

// UpdateTenantPlan stores a tenant's plan and grows its version. ErrNotFound when it has changed since it was read.
func (tx *Tx) UpdateTenantPlan(_ account.Instance, t *account.Tenant) error {
	next := max(micros(tx.now), t.Version+1)
	n, err := tx.exec(`UPDATE tenants SET plan=$1, updated_at=$2 WHERE id=$3 AND updated_at=$4`, string(t.Plan), next, string(t.ID), t.Version)
	if err == nil && n == 0 {
		err = ErrNotFound
	}
	if err == nil {
		t.Version, t.UpdatedAt = next, time.UnixMicro(next).UTC()
	}
	return err
}
