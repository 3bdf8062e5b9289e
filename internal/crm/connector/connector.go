package connector

import (
	"context"
	"net/http"
	"sync"
	"time"

	"leadloom/internal/outbound"
	"leadloom/internal/secret"
)

// MaxHops is how many servers of our kind a change may have passed and still be sent on.
const MaxHops = outbound.MaxHops - 1

// Type is a kind of CRM.
type Type string

// The kinds of CRM that a connection can have.
const (
	Salesforce   Type = "salesforce"
	HubSpot      Type = "hubspot"
	Pipedrive    Type = "pipedrive"
	Zoho         Type = "zoho"
	Dynamics     Type = "dynamics"
	Airtable     Type = "airtable"
	GoogleSheets Type = "google_sheets"
	Generic      Type = "generic"
)

// Types lists every kind in the order in which they are named to a person.
var Types = []Type{Salesforce, HubSpot, Pipedrive, Zoho, Dynamics, Airtable, GoogleSheets, Generic}

// Capabilities say what a kind of CRM can do at all; the conformance suite skips a test only by one of them.
type Capabilities struct {
	NativeBatch  bool // many records in one call
	NativeUpsert bool // create or update by our key in one call
	Describe     bool
	Changes      bool
	Webhooks     bool
	Merges       bool // records can be merged or converted remotely
	Picklists    bool
}

// Info is what a connector says of itself without a call.
type Info struct {
	Type      Type
	BatchSize int // records in one UpsertBatch
	Can       Capabilities
}

// Account is what a successful test learned.
type Account struct {
	Name string // as the CRM names it; empty when it does not say
	Peer string // the instance id, when the other side is another server of our kind
}

// FieldSpec is one field of the remote schema.
type FieldSpec struct {
	Name     string   `json:"name"`
	Type     string   `json:"type"`
	Required bool     `json:"required,omitempty"`
	Options  []string `json:"options,omitempty"`
	MaxLen   int      `json:"max_len,omitempty"`
}

// Schema is the remote object's fields; Known is false when the CRM does not tell.
type Schema struct {
	Known  bool
	Fields []FieldSpec
}

// Record is one lead as it goes out. Fields hold only strings, numbers, booleans and lists of strings.
type Record struct {
	Key            string // our lead id: the only upsert key
	Version        int64
	Fields         map[string]any
	IdempotencyKey string // the same after a crash
}

// Result is the verdict on one input record. Err is nil for success.
type Result struct {
	Key     string
	ID      string // remote id
	URL     string // where a person sees the record; empty when unknown
	Stamp   string // remote modification stamp, as sent
	Created bool
	Err     *Error
}

// RemoteRecord is a record as the CRM holds it.
type RemoteRecord struct {
	Key     string
	ID      string
	Stamp   string
	Deleted bool
	Fields  map[string]any
}

// Page is a page of remote changes; Cursor is empty after the last one.
type Page struct {
	Records []RemoteRecord
	Cursor  string
}

// Change is a hint of a webhook: fetch that record.
type Change struct {
	EventID string
	Key     string
	ID      string
}

// Connector talks to one account of one CRM. UpsertBatch answers one Result per input it has a verdict on, in any
// order; its error, if any, holds for every input without one. All errors are *Error.
type Connector interface {
	Info() Info
	Test(ctx context.Context) (Account, error)
	Describe(ctx context.Context) (Schema, error)
	UpsertBatch(ctx context.Context, records []Record) ([]Result, error)
	Fetch(ctx context.Context, keys []string) ([]RemoteRecord, error)
	Changes(ctx context.Context, since time.Time, cursor string) (Page, error)
	Forget(ctx context.Context, key string) error
	Webhook(h http.Header, body []byte) ([]Change, error)
}

// Env is what a connector is given.
type Env struct {
	Client   *outbound.Client
	Now      func() time.Time
	BaseURL  string
	Settings Settings
	Secrets  map[string]secret.Masked // api_key, username, password, client_id, client_secret, webhook_secret
	// Take asks the account's budget for one call; its error is an *Error of class Throttled or Quota. Nil means no
	// limit.
	Take   func(ctx context.Context) error
	Memory *Memory // kept as long as the connection is unchanged
	Hops   int     // of our servers behind the changes that are sent
}

// Memory is what a connector may remember between calls: losing it costs a call, never a record. It is safe for
// concurrent use.
type Memory struct {
	mu           sync.Mutex
	token        secret.Masked
	tokenUntil   time.Time
	noBatchUntil time.Time
}
