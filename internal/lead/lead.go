// Package lead holds the rules of leads: what one is, how input is normalised and checked, what a change is and
// who is the same person. It does no I/O and knows no clock. Start with lead.go, then input.go.
package lead

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
)

// ID names a lead within its tenant.
type ID string

// Lead is a person, perhaps at a company, who may buy. Text is stored as typed; comparisons use the folded form.
type Lead struct {
	ID           ID
	ExternalID   string // the caller's own id of this person; the strongest identity
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

// Clone is a deep copy.
func (l *Lead) Clone() *Lead {
	c := *l
	c.Tags = slices.Clone(l.Tags)
	c.CustomFields = slices.Clone(l.CustomFields)
	return &c
}

// Live reports whether the lead is neither deleted nor merged away.
func (l *Lead) Live() bool { return l.DeletedAt.IsZero() && l.MergedInto == "" }

// HasTag compares folded.
func (l *Lead) HasTag(tag string) bool {
	f := Fold(tag)
	return slices.ContainsFunc(l.Tags, func(t string) bool { return Fold(t) == f })
}

// Value is a field by its API name; custom fields by "custom_fields.key". False for an unknown name. Text fields
// are strings, score and version int64, tags []string, times time.Time, custom values as decoded from JSON (nil
// when the lead has none).
func (l *Lead) Value(name string) (any, bool) {
	if key, ok := strings.CutPrefix(name, customPrefix); ok {
		return l.Custom()[key], true
	}
	if p := l.text(name); p != nil {
		return *p, true
	}
	switch name {
	case "id":
		return string(l.ID), true
	case "score":
		return l.Score, true
	case "version":
		return l.Version, true
	case "tags":
		return l.Tags, true
	case "phone_e164":
		return l.PhoneE164, true
	case "created_at":
		return l.CreatedAt, true
	case "updated_at":
		return l.UpdatedAt, true
	case "custom_fields":
		return l.Custom(), true
	}
	return nil, false
}

// text points at the text field of that API name, nil when there is none.
func (l *Lead) text(name string) *string {
	switch name {
	case "external_id":
		return &l.ExternalID
	case "first_name":
		return &l.FirstName
	case "last_name":
		return &l.LastName
	case "email":
		return &l.Email
	case "phone":
		return &l.Phone
	case "company":
		return &l.Company
	case "source":
		return &l.Source
	case "status":
		return &l.Status
	case "owner_id":
		return &l.OwnerID
	case "notes":
		return &l.Notes
	case "timezone":
		return &l.Timezone
	case "language":
		return &l.Language
	}
	return nil
}
