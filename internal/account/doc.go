// Package account holds the rules of who may do what: tenants, scopes, users, roles, permissions, API keys and
// passwords. It does no I/O. Start with scope.go: the Scope is what every store call takes.
package account
