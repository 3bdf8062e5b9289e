package lead

import (
	"slices"
	"strconv"
	"strings"

	"github.com/nyaruka/phonenumbers"

	"leadloom/internal/fault"
)

// Limits of a tenant's rules.
const (
	maxStatuses  = 100
	maxRoleNames = 500
)

// Rules are what one tenant demands of its leads. The zero Rules is not usable; start from DefaultRules.
type Rules struct {
	Statuses           []string            `json:"statuses"`             // in order; the first is given to new leads
	Required           []string            `json:"required"`             // built-in fields a new lead must have
	Identity           []string            `json:"identity"`             // strongest first: external_id, email, phone
	Region             string              `json:"region"`               // ISO 3166 code for phone numbers without country code
	RoleNames          []string            `json:"role_names,omitempty"` // further local parts of shared mailboxes
	AllowUnknownFields bool                `json:"allow_unknown_fields"` // an unknown custom key makes a field of its value's type; misspelt known ones are refused all the same
	Fields             map[string]FieldDef `json:"-"`                    // custom field definitions by key
}

// Statuses every tenant starts with.
var defaultStatuses = []string{"new", "working", "nurturing", "qualified", "unqualified", "converted", "lost"}

// DefaultRules are those of a new tenant.
func DefaultRules() *Rules {
	return &Rules{Statuses: slices.Clone(defaultStatuses), Identity: []string{KindExternal, KindEmail}, AllowUnknownFields: true, Fields: map[string]FieldDef{}}
}

// Check reports what is wrong with a tenant's own rules.
func (r *Rules) Check() error {
	var problems []fault.Field
	if len(r.Statuses) == 0 {
		problems = append(problems, fault.Field{Path: "statuses", Code: "required", Message: "Send at least one status; new leads get the first."})
	}
	if len(r.Statuses) > maxStatuses {
		problems = append(problems, fault.Field{Path: "statuses", Code: "too_many", Message: "Send at most 100 statuses."})
	}
	for i, s := range r.Statuses {
		switch clean, problem := checkText(at("statuses", i), s, maxTag, false); {
		case problem != nil:
			problems = append(problems, *problem)
		case s == "" || s != Fold(clean):
			problems = append(problems, fault.Field{Path: at("statuses", i), Code: "bad_status", Message: "Send a lower-case name of 1 to 64 characters without accents."})
		case slices.Contains(r.Statuses[:i], s):
			problems = append(problems, fault.Field{Path: at("statuses", i), Code: "repeated", Message: "Send each status once."})
		}
	}
	for i, k := range r.Identity {
		if k != KindExternal && k != KindEmail && k != KindPhone || slices.Contains(r.Identity[:i], k) {
			problems = append(problems, fault.Field{Path: at("identity", i), Code: "unknown_identity", Message: "Send external_id, email or phone, each at most once."})
		}
	}
	if r.Region != "" && !phonenumbers.GetSupportedRegions()[r.Region] {
		problems = append(problems, fault.Field{Path: "region", Code: "unknown_region", Message: "Send a country as two capital letters, like DE, or leave it out."})
	}
	if len(r.RoleNames) > maxRoleNames {
		problems = append(problems, fault.Field{Path: "role_names", Code: "too_many", Message: "Send at most 500 names."})
	}
	for i, s := range r.RoleNames {
		if !validLocal(s) || s != FoldEmail(s) {
			problems = append(problems, fault.Field{Path: at("role_names", i), Code: "bad_name", Message: "Send the lower-case part of an address before the @, like einkauf."})
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

// IsUser reports whether the field of that API name holds a user's id.
func (r *Rules) IsUser(name string) bool {
	key, custom := strings.CutPrefix(name, customPrefix)
	return name == "owner_id" || custom && r.Fields[key].Type == TypeUser
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

// nearest is the known name that is closest to s by edit distance, "" when none is close. A key is at most 63 bytes:
// what is much longer is no misspelling of one, and would be dear to compare.
func nearest(s string, known []string) string {
	if len(s) > maxTag {
		return ""
	}
	best, at := "", 1+len(s)/3
	for _, k := range known {
		if d := distance(s, k); d <= at && (best == "" || d < at) {
			best, at = k, d
		}
	}
	return best
}

// misspelt is the known key that s is most likely a misspelling of, "" when it is a name of its own. Names that
// differ in digits only (address1, address2) are different on purpose.
func misspelt(s string, known []string) string {
	if len(s) < 4 {
		return ""
	}
	letters := func(s string) string {
		return strings.Trim(strings.Map(func(r rune) rune {
			if r >= '0' && r <= '9' {
				return '0'
			}
			return r
		}, s), "0")
	}
	for _, k := range known {
		if distance(s, k) <= 1+len(s)/9 && letters(s) != letters(k) {
			return k
		}
	}
	return ""
}

// distance counts the edits, swaps of neighbours included, that make b of a. Names are ASCII: bytes do.
func distance(a, b string) int {
	d := make([][]int, len(a)+1)
	for i := range d {
		d[i] = make([]int, len(b)+1)
		d[i][0] = i
	}
	for j := range len(b) + 1 {
		d[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			d[i][j] = min(d[i-1][j]+1, d[i][j-1]+1, d[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				d[i][j] = min(d[i][j], d[i-2][j-2]+1)
			}
		}
	}
	return d[len(a)][len(b)]
}

func number(n int) string              { return strconv.Itoa(n) }
func at(path string, index int) string { return path + "[" + strconv.Itoa(index) + "]" }
