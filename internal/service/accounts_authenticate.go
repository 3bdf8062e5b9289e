package service

import (
	"context"
	"hash/maphash"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/maypok86/otter/v2"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/store"
)

// AuthenticateToken recognises what an Authorization or X-API-Key header carries: an access token or an API key.
func (a *Accounts) AuthenticateToken(ctx context.Context, token string) (account.Scope, error) {
	if account.LooksLikeKey(token) {
		return a.authenticateKey(ctx, token)
	}
	return a.authenticateAccess(ctx, token)
}

// AuthenticateCookie recognises a browser's session.
func (a *Accounts) AuthenticateCookie(ctx context.Context, token string) (account.Scope, error) {
	digest := account.Digest(token)
	return a.caller(ctx, "cookie "+digest, func(r *store.Reader, now time.Time) (*caller, error) {
		s, err := r.SessionByToken(a.inst, digest)
		if err == store.ErrNotFound || err == nil && s.Kind != account.SessionCookie {
			return refuse("no_session", "The session has ended. Log in again."), nil
		}
		if err != nil {
			return nil, err
		}
		return a.sessionCaller(r, s, now)
	})
}

func (a *Accounts) authenticateKey(ctx context.Context, key string) (account.Scope, error) {
	public, ok := account.KeyPublicPart(key)
	if !ok {
		return account.Scope{}, fault.Unauthorized("bad_key", "This is no API key of this installation. Check that it was copied whole.")
	}
	digest := account.Digest(key)
	return a.caller(ctx, "key "+digest, func(r *store.Reader, now time.Time) (*caller, error) {
		found, err := r.APIKeysByPublic(a.inst, public)
		if err != nil {
			return nil, err
		}
		for _, k := range found {
			if account.SameDigest(k.Digest, digest) {
				return a.keyCaller(r, k, now)
			}
		}
		return refuse("bad_key", "This is no API key of this installation. Check that it was copied whole."), nil
	})
}

// authenticateAccess keeps a verified token's caller under the token's digest: checking a signature costs twenty times
// as much as finding it again.
func (a *Accounts) authenticateAccess(ctx context.Context, token string) (account.Scope, error) {
	credential := "access " + account.Digest(token)
	if c, ok := a.callers.get(credential); ok {
		return a.admit(c)
	}
	claims, err := account.ReadAccess(token, a.findSigningKey, a.now())
	switch err {
	case nil:
	case account.ErrTokenExpired:
		return account.Scope{}, errTokenExpired
	default:
		return account.Scope{}, fault.Unauthorized("bad_token", "This is no access token of this installation. Log in again.")
	}
	return a.caller(ctx, credential, func(r *store.Reader, now time.Time) (*caller, error) {
		s, err := r.Session(account.SystemScope(claims.Tenant, "authenticate"), claims.Session)
		if err == store.ErrNotFound || err == nil && s.UserID != claims.User {
			return refuse("no_session", "The session has ended. Log in again."), nil
		}
		if err != nil {
			return nil, err
		}
		c, err := a.sessionCaller(r, s, now)
		if err == nil && c.refusal == nil && claims.ExpiresAt.Before(c.ends) {
			c.ends, c.end = claims.ExpiresAt, errTokenExpired
		}
		return c, err
	})
}

// What a credential is refused with once its time is over.
var (
	errTokenExpired = fault.Unauthorized("token_expired", "The access token has expired. Use POST /api/auth/refresh or log in again.")
	errKeyExpired   = fault.Unauthorized("key_expired", "This API key has expired. Make another one.")
	errSessionEnded = fault.Unauthorized("session_ended", "The session has ended. Log in again.")
)

// caller is what a credential stands for, as it was looked up at most half a minute ago.
type caller struct {
	scope   account.Scope
	refusal error     // instead of a scope
	ends    time.Time // zero: never by itself
	end     error     // the refusal from then on
	isKey   bool
	id      string // of the key or session, for its last use
	mark    uint64 // of the cache when the look-up began
	used    atomic.Int64
}

func refuse(code, message string) *caller {
	return refused(fault.Unauthorized(code, message))
}

func refused(err error) *caller { return &caller{refusal: err} }

