//go:build !failpoint

package failpoint

// Hit does nothing in a release.
func Hit(Name) {}
