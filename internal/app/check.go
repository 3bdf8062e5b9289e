package app

import (
	"context"
	"encoding/json"
	"fmt"

	"leadloom/internal/config"
	"leadloom/internal/fault"
	"leadloom/internal/store"
)

// check verifies every invariant beside a running server; it only reads.
func check(ctx context.Context, c config.Check, io Streams) error {
	return withStore(ctx, c.Data, true, func(st *store.Store) error {
		applied, newest, err := st.SchemaVersion(ctx, authority)
		if err != nil {
			return err
		}
		if applied != newest {
			return fault.Conflict("migrations_pending", fmt.Sprintf("The schema is at step %d of %d: run leadloom migrate up first.", applied, newest))
		}
		return runChecks(ctx, st, c.JSON, io)
	})
}

func runChecks(ctx context.Context, st *store.Store, asJSON bool, io Streams) error {
	found := []store.Finding{}
	for _, name := range store.Checks() {
		fs, err := st.Read(ctx).Check(authority, name)
		if err != nil {
			return err
		}
		found = append(found, fs...)
		if asJSON {
			continue
		}
		verdict := "ok"
		if len(fs) > 0 {
			verdict = fmt.Sprintf("%d found", len(fs))
		}
		fmt.Fprintf(io.Out, "%-32s %s\n", name, verdict)
		for _, f := range fs {
			fmt.Fprintf(io.Out, "  tenant %s, %s: %s\n", f.Tenant, f.ID, f.Detail)
		}
	}
	if asJSON {
		e := json.NewEncoder(io.Out)
		e.SetIndent("", "  ")
		if err := e.Encode(map[string]any{"checks": store.Checks(), "findings": found}); err != nil {
			return err
		}
	}
	if len(found) > 0 {
		return errFound
	}
	return nil
}
