package stress

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
)

const (
	shortestRamp = 5 * time.Second
	rampProbes   = 5
	rampShare    = 0.6 // of the logins that the idle server can do: users who are in work meanwhile
)

// HonestRamp finds how fast users can arrive so that their logins need not queue: it logs in some times, one after
// another, and spreads the sessions so that they come at rampShare of that rate. A hashing takes about the same core
// time for everybody; users who arrive faster than cores can hash would measure the queue, not the server.
func HonestRamp(ctx context.Context, opt Options) (ramp, perLogin time.Duration, err error) {
	opt = opt.withDefaults()
	t, err := parseTarget(opt.URL)
	if err != nil {
		return 0, 0, err
	}
	u := &user{run: &run{opt: opt}, conn: conn{target: t}, session: &session{}, book: &book{}}
	defer u.conn.close()
	var took []time.Duration
	for range rampProbes {
		from := time.Now()
		if u.logIn(ctx) == "" {
			return 0, 0, errors.Join(ctx.Err(), fmt.Errorf("nobody could log in at %s: %s", opt.URL, strings.Join(reasonLines(u.book.login.reasons), "; ")))
		}
		took = append(took, time.Since(from))
	}
	slices.Sort(took)
	perLogin = took[len(took)/2] // the first one starts a worker
	ramp = time.Duration(float64(min(opt.Sessions, opt.Users)) * float64(perLogin) / rampShare)
	return max(shortestRamp, time.Duration(math.Ceil(ramp.Seconds()))*time.Second), perLogin, nil
}
