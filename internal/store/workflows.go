package store

import (
	"encoding/json"

	"leadloom/internal/account"
	"leadloom/internal/workflow"
)

const workflowColumns = "id, name, status, version, revision, position, layout, created_by, created_at, updated_at, deleted_at"

func scanWorkflow(r row) (*workflow.Workflow, error) {
	var w workflow.Workflow
	var layout string
	var created, updated, deleted int64
	if err := r.Scan(&w.ID, &w.Name, &w.Status, &w.Version, &w.Revision, &w.Position, &layout, &w.CreatedBy, &created, &updated, &deleted); err != nil {
		return nil, err
	}
	if layout != "" {
		w.Layout = json.RawMessage(layout)
	}
	w.CreatedAt, w.UpdatedAt, w.DeletedAt = fromMicros(created), fromMicros(updated), fromMicros(deleted)
	return &w, nil
}

// Workflow reads one by id, a deleted one too: the caller decides what that means. In a Tx the row is locked.
func (r *Reader) Workflow(sc account.Scope, id workflow.ID) (*workflow.Workflow, error) {
	return queryOne(r, scanWorkflow, "SELECT "+workflowColumns+" FROM workflows WHERE tenant_id=$1 AND id=$2"+r.lock(), string(sc.Tenant()), string(id))
}

// workflowsList is served by workflows_live.
const workflowsList = "SELECT " + workflowColumns + " FROM workflows WHERE tenant_id=$1 AND deleted_at=0 AND (position, id) > ($2, $3) ORDER BY position, id LIMIT $4"

// Workflows lists the live ones by position, after the given position and id.
func (r *Reader) Workflows(sc account.Scope, afterPosition int64, afterID workflow.ID, limit int) ([]*workflow.Workflow, error) {
	return queryAll(r, scanWorkflow, workflowsList, string(sc.Tenant()), afterPosition, string(afterID), limit)
}

// CountWorkflows counts the live ones.
func (r *Reader) CountWorkflows(sc account.Scope) (int64, error) {
	return queryOne(r, scanInt, "SELECT COUNT(*) FROM workflows WHERE tenant_id=$1 AND deleted_at=0", string(sc.Tenant()))
}

// InsertWorkflow stores a new one behind all others, without its version.
func (tx *Tx) InsertWorkflow(sc account.Scope, w *workflow.Workflow) error {
	w.Revision, w.CreatedAt, w.UpdatedAt = 1, tx.now, tx.now
	position, err := queryOne(tx.Reader, scanInt, "SELECT COALESCE(MAX(position),0)+1 FROM workflows WHERE tenant_id=$1 AND deleted_at=0", string(sc.Tenant()))
	if err != nil {
		return err
	}
	w.Position = position
	_, err = tx.exec("INSERT INTO workflows (tenant_id, "+workflowColumns+") VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12)",
		string(sc.Tenant()), string(w.ID), w.Name, string(w.Status), w.Version, w.Revision, w.Position, string(w.Layout), w.CreatedBy, micros(w.CreatedAt), micros(w.UpdatedAt), int64(0))
	return err
}

// UpdateWorkflow stores name, status, version, layout and deletion of a row that was read in this transaction; its
// revision grows by one.
func (tx *Tx) UpdateWorkflow(sc account.Scope, w *workflow.Workflow) error {
	n, err := tx.exec(`UPDATE workflows SET name=$1, status=$2, version=$3, revision=revision+1, layout=$4, updated_at=$5, deleted_at=$6
		WHERE tenant_id=$7 AND id=$8 AND revision=$9`,
		w.Name, string(w.Status), w.Version, string(w.Layout), micros(tx.now), micros(w.DeletedAt), string(sc.Tenant()), string(w.ID), w.Revision)
	if err == nil && n == 0 {
		return ErrNotFound
	}
	w.Revision++
	w.UpdatedAt = tx.now
	return err
}

// InsertWorkflowVersion stores an immutable version.
func (tx *Tx) InsertWorkflowVersion(sc account.Scope, id workflow.ID, version int64, definition json.RawMessage, digest, author string) error {
	_, err := tx.exec("INSERT INTO workflow_versions (tenant_id, workflow_id, version, definition, digest, author_id, created_at) VALUES ($1,$2,$3,$4,$5,$6,$7)",
		string(sc.Tenant()), string(id), version, string(definition), digest, author, micros(tx.now))
	return err
}

// WorkflowDefinition is the stored text of a version, with its digest.
func (r *Reader) WorkflowDefinition(sc account.Scope, id workflow.ID, version int64) (definition json.RawMessage, digest string, err error) {
	type stored struct{ definition, digest string }
	s, err := queryOne(r, func(r row) (s stored, err error) { err = r.Scan(&s.definition, &s.digest); return },
		"SELECT definition, digest FROM workflow_versions WHERE tenant_id=$1 AND workflow_id=$2 AND version=$3", string(sc.Tenant()), string(id), version)
	return json.RawMessage(s.definition), s.digest, err
}

// Published is a live workflow with the text of its published version.
type Published struct {
	Workflow   *workflow.Workflow
	Definition json.RawMessage
}

// publishedWorkflows reads every live workflow with its definition, for the cache of rules.
const publishedWorkflows = `SELECT w.id, w.name, w.status, w.version, w.revision, w.position, w.layout, w.created_by, w.created_at, w.updated_at, w.deleted_at, v.definition
	FROM workflows w JOIN workflow_versions v ON v.tenant_id=w.tenant_id AND v.workflow_id=w.id AND v.version=w.version
	WHERE w.tenant_id=$1 AND w.deleted_at=0 ORDER BY w.position, w.id`

// PublishedWorkflows lists all live workflows with their definitions by position.
func (r *Reader) PublishedWorkflows(sc account.Scope) ([]Published, error) {
	return queryAll(r, func(r row) (Published, error) {
		var p Published
		var definition string
		w, err := scanWorkflow(scanMore{r, []any{&definition}})
		p.Workflow, p.Definition = w, json.RawMessage(definition)
		return p, err
	}, publishedWorkflows, string(sc.Tenant()))
}

// scanMore scans further columns behind those of a scan function.
type scanMore struct {
	row
	more []any
}

// Scan implements row.
func (s scanMore) Scan(dest ...any) error { return s.row.Scan(append(dest, s.more...)...) }
