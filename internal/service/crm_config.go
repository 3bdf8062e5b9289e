package service

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/outbound"
	"leadloom/internal/queue"
	"leadloom/internal/secret"
	"leadloom/internal/store"
)

// OnRefusal says what a save does with an address that may not be called.
type OnRefusal int

// The new routes refuse it; the old one stores the connection switched off, with a warning, because old clients test
// for its 200.
const (
	Refuse OnRefusal = iota
	StoreDisabled
)

// DefaultConnectionName is the name of the one connection per kind that the old route configures.
const DefaultConnectionName = "default"

// ConnectionInput is what a person says of a connection. Nil fields keep what is stored.
type ConnectionInput struct {
	Type     connector.Type
	Name     string
	APIURL   *string
	Settings *connector.Settings
	Secrets  map[string]secret.Masked
	Mapping  []crm.FieldMap
	Refusal  OnRefusal
}

// secretNames are the credentials a connection can have.
var secretNames = []string{"api_key", "username", "password", "client_id", "client_secret", "webhook_secret"}

// Configure creates or changes the connection of a kind and name. Unchanged input writes nothing.
func (m *CRM) Configure(ctx context.Context, sc account.Scope, in ConnectionInput) (*ConnectionView, error) {
	if err := m.checkInput(&in); err != nil {
		return nil, err
	}
	if sc.Idempotency == nil {
		r := m.st.Read(ctx)
		all, err := m.connections(r, sc)
		if err != nil {
			return nil, err
		}
		if con := all.find(in.Type, in.Name); con != nil {
			if next, err := m.apply(sc, con, all.maps[con.ID].Fields, in); err == nil && !next.changed {
				m.crm.put(sc.Tenant(), all)
				return &ConnectionView{Connection: con, Mapping: all.maps[con.ID].Fields, Warnings: next.warnings}, nil
			}
		}
	}
	return write(ctx, m.core, sc, func(tx *store.Tx) (*ConnectionView, error) { return m.configure(tx, sc, in) })
}

func (t *tenantConnections) find(kind connector.Type, name string) *crm.Connection {
	for _, con := range t.list {
		if con.Type == kind && con.Name == name {
			return con
		}
	}
	return nil
}

// Change edits a connection by id.
func (m *CRM) Change(ctx context.Context, sc account.Scope, id crm.ConnectionID, match IfMatch, in ConnectionInput) (*ConnectionView, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (*ConnectionView, error) {
		con, err := tx.Connection(sc, id)
		if err != nil {
			return nil, notFound(err, "connection", string(id))
		}
		if !match.Holds(con.Version) {
			return nil, fault.Stale(nil)
		}
		in := in
		in.Type, in.Name = con.Type, con.Name
		if err := m.checkInput(&in); err != nil {
			return nil, err
		}
		return m.configure(tx, sc, in)
	})
}

// checkInput reports everything that is wrong with the input itself.
func (m *CRM) checkInput(in *ConnectionInput) error {
	var bad []fault.Field
	if !connector.Known(in.Type) {
		names := make([]string, len(connector.Types))
		for i, t := range connector.Types {
			names[i] = string(t)
		}
		bad = append(bad, fault.Field{Path: "crm_type", Code: "unknown_value", Message: "send one of " + strings.Join(names, ", ")})
	}
	if in.Name == "" || utf8.RuneCountInString(in.Name) > 100 {
		bad = append(bad, fault.Field{Path: "name", Code: "out_of_range", Message: "send a name of 1 to 100 characters"})
	}
	if in.APIURL != nil {
		u, err := url.Parse(strings.TrimSpace(*in.APIURL))
		if *in.APIURL != "" && (err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") || len(*in.APIURL) > 2000) {
			bad = append(bad, fault.Field{Path: "api_url", Code: "not_an_address", Message: "send an address such as https://crm.example.com/api"})
		}
	}
	for name, v := range in.Secrets {
		if len(v) > 8192 || strings.ContainsAny(v.Reveal(), "\r\n\x00") {
			bad = append(bad, fault.Field{Path: "authentication." + name, Code: "not_allowed", Message: "send at most 8192 bytes without line breaks"})
		}
	}
	if in.Settings != nil {
		bad = append(bad, in.Settings.Check("authentication.")...)
	}
	if in.Mapping != nil {
		bad = append(bad, crm.CheckMapping("mapping", in.Mapping)...)
	}
	return fault.InvalidFields(bad).OrNil()
}

