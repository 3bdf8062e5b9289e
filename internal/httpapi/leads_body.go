package httpapi

import (
	"encoding/json"
	"reflect"
	"strconv"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/store"
)

// leadBody decodes itself, once, so that wrong types are reported together with all other problems of the lead.
type leadBody struct {
	*lead.Input
	err error
}

// UnmarshalJSON never fails: what is wrong is the handler's to report.
func (b *leadBody) UnmarshalJSON(raw []byte) error {
	b.Input, b.err = lead.Decode(raw)
	return nil
}

// leadBodyDoc documents leadBody; unknown keys are ignored with a warning, for old clients.
type leadBodyDoc struct {
	_            struct{}       `additionalProperties:"true"`
	ExternalID   *string        `json:"external_id,omitempty" doc:"Your own id of this person; the strongest identity." example:"crm-4711"`
	FirstName    *string        `json:"first_name,omitempty" maxLength:"200" example:"Ada"`
	LastName     *string        `json:"last_name,omitempty" maxLength:"200" example:"Lovelace"`
	Email        *string        `json:"email,omitempty" maxLength:"254" example:"ada@example.com"`
	Phone        *string        `json:"phone,omitempty" maxLength:"40" example:"+44 20 7946 0958"`
	Company      *string        `json:"company,omitempty" maxLength:"200"`
	Source       *string        `json:"source,omitempty" maxLength:"200" example:"website"`
	Status       *string        `json:"status,omitempty" example:"new"`
	OwnerID      *string        `json:"owner_id,omitempty" doc:"The user who works the lead."`
	Notes        *string        `json:"notes,omitempty" maxLength:"10000"`
	Timezone     *string        `json:"timezone,omitempty" example:"Europe/London"`
	Language     *string        `json:"language,omitempty" example:"en-GB"`
	Tags         []string       `json:"tags,omitempty" maxItems:"100" doc:"Replaces all tags."`
	TagsAdd      []string       `json:"tags_add,omitempty"`
	TagsRemove   []string       `json:"tags_remove,omitempty"`
	CustomFields map[string]any `json:"custom_fields,omitempty" doc:"Merged key by key; keys are defined by /api/fields."`
}

// Schema implements huma.SchemaProvider.
func (leadBody) Schema(r huma.Registry) *huma.Schema {
	return r.Schema(reflect.TypeFor[leadBodyDoc](), true, "LeadInput")
}

// leadCursor reads where a list of leads goes on.
func (a *API) leadCursor(sc account.Scope, list, text string) (*store.LeadPosition, error) {
	p, err := a.cursors.decode(sc, list, a.Now(), text)
	if err != nil || p == nil {
		return nil, err
	}
	if len(p) != 3 {
		return nil, errBadCursor()
	}
	v, err := strconv.ParseInt(p[0], 10, 64)
	if err != nil {
		return nil, errBadCursor()
	}
	return &store.LeadPosition{Value: v, ID: lead.ID(p[1]), Owner: p[2]}, nil
}

// nextLeads is the cursor after a page's last lead.
func (a *API) nextLeads(sc account.Scope, list string, p store.LeadPosition) *string {
	next := a.cursors.encode(sc, list, a.Now(), strconv.FormatInt(p.Value, 10), string(p.ID), p.Owner)
	return &next
}

// idCursor reads the id after which a list by id goes on.
func (a *API) idCursor(sc account.Scope, list, text string) (string, error) {
	p, err := a.cursors.decode(sc, list, a.Now(), text)
	if err != nil || p == nil {
		return "", err
	}
	if len(p) != 1 {
		return "", errBadCursor()
	}
	return p[0], nil
}

// nextID is the cursor after id when a page is full, else nil.
func (a *API) nextID(sc account.Scope, list string, full bool, id func() string) *string {
	if !full {
		return nil
	}
	next := a.cursors.encode(sc, list, a.Now(), id())
	return &next
}

func errBadCursor() error {
	return fault.Invalid("cursor", "bad_cursor", "Send next_cursor of the last reply unchanged, or none to start again.")
}

var _ json.Unmarshaler = (*leadBody)(nil)
