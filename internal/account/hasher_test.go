package account

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"leadloom/internal/fault"
)

// gate is a Hasher whose only slot is held until the test lets go, so that the order of turns can be seen.
type gate struct {
	t     *testing.T
	h     *Hasher
	open  chan struct{}
	wg    sync.WaitGroup
	mu    sync.Mutex
	order []string
	errs  map[string][]error
}

func closedGate(t *testing.T, waiting int) *gate {
	g := &gate{t: t, h: NewHasher(HasherLimits{AtOnce: 1, Waiting: waiting, LongestFor: time.Minute}), open: make(chan struct{}), errs: map[string][]error{}}
	held := make(chan struct{})
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		_ = g.h.Run(context.Background(), Turn{Account: "holder"}, func() error { close(held); <-g.open; return nil })
	}()
	<-held
	return g
}

// queue adds one waiter and returns once he stands in the queue or was refused.
func (g *gate) queue(ctx context.Context, turn Turn) {
	g.t.Helper()
	w, err := g.h.enter(turn)
	if w == nil {
		g.mu.Lock()
		g.errs[turn.Account] = append(g.errs[turn.Account], err)
		g.mu.Unlock()
		return
	}
	g.wg.Add(1)
	go func() {
		defer g.wg.Done()
		select {
		case err := <-w.done:
			g.mu.Lock()
			if err != nil {
				g.errs[turn.Account] = append(g.errs[turn.Account], err)
				g.mu.Unlock()
				return
			}
			g.order = append(g.order, turn.Account+turn.Address)
			g.mu.Unlock()
			g.h.release()
		case <-ctx.Done():
			g.h.leave(w)
		}
	}()
}

func (g *gate) run() []string {
	close(g.open)
	g.wg.Wait()
	return g.order
}

func TestHasher_TurnsGoRoundByAccountThenAddress(t *testing.T) {
	g := closedGate(t, 100)
	for range 3 {
		g.queue(t.Context(), Turn{"admin", "1"})
	}
	g.queue(t.Context(), Turn{"admin", "2"})
	g.queue(t.Context(), Turn{"bob", "1"})
	g.queue(t.Context(), Turn{"eve", "1"})
	got := g.run()
	want := []string{"admin1", "bob1", "eve1", "admin2", "admin1", "admin1"}
	if !slices.Equal(got, want) {
		t.Errorf("turns were %v, want %v: a flood on one account must not hold up the others", got, want)
	}
}

func TestHasher_FloodOnOneAccountCannotPushOthersOut(t *testing.T) {
	g := closedGate(t, 10)
	for range 50 {
		g.queue(t.Context(), Turn{"admin", "1"})
	}
	g.queue(t.Context(), Turn{"bob", "2"})
	got := g.run()
	if !slices.Contains(got, "bob2") {
		t.Errorf("bob was refused by a queue full of admin's logins: %v", got)
	}
	if len(got) != 10 || len(g.errs["admin"]) != 41 || len(g.errs["bob"]) != 0 {
		t.Errorf("%d had a turn, %d of admin's were refused, %v of bob's; want 10, 41, none", len(got), len(g.errs["admin"]), g.errs["bob"])
	}
	for _, err := range g.errs["admin"] {
		if e := fault.As(err); e == nil || e.Kind != fault.KindTooMany || e.RetryAfter == 0 {
			t.Fatalf("a refused login got %v, want 429 with Retry-After", err)
		}
	}
}

func TestHasher_FloodOfNamesFromOneAddressCannotPushOthersOut(t *testing.T) {
	g := closedGate(t, 10)
	for i := range 50 {
		g.queue(t.Context(), Turn{fmt.Sprintf("made-up-%d", i), "1"})
	}
	g.queue(t.Context(), Turn{"bob", "2"})
	if got := g.run(); !slices.Contains(got, "bob2") || len(got) != 10 {
		t.Errorf("bob was refused by a queue full of invented names: %v", got)
	}
}

func TestHasher_ManyOfOneAccountAllGetTheirTurn(t *testing.T) {
	h := NewHasher(DefaultHasherLimits())
	var wg sync.WaitGroup
	var mu sync.Mutex
	ran, most, now := 0, 0, 0
	for range 500 {
		wg.Go(func() {
			err := h.Run(context.Background(), Turn{"admin", "1"}, func() error {
				mu.Lock()
				now++
				ran, most = ran+1, max(most, now)
				mu.Unlock()
				mu.Lock()
				now--
				mu.Unlock()
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if ran != 500 || most > h.limits.AtOnce {
		t.Errorf("%d ran, %d at once; want 500, at most %d", ran, most, h.limits.AtOnce)
	}
	if running, waiting := h.Load(); running != 0 || waiting != 0 {
		t.Errorf("%d run and %d wait after the end", running, waiting)
	}
}

func TestHasher_CallerWhoLeavesGivesUpHisTurn(t *testing.T) {
	h := NewHasher(HasherLimits{AtOnce: 1, Waiting: 10, LongestFor: time.Minute})
	hold, held := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = h.Run(context.Background(), Turn{Account: "a"}, func() error { close(held); <-hold; return nil })
	})
	<-held
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if err := h.Run(ctx, Turn{Account: "b"}, func() error { t.Error("ran for a caller who had gone"); return nil }); err != context.Canceled {
		t.Errorf("a cancelled caller got %v", err)
	}
	short := &Hasher{limits: HasherLimits{AtOnce: 0, Waiting: 1, LongestFor: time.Nanosecond}}
	if err := short.Run(context.Background(), Turn{Account: "c"}, nil); !fault.HasCode(err, "login_busy") {
		t.Errorf("a caller who waited too long got %v, want login_busy", err)
	}
	close(hold)
	wg.Wait()
	if running, waiting := h.Load(); running != 0 || waiting != 0 {
		t.Errorf("%d run and %d wait after the end", running, waiting)
	}
}
