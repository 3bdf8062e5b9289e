package crm

import (
	"time"

	"leadloom/internal/outbound"
)

// Budget is what one account of a CRM may still be asked: a token bucket and a daily counter, shared by all nodes.
// Tokens are thousandths of a call.
type Budget struct {
	Key          string
	Capacity     int64     // thousandths
	RefillMilli  int64     // thousandths a second
	Tokens       int64     // thousandths, as of UpdatedAt
	DailyLimit   int64     // calls; 0 for none
	DailyUsed    int64     // calls since the last reset
	DailyResetAt time.Time // zero when no call was counted yet
	BlockedUntil time.Time
	UpdatedAt    time.Time
}

// dailyShare is the part of a daily quota that we use: people and other programs need the rest.
const dailyShare = 80

// NewBudget starts full. rate is in calls a second; 0 means the careful default of one. The bucket holds two seconds'
// worth, five calls at least.
func NewBudget(key string, rate float64, daily int64, now time.Time) Budget {
	if rate <= 0 {
		rate = 1
	}
	capacity := max(5000, int64(rate*2000))
	return Budget{Key: key, Capacity: capacity, RefillMilli: int64(rate * 1000), Tokens: capacity, DailyLimit: daily, UpdatedAt: now}
}

// Take takes one call. When there is none it returns how long to wait, and whether the daily quota is the reason.
func (b Budget) Take(now time.Time) (after Budget, wait time.Duration, daily bool) {
	if b.UpdatedAt.After(now) { // the clock has gone back: what it gave and what it blocked until then cannot be told any more
		b.UpdatedAt = now
		if b.BlockedUntil.Sub(now) > outbound.MaxRetryAfter {
			b.BlockedUntil = now
		}
		if b.DailyResetAt.Sub(now) > 24*time.Hour {
			b.DailyResetAt = now.Add(24 * time.Hour)
		}
	}
	// The clock moves on only by what became whole tokens: frequent callers of a slow budget would else never get one.
	if fresh := int64(now.Sub(b.UpdatedAt).Seconds() * float64(b.RefillMilli)); fresh > 0 {
		b.Tokens = min(b.Capacity, b.Tokens+fresh)
		b.UpdatedAt = now
	}
	if b.BlockedUntil.After(now) {
		return b, b.BlockedUntil.Sub(now), false
	}
	if b.DailyLimit > 0 {
		if !b.DailyResetAt.After(now) {
			b.DailyUsed, b.DailyResetAt = 0, now.Add(24*time.Hour)
		}
		if b.DailyUsed*100 >= b.DailyLimit*dailyShare {
			return b, b.DailyResetAt.Sub(now), true
		}
	}
	if b.Tokens < 1000 {
		missing := 1000 - b.Tokens
		return b, time.Duration(float64(missing)/float64(b.RefillMilli)*float64(time.Second)) + time.Millisecond, false
	}
	b.Tokens -= 1000
	b.DailyUsed++
	return b, 0, false
}

// Block empties the bucket until the CRM's own limit is over.
func (b Budget) Block(until time.Time) Budget {
	if until.After(b.BlockedUntil) {
		b.BlockedUntil, b.Tokens = until, 0
	}
	return b
}

// Resize adapts a budget to changed settings; what it holds and has used stays.
func (b Budget) Resize(rate float64, daily int64) Budget {
	n := NewBudget(b.Key, rate, daily, b.UpdatedAt)
	b.Capacity, b.RefillMilli, b.DailyLimit = n.Capacity, n.RefillMilli, n.DailyLimit
	b.Tokens = min(b.Tokens, b.Capacity)
	return b
}
