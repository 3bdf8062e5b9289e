package service

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/mail"
	"leadloom/internal/outbound"
	"leadloom/internal/secret"
	"leadloom/internal/store"
)

// Deps are what the services are built from.
type Deps struct {
	Store   *store.Store
	Secrets *secret.Box
	Log     *slog.Logger
	SMTP    mail.Settings // the relay; zero: messages wait until there is one

	Passwords    account.HashParams   // what hashing a password costs; zero means account.DefaultHashParams
	PasswordWork PasswordWork         // who hashes; nil means this process
	Hashing      account.HasherLimits // zero means account.DefaultHasherLimits

	Outbound *outbound.Client     // for every call to other hosts
	Self     func() outbound.Self // where this server can be reached; nil when it is not known
}

// core is what all services share.
type core struct {
	Deps
	st     *store.Store
	mailer *mailer
	crm    crmState

	flows     *flowCache
	timerWake chan struct{} // a timer was set
	hosts     *hostSlots    // calls of workflow steps under way
}

// now is the store's clock.
func (c *core) now() time.Time { return c.st.Now().UTC() }

// Services are all verbs, by noun.
type Services struct {
	core      *core
	Accounts  *Accounts
	Leads     *Leads
	System    *System
	Mail      *Mail
	Campaigns *Campaigns
	Analytics *Analytics
	CRM       *CRM
	Workflows *Workflows
}

// New builds the services. It starts nothing.
func New(d Deps) *Services {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	c := &core{Deps: d, st: d.Store, mailer: newMailer(d.SMTP, d.Secrets.Derive("message ids", 32)),
		flows: newFlowCache(), timerWake: make(chan struct{}, 1), hosts: &hostSlots{}}
	return &Services{
		core:      c,
		Accounts:  newAccounts(c),
		Leads:     &Leads{core: c},
		System:    newSystem(c),
		Mail:      &Mail{core: c},
		Campaigns: &Campaigns{core: c},
		Analytics: &Analytics{core: c},
		CRM:       &CRM{core: c},
		Workflows: &Workflows{core: c},
	}
}

// IfMatch is a request's precondition: the versions that the caller accepts. The zero value accepts any.
type IfMatch struct{ Versions []int64 }

// Holds reports whether a resource at this version may be changed.
func (m IfMatch) Holds(version int64) bool {
	if m.Versions == nil {
		return true
	}
	for _, v := range m.Versions {
		if v == version {
			return true
		}
	}
	return false
}

// write runs fn in one transaction. When the caller sent an Idempotency-Key, fn's result is stored, sealed, in the
// same transaction; a repeat gets that result instead of running fn, with Idempotency.Replayed set. T must survive a
// round trip through JSON.
func write[T any](ctx context.Context, c *core, sc account.Scope, fn func(*store.Tx) (T, error)) (T, error) {
	var out T
	err := c.st.Write(ctx, func(tx *store.Tx) error {
		var zero T
		out = zero
		if sc.Idempotency == nil {
			var err error
			out, err = fn(tx)
			return err
		}
		sc.Idempotency.Replayed = false
		old, err := tx.ClaimIdempotency(sc)
		if err != nil {
			return err
		}
		aad := "idempotency " + string(sc.Tenant()) + " " + sc.Idempotency.Route + " " + sc.Idempotency.Key
		if old != nil {
			return c.replay(sc, old, aad, &out)
		}
		if out, err = fn(tx); err != nil {
			return err
		}
		b, err := json.Marshal(out)
		if err != nil {
			return fault.Internal("store the result for the Idempotency-Key", err)
		}
		return tx.SaveResult(sc, c.Secrets.Seal(b, aad))
	})
	return out, err
}

func (c *core) replay(sc account.Scope, old *store.StoredResult, aad string, out any) error {
	if old.Digest != sc.Idempotency.Digest {
		return fault.Invalid("Idempotency-Key", "idempotency_key_reused", "this key was used for another request; send a new key for a new request")
	}
	if old.Result == nil {
		return &fault.Error{Kind: fault.KindConflict, Code: "still_running", Message: "The first request with this Idempotency-Key is still running. Try again shortly.", RetryAfter: time.Second}
	}
	b, err := c.Secrets.Open(old.Result, aad)
	if err != nil {
		return fault.Internal("open the stored result", err)
	}
	if err := json.Unmarshal(b, out); err != nil {
		return fault.Internal("read the stored result", err)
	}
	sc.Idempotency.Replayed = true
	return nil
}

// notFound turns the store's "no row" into the caller's 404; other errors pass.
func notFound(err error, noun, id string) error {
	if errors.Is(err, store.ErrNotFound) {
		return fault.NotFound(noun, id)
	}
	return err
}
