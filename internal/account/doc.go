// Package account holds the rules of who may do what: tenants, scopes, users, roles, permissions, API keys, passwords
// and sessions. It does no I/O and knows no database and no HTTP. Start with scope.go: the Scope is what every store
// call takes. password.go and hasher.go keep passwords, credentials.go makes and recognises keys and tokens,
// access_token.go signs the short-lived ones, throttle.go says how long a failed login must wait.
package account
