package stress

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// drain is how long what arrived is still sent after the end of an open run.
const drain = 30 * time.Second

const neverSent = "never sent: no user was free"

// openLoop lets requests arrive at a fixed mean rate at random moments (a Poisson process), whatever the server does
// with those before. Each takes a user who is free; while nobody is, it waits, and the wait is part of its response
// time. What could not be sent at all counts as failed.
func (r *run) openLoop(ctx context.Context, from time.Time, users []*user) {
	arrivals := make(chan time.Time) // when each is meant to begin
	var work sync.WaitGroup
	for _, u := range users {
		if u.session.token == "" {
			continue
		}
		work.Go(func() {
			defer u.conn.close()
			for meant := range arrivals {
				u.work(meant)
			}
		})
	}
	random := rand.New(rand.NewPCG(r.opt.Seed, 0x6f70656e))
	until, giveUp := from.Add(r.opt.For), time.NewTimer(r.opt.For+drain)
	defer giveUp.Stop()
	meant := from
	for {
		if meant = meant.Add(time.Duration(random.ExpFloat64() / r.opt.Rate * float64(time.Second))); meant.After(until) {
			break
		}
		if d := time.Until(meant); d > 0 && !pause(ctx, d) {
			break
		}
		select {
		case arrivals <- meant:
			continue
		case <-giveUp.C:
		case <-ctx.Done():
		}
		break
	}
	close(arrivals)
	if ctx.Err() == nil && meant.Before(until) {
		r.books[0].unsent(int64(r.opt.Rate * until.Sub(meant).Seconds()))
	}
	work.Wait()
}

func (b *book) unsent(n int64) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.all.fail(neverSent, max(n, 1))
}
