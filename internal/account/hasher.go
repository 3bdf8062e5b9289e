package account

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"leadloom/internal/fault"
)

// Turn names who waits for a hashing: turns go round by account, and within one account by address, so that a flood
// on one account cannot push others out, nor a flood from elsewhere the account's own user.
type Turn struct{ Account, Address string }

// HasherLimits bounds the work of a Hasher.
type HasherLimits struct {
	AtOnce     int           // hashings that run at the same time
	Waiting    int           // callers that may wait for their turn
	LongestFor time.Duration // how long one may wait
}

// DefaultHasherLimits leaves half of the cores to everything else; 1,000 callers wait at most 20 s.
func DefaultHasherLimits() HasherLimits {
	return HasherLimits{AtOnce: max(1, runtime.GOMAXPROCS(0)/2), Waiting: 1000, LongestFor: 20 * time.Second}
}

// Hasher lets expensive password work through a narrow gate: a few at once, the rest wait in fair order. A waiting
// caller costs a goroutine, not a core and not the memory of a hashing.
type Hasher struct {
	limits HasherLimits

	mu      sync.Mutex
	running int
	waiting int
	ring    []*accountQueue // accounts that have waiters, next turn first
}

type accountQueue struct {
	account string
	waiting int
	ring    []*addressQueue // addresses that have waiters, next turn first
}

type addressQueue struct {
	address string
	waiters []*waiter // oldest first
}

type waiter struct {
	turn Turn
	done chan error // buffered: nil is the turn, anything else a refusal
}

// NewHasher builds the gate.
func NewHasher(l HasherLimits) *Hasher { return &Hasher{limits: l} }

// Run calls fn when it is the caller's turn and returns its error. It fails with TooMany when too many wait or the
// wait took too long, and with the context's error when the caller has gone.
func (h *Hasher) Run(ctx context.Context, turn Turn, fn func() error) error {
	if err := h.acquire(ctx, turn); err != nil {
		return err
	}
	defer h.release()
	return fn()
}

// Load is the number of hashings that run and of callers that wait.
func (h *Hasher) Load() (running, waiting int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.running, h.waiting
}

func (h *Hasher) acquire(ctx context.Context, turn Turn) error {
	w, err := h.enter(turn)
	if w == nil {
		return err
	}
	timeout := time.NewTimer(h.limits.LongestFor)
	defer timeout.Stop()
	select {
	case err = <-w.done:
		return err
	case <-ctx.Done():
		err = ctx.Err()
	case <-timeout.C:
		err = errBusy()
	}
	if !h.leave(w) { // decided meanwhile: a turn that is not used is passed on
		if <-w.done == nil {
			h.release()
		}
	}
	return err
}

// enter takes a free slot (nil, nil), queues the caller, or refuses him.
func (h *Hasher) enter(turn Turn) (*waiter, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.running < h.limits.AtOnce && h.waiting == 0 {
		h.running++
		return nil, nil
	}
	if h.waiting >= h.limits.Waiting && !h.makeRoom(turn) {
		return nil, errBusy()
	}
	w := &waiter{turn: turn, done: make(chan error, 1)}
	h.push(w)
	return w, nil
}

// makeRoom refuses the newest waiter of the account that fills the queue, if that is not the newcomer's own.
func (h *Hasher) makeRoom(newcomer Turn) bool {
	if len(h.ring) == 0 {
		return false
	}
	heaviest := slices.MaxFunc(h.ring, func(a, b *accountQueue) int { return a.waiting - b.waiting })
	own := 0
	if a := h.find(newcomer.Account); a != nil {
		own = a.waiting
	}
	if heaviest.account == newcomer.Account || heaviest.waiting <= own+1 {
		return h.makeRoomByAddress(newcomer)
	}
	h.refuseNewest(heaviest, slices.MaxFunc(heaviest.ring, byLength))
	return true
}

// makeRoomByAddress refuses the newest waiter of the address that fills the queue through many accounts.
func (h *Hasher) makeRoomByAddress(newcomer Turn) bool {
	total := map[string]int{}
	for _, a := range h.ring {
		for _, q := range a.ring {
			total[q.address] += len(q.waiters)
		}
	}
	worst := ""
	for address, n := range total {
		if worst == "" || n > total[worst] {
			worst = address
		}
	}
	if worst == newcomer.Address || total[worst] <= total[newcomer.Address]+1 {
		return false
	}
	for _, a := range slices.Backward(h.ring) {
		for _, q := range a.ring {
			if q.address == worst {
				h.refuseNewest(a, q)
				return true
			}
		}
	}
	return false
}

func byLength(a, b *addressQueue) int { return len(a.waiters) - len(b.waiters) }

func (h *Hasher) refuseNewest(a *accountQueue, q *addressQueue) {
	w := q.waiters[len(q.waiters)-1]
	h.remove(w)
	w.done <- errBusy()
}

func (h *Hasher) release() {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.pop()
	if w == nil {
		h.running--
		return
	}
	w.done <- nil // the slot goes over to him
}

// leave takes a waiter out of the queue; false when he had his turn or his refusal already.
func (h *Hasher) leave(w *waiter) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.remove(w)
}

func (h *Hasher) find(account string) *accountQueue {
	for _, a := range h.ring {
		if a.account == account {
			return a
		}
	}
	return nil
}

func (a *accountQueue) find(address string) *addressQueue {
	for _, q := range a.ring {
		if q.address == address {
			return q
		}
	}
	return nil
}

func (h *Hasher) push(w *waiter) {
	a := h.find(w.turn.Account)
	if a == nil {
		a = &accountQueue{account: w.turn.Account}
		h.ring = append(h.ring, a)
	}
	q := a.find(w.turn.Address)
	if q == nil {
		q = &addressQueue{address: w.turn.Address}
		a.ring = append(a.ring, q)
	}
	q.waiters = append(q.waiters, w)
	a.waiting++
	h.waiting++
}

// pop takes the oldest waiter of the next address of the next account and moves both to the end of their rings.
func (h *Hasher) pop() *waiter {
	if len(h.ring) == 0 {
		return nil
	}
	a := h.ring[0]
	q := a.ring[0]
	w := q.waiters[0]
	q.waiters = q.waiters[1:]
	a.waiting--
	h.waiting--
	a.ring = a.ring[1:]
	if len(q.waiters) > 0 {
		a.ring = append(a.ring, q)
	}
	h.ring = h.ring[1:]
	if a.waiting > 0 {
		h.ring = append(h.ring, a)
	}
	return w
}

func (h *Hasher) remove(w *waiter) bool {
	a := h.find(w.turn.Account)
	if a == nil {
		return false
	}
	q := a.find(w.turn.Address)
	if q == nil {
		return false
	}
	i := slices.Index(q.waiters, w)
	if i < 0 {
		return false
	}
	q.waiters = slices.Delete(q.waiters, i, i+1)
	a.waiting--
	h.waiting--
	if len(q.waiters) == 0 {
		a.ring = slices.DeleteFunc(a.ring, func(x *addressQueue) bool { return x == q })
	}
	if a.waiting == 0 {
		h.ring = slices.DeleteFunc(h.ring, func(x *accountQueue) bool { return x == a })
	}
	return true
}

func errBusy() error {
	return fault.TooMany("login_busy", "Too many logins are waiting. Try again in some seconds.", 5*time.Second)
}
