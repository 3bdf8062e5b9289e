package campaign

import "time"

// RowState is how one recipient or message ended, or that it has not yet.
type RowState string

// The states of a ledger row; all but RowPending are final, RowUnknown until a person decides.
const (
	RowPending RowState = "pending"
	RowSent    RowState = "sent"
	RowSkipped RowState = "skipped"
	RowFailed  RowState = "failed"
	RowUnknown RowState = "unknown"
)

// RowStates in the order in which they are shown.
var RowStates = []RowState{RowPending, RowSent, RowSkipped, RowFailed, RowUnknown}

// Reasons of ledger rows (behaviours 3.12, first table).
const (
	ReasonAccepted     = "accepted"    // sent: the relay took it
	ReasonSuppressed   = "suppressed:" // + Suppression.Kind
	ReasonInvalid      = "invalid_address"
	ReasonNoAddress    = "no_address"
	ReasonDuplicate    = "duplicate_address"
	ReasonCancelled    = "cancelled"
	ReasonExcluded     = "excluded"
	ReasonMissing      = "missing_value"
	ReasonLeadGone     = "lead_gone"
	ReasonHard         = "rejected_hard"
	ReasonBlock        = "rejected_block"
	ReasonSoft         = "soft_exhausted"
	ReasonRender       = "render_error"
	ReasonTooLarge     = "too_large"
	ReasonRefused      = "relay_refused"
	ReasonCutOff       = "cut_off"       // unknown: the dialogue or this server ended in the middle
	ReasonRetry        = "soft_deferred" // pending: the relay asked to come back
	ReasonWaitsRelay   = HoldRelay
	ReasonWaitsNoRelay = HoldNoRelay
)

// Stage is how far a pending message has got.
type Stage string

// The stages: a Claimed one has not met the relay, an Open one may have.
const (
	StageWaiting Stage = ""
	StageClaimed Stage = "claimed"
	StageOpen    Stage = "open"
)

// Recipient is one lead and address in a campaign.
type Recipient struct {
	ID         string
	CampaignID ID
	LeadID     string
	Address    string // "name@domain"; empty when the lead has none
	Name       string
	State      RowState
	Reason     string
	Detail     string // the relay's words or a sentence
	MessageID  string // of the messages row; empty when none was made
	CreatedAt  time.Time
	UpdatedAt  time.Time
}

// Message is one e-mail in the ledger.
type Message struct {
	ID          string
	HeaderID    string // Message-ID without angle brackets
	Kind        string // mail.Kind
	CampaignID  ID
	RecipientID string
	LeadID      string
	StepKey     string // of the workflow step that waits for it
	ToName      string
	Address     string
	From        string
	ReplyTo     string
	Subject     string
	HTML        string
	Text        string
	Auto        bool
	State       RowState
	Reason      string
	Detail      string
	Stage       Stage
	Claim       string // who works on it
	ClaimUntil  time.Time
	Attempts    int64
	DueAt       time.Time
	QueuedAt    time.Time
	FinalAt     time.Time
	SMTPCode    int64
	Enhanced    string
	Size        int64
}

// Suppression is an address that must not be written to.
type Suppression struct {
	Address string    `json:"address"`
	Kind    string    `json:"kind"` // a Suppress constant
	Reason  string    `json:"reason"`
	At      time.Time `json:"at"`
	Until   time.Time `json:"until,omitzero"` // zero: for good
}

// The kinds of suppression.
const (
	SuppressUnsubscribed = "unsubscribed"
	SuppressHard         = "hard_bounce"
	SuppressComplaint    = "complaint"
	SuppressManual       = "manual"
	SuppressInvalid      = "invalid"
	SuppressErased       = "erased"
)

// Holds reports whether the suppression stops a message: a transactional one is held back by hard bounces, invalid
// addresses and erasure only.
func (s Suppression) Holds(transactional bool, now time.Time) bool {
	if !s.Until.IsZero() && !s.Until.After(now) {
		return false
	}
	if !transactional {
		return true
	}
	return s.Kind == SuppressHard || s.Kind == SuppressErased || s.Kind == SuppressInvalid
}

// Template is a stored subject and body in Liquid.
type Template struct {
	ID        string
	Name      string
	Subject   string
	HTML      string
	Text      string
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// SoftLimit is how long a message that is deferred again and again stays pending, from its first deferral on.
const SoftLimit = 72 * time.Hour

// RetryAfter is the pause after the n-th deferral (1 for the first): 1 min, doubling, 4 h at most.
func RetryAfter(n int64) time.Duration {
	return min(time.Minute<<min(max(n-1, 0), 10), 4*time.Hour)
}

// Exhausted reports that a message which was deferred n times has used up SoftLimit. It counts the pauses, not the
// age: a message that waited for its campaign or for a relay has lost nothing.
func Exhausted(n int64) bool {
	var waited time.Duration
	for i := int64(1); i <= n && waited <= SoftLimit; i++ {
		waited += RetryAfter(i)
	}
	return waited > SoftLimit
}
