package account

import (
	"math/bits"
	"slices"
	"strings"
)

// Permission is a single right, written noun:verb.
type Permission uint8

// The rights of api-contract.md, in the order in which they are listed to a person.
const (
	Public Permission = iota // no credential needed
	Anyone                   // any authenticated caller
	LeadCreate
	LeadRead
	LeadUpdate
	LeadDelete
	LeadExport
	WorkflowCreate
	WorkflowRead
	WorkflowUpdate
	WorkflowExecute
	CampaignCreate
	CampaignRead
	CampaignUpdate
	CampaignDelete
	CampaignExecute
	CRMConfig
	CRMSync
	CRMRead
	UserManage
	UserRead
	AnalyticsRead
	AnalyticsExport
	AuditRead
	SystemConfig
	SystemAdmin
	permissionCount
)

var permissionNames = [permissionCount]string{
	"public", "anyone",
	"lead:create", "lead:read", "lead:update", "lead:delete", "lead:export",
	"workflow:create", "workflow:read", "workflow:update", "workflow:execute",
	"campaign:create", "campaign:read", "campaign:update", "campaign:delete", "campaign:execute",
	"crm:config", "crm:sync", "crm:read",
	"user:manage", "user:read",
	"analytics:read", "analytics:export",
	"audit:read", "system:config", "system:admin",
}

// String is the right's name as the API writes it.
func (p Permission) String() string { return permissionNames[p] }

// ParsePermission finds a right by name; false for an unknown one and for the two pseudo-rights.
func ParsePermission(s string) (Permission, bool) {
	for p := LeadCreate; p < permissionCount; p++ {
		if permissionNames[p] == s {
			return p, true
		}
	}
	return 0, false
}

// Permissions is a set of rights.
type Permissions uint64

// AllPermissions is every right.
const AllPermissions Permissions = 1<<permissionCount - 1

// Set builds a set; Anyone is always in it.
func Set(ps ...Permission) Permissions {
	out := Permissions(1<<Public | 1<<Anyone)
	for _, p := range ps {
		out |= 1 << p
	}
	return out
}

// Has reports whether p is in the set.
func (s Permissions) Has(p Permission) bool { return s&(1<<p) != 0 }

// And is the intersection: an API key has its scopes cut down to its creator's rights now.
func (s Permissions) And(o Permissions) Permissions { return s & o }

// Len counts the rights without the two pseudo-rights.
func (s Permissions) Len() int { return bits.OnesCount64(uint64(s &^ Set())) }

// Names lists the rights in their fixed order.
func (s Permissions) Names() []string {
	out := make([]string, 0, s.Len())
	for p := LeadCreate; p < permissionCount; p++ {
		if s.Has(p) {
			out = append(out, permissionNames[p])
		}
	}
	return out
}

// Role is a named set of rights in one tenant.
type Role string

// The roles of the contract. "viewer" is accepted as another name of guest.
const (
	RoleAdmin       Role = "admin"
	RoleManager     Role = "manager"
	RoleSalesperson Role = "salesperson"
	RoleAnalyst     Role = "analyst"
	RoleGuest       Role = "guest"
)

// Roles in order of rights.
var Roles = []Role{RoleAdmin, RoleManager, RoleSalesperson, RoleAnalyst, RoleGuest}

var rolePermissions = map[Role]Permissions{
	RoleAdmin: AllPermissions,
	RoleManager: Set(LeadCreate, LeadRead, LeadUpdate, LeadDelete, LeadExport,
		WorkflowCreate, WorkflowRead, WorkflowUpdate, WorkflowExecute,
		CampaignCreate, CampaignRead, CampaignUpdate, CampaignDelete, CampaignExecute,
		CRMConfig, CRMSync, CRMRead, UserRead, AnalyticsRead, AnalyticsExport, AuditRead),
	RoleSalesperson: Set(LeadCreate, LeadRead, LeadUpdate, WorkflowRead, WorkflowExecute, CampaignRead, CRMRead, CRMSync, UserRead, AnalyticsRead),
	RoleAnalyst:     Set(LeadRead, LeadExport, WorkflowRead, CampaignRead, CRMRead, AnalyticsRead, AnalyticsExport, AuditRead),
	RoleGuest:       Set(LeadRead, WorkflowRead, CampaignRead, AnalyticsRead),
}

// ParseRole accepts the five roles and viewer, in any case.
func ParseRole(s string) (Role, bool) {
	r := Role(strings.ToLower(strings.TrimSpace(s)))
	if r == "viewer" {
		r = RoleGuest
	}
	return r, slices.Contains(Roles, r)
}

// Permissions of a role; none for an unknown one.
func (r Role) Permissions() Permissions { return rolePermissions[r] }
