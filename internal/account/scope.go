package account

import "leadloom/internal/fault"

// TenantID names an isolated customer of the installation.
type TenantID string

// UserID names a person who logs in.
type UserID string

// ActorKind says who acts.
type ActorKind string

// The kinds of actor an event can name (behaviours 2.2).
const (
	ActorUser       ActorKind = "user"
	ActorKey        ActorKind = "key"
	ActorWorkflow   ActorKind = "workflow"
	ActorSystem     ActorKind = "system"
	ActorConnection ActorKind = "connection"
)

// Actor is who did something: a user, an API key, a workflow, a connection or the system itself.
type Actor struct {
	Kind ActorKind `json:"kind"`
	ID   string    `json:"id"`
	Name string    `json:"name,omitempty"`
}

// Cause says why something was done; it is carried through chains so that loops end.
type Cause struct {
	EventID string   `json:"event_id,omitempty"`
	RunID   string   `json:"run_id,omitempty"`
	Path    []string `json:"path,omitempty"` // workflow ids from the first cause on
	Depth   int      `json:"depth,omitempty"`
	Hops    int      `json:"hops,omitempty"` // servers of our kind that it has passed on its way here
}

// Idempotency is a caller's Idempotency-Key bound to route and body. The service stores its result in the same
// transaction as the work and sets Replayed when the result is the stored one.
type Idempotency struct {
	Key      string // as sent, 1–255 bytes
	Route    string // "POST /api/leads"
	Digest   string // hex SHA-256 of path, query and body
	Replayed bool
}

// Scope is the tenant and the actor of a piece of work. Every store method that touches a tenant's rows takes it
// first, so that a query without a tenant does not compile. The zero Scope belongs to no tenant and finds nothing.
type Scope struct {
	tenant      TenantID
	Actor       Actor
	UserID      UserID    // the user behind the actor: himself, or the creator of the key; empty for machines
	Session     SessionID // the session behind the credential; empty for API keys and machines
	permissions Permissions
	RequestID   string
	Cause       Cause
	Idempotency *Idempotency
	Starting    string // the workflow that this request starts itself: the triggers of its changes leave that one alone
}

// NewScope builds the scope of an authenticated caller.
func NewScope(tenant TenantID, actor Actor, user UserID, p Permissions) Scope {
	return Scope{tenant: tenant, Actor: actor, UserID: user, permissions: p}
}

// SystemScope is the scope of our own background work inside one tenant; it may do everything there.
func SystemScope(tenant TenantID, name string) Scope {
	return Scope{tenant: tenant, Actor: Actor{Kind: ActorSystem, ID: name, Name: name}, permissions: AllPermissions}
}

// As returns the scope with another actor and cause, for work done on behalf of a workflow or a connection.
func (s Scope) As(a Actor, c Cause) Scope {
	s.Actor, s.Cause, s.Idempotency, s.Starting = a, c, nil, ""
	return s
}

// Tenant is the tenant all work under this scope is confined to.
func (s Scope) Tenant() TenantID { return s.tenant }

// Permissions are the caller's rights now.
func (s Scope) Permissions() Permissions { return s.permissions }

// Can reports whether the caller has the right.
func (s Scope) Can(p Permission) bool { return s.permissions.Has(p) }

// Require is nil when the caller has the right, else a fault that names it.
func (s Scope) Require(p Permission) error {
	if s.Can(p) {
		return nil
	}
	return fault.Forbidden(p.String())
}

// Instance is the authority to work across tenants: migrations, sealing, sweeping, checking, instance
// administration. Only app and queue workers make one, by NewInstance; request handlers get none.
type Instance struct{ name string }

// NewInstance names the background work that crosses tenants.
func NewInstance(name string) Instance { return Instance{name} }

// Name says which work it is.
func (i Instance) Name() string { return i.name }
