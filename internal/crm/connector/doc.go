// Package connector holds what differs between CRMs: one file per kind of CRM behind one interface, listed in
// registry.go. A connector gets a guarded HTTP client, a clock and a budget; it never reads the database, sleeps,
// retries, logs bodies or starts goroutines, and it answers with classified errors. Start with connector.go, then
// generic.go. Every connector passes the suite in connectortest against its simulator.
package connector
