package service

import (
	"context"
	"fmt"
	"math"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/store"
)

// loginSource is what failed logins are counted by: the name that was tried and where from. Whoever guesses slows
// himself down; the account's own user, elsewhere, does not notice.
type loginSource struct{ nameDigest, address string }

func newLoginSource(in LoginInput) loginSource {
	return loginSource{account.Digest(in.Tenant + "\x00" + account.FoldLogin(in.Name)), account.ThrottleAddress(in.Address)}
}

// mayTry refuses an attempt that comes before its delay is over. It costs one read and no hashing.
func (a *Accounts) mayTry(ctx context.Context, src loginSource) error {
	f, err := a.st.Read(ctx).LoginFailures(a.inst, src.nameDigest, src.address)
	if err != nil {
		return err
	}
	if wait := f.RetryAt.Sub(a.now()); wait > 0 && wait <= account.LongestLoginDelay { // longer: the clock has gone back since
		seconds := int(math.Ceil(wait.Seconds()))
		return fault.TooMany("login_throttled", fmt.Sprintf("Too many failed logins with this name from your address. Try again in %d s.", seconds), time.Duration(seconds)*time.Second)
	}
	return nil
}

// countFailure stores one more failure; the delay starts now. Counts that nobody added to for a day start again.
func (a *Accounts) countFailure(tx *store.Tx, src loginSource) error {
	f, err := tx.LoginFailures(a.inst, src.nameDigest, src.address)
	if err != nil {
		return err
	}
	if tx.Now().Sub(f.UpdatedAt) > account.ForgetFailuresIn {
		f.Failures = 0
	}
	f.Failures++
	f.RetryAt = time.Time{}
	if d := account.LoginDelay(f.Failures); d > 0 {
		f.RetryAt = tx.Now().Add(d)
	}
	return tx.SetLoginFailures(a.inst, src.nameDigest, src.address, f)
}
