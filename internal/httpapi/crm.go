package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/outbound"
	"leadloom/internal/secret"
	"leadloom/internal/service"
	"leadloom/internal/store"
)

// crm registers the routes that old clients know; connections.go has the newer ones.
func (a *API) crm() {
	register(a, Route{Method: "POST", Path: "/api/crm/config", ID: "configure-crm", Tag: "CRM", Summary: "Configure the connection to a CRM",
		Description: "Creates or changes the tenant's connection of that kind. Secrets are write-only. An address that may not be called is stored switched off, with a warning.",
		Permission:  account.CRMConfig, MaxBody: 256 << 10}, a.configureCRM)
	register(a, Route{Method: "GET", Path: "/api/crm/status", ID: "crm-status", Tag: "CRM", Summary: "The last known state of the CRM connection",
		Permission: account.CRMRead}, a.crmStatus)
	register(a, Route{Method: "POST", Path: "/api/crm/{crm}/sync", ID: "sync-crm", Tag: "CRM", Summary: "Send leads to a CRM now",
		Description: "crm is a kind or a connection's id. Without lead_id, lead_ids or filter every lead is checked and sent if it differs.", Permission: account.CRMSync, MaxBody: 1 << 20}, a.syncCRM)
	register(a, Route{Method: "GET", Path: "/api/crm/salesforce/lead/{id}", ID: "get-salesforce-lead", Tag: "CRM", Summary: "A lead's Salesforce record as last sent",
		Permission: account.CRMRead}, a.leadIn(connector.Salesforce))
	register(a, Route{Method: "GET", Path: "/api/crm/hubspot/contact/{id}", ID: "get-hubspot-contact", Tag: "CRM", Summary: "A lead's HubSpot contact as last sent",
		Permission: account.CRMRead}, a.leadIn(connector.HubSpot))
	a.connectionRoutes()
}

type configureCRMInput struct {
	Body struct {
		_              struct{}        `json:"-" additionalProperties:"true"`
		CRMType        string          `json:"crm_type" doc:"salesforce, hubspot, pipedrive, zoho, dynamics, airtable, google_sheets or generic."`
		Name           *string         `json:"name,omitempty" doc:"Tells several connections of one kind apart; default \"default\"."`
		APIURL         *string         `json:"api_url,omitempty" doc:"Absent or null keeps the stored one."`
		APIKey         *string         `json:"api_key,omitempty" doc:"Write-only. Sent credentials replace all stored ones; without any, the stored ones stay."`
		Authentication *map[string]any `json:"authentication,omitempty" doc:"Credentials (username, password, client_id, client_secret, webhook_secret) and settings (auth, token_url, headers, paths …)."`
		Mapping        *mappingBody    `json:"mapping,omitempty"`
	}
}

// mappingBody is {ours: theirs}, as old clients send it, or a list of field maps.
type mappingBody struct{ fields []crm.FieldMap }

// Schema says that both forms are welcome.
func (mappingBody) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Description: "An object {our field: their field}, or a list of field maps as in GET /api/connections/{id}.", Nullable: true}
}

// UnmarshalJSON accepts both forms.
func (m *mappingBody) UnmarshalJSON(b []byte) error {
	if strings.HasPrefix(strings.TrimSpace(string(b)), "[") {
		if err := json.Unmarshal(b, &m.fields); err != nil {
			return err
		}
		if len(m.fields) == 0 {
			m.fields = nil // as an empty object: it says nothing
		}
		return nil
	}
	plain := map[string]string{}
	if err := json.Unmarshal(b, &plain); err != nil {
		return err
	}
	if len(plain) > 0 {
		m.fields = crm.MappingFrom(plain)
	}
	return nil // an empty object says nothing
}

type configureCRMOutput struct {
	Location string `header:"Location"`
	ETag     string `header:"ETag"`
	Body     struct {
		Status       string    `json:"status"`
		CRMType      string    `json:"crm_type"`
		Message      string    `json:"message"`
		ConnectionID string    `json:"connection_id"`
		State        string    `json:"state"`
		Warnings     []string  `json:"warnings"`
		Timestamp    time.Time `json:"timestamp"`
	}
}

