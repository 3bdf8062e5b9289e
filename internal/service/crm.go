package service

import (
	"context"
	"errors"
	"sync"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/outbound"
	"leadloom/internal/store"
)

// CRM are the verbs on connections to other CRMs. Requests only read and mark; calls are made by the jobs in
// crm_drain.go and crm_probe.go.
type CRM struct{ *core }

// maxConnections bounds a tenant's connections, so that marking a lead stays cheap.
const maxConnections = 50

// crmState is what the CRM room keeps in memory; losing it costs a read or a token, never a record.
type crmState struct {
	mu       sync.Mutex
	tenants  map[account.TenantID]*tenantConnections
	memories map[string]*connector.Memory
	guilty   map[crm.ConnectionID][]lead.ID // see crm.SendFrom
}

// tenantConnections is valid while the tenant's cache version of "connections" is the same.
type tenantConnections struct {
	version int64
	list    []*crm.Connection
	maps    map[crm.ConnectionID]*crm.Mapping
}

// cachedTenants bounds the cache; it starts anew when more tenants than that are active.
const cachedTenants = 10_000

// connections are the tenant's connections as this Reader may see them: their settings and whether they may be called.
// Times of the last success are as old as the last edit.
func (c *core) connections(r *store.Reader, sc account.Scope) (*tenantConnections, error) {
	v, err := r.CacheVersion(sc, "connections")
	if err != nil {
		return nil, err
	}
	if t := c.crm.get(sc.Tenant()); t != nil && t.version == v {
		return t, nil
	}
	t := &tenantConnections{version: v, maps: map[crm.ConnectionID]*crm.Mapping{}}
	if v == 0 {
		return t, nil
	}
	list, err := r.Connections(sc, "", maxConnections)
	if err != nil {
		return nil, err
	}
	for _, con := range list {
		mp, err := r.Mapping(sc, con.ID, con.MappingVersion)
		if errors.Is(err, store.ErrNotFound) {
			continue // removed between the two statements: mappings go with their connection alone
		}
		if err != nil {
			return nil, err
		}
		t.list, t.maps[con.ID] = append(t.list, con), mp
	}
	return t, nil
}

func (s *crmState) get(t account.TenantID) *tenantConnections {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tenants[t]
}

func (s *crmState) put(t account.TenantID, tc *tenantConnections) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.tenants == nil || len(s.tenants) >= cachedTenants {
		s.tenants = map[account.TenantID]*tenantConnections{}
	}
	s.tenants[t] = tc // versions are drawn, none is newer by its number: one that is stale is not found by get
}

// memory is what a connector remembers of one state of one connection.
func (s *crmState) memory(key string) *connector.Memory {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memories == nil || len(s.memories) >= cachedTenants {
		s.memories = map[string]*connector.Memory{}
	}
	m := s.memories[key]
	if m == nil {
		m = &connector.Memory{}
		s.memories[key] = m
	}
	return m
}

func (s *crmState) suspects(id crm.ConnectionID) []lead.ID {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.guilty[id]
}

func (s *crmState) suspect(id crm.ConnectionID, leads []lead.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.guilty, id)
	if len(leads) == 0 {
		return
	}
	if s.guilty == nil {
		s.guilty = map[crm.ConnectionID][]lead.ID{}
	}
	s.guilty[id] = leads
}

// self is where this server can be reached.
func (c *core) self() outbound.Self {
	if c.Self == nil {
		return outbound.Self{}
	}
	return c.Self()
}

// ConnectionView is a connection with what a person wants to know beside it.
type ConnectionView struct {
	*crm.Connection
	Mapping  []crm.FieldMap
	Backlog  store.CRMBacklog
	Problems int64
	Budget   *crm.Budget // nil before the first call
	Warnings []string    // of the save that returned it
	Changed  bool        // the save wrote something
}

