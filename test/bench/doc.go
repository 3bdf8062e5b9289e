// Package bench measures the product beside its ceilings in one run: what the same work costs without the product. For
// requests that is a bare server (net/http, the same SQLite driver at the same durability, the same row, group commit and
// prepared statements, but no authentication, validation, events, search words or jobs); for workflows River alone with
// an empty worker; for campaigns and the CRM bare client loops into the same sink and simulator; for logins the bare hash.
//
// Each leg is measured in turns, the sides in alternating order, so that the machine's drift meets both. Start reading
// in suite.go (the run), legs.go (what is measured) and report.go (what is kept). `make bench` and `make bench-compare`
// run it; ./run holds the command.
package bench
