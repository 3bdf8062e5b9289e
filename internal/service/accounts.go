package service

import (
	"context"
	"encoding/json"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// Accounts are the verbs on tenants, users, sessions and API keys. accounts_login.go lets people in,
// accounts_authenticate.go recognises them, accounts_users.go, accounts_keys.go and accounts_tenants.go manage what
// there is, accounts_setup.go makes the first user.
type Accounts struct {
	*core
	hasher  *account.Hasher
	params  account.HashParams
	inst    account.Instance
	callers *callerCache
	uses    *useLog
}

// PasswordWork hashes and compares passwords, as account.HashPassword and account.VerifyPassword do, in whichever
// process.
type PasswordWork interface {
	Hash(p account.HashParams, password string) (string, error)
	Verify(p account.HashParams, stored, password string) (ok, outdated bool)
}

// hereWork does it in this process.
type hereWork struct{}

func (hereWork) Hash(p account.HashParams, password string) (string, error) {
	return account.HashPassword(p, password)
}

func (hereWork) Verify(p account.HashParams, stored, password string) (ok, outdated bool) {
	return account.VerifyPassword(p, stored, password)
}

func newAccounts(c *core) *Accounts {
	if c.PasswordWork == nil {
		c.PasswordWork = hereWork{}
	}
	a := &Accounts{core: c, params: c.Passwords, inst: account.NewInstance("accounts"), callers: newCallerCache()}
	if a.params == (account.HashParams{}) {
		a.params = account.DefaultHashParams
	}
	limits := c.Hashing
	if limits == (account.HasherLimits{}) {
		limits = account.DefaultHasherLimits()
	}
	a.hasher = account.NewHasher(limits)
	a.uses = newUseLog(a.storeUses)
	return a
}

// Close stores what is still to be stored about the last use of keys and sessions.
func (a *Accounts) Close() { a.uses.close() }

// PasswordLoad is the number of password hashings that run and of callers that wait for one.
func (a *Accounts) PasswordLoad() (running, waiting int) { return a.hasher.Load() }

// cacheArea is bumped by every change that may lessen what a credential is good for.
const cacheArea = "accounts"

// accountsChanged makes every node look its callers up again: here at the commit, elsewhere by the notice that goes
// with it. Only the callers behind the user are looked up again here.
func (a *Accounts) accountsChanged(tx *store.Tx, sc account.Scope, user account.UserID) error {
	tx.OnCommit(func() { a.callers.forget(sc.Tenant(), user) })
	return tx.BumpCache(sc, cacheArea)
}

// FollowNodes makes this node look its callers up again as soon as another node has changed users, sessions or keys.
// It returns when ctx ends. Without it, such a change is noticed within half a minute.
func (a *Accounts) FollowNodes(ctx context.Context) {
	a.st.Notices(ctx, a.callers.forgetAll, func(area string, _ account.TenantID) {
		if area == cacheArea {
			a.callers.forgetAll()
		}
	})
}

// record writes an audit event about a subject: user, key or tenant.
func record(tx *store.Tx, sc account.Scope, t event.Type, subject string, data map[string]any, changes map[string]event.Change) error {
	e := event.Event{Type: t, Subject: subject, Changes: changes}
	if len(data) > 0 {
		b, err := json.Marshal(data)
		if err != nil {
			return fault.Internal("encode an audit event", err)
		}
		e.Data = b
	}
	_, err := tx.AppendEvent(sc, e)
	return err
}

// hash makes the stored form of a password in the queue for hashings.
func (a *Accounts) hash(ctx context.Context, turn account.Turn, password string) (stored string, err error) {
	err = a.hasher.Run(ctx, turn, func() error {
		stored, err = a.PasswordWork.Hash(a.params, password)
		return err
	})
	return stored, err
}

// sweepAccountsArgs asks for failed logins and sessions that no longer count to be deleted.
type sweepAccountsArgs struct{}

// Kind implements river.JobArgs.
func (sweepAccountsArgs) Kind() string { return "accounts.sweep" }

func (a *Accounts) jobs(reg *queue.Registry) []queue.Periodic {
	queue.Register(reg, queue.Kind{Queue: queue.QueueSystem, Timeout: 5 * time.Minute, Attempts: 3}, func(ctx context.Context, _ queue.Job[sweepAccountsArgs]) error {
		_, err := a.Sweep(ctx, a.inst)
		return err
	})
	return []queue.Periodic{{ID: "accounts.sweep", Schedule: queue.Every(time.Hour), Job: func(time.Time) (river.JobArgs, *river.InsertOpts) {
		return sweepAccountsArgs{}, queue.Unique()
	}}}
}

// Sweep removes failed logins that no longer count and sessions that ended long ago, a chunk at a time, and says how
// many rows went.
func (a *Accounts) Sweep(ctx context.Context, in account.Instance) (int64, error) {
	const chunk = 500
	var total int64
	for {
		var n int64
		err := a.st.Write(ctx, func(tx *store.Tx) error {
			failures, err := tx.DeleteLoginFailures(in, tx.Now().Add(-account.ForgetFailuresIn), chunk)
			if err != nil {
				return err
			}
			sessions, err := tx.DeleteSessions(in, tx.Now().Add(-account.SessionLifetime-24*time.Hour), chunk)
			n = failures + sessions
			return err
		})
		total += n
		if err != nil || n < chunk {
			return total, err
		}
	}
}
