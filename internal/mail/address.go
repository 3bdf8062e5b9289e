package mail

import (
	"errors"
	"fmt"
	netmail "net/mail"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
)

// Address is one mailbox: a display name and an address whose domain is ASCII lower case.
type Address struct {
	Name string
	Addr string
}

// Limits of what reaches a header.
const (
	MaxAddress = 254 // bytes, RFC 5321
	MaxSubject = 998 // bytes, RFC 5322 line
	MaxName    = 200 // runes
)

var (
	errEmptyAddress = errors.New("empty; send name@domain")
	errControl      = errors.New("holds a control character such as CR, LF or NUL; header values may not")
)

// CheckHeader refuses control characters in a value that becomes part of a header. It never strips them.
func CheckHeader(v string) error {
	if !utf8.ValidString(v) {
		return errors.New("is not valid UTF-8")
	}
	for _, r := range v {
		if r < 0x20 || r == 0x7f || r == '\u0085' || r == '\u2028' || r == '\u2029' {
			return errControl
		}
	}
	return nil
}

// hosts are domains as the net looks them up; no label is empty, also none that only Punycode made look filled.
var hosts = idna.New(idna.MapForLookup(), idna.StrictDomainName(true), idna.VerifyDNSLength(true), idna.BidiRule())

// ParseAddress reads "name@domain" or "Name <name@domain>": exactly one, without control characters, ≤ 254 bytes, the
// domain with at least one dot unless it is localhost. The local part keeps its case.
func ParseAddress(s string) (Address, error) {
	if err := CheckHeader(s); err != nil {
		return Address{}, err
	}
	s = strings.TrimSpace(s)
	if s == "" {
		return Address{}, errEmptyAddress
	}
	if len(s) > 2*MaxAddress+MaxName*4 {
		return Address{}, fmt.Errorf("longer than %d bytes", MaxAddress)
	}
	a, err := netmail.ParseAddress(s)
	if err != nil {
		return Address{}, errors.New("not an e-mail address; send name@domain")
	}
	if err := CheckHeader(a.Name + a.Address); err != nil { // encoded words can carry line breaks
		return Address{}, err
	}
	at := strings.LastIndexByte(a.Address, '@')
	local, domain := a.Address[:at], a.Address[at+1:]
	if local == "" || len(local) > 64 || strings.ContainsAny(local, " \"<>()[]:;,\\@") || strings.Contains("."+local+".", "..") {
		return Address{}, errors.New("not an e-mail address we can write to: its part before the @ is empty, too long or quoted")
	}
	if strings.IndexFunc(local, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 { // most relays take no SMTPUTF8
		return Address{}, errors.New("not an e-mail address we can write to: its part before the @ has letters beyond a-z")
	}
	ascii, err := hosts.ToASCII(domain)
	if err != nil || (!strings.Contains(ascii, ".") && ascii != "localhost") || strings.HasPrefix(domain, "[") {
		return Address{}, errors.New("not an e-mail address: the domain is not a host name")
	}
	out := Address{Name: a.Name, Addr: local + "@" + strings.ToLower(ascii)}
	if len(out.Addr) > MaxAddress {
		return Address{}, fmt.Errorf("longer than %d bytes", MaxAddress)
	}
	if utf8.RuneCountInString(out.Name) > MaxName {
		return Address{}, fmt.Errorf("the name is longer than %d characters", MaxName)
	}
	return out, nil
}

// Domain is the part after the @.
func (a Address) Domain() string { return a.Addr[strings.LastIndexByte(a.Addr, '@')+1:] }

// Key is the form in which two addresses are compared: lower case throughout.
func (a Address) Key() string { return strings.ToLower(a.Addr) }

// String is the address as a header shows it.
func (a Address) String() string {
	return a.header().String()
}

// header is the address for net/mail, which puts a backslash of a name into an encoded word as it is: there it may not
// stand (RFC 2047, section 5), and nobody, net/mail included, could read the field. Its wide twin may.
func (a Address) header() *netmail.Address {
	name := a.Name
	if runes := []rune(name); len(runes) > MaxName { // one of ParseAddress is shorter
		name = string(runes[:MaxName])
	}
	if strings.IndexFunc(name, func(r rune) bool { return r >= utf8.RuneSelf }) >= 0 {
		name = strings.ReplaceAll(name, `\`, "＼")
	}
	return &netmail.Address{Name: name, Address: a.Addr}
}
