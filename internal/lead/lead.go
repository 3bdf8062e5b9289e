// Package lead holds the rules of leads: what one is, how input is normalised and checked, what a change is and
// who is the same person. It does no I/O and knows no clock. Start with lead.go, then input.go.
package lead

import (
	"encoding/json"
	"time"
)

// ID names a lead within its tenant.
type ID string

// Lead is a person, perhaps at a company, who may buy. Text is stored as typed; comparisons use the folded form.
type Lead struct {
	ID           ID
	FirstName    string
	LastName     string
	Email        string // as typed, domain in ASCII lower case
	Phone        string // as typed
	PhoneE164    string // empty when Phone could not be parsed
	Company      string
	Source       string
	Status       string
	Score        int64 // the sum of the score ledger
	OwnerID      string
	Tags         []string        // in the order they were added
	CustomFields json.RawMessage // a JSON object, canonical (keys sorted); "{}" when empty
	Notes        string
	Timezone     string
	Language     string
	Version      int64 // grows by one per effective change; the basis of ETag
	CreatedAt    time.Time
	UpdatedAt    time.Time
	DeletedAt    time.Time // zero while the lead is live
	MergedInto   ID        // the survivor, when this lead was merged away
}

// Custom decodes the custom fields; numbers stay json.Number so that large ones survive.
func (l *Lead) Custom() map[string]any { return decodeObject(l.CustomFields) }
