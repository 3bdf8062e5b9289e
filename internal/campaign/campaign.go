package campaign

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"
)

// ID names a campaign within its tenant.
type ID string

// Kind is how a campaign sends.
type Kind string

// Broadcast is one message to each recipient.
const Broadcast Kind = "broadcast"

// Campaign is audience + content + schedule.
type Campaign struct {
	ID          ID
	Name        string
	Kind        Kind
	State       State
	Hold        string    // why nothing moves though the state says so: a Hold constant; empty: nothing holds it
	HoldText    string    // the relay's words or a sentence
	HoldSince   time.Time // since when
	Topic       string
	Audience    Audience
	Content     Content
	From        string // empty: the configured sender
	ReplyTo     string
	ScheduledAt time.Time // zero while it is a draft
	PerMinute   int64     // most messages handed over a minute; 0: no limit
	Missing     Missing
	Prepared    string // how far the audience is frozen; empty: not begun; PreparedAll when it is complete
	Version     int64
	CreatedAt   time.Time
	UpdatedAt   time.Time
	StartedAt   time.Time
	FinishedAt  time.Time
}

// PreparedAll is Campaign.Prepared once every recipient has its row.
const PreparedAll = "done"

// What holds a campaign.
const (
	HoldMissed  = "scheduled_missed"  // its time passed while the server was down: a person decides
	HoldRelay   = "waiting_for_relay" // the relay is in trouble
	HoldNoRelay = "no_relay"          // none is configured
)

// MissedGrace is how late a schedule may start by itself.
const MissedGrace = time.Hour

// Missing is what to do with a recipient who lacks a merge value that has no default.
type Missing string

// The choices for missing values.
const (
	MissingEmpty Missing = "empty" // send with nothing in its place
	MissingSkip  Missing = "skip"  // leave the recipient out, with the reason
)

// Content is what is sent. Template gives whatever is empty here at the moment of preparing.
type Content struct {
	Template string `json:"template_id,omitempty"`
	Subject  string `json:"subject,omitempty"`
	HTML     string `json:"html,omitempty"`
	Text     string `json:"text,omitempty"`
}

// Person is a recipient named by address; a lead is found or made for it when the audience is frozen.
type Person struct {
	Email     string `json:"email"`
	FirstName string `json:"first_name,omitempty"`
	LastName  string `json:"last_name,omitempty"`
}

// Audience says who is meant: people by address, leads by id, and leads that match every filter given. Exclusions win.
type Audience struct {
	Recipients  []Person        `json:"recipients,omitempty"` // all of them in an input; stored: none when there are more than MaxShown
	LeadIDs     []string        `json:"lead_ids,omitempty"`   // the same
	People      int             `json:"people,omitempty"`     // how many recipients are named
	Leads       int             `json:"leads,omitempty"`      // how many lead ids
	PeopleSum   string          `json:"people_sum,omitempty"` // digest of the list when it is left out
	LeadsSum    string          `json:"leads_sum,omitempty"`
	All         bool            `json:"all,omitempty"`       // every lead: the filters below may still narrow it
	Tags        []string        `json:"tags,omitempty"`      // has any of them
	Statuses    []string        `json:"statuses,omitempty"`  // is one of them
	Condition   json.RawMessage `json:"condition,omitempty"` // behaviours 2.3
	ExcludeTags []string        `json:"exclude_tags,omitempty"`
}

// Limits of the lists in an audience.
const (
	MaxNamed = 50_000 // recipients and lead ids in one campaign
	MaxShown = 20     // of each that are kept beside the campaign
)

// Cut leaves long lists out: every message that is handed over looks at its campaign.
func (a Audience) Cut() Audience {
	if len(a.Recipients) > 0 {
		a.PeopleSum = ""
	}
	if len(a.LeadIDs) > 0 {
		a.LeadsSum = ""
	}
	if len(a.Recipients) > MaxShown {
		a.PeopleSum, a.Recipients = digest(a.Recipients), nil
	}
	if len(a.LeadIDs) > MaxShown {
		a.LeadsSum, a.LeadIDs = digest(a.LeadIDs), nil
	}
	return a
}

func digest[T any](list []T) string {
	h := sha256.New()
	_ = json.NewEncoder(h).Encode(list) // texts only, into a hash: neither fails
	return hex.EncodeToString(h.Sum(nil)[:8])
}

// Filters reports whether leads are chosen by what they are, not only by name.
func (a Audience) Filters() bool {
	return a.All || len(a.Tags) > 0 || len(a.Statuses) > 0 || len(a.Condition) > 0
}

// Empty reports that nobody is meant.
func (a Audience) Empty() bool { return !a.Filters() && a.People == 0 && a.Leads == 0 }
