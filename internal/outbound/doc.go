// Package outbound holds the one HTTP client through which Leadloom calls other hosts: CRMs, workflows' HTTP calls,
// token services. It refuses addresses inside our own network when the connection is made, i.e. after name
// resolution, follows no redirect, caps time and size, marks every call with our instance so that a call that comes
// back to us is recognised, and says what went wrong in words that hide secrets. It knows nothing of CRMs or
// workflows. Start with client.go, then address.go.
package outbound
