package store

import (
	"leadloom/internal/account"
	"leadloom/internal/campaign"
)

const templateColumns = "id, name, subject, html, text, version, created_at, updated_at"

func scanTemplate(r row) (*campaign.Template, error) {
	var t campaign.Template
	var created, updated int64
	err := r.Scan(&t.ID, &t.Name, &t.Subject, &t.HTML, &t.Text, &t.Version, &created, &updated)
	t.CreatedAt, t.UpdatedAt = fromMicros(created), fromMicros(updated)
	return &t, err
}

const sqlTemplates = "SELECT " + templateColumns + " FROM templates WHERE tenant_id=$1 AND name_key>$2 ORDER BY name_key LIMIT $3" // templates_by_name

// Templates lists by name, those after a name key.
func (r *Reader) Templates(sc account.Scope, after string, limit int) ([]*campaign.Template, error) {
	return queryAll(r, scanTemplate, sqlTemplates, string(sc.Tenant()), after, limit)
}

// Template finds one by id.
func (r *Reader) Template(sc account.Scope, id string) (*campaign.Template, error) {
	return queryOne(r, scanTemplate, "SELECT "+templateColumns+" FROM templates WHERE tenant_id=$1 AND id=$2"+r.lock(), string(sc.Tenant()), id)
}

// TemplateByName finds one by its folded name.
func (r *Reader) TemplateByName(sc account.Scope, nameKey string) (*campaign.Template, error) {
	return queryOne(r, scanTemplate, "SELECT "+templateColumns+" FROM templates WHERE tenant_id=$1 AND name_key=$2"+r.lock(), string(sc.Tenant()), nameKey)
}

// InsertTemplate stores a new one; a taken name is a conflict on templates_by_name.
func (tx *Tx) InsertTemplate(sc account.Scope, t *campaign.Template, nameKey string) error {
	_, err := tx.exec(`INSERT INTO templates (tenant_id, id, name, name_key, subject, html, text, version, created_at, updated_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10)`,
		string(sc.Tenant()), t.ID, t.Name, nameKey, t.Subject, t.HTML, t.Text, t.Version, micros(t.CreatedAt), micros(t.UpdatedAt))
	return err
}

// UpdateTemplate stores the new state of a template read in this transaction.
func (tx *Tx) UpdateTemplate(sc account.Scope, t *campaign.Template, nameKey string) error {
	n, err := tx.exec(`UPDATE templates SET name=$3, name_key=$4, subject=$5, html=$6, text=$7, version=$8, updated_at=$9 WHERE tenant_id=$1 AND id=$2`,
		string(sc.Tenant()), t.ID, t.Name, nameKey, t.Subject, t.HTML, t.Text, t.Version, micros(t.UpdatedAt))
	return one(n, err)
}

// DeleteTemplate removes one.
func (tx *Tx) DeleteTemplate(sc account.Scope, id string) error {
	n, err := tx.exec(`DELETE FROM templates WHERE tenant_id=$1 AND id=$2`, string(sc.Tenant()), id)
	return one(n, err)
}

// one turns "no row was changed" into ErrNotFound.
func one(n int64, err error) error {
	if err == nil && n == 0 {
		return ErrNotFound
	}
	return err
}