// of says whose refusal it is, so that it is forgotten when he changes.
func (c *caller) of(t account.TenantID, u account.UserID) *caller {
	c.scope = account.NewScope(t, account.Actor{}, u, 0)
	return c
}

func (a *Accounts) sessionCaller(r *store.Reader, s *store.TenantSession, now time.Time) (*caller, error) {
	if !s.Active(now) {
		return refused(errSessionEnded).of(s.Tenant, s.UserID), nil
	}
	u, err := r.User(account.SystemScope(s.Tenant, "authenticate"), s.UserID)
	if err == store.ErrNotFound || err == nil && !u.Active {
		return refused(errSessionEnded).of(s.Tenant, s.UserID), nil
	}
	if err != nil {
		return nil, err
	}
	return &caller{scope: userScope(u, s.ID), ends: s.ExpiresAt, end: errSessionEnded, id: string(s.ID)}, nil
}

func (a *Accounts) keyCaller(r *store.Reader, k *store.TenantKey, now time.Time) (*caller, error) {
	if !k.RevokedAt.IsZero() {
		return refuse("key_revoked", "This API key was revoked. Make another one.").of(k.Tenant, k.UserID), nil
	}
	if !k.Active(now) {
		return refused(errKeyExpired).of(k.Tenant, k.UserID), nil
	}
	u, err := r.User(account.SystemScope(k.Tenant, "authenticate"), k.UserID)
	if err == store.ErrNotFound || err == nil && !u.Active {
		return refuse("key_revoked", "The user who made this API key is no longer active.").of(k.Tenant, k.UserID), nil
	}
	if err != nil {
		return nil, err
	}
	sc := account.NewScope(k.Tenant, account.Actor{Kind: account.ActorKey, ID: string(k.ID), Name: k.Name}, u.ID, k.Effective(u.Permissions()))
	return &caller{scope: sc, ends: k.ExpiresAt, end: errKeyExpired, isKey: true, id: string(k.ID)}, nil
}

// caller finds a credential's caller in the cache or looks him up.
func (a *Accounts) caller(ctx context.Context, credential string, lookUp func(*store.Reader, time.Time) (*caller, error)) (account.Scope, error) {
	c, ok := a.callers.get(credential)
	if !ok {
		mark := a.callers.mark()
		var err error
		if c, err = lookUp(a.st.Read(ctx), a.now()); err != nil {
			return account.Scope{}, err
		}
		c.mark = mark
		a.callers.put(credential, c)
	}
	return a.admit(c)
}

// admit gives a caller's scope unless his time is over, and notes his use once a minute.
func (a *Accounts) admit(c *caller) (account.Scope, error) {
	if c.refusal != nil {
		return account.Scope{}, c.refusal
	}
	now := a.now()
	if !c.ends.IsZero() && !now.Before(c.ends) {
		return account.Scope{}, c.end
	}
	if minute := now.Unix() / 60; c.used.Load() != minute && c.used.Swap(minute) != minute {
		a.uses.add(c.scope.Tenant(), c.isKey, c.id)
	}
	return c.scope, nil
}

// callerCache keeps callers, and refusals, for at most callerAge. A change marks the user's callers as stale: the
// entry's mark, taken before its look-up, must not be older than the last change.
type callerCache struct {
	entries *otter.Cache[string, *caller]
	clock   atomic.Uint64
	seed    maphash.Seed
	changed [1024]atomic.Uint64 // by tenant and user
	keys    sync.Map            // signing keys in force, by id: deriving one costs more than verifying with it
}

func (c *callerCache) signing(id string, derive func() []byte) []byte {
	if k, ok := c.keys.Load(id); ok {
		return k.([]byte)
	}
	k, _ := c.keys.LoadOrStore(id, derive())
	return k.([]byte)
}

const (
	callerAge  = 30 * time.Second
	maxCallers = 50_000
)

func newCallerCache() *callerCache {
	return &callerCache{seed: maphash.MakeSeed(), entries: otter.Must(&otter.Options[string, *caller]{
		MaximumSize: maxCallers, ExpiryCalculator: otter.ExpiryWriting[string, *caller](callerAge),
	})}
}

