package service

import (
	"context"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/lead"
	"leadloom/internal/secret"
	"leadloom/internal/store"
)

// Check verifies every invariant of docs/architecture.md that this version has, over all tenants, and returns what is
// broken, at most 100 rows per check; empty means that all of them hold. It only reads and may run while the server
// works.
func (s *System) Check(ctx context.Context, in account.Instance) ([]store.Finding, error) {
	var out []store.Finding
	err := Verify(ctx, s.st, s.Secrets, in, func(c store.Checked) { out = append(out, c.Findings...) })
	return out, err
}

// Verify runs every check in order and tells each as soon as one is done. Without the key that seals secrets (box nil)
// stored credentials are not opened, and so not looked for elsewhere.
func Verify(ctx context.Context, st *store.Store, box *secret.Box, in account.Instance, tell func(store.Checked)) error {
	c := &core{Deps: Deps{Store: st}, st: st}
	aids := store.Aids{Rules: func(r *store.Reader, sc account.Scope) (*lead.Rules, error) { return c.committedRules(r, sc) }}
	if box != nil {
		aids.Credentials = func(tenant account.TenantID, id crm.ConnectionID, sealed []byte) (map[string]string, error) {
			opened, err := openSecrets(box, tenant, &crm.Connection{ID: id, Credentials: sealed})
			plain := make(map[string]string, len(opened))
			for name, v := range opened {
				plain[name] = v.Reveal()
			}
			return plain, err
		}
	}
	for _, name := range store.Checks() {
		if err := ctx.Err(); err != nil {
			return err
		}
		done, err := st.Read(ctx).CheckWith(in, name, aids)
		if err != nil {
			return err
		}
		tell(done)
	}
	return nil
}

// Checks names the checks that Check makes, in order.
func (s *System) Checks() []string { return store.Checks() }
