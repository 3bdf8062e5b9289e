package account

import (
	"fmt"
	"net/mail"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"leadloom/internal/fault"
)

// User is a person who logs in to one tenant.
type User struct {
	ID           UserID
	TenantID     TenantID
	Username     string // as typed; unique in the tenant when folded
	Email        string // as typed; unique in the tenant when folded; may be empty
	PasswordHash string // empty: this user cannot log in with a password
	Role         Role
	Active       bool
	Version      int64 // grows by one per change; the basis of ETag
	CreatedAt    time.Time
	UpdatedAt    time.Time
	LastLoginAt  time.Time // zero: never
}

// Permissions is what the user may do now: his role's rights, none when he is deactivated. Only users of the first
// tenant have the instance's own right, system:admin.
func (u *User) Permissions() Permissions {
	if !u.Active {
		return 0
	}
	return EffectivePermissions(u.TenantID, u.Role)
}

// EffectivePermissions is what a role may do in a tenant.
func EffectivePermissions(t TenantID, r Role) Permissions {
	p := r.Permissions()
	if t != FirstTenant {
		p &^= 1 << SystemAdmin
	}
	return p
}

// NewUser is the input from which a user is made.
type NewUser struct {
	Username string
	Email    string
	Password string
	Role     string
}

// Limits of a user's names.
const (
	MaxUsernameRunes = 64
	MaxEmailBytes    = 254
)

// Normalize trims and checks the input and reports every problem at once. An empty role means guest.
func (n NewUser) Normalize() (NewUser, Role, []fault.Field) {
	n.Username = norm.NFC.String(strings.TrimSpace(n.Username))
	n.Email = strings.TrimSpace(n.Email)
	problems := checkUsername(n.Username)
	problems = append(problems, checkEmail(n.Email)...)
	problems = append(problems, CheckNewPassword("password", n.Password)...)
	if n.Role == "" {
		n.Role = string(RoleGuest)
	}
	role, fields := CheckRole("role", n.Role)
	return n, role, append(problems, fields...)
}

// CheckRole parses a role and names the valid ones when it is none.
func CheckRole(path, s string) (Role, []fault.Field) {
	role, ok := ParseRole(s)
	if ok {
		return role, nil
	}
	names := make([]string, len(Roles))
	for i, r := range Roles {
		names[i] = string(r)
	}
	return "", []fault.Field{{Path: path, Code: "unknown_role", Message: "Send one of " + strings.Join(names, ", ") + "."}}
}

func checkUsername(s string) []fault.Field {
	bad := func(code, message string) []fault.Field {
		return []fault.Field{{Path: "username", Code: code, Message: message}}
	}
	switch {
	case s == "":
		return bad("required", "Send the name with which the user logs in.")
	case !utf8.ValidString(s):
		return bad("not_utf8", "Send the name as UTF-8 text.")
	case utf8.RuneCountInString(s) > MaxUsernameRunes:
		return bad("too_long", fmt.Sprintf("Send at most %d characters.", MaxUsernameRunes))
	case strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsGraphic(r) || unicode.IsSpace(r) }):
		return bad("bad_character", "Send a name without spaces and control characters.")
	case strings.Contains(s, "@"):
		return bad("bad_character", "Send a name without @; the e-mail address has a field of its own and can be used to log in as well.")
	}
	return nil
}

func checkEmail(s string) []fault.Field {
	if s == "" {
		return nil
	}
	a, err := mail.ParseAddress(s)
	if len(s) > MaxEmailBytes || err != nil || a.Address != s || !utf8.ValidString(s) {
		return []fault.Field{{Path: "email", Code: "not_an_address", Message: "Send one address as name@domain, at most 254 bytes, or leave it empty."}}
	}
	return nil
}

// FoldLogin is the form in which usernames and e-mail addresses are compared.
func FoldLogin(s string) string {
	return norm.NFC.String(cases.Fold().String(norm.NFKC.String(strings.TrimSpace(s))))
}
