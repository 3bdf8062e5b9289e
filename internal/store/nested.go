package store

import (
	"fmt"
	"maps"
)

// Nested runs fn inside the transaction so that its error undoes only what fn did: rows, jobs, counts and what was to
// happen after the commit. It returns fn's error.
func (tx *Tx) Nested(fn func() error) error {
	jobs, counts, after := len(tx.jobs), maps.Clone(tx.counts), len(tx.onCommit)
	if _, err := tx.exec("SAVEPOINT nested"); err != nil {
		return fmt.Errorf("savepoint: %w", err)
	}
	failed := fn()
	if failed != nil {
		if _, err := tx.exec("ROLLBACK TO SAVEPOINT nested"); err != nil {
			return fmt.Errorf("roll back to savepoint: %w", err)
		}
		tx.jobs, tx.counts, tx.onCommit = tx.jobs[:jobs], counts, tx.onCommit[:after]
	}
	if _, err := tx.exec("RELEASE SAVEPOINT nested"); err != nil {
		return fmt.Errorf("release savepoint: %w", err)
	}
	return failed
}