func (a *API) configureCRM(ctx context.Context, sc account.Scope, in *configureCRMInput) (*configureCRMOutput, error) {
	ci, ignored, err := connectionInput(in)
	if err != nil {
		return nil, err
	}
	v, err := a.Services.CRM.Configure(ctx, sc, ci)
	if err != nil {
		return nil, err
	}
	out := &configureCRMOutput{Location: "/api/connections/" + string(v.ID), ETag: etag(v.Version)}
	b := &out.Body
	b.Status, b.CRMType, b.ConnectionID, b.State, b.Timestamp = "configured", string(v.Type), string(v.ID), string(v.State), a.Now().UTC()
	b.Warnings = append([]string{}, v.Warnings...)
	if len(ignored) > 0 {
		b.Warnings = append(b.Warnings, "These parts of authentication are not known and were not stored: "+strings.Join(ignored, ", ")+".")
	}
	b.Message = "The CRM connection is configured."
	if !v.Enabled {
		b.Message = "The CRM connection is stored, but switched off: " + v.StateReason
	}
	return out, nil
}

// connectionInput reads what an old client sends; ignored names what of its authentication means nothing here.
func connectionInput(in *configureCRMInput) (out service.ConnectionInput, ignored []string, err error) {
	b := &in.Body
	out = service.ConnectionInput{Type: connector.Type(strings.ToLower(strings.TrimSpace(b.CRMType))), Name: service.DefaultConnectionName, APIURL: b.APIURL, Refusal: service.StoreDisabled}
	if b.Name != nil {
		out.Name = *b.Name
	}
	if b.Mapping != nil {
		out.Mapping = b.Mapping.fields
	}
	if b.Authentication != nil {
		if out.Settings, out.Secrets, ignored, err = splitAuthentication(*b.Authentication); err != nil {
			return out, nil, err
		}
	}
	if b.APIKey != nil {
		if out.Secrets == nil {
			out.Secrets = map[string]secret.Masked{}
		}
		out.Secrets["api_key"] = secret.Masked(*b.APIKey)
	}
	return out, ignored, nil
}

// authNames are what other programs call our ways of authorising.
var authNames = map[string]string{"api_key": "bearer", "apikey": "bearer", "token": "bearer", "access_token": "bearer", "oauth": "oauth2", "client_credentials": "oauth2"}

// splitAuthentication parts an old client's free object into secrets and settings; keys that are neither are ignored.
func splitAuthentication(m map[string]any) (*connector.Settings, map[string]secret.Masked, []string, error) {
	var secrets map[string]secret.Masked
	rest := map[string]any{}
	var ignored []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		v := m[k]
		switch s, ok := v.(string); {
		case k == "type" && m["auth"] == nil:
			rest["auth"] = v
		case service.IsSecretName(k) && ok:
			if secrets == nil {
				secrets = map[string]secret.Masked{}
			}
			secrets[k] = secret.Masked(s)
		case service.IsSecretName(k) && v != nil:
			return nil, nil, nil, fault.Invalid("authentication."+k, "not_a_text", "send a text")
		case connector.IsSetting(k):
			rest[k] = v
		case v != nil && len(ignored) < 20:
			ignored = append(ignored, outbound.Redact(k))
		}
	}
	if name, ok := rest["auth"].(string); ok {
		name = strings.ToLower(strings.TrimSpace(name))
		if known := authNames[name]; known != "" {
			name = known
		}
		rest["auth"] = name
	}
	if len(rest) == 0 {
		return nil, secrets, ignored, nil
	}
	text, err := json.Marshal(rest)
	if err != nil {
		return nil, nil, nil, fault.Malformed("malformed", "The authentication object cannot be read.")
	}
	var s connector.Settings
	if err := json.Unmarshal(text, &s); err != nil {
		var wrong *json.UnmarshalTypeError
		if path := "authentication"; errors.As(err, &wrong) {
			return nil, nil, nil, fault.Invalid(path+"."+wrong.Field, "wrong_type", "compare with the documentation: this setting has another JSON type")
		}
		return nil, nil, nil, fault.Invalid("authentication", "wrong_type", "a setting has the wrong JSON type: compare with the documentation")
	}
	return &s, secrets, ignored, nil
}

