// Package store holds all SQL. It runs on SQLite and on PostgreSQL from one SQL text; the few differences live in
// dialect.go. It knows the rules' types and nothing of services, HTTP or what a job means. Start with store.go (what
// callers see), then sqlite.go and writer.go (group commit) or postgres.go. One file per noun holds its queries.
package store