// applied is what a connection would be with the input.
type applied struct {
	con      *crm.Connection
	mapping  []crm.FieldMap
	secrets  map[string]secret.Masked // nil: keep the sealed ones
	changed  bool
	warnings []string
}

// apply computes the connection with the input; con is nil for a new one. It changes nothing and calls nobody.
func (m *CRM) apply(sc account.Scope, con *crm.Connection, mapping []crm.FieldMap, in ConnectionInput) (applied, error) {
	out := applied{con: &crm.Connection{Type: in.Type, Name: in.Name, QuotaKey: string(in.Type) + "/" + in.Name}, mapping: mapping}
	if con != nil {
		copied := *con
		out.con = &copied
	} else {
		out.changed, out.mapping = true, crm.DefaultMapping()
	}
	next := out.con
	if in.APIURL != nil && strings.TrimSpace(*in.APIURL) != next.APIURL {
		if next.APIURL != "" && in.Secrets == nil && next.Credentials != nil {
			out.secrets = map[string]secret.Masked{}
			out.warnings = append(out.warnings, "The address has changed: the stored credentials were removed, so that they don't go to another host. Send them again.")
		}
		next.APIURL, out.changed = strings.TrimSpace(*in.APIURL), true
	}
	if in.Settings != nil && !reflect.DeepEqual(*in.Settings, next.Settings) {
		next.Settings, out.changed = *in.Settings, true
	}
	if in.Secrets != nil {
		out.secrets = in.Secrets
	}
	if out.secrets != nil {
		if digest := m.secretsDigest(sc, next, out.secrets); digest != next.CredentialsDigest {
			next.CredentialsDigest, out.changed = digest, true
		} else {
			out.secrets = nil
		}
	}
	if in.Mapping != nil && !reflect.DeepEqual(in.Mapping, out.mapping) {
		out.mapping, out.changed = in.Mapping, true
	}
	standing, enabled, err := m.judgeAddress(next, in.Refusal)
	if err != nil {
		return out, err
	}
	switch {
	case !enabled: // the same refusal again is no change
		out.changed = out.changed || next.Enabled || next.State != standing.State || next.StateCode != standing.Code
		out.warnings = append(out.warnings, standing.Reason)
	case !next.Enabled:
		out.changed = true
	}
	if out.changed && !(enabled && next.Enabled && next.State == crm.StatePaused) {
		next.State, next.StateCode, next.StateReason, next.StateUntil, next.Failures = standing.State, standing.Code, standing.Reason, standing.Until, 0
	}
	next.Enabled = enabled
	return out, nil
}

// judgeAddress says without a network whether a connection may be called at all, and as what it then starts.
func (m *CRM) judgeAddress(con *crm.Connection, refusal OnRefusal) (crm.Standing, bool, error) {
	off := func(state crm.State, code, reason string) (crm.Standing, bool, error) {
		if refusal == Refuse {
			return crm.Standing{}, false, fault.Invalid("api_url", code, reason)
		}
		return crm.Standing{State: state, Code: code, Reason: reason + " Nothing is sent until this is changed."}, false, nil
	}
	if con.APIURL != "" {
		u, err := url.Parse(con.APIURL)
		if err != nil {
			return off(crm.StateConfig, "not_an_address", "This is not an address.")
		}
		if why, yes := m.self().Points(u); yes {
			return off(crm.StateSelfLoop, "self_loop", "The connection points at this server itself ("+why+"): enter the CRM's own address.")
		}
	}
	if !connector.Available(con.Type) {
		return crm.Standing{State: crm.StateConfig, Code: crm.CodeNoSuchKind,
			Reason: fmt.Sprintf("The configuration is stored; the %s connector arrives in a later release. Until then nothing is sent.", con.Type)}, false, nil
	}
	if con.APIURL == "" {
		return off(crm.StateConfig, "required", "The CRM's address (api_url) is missing.")
	}
	for _, raw := range []string{con.APIURL, con.Settings.TokenURL} {
		if raw == "" || m.Outbound == nil {
			continue
		}
		if _, err := m.Outbound.CheckURL(raw); err != nil {
			var e *outbound.Error
			errors.As(err, &e)
			return off(crm.StateConfig, e.Code, e.Message)
		}
	}
	return crm.Standing{State: crm.StateDegraded, Code: crm.CodeNotTested, Reason: "Not tested yet: the test is queued."}, true, nil
}

