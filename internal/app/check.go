package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"leadloom/internal/config"
	"leadloom/internal/fault"
	"leadloom/internal/secret"
	"leadloom/internal/service"
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
		return runChecks(ctx, st, c.Data, c.JSON, io)
	})
}

// invariant is one number of architecture.md §6 with what its checks came to.
type invariant struct {
	Number   int             `json:"number"`
	Holds    string          `json:"must_hold"`
	Rows     int64           `json:"rows"`
	Findings int             `json:"findings"`
	Millis   int64           `json:"ms"`
	Checks   []store.Checked `json:"checks"`
}

// runChecks prints a line an invariant as soon as its checks are done, or one JSON document. It fails with errFound when
// anything was found.
func runChecks(ctx context.Context, st *store.Store, d config.Data, asJSON bool, io Streams) error {
	box, err := existingBox(d)
	if err != nil {
		return err
	}
	began, all, found := time.Now(), []*invariant{}, []store.Finding{}
	err = service.Verify(ctx, st, box, authority, func(c store.Checked) {
		if len(all) == 0 || all[len(all)-1].Number != c.Invariant {
			if len(all) > 0 && !asJSON {
				all[len(all)-1].print(io)
			}
			all = append(all, &invariant{Number: c.Invariant, Holds: store.Invariants[c.Invariant]})
		}
		v := all[len(all)-1]
		v.Rows, v.Millis, v.Findings, v.Checks = v.Rows+c.Rows, v.Millis+c.Millis, v.Findings+len(c.Findings), append(v.Checks, c)
		found = append(found, c.Findings...)
	})
	if err != nil {
		return err
	}
	if asJSON {
		e := json.NewEncoder(io.Out)
		e.SetIndent("", "  ")
		err = e.Encode(map[string]any{"checks": store.Checks(), "findings": found, "invariants": all, "credentials_opened": box != nil, "ms": time.Since(began).Milliseconds()})
	} else {
		all[len(all)-1].print(io)
		err = chainAge(ctx, st, box != nil, began, io)
	}
	if err == nil && len(found) > 0 {
		err = errFound
	}
	return err
}

func (v *invariant) print(io Streams) {
	verdict := "ok"
	if v.Findings > 0 {
		verdict = fmt.Sprintf("%d FOUND", v.Findings)
	}
	fmt.Fprintf(io.Out, "%2d  %-77s %-10s %2d checks %12d rows %8.2f s\n", v.Number, v.Holds, verdict, len(v.Checks), v.Rows, float64(v.Millis)/1000)
	for _, c := range v.Checks {
		for _, f := range c.Findings {
			fmt.Fprintf(io.Out, "      %s: tenant %s, %s: %s\n", f.Check, f.Tenant, f.ID, f.Detail)
		}
	}
}

// chainAge says how old what was checked is, and what could not be looked at.
func chainAge(ctx context.Context, st *store.Store, opened bool, began time.Time, io Streams) error {
	sealedAt, open, err := st.Read(ctx).SealAge(authority)
	if err != nil {
		return err
	}
	sealed := "The event chain was never sealed"
	if sealedAt > 0 {
		sealed = "The event chain was sealed last at " + time.UnixMicro(sealedAt).UTC().Format("2006-01-02 15:04:05 UTC")
	}
	fmt.Fprintf(io.Out, "%s; %d events wait for the next seal.\n", sealed, open)
	if !opened {
		fmt.Fprintln(io.Out, "There is no secret key here: stored credentials were not opened, and so not looked for in other rows (invariant 10).")
	}
	_, err = fmt.Fprintf(io.Out, "Checked in %.1f s.\n", time.Since(began).Seconds())
	return err
}

// existingBox opens secrets with the installation's key; nil when there is none yet, because check makes nothing.
func existingBox(d config.Data) (*secret.Box, error) {
	if _, err := os.Lstat(filepath.Join(d.Data, secret.KeyFile)); errors.Is(err, fs.ErrNotExist) && d.SecretKey == "" {
		return nil, nil
	}
	key, err := secret.ReadMaster(d.Data, d.SecretKey)
	if err != nil {
		return nil, err
	}
	return secret.NewBox(key), nil
}