// ConnectionState is the last known state of a connection.
type ConnectionState struct {
	ID       string     `json:"id"`
	CRMType  string     `json:"crm_type"`
	Name     string     `json:"name"`
	Status   string     `json:"status"`
	State    string     `json:"state"`
	Code     string     `json:"code,omitempty"`
	Reason   string     `json:"reason,omitempty"`
	Until    *time.Time `json:"until,omitempty"`
	Account  string     `json:"account,omitempty"`
	Peer     string     `json:"peer_instance,omitempty"`
	TestedAt *time.Time `json:"tested_at,omitempty"`
	SyncedAt *time.Time `json:"last_synced_at,omitempty"`
}

type crmStatusOutput struct {
	Body struct {
		Status        string            `json:"status" enum:"connected,error,not_configured"`
		ConnectorType string            `json:"connector_type"`
		Timestamp     time.Time         `json:"timestamp"`
		State         string            `json:"state,omitempty"`
		Message       string            `json:"message,omitempty"`
		ConnectionID  string            `json:"connection_id,omitempty"`
		LastSyncedAt  *time.Time        `json:"last_synced_at,omitempty"`
		Connections   []ConnectionState `json:"connections"`
	}
}

func (a *API) crmStatus(ctx context.Context, sc account.Scope, _ *struct{}) (*crmStatusOutput, error) {
	s, err := a.Services.CRM.Status(ctx, sc)
	if err != nil {
		return nil, err
	}
	out := &crmStatusOutput{}
	b := &out.Body
	b.Status, b.Timestamp, b.Connections = "not_configured", a.Now().UTC(), []ConnectionState{}
	for _, c := range s.Connections {
		b.Connections = append(b.Connections, stateOfConnection(c))
	}
	if p := s.Primary; p != nil {
		st := stateOfConnection(p)
		b.Status, b.ConnectorType, b.State, b.Message, b.ConnectionID, b.LastSyncedAt = st.Status, st.CRMType, st.State, st.Reason, st.ID, st.SyncedAt
	}
	return out, nil
}

func stateOfConnection(c *crm.Connection) ConnectionState {
	s := ConnectionState{ID: string(c.ID), CRMType: string(c.Type), Name: c.Name, Status: "error", State: string(c.State), Code: c.StateCode, Reason: c.StateReason,
		Until: timeOrNil(c.StateUntil), Account: c.Account, Peer: c.Peer, TestedAt: timeOrNil(c.TestedAt), SyncedAt: timeOrNil(c.SyncedAt)}
	if c.Enabled && (c.State == crm.StateOK || c.State == crm.StateQuota) {
		s.Status = "connected"
	}
	return s
}

type syncCRMInput struct {
	CRM  string `path:"crm"`
	Body *struct {
		_       struct{}        `json:"-" additionalProperties:"true"`
		LeadID  *string         `json:"lead_id,omitempty"`
		LeadIDs *[]string       `json:"lead_ids,omitempty" maxItems:"1000"`
		Filter  *map[string]any `json:"filter,omitempty" doc:"source, status, tag, owner, email, q: as in GET /api/leads."`
	}
}

type syncCRMOutput struct {
	Body struct {
		Status        string    `json:"status"`
		CRMType       string    `json:"crm_type"`
		Message       string    `json:"message"`
		LeadID        string    `json:"lead_id,omitempty"`
		Queued        int       `json:"queued"`
		All           bool      `json:"all"`
		ConnectionIDs []string  `json:"connection_ids"`
		Timestamp     time.Time `json:"timestamp"`
	}
}

func (a *API) syncCRM(ctx context.Context, sc account.Scope, in *syncCRMInput) (*syncCRMOutput, error) {
	req, err := syncRequest(in)
	if err != nil {
		return nil, err
	}
	out := &syncCRMOutput{}
	if in.Body != nil && in.Body.LeadID != nil {
		out.Body.LeadID = *in.Body.LeadID
	}
	res, err := a.Services.CRM.Sync(ctx, sc, req)
	if err != nil {
		return nil, err
	}
	o := &out.Body
	o.Status, o.CRMType, o.Queued, o.All, o.Timestamp, o.ConnectionIDs = "queued", in.CRM, res.Marked, res.All, a.Now().UTC(), []string{}
	for _, id := range res.Connections {
		o.ConnectionIDs = append(o.ConnectionIDs, string(id))
	}
	o.Message = "The leads are queued and will be sent shortly."
	return out, nil
}

