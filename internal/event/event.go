// Package event defines the immutable facts that are at once a lead's timeline, the audit trail and the source of
// triggers. It does no I/O.
package event

import (
	"encoding/json"
	"time"

	"leadloom/internal/account"
)

// Type is what happened, noun.verb in the past tense (behaviours 2.2).
type Type string

// Event types that exist so far.
const (
	LeadCreated       Type = "lead.created"
	LeadUpdated       Type = "lead.updated"
	LeadStatusChanged Type = "lead.status_changed"
	LeadOwnerChanged  Type = "lead.owner_changed"
	LeadTagged        Type = "lead.tagged"
	LeadUntagged      Type = "lead.untagged"
	LeadMerged        Type = "lead.merged"
	LeadDeleted       Type = "lead.deleted"
	LeadRestored      Type = "lead.restored"
	DuplicateSuspect  Type = "duplicate.suspected"
	ScoreChanged      Type = "score.changed"
	NoteAdded         Type = "note.added"
	NoteEdited        Type = "note.edited"
	NoteDeleted       Type = "note.deleted"
	TaskCreated       Type = "task.created"
	TaskDone          Type = "task.done"
	TaskChanged       Type = "task.changed"
	EmailSent         Type = "email.sent"
	EmailFailed       Type = "email.failed"
	EmailSkipped      Type = "email.skipped"
	EmailUnknown      Type = "email.unknown" // cut off in the dialogue: the relay may have it
	EmailBounced      Type = "email.bounced"
	EmailDelivered    Type = "email.delivered"
	EmailOpened       Type = "email.opened"
	EmailClicked      Type = "email.clicked"
	EmailReplied      Type = "email.replied"
	EmailComplained   Type = "email.complained"
	EmailUnsubscribed Type = "email.unsubscribed"
	EmailConverted    Type = "email.converted"
	SuppressionAdded  Type = "suppression.added"
	SuppressionEnded  Type = "suppression.removed"
	TemplateSaved     Type = "template.saved"
	TemplateDeleted   Type = "template.deleted"
	RunStarted        Type = "run.started"
	RunStepDone       Type = "run.step_done"
	RunWaiting        Type = "run.waiting"
	RunParked         Type = "run.parked"
	RunFinished       Type = "run.finished"
	RunCancelled      Type = "run.cancelled"
	WorkflowCreated   Type = "workflow.created"
	WorkflowPublished Type = "workflow.published"
	WorkflowPaused    Type = "workflow.paused"
	WorkflowResumed   Type = "workflow.resumed"
	WorkflowDeleted   Type = "workflow.deleted"
	CampaignCreated   Type = "campaign.created"
	CampaignUpdated   Type = "campaign.updated"
	CampaignState     Type = "campaign.state_changed"
	CampaignDeleted   Type = "campaign.deleted"
	CRMPushed         Type = "crm.pushed"
	CRMProblem        Type = "crm.problem"
	ConnectionState   Type = "connection.state_changed"
	ConnectionSaved   Type = "connection.saved"
	ConnectionRemoved Type = "connection.removed"
	UserLogin         Type = "user.login"
	UserLoginFailed   Type = "user.login_failed"
	UserLogout        Type = "user.logout"
	UserCreated       Type = "user.created"
	UserActivated     Type = "user.activated"
	UserDeactivated   Type = "user.deactivated"
	PasswordChanged   Type = "user.password_changed"
	RoleChanged       Type = "role.changed"
	KeyCreated        Type = "key.created"
	KeyRevoked        Type = "key.revoked"
	TenantCreated     Type = "tenant.created"
	TenantPlanChanged Type = "tenant.plan_changed"
	SettingChanged    Type = "setting.changed"
	FieldDefined      Type = "field.defined"
	FieldRemoved      Type = "field.removed"
	ExportMade        Type = "export.made"
	BackupMade        Type = "backup.made"
)

// Change is a field's value before and after.
type Change struct {
	From any `json:"from"`
	To   any `json:"to"`
}

// Event is one fact. Changes and Data hold no secret. CommitOrder is set by the store.
type Event struct {
	ID      string            `json:"id"`
	At      time.Time         `json:"at"`
	Type    Type              `json:"type"`
	LeadID  string            `json:"lead_id,omitempty"`
	Subject string            `json:"subject_id,omitempty"` // the object it is about when that is no lead: user, key, workflow, run …
	Actor   account.Actor     `json:"actor"`
	Cause   account.Cause     `json:"cause"`
	Data    json.RawMessage   `json:"data,omitempty"`
	Changes map[string]Change `json:"changes,omitempty"`
	Request string            `json:"request_id,omitempty"`
}
