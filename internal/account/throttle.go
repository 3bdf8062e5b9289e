package account

import (
	"net/netip"
	"time"
)

// Failed logins are counted per account name and client address: a guesser slows himself down and nobody else, so
// that no one can lock another out.
const (
	FreeLoginFailures = 5 // typing errors cost nothing
	LongestLoginDelay = 15 * time.Minute
	ForgetFailuresIn  = 24 * time.Hour
	firstLoginDelay   = 2 * time.Second
	addressPrefixIPv6 = 64 // one subscriber
	unreadableAddress = "unknown"
	maxDelayDoublings = 16
)

// LoginDelay is how long the next attempt must wait after so many failures in a row: nothing for the first few, then
// 2 s, doubling up to 15 minutes.
func LoginDelay(failures int) time.Duration {
	over := failures - FreeLoginFailures
	if over < 0 {
		return 0
	}
	return min(firstLoginDelay<<min(over, maxDelayDoublings), LongestLoginDelay)
}

// ThrottleAddress is the part of a client's address that is counted: an IPv4 address, or the /64 of an IPv6 one.
func ThrottleAddress(remote string) string {
	if ap, err := netip.ParseAddrPort(remote); err == nil {
		remote = ap.Addr().String()
	}
	a, err := netip.ParseAddr(remote)
	if err != nil {
		return unreadableAddress
	}
	a = a.Unmap().WithZone("")
	if a.Is4() {
		return a.String()
	}
	p, _ := a.Prefix(addressPrefixIPv6)
	return p.String()
}
