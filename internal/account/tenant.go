package account

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"leadloom/internal/fault"
)

// FirstTenant is the tenant that a new installation starts with. Its administrators also look after the instance.
const FirstTenant TenantID = "default"

// Plan is the set of limits that a tenant has.
type Plan string

// The plans, smallest first.
const (
	PlanFree       Plan = "free"
	PlanStarter    Plan = "starter"
	PlanPro        Plan = "pro"
	PlanEnterprise Plan = "enterprise"
)

// Plans in order of size.
var Plans = []Plan{PlanFree, PlanStarter, PlanPro, PlanEnterprise}

// Tenant is an isolated customer of the installation.
type Tenant struct {
	ID        TenantID
	Name      string
	Plan      Plan
	Version   int64
	CreatedAt time.Time
	UpdatedAt time.Time
}

// MaxTenantNameRunes bounds a tenant's name.
const MaxTenantNameRunes = 200

// CheckTenantName trims and checks a name.
func CheckTenantName(path, s string) (string, []fault.Field) {
	s = strings.TrimSpace(s)
	bad := func(code, message string) (string, []fault.Field) {
		return s, []fault.Field{{Path: path, Code: code, Message: message}}
	}
	switch {
	case s == "":
		return bad("required", "Send the tenant's name.")
	case !utf8.ValidString(s) || strings.ContainsFunc(s, unicode.IsControl):
		return bad("bad_character", "Send the name as UTF-8 text without control characters.")
	case utf8.RuneCountInString(s) > MaxTenantNameRunes:
		return bad("too_long", fmt.Sprintf("Send at most %d characters.", MaxTenantNameRunes))
	}
	return s, nil
}

// CheckPlan parses a plan and names the valid ones when it is none.
func CheckPlan(path, s string) (Plan, []fault.Field) {
	p := Plan(strings.ToLower(strings.TrimSpace(s)))
	if slices.Contains(Plans, p) {
		return p, nil
	}
	names := make([]string, len(Plans))
	for i, v := range Plans {
		names[i] = string(v)
	}
	return "", []fault.Field{{Path: path, Code: "unknown_plan", Message: "Send one of " + strings.Join(names, ", ") + "."}}
}

// CheckScopes parses the scopes of a new key. Every unknown one, and every one beyond what its creator may do now, is
// reported.
func CheckScopes(path string, names []string, creator Permissions) (Permissions, []fault.Field) {
	set := Set()
	var problems []fault.Field
	for i, name := range names {
		at := fmt.Sprintf("%s[%d]", path, i)
		p, ok := ParsePermission(strings.TrimSpace(name))
		switch {
		case !ok:
			problems = append(problems, fault.Field{Path: at, Code: "unknown_permission", Message: "Send permissions such as lead:read; GET /api/roles lists them."})
		case !creator.Has(p):
			problems = append(problems, fault.Field{Path: at, Code: "beyond_your_rights", Message: "A key cannot do more than you: leave out " + p.String() + "."})
		default:
			set |= Set(p)
		}
	}
	return set, problems
}
