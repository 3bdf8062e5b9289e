package crm

import (
	"time"

	"leadloom/internal/crm/connector"
	"leadloom/internal/lead"
)

// ConnectionID names a connection within its tenant.
type ConnectionID string

// State is the last known state of a connection.
type State string

// The states of a connection.
const (
	StateOK        State = "ok"
	StateDegraded  State = "degraded"     // failing for now, or not tested yet; tried again by itself
	StateQuota     State = "paused_quota" // until its quota is renewed
	StateReauth    State = "needs_reauth" // until a person renews the credentials
	StateConfig    State = "config_error" // until a person changes the connection or the CRM
	StateSelfLoop  State = "refused_self_loop"
	StatePaused    State = "paused" // by a person
	CodeNotTested        = "not_tested"
	CodeNoSuchKind       = "kind_not_available"
)

// Connection is one account of one CRM. Credentials are sealed; the hint is the last characters of the API key.
type Connection struct {
	ID                ConnectionID
	Type              connector.Type
	Name              string
	APIURL            string
	Settings          connector.Settings
	Credentials       []byte
	CredentialsDigest string
	CredentialsHint   string
	Enabled           bool // changes of leads are marked for it
	State             State
	StateCode         string
	StateReason       string
	StateUntil        time.Time // not before this is it tried again; zero for at once
	Failures          int64     // whole calls that failed in a row
	MappingVersion    int64
	QuotaKey          string
	SchemaHash        string
	Account           string
	Peer              string
	MarkedThrough     *string // the last lead the first marking has reached; nil when it is complete
	Version           int64
	CreatedAt         time.Time
	UpdatedAt         time.Time
	SavedAt           time.Time // when a person last configured it
	TestedAt          time.Time
	SyncedAt          time.Time
}

// Sends reports whether the connection may be called at all, sooner or later.
func (c *Connection) Sends() bool {
	return c.Enabled && (c.State == StateOK || c.State == StateDegraded || c.State == StateQuota)
}

// Ready reports whether it may be called now.
func (c *Connection) Ready(now time.Time) bool { return c.Sends() && !c.StateUntil.After(now) }

// Dirty is a lead that a connection must be sent.
type Dirty struct {
	LeadID      lead.ID
	LeadVersion int64
	Reason      string
	Forced      bool // a person asked: send it even when nothing seems to have changed
	Hops        int
	NotBefore   time.Time
	Attempts    int64
	MarkedAt    time.Time
}

// Link ties a lead to its record in one connection. Base is what both sides last agreed on, by remote field.
type Link struct {
	ConnectionID   ConnectionID
	LeadID         lead.ID
	RemoteID       string
	RemoteURL      string
	RemoteStamp    string
	SyncedVersion  int64
	MappingVersion int64
	Base           map[string]any
	SentHash       string
	SyncedAt       time.Time
}

// ProblemID names a problem within its tenant.
type ProblemID string

// ProblemState is how a problem stands.
type ProblemState string

// The states of a problem: open ones wait for a cause to try again, the others are history.
const (
	ProblemOpen     ProblemState = "open"
	ProblemRetried  ProblemState = "retried"
	ProblemResolved ProblemState = "resolved"
)

// The causes that turn a problem back into a dirty row.
const (
	RetryLead    = "lead_changed"
	RetryMapping = "mapping_changed"
	RetrySchema  = "schema_changed"
	RetryManual  = "manual"
)

// Problem is a lead that a CRM refused, with the CRM's words.
type Problem struct {
	ID             ProblemID
	ConnectionID   ConnectionID
	LeadID         lead.ID
	State          ProblemState
	Class          connector.Class
	Code           string
	Field          string
	Message        string
	LeadVersion    int64
	MappingVersion int64
	Attempts       int64
	RetryOn        []string
	CreatedAt      time.Time
	LastAt         time.Time
	ResolvedAt     time.Time
}

// MaxAttempts is how often one lead is tried without a clear answer (about three hours) before a person is told.
const MaxAttempts = 20

// RetryCauses says what may end a problem of that class.
func RetryCauses(c connector.Class) []string {
	if c == connector.ClassGone || c == connector.ClassMoved {
		return []string{RetryManual}
	}
	return []string{RetryLead, RetryMapping, RetrySchema, RetryManual}
}

// Advice says what a person can do about a problem of that class.
func Advice(c connector.Class) string {
	switch c {
	case connector.ClassGone:
		return "The record was deleted in the CRM. Restore it there and retry, or set what happens to deleted records (on_gone) in the connection."
	case connector.ClassMoved:
		return "The record was merged in the CRM. Merge the leads here too, then retry."
	case connector.ClassAmbiguous, connector.ClassRetry:
		return "The CRM gave no clear answer many times. Look for the record there, then retry."
	}
	return "Change the lead, or the connection's mapping: then it is sent again by itself. Retry when the CRM was changed instead."
}

// Waiter is a workflow step that waits for a lead to be in step with a connection.
type Waiter struct {
	ConnectionID ConnectionID
	LeadID       lead.ID
	Step         string // workflow.StepRef.Key
	Failed       string // what failed in another connection of the same step
}