// configure writes the connection with its consequences: a new mapping version, the marking of every lead, a test.
func (m *CRM) configure(tx *store.Tx, sc account.Scope, in ConnectionInput) (*ConnectionView, error) {
	con, err := tx.ConnectionByName(sc, in.Type, in.Name)
	if errors.Is(err, store.ErrNotFound) {
		con, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	var mapping []crm.FieldMap
	if con != nil {
		mp, err := tx.Mapping(sc, con.ID, con.MappingVersion)
		if err != nil {
			return nil, err
		}
		mapping = mp.Fields
	}
	next, err := m.apply(sc, con, mapping, in)
	if err != nil {
		return nil, err
	}
	view := &ConnectionView{Connection: next.con, Mapping: next.mapping, Warnings: next.warnings, Changed: next.changed}
	if !next.changed {
		return view, nil
	}
	return view, m.store(tx, sc, con, mapping, next)
}

func (m *CRM) store(tx *store.Tx, sc account.Scope, old *crm.Connection, oldMapping []crm.FieldMap, next applied) error {
	con := next.con
	con.SavedAt = tx.Now()
	if old == nil {
		list, err := tx.Connections(sc, "", maxConnections)
		if err != nil {
			return err
		}
		if len(list) >= maxConnections {
			return fault.Conflict("too_many_connections", fmt.Sprintf("A tenant can have %d connections: remove one first.", maxConnections))
		}
		con.ID = crm.ConnectionID(tx.NewID())
	}
	if next.secrets != nil {
		m.seal(sc, con, next.secrets)
	}
	newMapping := old == nil || !reflect.DeepEqual(oldMapping, next.mapping)
	if newMapping {
		con.MappingVersion++
		if err := tx.InsertMapping(sc, con.ID, crm.Mapping{Version: con.MappingVersion, Fields: next.mapping}); err != nil {
			return err
		}
	}
	mark := con.Enabled && (newMapping || !old.Enabled || old.APIURL != con.APIURL)
	if mark {
		start := ""
		con.MarkedThrough = &start
	}
	save := tx.UpdateConnection
	if old == nil {
		save = tx.InsertConnection
	}
	if err := save(sc, con); err != nil {
		return err
	}
	data, _ := json.Marshal(map[string]any{"crm_type": con.Type, "name": con.Name, "state": con.State})
	if _, err := tx.AppendEvent(sc, event.Event{Type: event.ConnectionSaved, Subject: string(con.ID), Data: data}); err != nil {
		return err
	}
	if !con.Enabled {
		return nil
	}
	ref := connectionArgs{Tenant: string(sc.Tenant()), Connection: string(con.ID)}
	if err := tx.Enqueue(testArgs{ref}, queue.Unique()); err != nil || !mark {
		return err
	}
	return tx.Enqueue(markArgs{ref}, queue.Unique())
}

func secretsAAD(tenant account.TenantID, id crm.ConnectionID) string {
	return string(tenant) + "/" + string(id) + "/credentials"
}

// seal puts the credentials into the connection; none at all clears them.
func (m *CRM) seal(sc account.Scope, con *crm.Connection, secrets map[string]secret.Masked) {
	plain := map[string]string{}
	for name, v := range secrets {
		if v != "" {
			plain[name] = v.Reveal()
		}
	}
	con.Credentials, con.CredentialsHint = nil, ""
	if len(plain) == 0 {
		return
	}
	b, _ := json.Marshal(plain)
	con.Credentials = m.Secrets.Seal(b, secretsAAD(sc.Tenant(), con.ID))
	con.CredentialsHint = secret.Masked(plain["api_key"]).Hint()
}

func openSecrets(box *secret.Box, tenant account.TenantID, con *crm.Connection) (map[string]secret.Masked, error) {
	out := map[string]secret.Masked{}
	if con.Credentials == nil {
		return out, nil
	}
	b, err := box.Open(con.Credentials, secretsAAD(tenant, con.ID))
	if err != nil {
		return nil, err
	}
	plain := map[string]string{}
	if err := json.Unmarshal(b, &plain); err != nil {
		return nil, err
	}
	for name, v := range plain {
		out[name] = secret.Masked(v)
	}
	return out, nil
}

// secretsDigest tells whether the same credentials were sent again, without opening the stored ones. It needs the key,
// so that a stolen database cannot be searched with guesses.
func (m *CRM) secretsDigest(sc account.Scope, con *crm.Connection, secrets map[string]secret.Masked) string {
	mac := hmac.New(sha256.New, m.Secrets.Derive("connection credentials digest", 32))
	fmt.Fprintf(mac, "%s\n%s\n%s\n", sc.Tenant(), con.Type, con.Name)
	set := false
	for _, name := range secretNames {
		if v := secrets[name]; v != "" {
			set = true
			fmt.Fprintf(mac, "%s=%q\n", name, v.Reveal())
		}
	}
	if !set {
		return ""
	}
	return hex.EncodeToString(mac.Sum(nil))
}

// SetPaused pauses or resumes a connection. Resuming tests it anew.
func (m *CRM) SetPaused(ctx context.Context, sc account.Scope, id crm.ConnectionID, paused bool) (*ConnectionView, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (*ConnectionView, error) {
		con, err := tx.Connection(sc, id)
		if err != nil {
			return nil, notFound(err, "connection", string(id))
		}
		before := con.Standing()
		switch {
		case !con.Enabled:
			return nil, fault.Conflict(or(con.StateCode, "disabled"), "This connection is switched off: "+con.StateReason)
		case paused && con.State != crm.StatePaused:
			con.State, con.StateCode, con.StateReason = crm.StatePaused, "paused", "Paused by a person."
		case !paused && con.State != crm.StateOK:
			con.State, con.StateCode, con.StateReason, con.Failures = crm.StateDegraded, crm.CodeNotTested, "Not tested yet: the test is queued.", 0
		default:
			return m.view(tx.Reader, sc, con)
		}
		if !paused {
			con.StateUntil = time.Time{}
			if err := tx.Enqueue(testArgs{connectionArgs{Tenant: string(sc.Tenant()), Connection: string(id)}}, queue.Unique()); err != nil {
				return nil, err
			}
		}
		if err := tx.UpdateConnection(sc, con); err != nil {
			return nil, err
		}
		if err := m.tellState(tx, sc, con.ID, before, con.Standing()); err != nil {
			return nil, err
		}
		return m.view(tx.Reader, sc, con)
	})
}

