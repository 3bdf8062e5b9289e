//go:build !failpoint

package failpoint

import "net/netip"

// Hit does nothing in a release.
func Hit(Name) {}

// Targets is none in a release: a production server calls no loopback address.
func Targets() []netip.AddrPort { return nil }