func (c *callerCache) mark() uint64 { return c.clock.Load() }

func (c *callerCache) get(credential string) (*caller, bool) {
	e, ok := c.entries.GetIfPresent(credential)
	if !ok || e.mark < c.lastChange(e.scope.Tenant(), e.scope.UserID).Load() {
		return nil, false
	}
	return e, true
}

func (c *callerCache) put(credential string, e *caller) { c.entries.Set(credential, e) }

func (c *callerCache) lastChange(t account.TenantID, u account.UserID) *atomic.Uint64 {
	return &c.changed[maphash.String(c.seed, string(t)+"\x00"+string(u))%uint64(len(c.changed))]
}

func (c *callerCache) forget(t account.TenantID, u account.UserID) {
	raise(c.lastChange(t, u), c.clock.Add(1))
}

func (c *callerCache) forgetAll() {
	now := c.clock.Add(1)
	for i := range c.changed {
		raise(&c.changed[i], now)
	}
}

func raise(v *atomic.Uint64, to uint64) {
	for old := v.Load(); old < to && !v.CompareAndSwap(old, to); old = v.Load() {
	}
}

// useLog gathers which keys and sessions were used and hands them on once a minute, all at once.
type useLog struct {
	store func(map[useOf][]string)
	mu    sync.Mutex
	seen  map[useOf]map[string]bool
	timer *time.Timer
	wg    sync.WaitGroup
}

type useOf struct {
	tenant account.TenantID
	isKey  bool
}

const useInterval = time.Minute

func newUseLog(store func(map[useOf][]string)) *useLog {
	return &useLog{store: store, seen: map[useOf]map[string]bool{}}
}

func (l *useLog) add(t account.TenantID, isKey bool, id string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	k := useOf{t, isKey}
	if l.seen[k] == nil {
		l.seen[k] = map[string]bool{}
	}
	l.seen[k][id] = true
	if l.timer == nil {
		l.timer = time.AfterFunc(useInterval, l.flush)
	}
}

func (l *useLog) flush() {
	l.mu.Lock()
	batch := make(map[useOf][]string, len(l.seen))
	for k, ids := range l.seen {
		for id := range ids {
			batch[k] = append(batch[k], id)
		}
	}
	clear(l.seen)
	if l.timer != nil {
		l.timer.Stop()
		l.timer = nil
	}
	l.wg.Add(1)
	l.mu.Unlock()
	defer l.wg.Done()
	if len(batch) > 0 {
		l.store(batch)
	}
}

func (l *useLog) close() {
	l.flush()
	l.wg.Wait()
}

// storeUses writes one statement per tenant and kind in one transaction. A loss costs a minute of "last used".
func (a *Accounts) storeUses(batch map[useOf][]string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	err := a.st.Write(ctx, func(tx *store.Tx) error {
		for k, ids := range batch {
			touch := tx.TouchSessions
			if k.isKey {
				touch = tx.TouchAPIKeys
			}
			if err := touch(a.inst, k.tenant, ids, tx.Now()); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		a.Log.Warn("the last use of keys and sessions was not stored", "error", err)
	}
}

// Access tokens are signed with a key that is derived from the instance's secret and a period, so that every node has
// the same and none is stored. A token names its period; it lives shorter than one, so two keys are ever in force.
const signingPeriodLength = 30 * 24 * time.Hour

func signingPeriod(t time.Time) int64 { return t.Unix() / int64(signingPeriodLength/time.Second) }

func (a *Accounts) signingKey(period int64) account.SigningKey {
	id := "p" + strconv.FormatInt(period, 10)
	return account.SigningKey{ID: id, Secret: a.callers.signing(id, func() []byte { return a.Secrets.Derive("access token "+id, 32) })}
}

// findSigningKey accepts this period's key and the one before.
func (a *Accounts) findSigningKey(kid string) ([]byte, bool) {
	number, ok := strings.CutPrefix(kid, "p")
	period, err := strconv.ParseInt(number, 10, 64)
	now := signingPeriod(a.now())
	if !ok || err != nil || kid != "p"+strconv.FormatInt(period, 10) || (period != now && period != now-1) {
		return nil, false
	}
	return a.signingKey(period).Secret, true
}