// Test queues a test of the connection.
func (m *CRM) Test(ctx context.Context, sc account.Scope, id crm.ConnectionID) (*ConnectionView, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (*ConnectionView, error) {
		con, err := tx.Connection(sc, id)
		if err != nil {
			return nil, notFound(err, "connection", string(id))
		}
		if !con.Enabled {
			return nil, fault.Conflict(or(con.StateCode, "disabled"), "This connection is switched off: "+con.StateReason)
		}
		if err := tx.Enqueue(testArgs{connectionArgs{Tenant: string(sc.Tenant()), Connection: string(id)}}, queue.Unique()); err != nil {
			return nil, err
		}
		return m.view(tx.Reader, sc, con)
	})
}

// Problems lists a connection's problems in one state, oldest first.
func (m *CRM) Problems(ctx context.Context, sc account.Scope, id crm.ConnectionID, state crm.ProblemState, after crm.ProblemID, limit int) ([]*crm.Problem, error) {
	r := m.st.Read(ctx)
	if _, err := r.Connection(sc, id); err != nil {
		return nil, notFound(err, "connection", string(id))
	}
	return r.Problems(sc, id, state, after, limit)
}

// maxRetried is how many problems one request turns back into dirty rows.
const maxRetried = 500

// RetryProblems sends open problems again, the named ones or (nil) all of them, at most 500 a call.
func (m *CRM) RetryProblems(ctx context.Context, sc account.Scope, id crm.ConnectionID, ids []crm.ProblemID) (int, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (int, error) {
		con, err := tx.Connection(sc, id)
		if err != nil {
			return 0, notFound(err, "connection", string(id))
		}
		n, err := tx.RetryProblems(sc, id, crm.RetryManual, ids, maxRetried)
		if err != nil || n == 0 || !con.Ready(tx.Now()) {
			return n, err
		}
		return n, m.wakeDrain(tx, sc, id)
	})
}

