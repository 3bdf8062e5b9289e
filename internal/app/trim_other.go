//go:build !linux

package app

// releaseOwnPages is for Linux.
func releaseOwnPages() {}
