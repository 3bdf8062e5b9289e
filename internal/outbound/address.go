package outbound

import (
	"net/netip"
)

// Ranges that no call may reach unless the operator names them. Sources: IANA special-purpose address registries.
var deniedRanges = prefixes(
	"0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24",
	"192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
	"2001::/23", "2001:db8::/32", "3fff::/20", // inside global6, but special: Teredo, ORCHID, benchmarks; documentation
)

// global6 is the only part of IPv6 that is given out as public addresses: ::/96, fc00::/7, the local NAT64 64:ff9b:1::/48
// and all that may yet be invented lie outside of it.
var global6 = netip.MustParsePrefix("2000::/3")

// Ranges and addresses that nobody can allow: link-local and the metadata services of cloud providers.
var neverAllowed = prefixes(
	"169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "100.100.100.200/32", "168.63.129.16/32",
)

var (
	loopback4 = netip.MustParsePrefix("127.0.0.0/8")
	nat64     = netip.MustParsePrefix("64:ff9b::/96")
	sixToFour = netip.MustParsePrefix("2002::/16")
)

func prefixes(texts ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(texts))
	for i, t := range texts {
		out[i] = netip.MustParsePrefix(t)
	}
	return out
}

func within(list []netip.Prefix, a netip.Addr) bool {
	for _, p := range list {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// plainAddress strips a zone and undoes the IPv6 forms that carry an IPv4 address, so that each is judged as what it
// reaches.
func plainAddress(a netip.Addr) netip.Addr {
	a = a.WithZone("").Unmap()
	if !a.Is6() {
		return a
	}
	b := a.As16()
	switch {
	case nat64.Contains(a):
		return netip.AddrFrom4([4]byte(b[12:16]))
	case sixToFour.Contains(a):
		return netip.AddrFrom4([4]byte(b[2:6]))
	}
	return a
}

func isLoopback(a netip.Addr) bool {
	return loopback4.Contains(a) || a == netip.IPv6Loopback()
}

// addressAllowed judges a resolved address: public ones pass; private ones when the operator named their range;
// loopback only as an exact target of the demo; link-local and metadata never.
func (c *Client) addressAllowed(ap netip.AddrPort) bool {
	a := plainAddress(ap.Addr())
	if !a.IsValid() || within(neverAllowed, a) {
		return false
	}
	if isLoopback(a) {
		return c.targetAllowed(netip.AddrPortFrom(a, ap.Port()))
	}
	if within(c.policy.AllowRanges, a) {
		return true
	}
	return !within(deniedRanges, a) && (a.Is4() || global6.Contains(a))
}