// SyncRequest says which leads to send again to which connection. An empty one means every lead.
type SyncRequest struct {
	CRM     string // a kind, or a connection's id
	LeadIDs []lead.ID
}

// SyncResult says what was queued.
type SyncResult struct {
	Connections []crm.ConnectionID `json:"connections"`
	Marked      int                `json:"marked"`
	All         bool               `json:"all"`
}

// Sync queues leads to be sent now, whether or not they seem to have changed.
func (m *CRM) Sync(ctx context.Context, sc account.Scope, in SyncRequest) (*SyncResult, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (*SyncResult, error) {
		chosen, err := m.choose(tx, sc, in.CRM)
		if err != nil {
			return nil, err
		}
		leads, err := m.liveLeads(tx, sc, in.LeadIDs)
		if err != nil {
			return nil, err
		}
		out := &SyncResult{All: len(in.LeadIDs) == 0, Marked: len(leads)}
		for _, con := range chosen {
			out.Connections = append(out.Connections, con.ID)
			if out.All {
				start := ""
				if err := tx.SetMarkedThrough(sc, con.ID, &start); err != nil {
					return nil, err
				}
				if err := tx.Enqueue(markArgs{connectionArgs{Tenant: string(sc.Tenant()), Connection: string(con.ID)}}, queue.Unique()); err != nil {
					return nil, err
				}
			}
			for _, l := range leads {
				if err := m.mark(tx, sc, con, crm.Dirty{LeadID: l.ID, LeadVersion: l.Version, Reason: crm.RetryManual, Forced: true}); err != nil {
					return nil, err
				}
			}
		}
		return out, nil
	})
}

// choose finds the connections that "salesforce" or a connection's id names and that may be sent to.
func (m *CRM) choose(tx *store.Tx, sc account.Scope, name string) ([]*crm.Connection, error) {
	list, err := tx.Connections(sc, "", maxConnections)
	if err != nil {
		return nil, err
	}
	var on []*crm.Connection
	var off *crm.Connection
	for _, con := range list {
		switch {
		case string(con.Type) != name && string(con.ID) != name:
		case con.Enabled:
			on = append(on, con)
		default:
			off = con
		}
	}
	switch {
	case len(on) > 0:
		return on, nil
	case off != nil:
		return nil, fault.Conflict(or(off.StateCode, "disabled"), "This connection is switched off: "+off.StateReason)
	case connector.Known(connector.Type(name)):
		return nil, fault.Conflict("not_configured", "No connection of that kind is configured: POST /api/crm/config first.")
	}
	return nil, fault.NotFound("connection", name)
}

func (m *CRM) liveLeads(tx *store.Tx, sc account.Scope, ids []lead.ID) ([]*lead.Lead, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	found, err := leadMap(tx.Reader, sc, ids)
	if err != nil {
		return nil, err
	}
	var bad []fault.Field
	out := make([]*lead.Lead, 0, len(ids))
	for i, id := range ids {
		l := found[id]
		if l == nil {
			bad = append(bad, fault.Field{Path: fmt.Sprintf("lead_ids[%d]", i), Code: "not_found", Message: "there is no such lead here"})
			continue
		}
		out = append(out, l)
	}
	return out, fault.InvalidFields(bad).OrNil()
}

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// IsSecretName reports whether a connection keeps a credential of that name.
func IsSecretName(name string) bool { return slices.Contains(secretNames, name) }

// Create stores a new connection; a conflict when the tenant has one of that kind and name.
func (m *CRM) Create(ctx context.Context, sc account.Scope, in ConnectionInput) (*ConnectionView, error) {
	if err := m.checkInput(&in); err != nil {
		return nil, err
	}
	return write(ctx, m.core, sc, func(tx *store.Tx) (*ConnectionView, error) {
		_, err := tx.ConnectionByName(sc, in.Type, in.Name)
		if err == nil {
			return nil, fault.Conflict("name_taken", "There is a connection of that kind and name: change it, or choose another name.")
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		return m.configure(tx, sc, in)
	})
}
