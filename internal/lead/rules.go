package lead

import (
	"slices"
	"strconv"
	"strings"

	"leadloom/internal/fault"
)

// Rules are what one tenant demands of its leads. The zero Rules is not usable; start from DefaultRules.
type Rules struct {
	Statuses           []string            `json:"statuses"`             // in order; the first is given to new leads
	Required           []string            `json:"required"`             // built-in fields a new lead must have
	Identity           []string            `json:"identity"`             // strongest first: external_id, email, phone
	Region             string              `json:"region"`               // ISO 3166 code for phone numbers without country code
	RoleNames          []string            `json:"role_names,omitempty"` // further local parts of shared mailboxes
	AllowUnknownFields bool                `json:"allow_unknown_fields"` // an unknown custom key is stored as text instead of refused
	Fields             map[string]FieldDef `json:"-"`                    // custom field definitions by key
}

// Statuses every tenant starts with.
var defaultStatuses = []string{"new", "working", "nurturing", "qualified", "unqualified", "converted", "lost"}

// DefaultRules are those of a new tenant.
func DefaultRules() *Rules {
	return &Rules{Statuses: slices.Clone(defaultStatuses), Identity: []string{KindExternal, KindEmail}, Fields: map[string]FieldDef{}}
}

// Check reports what is wrong with a tenant's own rules.
func (r *Rules) Check() error {
	var problems []fault.Field
	if len(r.Statuses) == 0 {
		problems = append(problems, fault.Field{Path: "statuses", Code: "required", Message: "Send at least one status; new leads get the first."})
	}
	for i, s := range r.Statuses {
		if s == "" || s != Fold(s) || len(s) > maxTag {
			problems = append(problems, fault.Field{Path: at("statuses", i), Code: "bad_status", Message: "Send a lower-case name of 1 to 64 bytes."})
		}
	}
	for i, k := range r.Identity {
		if k != KindExternal && k != KindEmail && k != KindPhone {
			problems = append(problems, fault.Field{Path: at("identity", i), Code: "unknown_identity", Message: "Send external_id, email or phone."})
		}
	}
	for i, f := range r.Required {
		if (&Lead{}).text(f) == nil {
			problems = append(problems, fault.Field{Path: at("required", i), Code: "unknown_field", Message: "Send the name of a lead's text field."})
		}
	}
	return fault.InvalidFields(problems).OrNil()
}

// IsRole reports whether a folded address is a shared mailbox by the default list or the tenant's own.
func (r *Rules) IsRole(folded string) bool {
	local, _, _ := strings.Cut(folded, "@")
	return IsRoleAddress(folded) || slices.Contains(r.RoleNames, local)
}

// status finds the tenant's spelling of a status.
func (r *Rules) status(s string) (string, bool) {
	f := Fold(s)
	for _, known := range r.Statuses {
		if known == f {
			return known, true
		}
	}
	return "", false
}

// nearest is the known name that is closest to s by edit distance, "" when none is close.
func nearest(s string, known []string) string {
	best, at := "", 1+len(s)/3
	for _, k := range known {
		if d := distance(s, k); d <= at && (best == "" || d < at) {
			best, at = k, d
		}
	}
	return best
}

// distance is Levenshtein's, in bytes; names are ASCII.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		prev := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			prev, row[j+1] = row[j+1], min(row[j+1]+1, row[j]+1, prev+cost)
		}
	}
	return row[len(b)]
}

func number(n int) string              { return strconv.Itoa(n) }
func at(path string, index int) string { return path + "[" + strconv.Itoa(index) + "]" }
