package store

import (
	"encoding/json"
	"fmt"
	"regexp"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

// Field is a stored custom field definition.
type Field struct {
	lead.FieldDef
	Version              int64
	CreatedAt, UpdatedAt time.Time
}

func scanField(r row) (*Field, error) {
	var f Field
	var def string
	var created, updated int64
	if err := r.Scan(&def, &f.Version, &created, &updated); err != nil {
		return nil, err
	}
	f.CreatedAt, f.UpdatedAt = fromMicros(created), fromMicros(updated)
	return &f, json.Unmarshal([]byte(def), &f.FieldDef)
}

const fieldColumns = "definition, version, created_at, updated_at"

// Fields lists a tenant's definitions by key; there are at most lead.MaxFields. Index: the key.
func (r *Reader) Fields(sc account.Scope) ([]*Field, error) {
	return queryAll(r, scanField, "SELECT "+fieldColumns+" FROM field_definitions WHERE tenant_id=$1 ORDER BY key", string(sc.Tenant()))
}

// Field reads one definition.
func (r *Reader) Field(sc account.Scope, key string) (*Field, error) {
	return queryOne(r, scanField, "SELECT "+fieldColumns+" FROM field_definitions WHERE tenant_id=$1 AND key=$2"+r.lock(), string(sc.Tenant()), key)
}

// InsertField stores a new definition; false when the key exists.
func (tx *Tx) InsertField(sc account.Scope, d lead.FieldDef) (bool, error) {
	n, err := tx.exec(`INSERT INTO field_definitions (tenant_id, key, definition, version, created_at, updated_at) VALUES ($1,$2,$3,1,$4,$4) ON CONFLICT DO NOTHING`,
		string(sc.Tenant()), d.Key, jsonText(d), micros(tx.now))
	return n == 1, err
}

// UpdateField stores a changed definition.
func (tx *Tx) UpdateField(sc account.Scope, f *Field) error {
	f.Version, f.UpdatedAt = f.Version+1, tx.now
	n, err := tx.exec(`UPDATE field_definitions SET definition=$3, version=$4, updated_at=$5 WHERE tenant_id=$1 AND key=$2`,
		string(sc.Tenant()), f.Key, jsonText(f.FieldDef), f.Version, micros(tx.now))
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// DeleteField removes a definition. Values stay in the leads until they are next written.
func (tx *Tx) DeleteField(sc account.Scope, key string) error {
	n, err := tx.exec("DELETE FROM field_definitions WHERE tenant_id=$1 AND key=$2", string(sc.Tenant()), key)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}

// FieldUses lists where a key is written in stored definitions, as "workflow <id>" and so on. It reads whole
// definitions of one tenant: for the rare removal of a field only.
func (r *Reader) FieldUses(sc account.Scope, key string) ([]string, error) {
	named := regexp.MustCompile(`custom_fields(\.|\[\\?["'])` + regexp.QuoteMeta(key) + `([^a-z0-9_]|$)`)
	var uses []string
	for _, place := range fieldPlaces {
		found, err := queryAll(r, func(rw row) (use [2]string, err error) {
			err = rw.Scan(&use[0], &use[1])
			return
		}, place.sql, string(sc.Tenant()), `%custom_fields%`+escapeLike(key)+`%`)
		if err != nil {
			return nil, fmt.Errorf("uses in %s: %w", place.noun, err)
		}
		for _, use := range found {
			if named.MatchString(use[1]) {
				uses = append(uses, place.noun+" "+use[0])
			}
		}
	}
	return uses, nil
}

// fieldPlaces are the tables whose definitions may name a custom field: id and text of what is in use, $1 the tenant,
// $2 a pattern.
var fieldPlaces = []struct{ noun, sql string }{
	{"workflow", `SELECT w.id, v.definition FROM workflows w JOIN workflow_versions v ON v.tenant_id=w.tenant_id AND v.workflow_id=w.id AND v.version=w.version
		WHERE w.tenant_id=$1 AND w.deleted_at=0 AND v.definition LIKE $2 ESCAPE '\' ORDER BY w.id`},
	{"connection", `SELECT m.connection_id, m.fields FROM mappings m WHERE m.tenant_id=$1 AND m.fields LIKE $2 ESCAPE '\' AND m.version =
		(SELECT MAX(n.version) FROM mappings n WHERE n.tenant_id=m.tenant_id AND n.connection_id=m.connection_id) ORDER BY m.connection_id`},
	{"template", `SELECT id, subject||' '||html||' '||text FROM templates WHERE tenant_id=$1 AND subject||' '||html||' '||text LIKE $2 ESCAPE '\' ORDER BY id`},
	{"campaign", `SELECT id, audience||' '||content FROM campaigns WHERE tenant_id=$1 AND state IN ('draft','scheduled','preparing','sending','paused')
		AND audience||' '||content LIKE $2 ESCAPE '\' ORDER BY id`},
}

// LeadSettings reads the tenant's setting of that key ("" when unset) and the region of the tenant.
func (r *Reader) LeadSettings(sc account.Scope, key string) (value, region string, err error) {
	type pair struct{ value, region string }
	p, err := queryOne(r, func(rw row) (p pair, err error) {
		err = rw.Scan(&p.value, &p.region)
		return
	}, `SELECT COALESCE((SELECT value FROM settings WHERE tenant_id=$1 AND key=$2), ''), COALESCE((SELECT region FROM tenants WHERE id=$1), '')`, string(sc.Tenant()), key)
	return p.value, p.region, err
}

// SaveLeadSettings stores the tenant's setting of that key.
func (tx *Tx) SaveLeadSettings(sc account.Scope, key, value string) error {
	_, err := tx.exec(`INSERT INTO settings (tenant_id, key, value, updated_at) VALUES ($1,$2,$3,$4)
		ON CONFLICT (tenant_id, key) DO UPDATE SET value=excluded.value, updated_at=excluded.updated_at`, string(sc.Tenant()), key, value, micros(tx.now))
	return err
}

// IsMember reports whether the user belongs to the tenant and may log in.
func (r *Reader) IsMember(sc account.Scope, id account.UserID) (bool, error) {
	_, err := queryOne(r, scanInt, "SELECT 1 FROM users WHERE tenant_id=$1 AND id=$2 AND active=1", string(sc.Tenant()), string(id))
	if err == ErrNotFound {
		return false, nil
	}
	return err == nil, err
}
