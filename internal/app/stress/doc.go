// Package stress drives a server with the load that its existing clients produce, and with the hostile company such a
// server keeps: thousands of idle connections, floods of logins. It reports what came back: counts, failures and
// latencies per endpoint, as a table, JSON and one HTML page. It knows the server by its HTTP contract alone, and is
// cheap: raw connections, requests put together as bytes. Start with profile.go for what is sent, then run.go.
package stress
