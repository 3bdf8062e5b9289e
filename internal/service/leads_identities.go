package service

import (
	"context"
	"slices"

	"leadloom/internal/account"
	"leadloom/internal/lead"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// identitiesArgs asks for every lead of a tenant to be given the identities that its rules now name.
type identitiesArgs struct {
	Tenant string `json:"tenant_id"`
}

// Kind implements river.JobArgs.
func (identitiesArgs) Kind() string { return "leads.identities" }

// identitiesChunk is how many leads one transaction of that job looks at.
const identitiesChunk = 500

// reidentify follows a change of what recognises a lead. One job per change: one that is already under way may have
// passed leads by the former rules. Two at once do no harm.
func (c *core) reidentify(tx *store.Tx, sc account.Scope) error {
	return tx.Enqueue(identitiesArgs{Tenant: string(sc.Tenant())}, nil)
}

// identitiesJob walks the tenant's leads by id. After a crash it begins again and finds most of them done. Where two
// leads share a value, the first by id, which is the older one, gets it.
func (s *Leads) identitiesJob(ctx context.Context, job queue.Job[identitiesArgs]) error {
	sc := account.SystemScope(account.TenantID(job.Args.Tenant), "leads.identities")
	for at, done := lead.ID(""), false; !done; {
		var last lead.ID
		err := s.st.Write(ctx, func(tx *store.Tx) error {
			leads, err := tx.LeadsAfter(sc, at, identitiesChunk)
			if err != nil {
				return err
			}
			for _, l := range leads {
				if err := s.setIdentities(tx, sc, l); err != nil {
					return err
				}
				last = l.ID
			}
			if done = len(leads) < identitiesChunk; done {
				return job.Finish(tx)
			}
			return nil
		})
		if err != nil {
			return err
		}
		at = last
	}
	return nil
}

// setIdentities makes the identities that a lead has those that the rules name, as far as no other lead has them.
func (c *core) setIdentities(tx *store.Tx, sc account.Scope, l *lead.Lead) error {
	rules, err := c.leadRules(tx, sc)
	if err != nil {
		return err
	}
	has, err := tx.LiveIdentities(sc, l.ID)
	if err != nil || sameIdentities(has, rules.Identities(l)) {
		return err
	}
	if l, err = tx.Lead(sc, l.ID); err != nil { // locked from here on
		return err
	}
	if !l.Live() {
		return nil
	}
	if has, err = tx.LiveIdentities(sc, l.ID); err != nil {
		return err
	}
	want := rules.Identities(l)
	var drop []string
	for _, i := range has {
		if !slices.Contains(want, i) {
			drop = append(drop, i.Kind)
		}
	}
	if err := tx.DropIdentities(sc, l.ID, drop); err != nil {
		return err
	}
	want = slices.DeleteFunc(want, func(i lead.Identity) bool { return slices.Contains(has, i) })
	_, _, err = tx.ClaimIdentities(sc, l.ID, want)
	return err
}

func sameIdentities(a, b []lead.Identity) bool {
	return len(a) == len(b) && !slices.ContainsFunc(a, func(i lead.Identity) bool { return !slices.Contains(b, i) })
}