// syncRequest reads which leads are meant; a field that is there and empty names none.
func syncRequest(in *syncCRMInput) (service.SyncRequest, error) {
	req := service.SyncRequest{CRM: in.CRM}
	b := in.Body
	if b == nil || (b.LeadID == nil && b.LeadIDs == nil && b.Filter == nil) {
		req.All = true
		return req, nil
	}
	if b.LeadID != nil {
		if *b.LeadID == "" {
			return req, fault.Invalid("lead_id", "required", "send a lead's id, or leave the field out")
		}
		req.LeadIDs = append(req.LeadIDs, lead.ID(*b.LeadID))
	}
	if b.LeadIDs != nil {
		for _, id := range *b.LeadIDs {
			req.LeadIDs = append(req.LeadIDs, lead.ID(id))
		}
	}
	if b.Filter == nil {
		return req, nil
	}
	if len(req.LeadIDs) > 0 {
		return req, fault.Invalid("filter", "not_together", "send either ids or a filter")
	}
	var err error
	req.Filter, err = syncFilter(*b.Filter)
	return req, err
}

// syncFilter reads the filter of a sync; every wrong key at once.
func syncFilter(m map[string]any) (*store.LeadFilter, error) {
	f := &store.LeadFilter{}
	into := map[string]*string{"source": &f.Source, "status": &f.Status, "tag": &f.Tag, "owner": &f.Owner, "email": &f.Email, "q": &f.Q}
	var bad []fault.Field
	given := false
	for _, key := range slices.Sorted(maps.Keys(m)) {
		text, ok := m[key].(string)
		switch p := into[key]; {
		case p == nil:
			bad = append(bad, fault.Field{Path: "filter." + key, Code: "unknown_field", Message: "send source, status, tag, owner, email or q"})
		case m[key] == nil:
		case !ok || text == "" || len(text) > 500:
			bad = append(bad, fault.Field{Path: "filter." + key, Code: "not_a_text", Message: "send a text of 1 to 500 bytes"})
		default:
			*p, given = text, true
		}
	}
	if len(bad) == 0 && !given {
		bad = append(bad, fault.Field{Path: "filter", Code: "required", Message: "send at least one of source, status, tag, owner, email and q, or leave the filter out to sync every lead"})
	}
	return f, fault.InvalidFields(bad).OrNil()
}

type leadInInput struct {
	ID string `path:"id" doc:"A lead's id, or the record's id in the CRM."`
}

type leadInOutput struct {
	Body struct {
		ID            string         `json:"id"`
		LeadID        string         `json:"lead_id"`
		CRMType       string         `json:"crm_type"`
		ConnectionID  string         `json:"connection_id"`
		URL           string         `json:"url,omitempty"`
		State         string         `json:"state" enum:"synced,pending,problem"`
		Problem       string         `json:"problem,omitempty"`
		SyncedVersion int64          `json:"synced_version"`
		SyncedAt      time.Time      `json:"synced_at"`
		Data          map[string]any `json:"data"`
	}
}

func (a *API) leadIn(kind connector.Type) func(context.Context, account.Scope, *leadInInput) (*leadInOutput, error) {
	return func(ctx context.Context, sc account.Scope, in *leadInInput) (*leadInOutput, error) {
		l, err := a.Services.CRM.LeadIn(ctx, sc, kind, in.ID)
		if err != nil {
			return nil, err
		}
		out := &leadInOutput{}
		b := &out.Body
		b.ID, b.LeadID, b.CRMType, b.ConnectionID, b.URL = l.RemoteID, string(l.LeadID), string(l.Type), string(l.ConnectionID), l.RemoteURL
		b.SyncedVersion, b.SyncedAt, b.Data, b.State = l.SyncedVersion, l.SyncedAt.UTC(), l.Base, "synced"
		switch {
		case l.Problem != nil:
			b.State, b.Problem = "problem", l.Problem.Message
		case l.Pending:
			b.State = "pending"
		}
		return out, nil
	}
}
