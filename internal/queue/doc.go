// Package queue runs background work with River on SQLite and on PostgreSQL. A job is inserted inside the transaction
// of the change that caused it, and finished inside the transaction of its own effect, so that neither can be had
// without the other. Start with registry.go (which kinds of work exist and who does them), then job.go (what a worker
// gets), client.go (life cycle), periodic.go (work by the clock, with its policy for missed runs).
package queue
