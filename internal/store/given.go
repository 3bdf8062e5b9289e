package store

import "time"

// UseID makes the next NewID return this id: demo data has fixed ids that existing clients ask for.
func (tx *Tx) UseID(id string) { tx.nextID = id }

// At moves the transaction's instant: demo data has a past. Nothing else may.
func (tx *Tx) At(t time.Time) { tx.now = t.UTC().Truncate(time.Microsecond) }
