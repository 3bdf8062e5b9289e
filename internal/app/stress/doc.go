// Package stress drives a server with the load that its existing clients produce and reports what came back: counts,
// failures and latencies per endpoint, as a table, JSON and one HTML page. It knows the server by its HTTP contract
// alone. Start with profile.go for what is sent, then run.go.
package stress
