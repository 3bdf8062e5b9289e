package service

import (
	"context"

	"leadloom/internal/account"
	"leadloom/internal/store"
)

// Check verifies every invariant of docs/architecture.md that this version has, over all tenants, and returns what is
// broken, at most 100 rows per invariant; empty means that all of them hold. It only reads and may run while the
// server works.
func (s *System) Check(ctx context.Context, in account.Instance) ([]store.Finding, error) {
	var out []store.Finding
	for _, name := range store.Checks() {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		found, err := s.st.Read(ctx).Check(in, name)
		if err != nil {
			return out, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// Checks names the invariants that Check verifies, in order.
func (s *System) Checks() []string { return store.Checks() }
