package lead

import (
	"slices"
	"strings"
	"unicode"

	"golang.org/x/net/idna"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"

	"leadloom/internal/fault"
)

var domains = idna.New(idna.MapForLookup(), idna.StrictDomainName(true), idna.VerifyDNSLength(true), idna.BidiRule())

// ParseEmail checks one address and returns it with the local part as typed and the domain in ASCII lower case.
// An empty address is fine. The second result is the field's problem, nil when there is none.
func ParseEmail(path, s string) (string, *fault.Field) {
	bad := func(code, message string) (string, *fault.Field) {
		return "", &fault.Field{Path: path, Code: code, Message: message}
	}
	s, problem := checkText(path, s, maxEmailBytes, false)
	if problem != nil {
		return "", problem
	}
	if s == "" {
		return "", nil
	}
	if strings.ContainsAny(s, "<>") {
		return bad("display_name", "Send the address alone, name@domain, without a display name or angle brackets.")
	}
	if strings.Count(s, "@") > 1 || strings.ContainsAny(s, ",;") {
		return bad("several_addresses", "Send one address; further ones belong to other leads.")
	}
	local, domain, ok := strings.Cut(s, "@")
	if !ok {
		return bad("not_an_address", "Send an e-mail address of the form name@domain.")
	}
	if !validLocal(local) {
		return bad("not_an_address", "The part before the @ may hold letters, digits and . ! # $ % & ' * + - / = ? ^ _ ` { | } ~, with no dot at an end or twice in a row, up to 64 bytes.")
	}
	ascii, err := asciiDomain(domain)
	if err != nil || !validDomain(ascii) {
		return bad("bad_domain", "The part after the @ is no domain name. Send one like example.com.")
	}
	if len(local)+1+len(ascii) > maxEmailBytes {
		return bad("too_long", "Send an address of at most 254 bytes.")
	}
	return local + "@" + ascii, nil
}

func asciiDomain(domain string) (string, error) {
	if ascii(domain) && !strings.Contains(domain, "--") {
		return strings.ToLower(domain), nil
	}
	return domains.ToASCII(domain)
}

func validLocal(s string) bool {
	if s == "" || len(s) > 64 || s[0] == '.' || s[len(s)-1] == '.' || strings.Contains(s, "..") {
		return false
	}
	for _, r := range s {
		switch {
		case r < 0x80:
			if !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(".!#$%&'*+-/=?^_`{|}~", r)) {
				return false
			}
		case !unicode.IsLetter(r) && !unicode.IsDigit(r) && !unicode.Is(unicode.M, r):
			return false
		}
	}
	return true
}

func validDomain(s string) bool {
	if len(s) > 253 {
		return false
	}
	labels := strings.Split(s, ".")
	if len(labels) < 2 {
		return false
	}
	for _, l := range labels {
		if l == "" || len(l) > 63 || l[0] == '-' || l[len(l)-1] == '-' {
			return false
		}
		for i := range len(l) {
			c := l[i]
			if !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
				return false
			}
		}
	}
	return strings.ContainsFunc(labels[len(labels)-1], unicode.IsLetter)
}

// FoldEmail is the form of a checked address in which two are the same mailbox. Plus tags and dots count, unless the
// rules say that they do not.
func FoldEmail(s string) string {
	if ascii(s) {
		return strings.ToLower(s)
	}
	return norm.NFC.String(cases.Fold().String(s))
}

// roleNames are local parts of shared mailboxes: they reach a company and identify nobody.
var roleNames = []string{"abuse", "accounts", "admin", "billing", "contact", "enquiries", "hello", "help", "helpdesk", "hr",
	"info", "jobs", "kontakt", "mail", "marketing", "no-reply", "noreply", "office", "postmaster", "press", "privacy",
	"sales", "security", "service", "support", "team", "webmaster"}

// IsRoleAddress reports whether a folded address is a shared mailbox by the default list.
func IsRoleAddress(folded string) bool {
	local, _, _ := strings.Cut(folded, "@")
	_, found := slices.BinarySearch(roleNames, local)
	return found
}

// typos maps a misspelt mail domain to what was most likely meant.
var typos = map[string]string{
	"gmial.com": "gmail.com", "gmai.com": "gmail.com", "gmal.com": "gmail.com", "gnail.com": "gmail.com", "gmail.con": "gmail.com",
	"gmail.co": "gmail.com", "hotmial.com": "hotmail.com", "hotmal.com": "hotmail.com", "hotmail.con": "hotmail.com",
	"yaho.com": "yahoo.com", "yahooo.com": "yahoo.com", "yahoo.con": "yahoo.com", "outlok.com": "outlook.com",
	"outloook.com": "outlook.com", "iclod.com": "icloud.com", "icloud.con": "icloud.com",
}

// emailWarning is advice about a valid address, nil when there is none.
func emailWarning(path, addr string) *fault.Field {
	_, domain, _ := strings.Cut(addr, "@")
	if meant, ok := typos[domain]; ok {
		return &fault.Field{Path: path, Code: "probable_typo", Message: "The domain " + domain + " looks like a misspelt " + meant + ". It was kept as sent."}
	}
	return nil
}
