package outbound

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"strconv"
	"strings"

	"leadloom/internal/fault"
)

// CheckIncoming judges a request by the marks that our own client leaves: a fault of kind KindLoop when the request
// was sent by this very instance or has passed more than MaxHops servers. hops is what a change made by this request
// hands on. It costs two map look-ups and is meant to run before authentication and any database work.
func CheckIncoming(h http.Header, instance string) (hops int, err error) {
	if from := h.Get(HeaderFrom); from != "" && from == instance {
		return 0, loopFault("This server called itself: a connection or an HTTP step points back here. Change its address.")
	}
	text := h.Get(HeaderHops)
	if text == "" {
		return 0, nil
	}
	if hops, err = strconv.Atoi(text); err != nil || hops < 0 {
		return 0, nil // not one of ours
	}
	if hops > MaxHops {
		return hops, loopFault("This change has passed " + strconv.Itoa(hops) + " servers of this kind: they point at each other in a ring.")
	}
	return hops, nil
}

func loopFault(msg string) error {
	return &fault.Error{Kind: fault.KindLoop, Code: "self_loop", Message: msg}
}

// Self is where this server can be reached, as far as it knows without a network.
type Self struct {
	Listen    []string // host:port as listened on; an empty or unspecified host means every interface
	PublicURL string   // the address users see, when the operator set one
}

// Points reports whether an address leads to this server itself and why we think so. It makes no network call: names
// other than localhost, this machine's own and the public one are judged later, by the test of a connection.
func (s Self) Points(u *url.URL) (reason string, yes bool) {
	if pub, err := url.Parse(s.PublicURL); err == nil && s.PublicURL != "" && sameOrigin(pub, u) {
		return "it is this server's public address", true
	}
	host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
	for _, l := range s.Listen {
		lhost, lport, err := net.SplitHostPort(l)
		if err != nil || lport != strconv.Itoa(portOf(u)) {
			continue
		}
		if leadsTo(host, strings.ToLower(lhost)) {
			return "this server listens there", true
		}
	}
	return "", false
}

func sameOrigin(a, b *url.URL) bool {
	trim := func(u *url.URL) string { return strings.ToLower(strings.TrimSuffix(u.Hostname(), ".")) }
	return trim(a) == trim(b) && portOf(a) == portOf(b)
}

// leadsTo reports whether a connection to host reaches a listener bound to bound.
func leadsTo(host, bound string) bool {
	if host == bound {
		return true
	}
	bindAddr, err := netip.ParseAddr(bound)
	everywhere := bound == "" || (err == nil && bindAddr.IsUnspecified())
	target, err := netip.ParseAddr(host)
	if err != nil {
		name, _ := os.Hostname()
		if host == "localhost" || strings.HasSuffix(host, ".localhost") {
			return everywhere || bound == "localhost" || (bindAddr.IsValid() && isLoopback(plainAddress(bindAddr)))
		}
		return name != "" && host == strings.ToLower(name)
	}
	target = plainAddress(target)
	if target.IsUnspecified() || isLoopback(target) { // connecting to 0.0.0.0 or :: reaches loopback
		return everywhere || bound == "localhost" || (bindAddr.IsValid() && isLoopback(plainAddress(bindAddr)))
	}
	if bindAddr.IsValid() && plainAddress(bindAddr) == target {
		return true
	}
	return everywhere && isOwnAddress(target)
}

func isOwnAddress(a netip.Addr) bool {
	addrs, err := net.InterfaceAddrs()
	if err != nil {
		return false
	}
	for _, ia := range addrs {
		if p, err := netip.ParsePrefix(ia.String()); err == nil && plainAddress(p.Addr()) == a {
			return true
		}
	}
	return false
}
