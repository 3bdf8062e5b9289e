package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"strings"
	"time"
	"unicode/utf8"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/event"
	"leadloom/internal/fault"
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
	save := func() (*ConnectionView, error) {
		return write(ctx, m.core, sc, func(tx *store.Tx) (*ConnectionView, error) { return m.configure(tx, sc, in) })
	}
	v, err := save()
	if store.IsConflict(err, "connections") { // another request has just made it: now there is one to change
		return save()
	}
	return v, err
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
	credentials, settings := "credentials.", "settings."
	if in.Refusal == StoreDisabled { // the old route has both in one object
		credentials, settings = "authentication.", "authentication."
	}
	if in.APIURL != nil {
		trimmed := strings.TrimSpace(*in.APIURL)
		in.APIURL = &trimmed
		bad = append(bad, checkAPIURL(trimmed)...)
	}
	for name, v := range in.Secrets {
		if len(v) > 8192 || strings.ContainsAny(v.Reveal(), "\r\n\x00") {
			bad = append(bad, fault.Field{Path: credentials + name, Code: "not_allowed", Message: "send at most 8192 bytes without line breaks"})
		}
	}
	if in.Settings != nil {
		bad = append(bad, in.Settings.Check(in.Type, settings)...)
	}
	if in.Mapping != nil {
		bad = append(bad, crm.CheckMapping("mapping", in.Mapping)...)
	}
	return fault.InvalidFields(bad).OrNil()
}

// checkAPIURL keeps out what no connector can use, whatever its kind; an empty one clears. The address is shown in
// replies, so it must not carry credentials.
func checkAPIURL(raw string) []fault.Field {
	bad := func(code, msg string) []fault.Field {
		return []fault.Field{{Path: "api_url", Code: code, Message: msg}}
	}
	if raw == "" {
		return nil
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil || u.Hostname() == "" || (u.Scheme != "https" && u.Scheme != "http") || len(raw) > 2000:
		return bad("not_an_address", "send an address such as https://crm.example.com/api")
	case u.User != nil:
		return bad("credentials_in_address", "leave the user name and password out of the address and send them as credentials")
	case u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || strings.Contains(raw, "#"):
		return bad("query_in_address", "leave everything from ? or # on out of the address; a key that stood there is a credential")
	}
	return nil
}

// applied is what a connection would be with the input.
type applied struct {
	con      *crm.Connection
	mapping  []crm.FieldMap
	secrets  map[string]secret.Masked // nil: keep the sealed ones
	changed  bool
	moved    bool // to another address: nothing that was agreed holds there
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
	if in.APIURL != nil && *in.APIURL != next.APIURL {
		if next.Credentials != nil {
			out.secrets = map[string]secret.Masked{}
		}
		next.SchemaHash, next.Account, next.Peer, next.TestedAt = "", "", "", time.Time{}
		next.APIURL, out.changed, out.moved = *in.APIURL, true, con != nil
	}
	if in.Settings != nil && !reflect.DeepEqual(*in.Settings, next.Settings) {
		if in.Settings.TokenURL != next.Settings.TokenURL && next.Credentials != nil { // the client's secret goes there
			out.secrets = map[string]secret.Masked{}
		}
		next.Settings, out.changed = *in.Settings, true
	}
	switch {
	case in.Secrets != nil:
		out.secrets = in.Secrets
	case out.secrets != nil:
		out.warnings = append(out.warnings, "The address has changed: the stored credentials were removed, so that they don't go to another host. Send them again.")
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
	off := func(path string, state crm.State, code, reason string) (crm.Standing, bool, error) {
		if refusal == Refuse {
			return crm.Standing{}, false, fault.Invalid(path, code, reason)
		}
		return crm.Standing{State: state, Code: code, Reason: reason + " Nothing is sent until this is changed."}, false, nil
	}
	called := []struct{ path, url string }{{"api_url", con.APIURL}, {"settings.token_url", con.Settings.TokenURL}}
	for _, c := range called {
		u, err := url.Parse(c.url)
		if err != nil {
			return off(c.path, crm.StateConfig, "not_an_address", "This is not an address.")
		}
		if why, yes := m.self().Points(u); yes && c.url != "" {
			return off(c.path, crm.StateSelfLoop, "self_loop", "The connection points at this server itself ("+why+"): enter the CRM's own address.")
		}
	}
	if !connector.Available(con.Type) {
		return crm.Standing{State: crm.StateConfig, Code: crm.CodeNoSuchKind,
			Reason: fmt.Sprintf("The configuration is stored; the %s connector arrives in a later release. Until then nothing is sent.", con.Type)}, false, nil
	}
	if con.APIURL == "" {
		return off("api_url", crm.StateConfig, "required", "The CRM's address (api_url) is missing.")
	}
	for _, c := range called {
		if c.url == "" || m.Outbound == nil {
			continue
		}
		if _, err := m.Outbound.CheckURL(c.url); err != nil {
			var e *outbound.Error
			errors.As(err, &e)
			return off(c.path, crm.StateConfig, e.Code, e.Message)
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
	if next.changed {
		if err := m.store(tx, sc, con, mapping, next); err != nil {
			return nil, err
		}
	}
	view, err := m.view(tx.Reader, sc, next.con)
	if err != nil {
		return nil, err
	}
	view.Warnings, view.Changed = next.warnings, next.changed
	return view, nil
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
	// Another address gets a mapping version of its own too: what links say was agreed with the CRM that was there.
	newMapping := old == nil || next.moved || !reflect.DeepEqual(oldMapping, next.mapping)
	if newMapping {
		con.MappingVersion++
		if err := tx.InsertMapping(sc, con.ID, crm.Mapping{Version: con.MappingVersion, Fields: next.mapping}); err != nil {
			return err
		}
	}
	mark := con.Enabled && (newMapping || !old.Enabled)
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

func or(a, b string) string {
	if a == "" {
		return b
	}
	return a
}

// Create stores a new connection; a conflict when the tenant has one of that kind and name.
func (m *CRM) Create(ctx context.Context, sc account.Scope, in ConnectionInput) (*ConnectionView, error) {
	if err := m.checkInput(&in); err != nil {
		return nil, err
	}
	taken := fault.Conflict("name_taken", "There is a connection of that kind and name: change it, or choose another name.")
	v, err := write(ctx, m.core, sc, func(tx *store.Tx) (*ConnectionView, error) {
		_, err := tx.ConnectionByName(sc, in.Type, in.Name)
		if err == nil {
			return nil, taken
		}
		if !errors.Is(err, store.ErrNotFound) {
			return nil, err
		}
		return m.configure(tx, sc, in)
	})
	if store.IsConflict(err, "connections") {
		return nil, taken
	}
	return v, err
}