// Connections lists the tenant's connections by id.
func (m *CRM) Connections(ctx context.Context, sc account.Scope, after crm.ConnectionID, limit int) ([]*ConnectionView, error) {
	r := m.st.Read(ctx)
	list, err := r.Connections(sc, after, limit)
	if err != nil {
		return nil, err
	}
	out := make([]*ConnectionView, 0, len(list))
	for _, con := range list {
		v, err := m.view(r, sc, con)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// Connection reads one connection.
func (m *CRM) Connection(ctx context.Context, sc account.Scope, id crm.ConnectionID) (*ConnectionView, error) {
	r := m.st.Read(ctx)
	con, err := r.Connection(sc, id)
	if err != nil {
		return nil, notFound(err, "connection", string(id))
	}
	v, err := m.view(r, sc, con)
	return v, notFound(err, "connection", string(id))
}

// view is store.ErrNotFound when the connection was removed after it was read.
func (c *core) view(r *store.Reader, sc account.Scope, con *crm.Connection) (*ConnectionView, error) {
	v := &ConnectionView{Connection: con}
	mp, err := r.Mapping(sc, con.ID, con.MappingVersion)
	if err != nil {
		return nil, err
	}
	v.Mapping = mp.Fields
	if v.Backlog, err = r.CRMBacklog(sc, con.ID); err != nil {
		return nil, err
	}
	if v.Problems, err = r.CountProblems(sc, con.ID); err != nil {
		return nil, err
	}
	b, err := r.Budget(sc, con.QuotaKey)
	if err == nil {
		v.Budget = &b
	} else if !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	return v, nil
}

// CRMStatus is the last known state of a tenant's connections. Primary is the one configured last; nil for none.
type CRMStatus struct {
	Primary     *crm.Connection
	Connections []*crm.Connection
}

// Status reads the last known state; it never waits for a CRM.
func (m *CRM) Status(ctx context.Context, sc account.Scope) (*CRMStatus, error) {
	list, err := m.st.Read(ctx).Connections(sc, "", maxConnections)
	if err != nil {
		return nil, err
	}
	s := &CRMStatus{Connections: list}
	for _, con := range list {
		if s.Primary == nil || con.SavedAt.After(s.Primary.SavedAt) {
			s.Primary = con
		}
	}
	return s, nil
}

// CRMLead is a lead's record in a CRM as we last sent it.
type CRMLead struct {
	*crm.Link
	Type    connector.Type
	Pending bool // changed since
	Problem *crm.Problem
}

// LeadIn reads a lead's link in the tenant's connection of a kind; id is the lead's or the CRM's own.
func (m *CRM) LeadIn(ctx context.Context, sc account.Scope, kind connector.Type, id string) (*CRMLead, error) {
	r := m.st.Read(ctx)
	all, err := m.connections(r, sc)
	if err != nil {
		return nil, err
	}
	for _, con := range all.list {
		if con.Type != kind {
			continue
		}
		links, err := r.LinksOf(sc, con.ID, []lead.ID{lead.ID(id)})
		if err != nil {
			return nil, err
		}
		link := links[lead.ID(id)]
		if link == nil {
			if link, err = r.LinkByRemote(sc, con.ID, id); errors.Is(err, store.ErrNotFound) {
				continue
			} else if err != nil {
				return nil, err
			}
		}
		return m.linked(r, sc, kind, link)
	}
	return nil, fault.NotFound(string(kind)+" record of lead", id)
}

func (c *core) linked(r *store.Reader, sc account.Scope, kind connector.Type, link *crm.Link) (*CRMLead, error) {
	out := &CRMLead{Link: link, Type: kind}
	_, err := r.Dirty(sc, link.ConnectionID, link.LeadID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return nil, err
	}
	out.Pending = err == nil
	problems, err := r.LeadProblems(sc, []lead.ID{link.LeadID})
	if err != nil {
		return nil, err
	}
	for _, p := range problems {
		if p.ConnectionID == link.ConnectionID {
			out.Problem = p
		}
	}
	return out, nil
}

// LeadCRM is what a lead shows of one connection: state is synced, pending (it will be sent), problem (it was refused),
// or unsynced (it differs and the connection is switched off).
type LeadCRM struct {
	Type          connector.Type  `json:"crm_type"`
	Connection    string          `json:"connection"`
	RemoteID      string          `json:"remote_id"`
	URL           string          `json:"url,omitempty"`
	State         string          `json:"state"`
	SyncedVersion int64           `json:"synced_version"`
	SyncedAt      *time.Time      `json:"synced_at,omitempty"`
	PendingFields []string        `json:"pending_fields,omitempty"` // of the CRM; for a single lead only
	Problem       *LeadCRMProblem `json:"problem,omitempty"`
}

// LeadCRMProblem is why a CRM does not take a lead, in its words, and what to do about it.
type LeadCRMProblem struct {
	Code    string `json:"code"`
	Field   string `json:"field,omitempty"`
	Message string `json:"message"`
	Action  string `json:"action"`
}

// CRM tells how each of the leads stands in each connection, by lead and connection id.
func (s *Leads) CRM(ctx context.Context, sc account.Scope, leads ...*lead.Lead) (map[lead.ID]map[string]LeadCRM, error) {
	r := s.st.Read(ctx)
	all, err := s.keptConnections(r, sc)
	if err != nil {
		return nil, err
	}
	return all.crmOf(r, sc, leads)
}

// CRMDetail is CRM for one lead, with the fields that have yet to be sent.
func (s *Leads) CRMDetail(ctx context.Context, sc account.Scope, l *lead.Lead) (map[lead.ID]map[string]LeadCRM, error) {
	r := s.st.Read(ctx)
	all, err := s.keptConnections(r, sc)
	if err != nil {
		return nil, err
	}
	out, err := all.crmOf(r, sc, []*lead.Lead{l})
	if err != nil {
		return nil, err
	}
	for id, v := range out[l.ID] {
		if v.State == "synced" {
			continue
		}
		links, err := r.LinksOf(sc, crm.ConnectionID(id), []lead.ID{l.ID})
		if err != nil {
			return nil, err
		}
		v.PendingFields = all.maps[crm.ConnectionID(id)].Pending(l, links[l.ID])
		out[l.ID][id] = v
	}
	return out, nil
}

// keptConnections is connections for a Reader that is no transaction's: what it reads is kept for others.
func (c *core) keptConnections(r *store.Reader, sc account.Scope) (*tenantConnections, error) {
	all, err := c.connections(r, sc)
	if err == nil {
		c.crm.put(sc.Tenant(), all)
	}
	return all, err
}

// crmOf tells, for each of the given leads, how it stands in each connection. It costs nothing when there is none.
func (all *tenantConnections) crmOf(r *store.Reader, sc account.Scope, leads []*lead.Lead) (map[lead.ID]map[string]LeadCRM, error) {
	if len(all.list) == 0 || len(leads) == 0 {
		return nil, nil
	}
	ids := make([]lead.ID, len(leads))
	for i, l := range leads {
		ids[i] = l.ID
	}
	links, err := r.LeadLinks(sc, ids)
	if err != nil {
		return nil, err
	}
	problems, err := r.LeadProblems(sc, ids)
	if err != nil {
		return nil, err
	}
	type place struct {
		lead lead.ID
		con  crm.ConnectionID
	}
	linkAt, problemAt := make(map[place]*crm.Link, len(links)), make(map[place]*crm.Problem, len(problems))
	for _, k := range links {
		linkAt[place{k.LeadID, k.ConnectionID}] = k
	}
	for _, p := range problems {
		problemAt[place{p.LeadID, p.ConnectionID}] = p
	}
	out := make(map[lead.ID]map[string]LeadCRM, len(leads))
	for _, l := range leads {
		of := make(map[string]LeadCRM, len(all.list))
		for _, con := range all.list {
			at := place{l.ID, con.ID}
			if v, shown := leadCRM(con, l, linkAt[at], problemAt[at]); shown {
				of[string(con.ID)] = v
			}
		}
		out[l.ID] = of
	}
	return out, nil
}

// leadCRM is how a lead stands in one connection; a connection that is off and never had it is not shown.
func leadCRM(con *crm.Connection, l *lead.Lead, link *crm.Link, p *crm.Problem) (LeadCRM, bool) {
	v := LeadCRM{Type: con.Type, Connection: con.Name, State: "pending"}
	if !con.Enabled {
		v.State = "unsynced"
	}
	if link != nil {
		at := link.SyncedAt
		v.RemoteID, v.URL, v.SyncedVersion, v.SyncedAt = link.RemoteID, link.RemoteURL, link.SyncedVersion, &at
		if link.SyncedVersion >= l.Version && link.MappingVersion == con.MappingVersion {
			v.State = "synced"
		}
	}
	if p != nil {
		v.State = "problem"
		v.Problem = &LeadCRMProblem{Code: p.Code, Field: p.Field, Message: p.Message, Action: crm.Advice(p.Class)}
	}
	return v, con.Enabled || link != nil || p != nil
}
