package store

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
)

// TestTurns_ComeInOrder: who waits longest is next, and who has given up waiting is nobody's turn.
func TestTurns_ComeInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one := make(turns, 1)
		if err := one.take(t.Context()); err != nil {
			t.Fatal(err)
		}
		gone, leave := context.WithCancel(t.Context())
		var order []int
		for i := range 20 {
			ctx := t.Context()
			if i == 7 {
				ctx = gone
			}
			go func() {
				if err := one.take(ctx); err != nil {
					order = append(order, -i)
					return
				}
				order = append(order, i)
				one.give()
			}()
			synctest.Wait()
		}
		leave()
		synctest.Wait()
		one.give()
		synctest.Wait()
		if want := []int{-7, 0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19}; !slices.Equal(order, want) {
			t.Errorf("came in the order %v, want %v", order, want)
		}
	})
}

// TestReaders_TakeTurns: every read waits for one, no longer than its caller does, and gives it back.
func TestReaders_TakeTurns(t *testing.T) {
	st := openForPlans(t, Options{Path: filepath.Join(t.TempDir(), "turns.db")})
	one := func(r *Reader) error {
		_, err := queryOne(r, scanInt, "SELECT 1")
		return err
	}
	for name, read := range map[string]func(context.Context) error{
		"alone":    func(ctx context.Context) error { return one(st.Read(ctx)) },
		"together": func(ctx context.Context) error { return st.ReadTogether(ctx, one) },
		"failing": func(ctx context.Context) error {
			if _, err := queryOne(st.Read(ctx), scanInt, "SELECT nothing FROM nowhere"); err == nil || ctx.Err() != nil {
				return err
			}
			return nil
		},
	} {
		n := cap(st.sq.readers.turns)
		for range 2 * n {
			if err := read(t.Context()); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
		}
		for range n {
			if err := st.sq.readers.turns.take(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		ctx, leave := context.WithCancel(t.Context())
		leave()
		if err := read(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("%s: read without a turn: %v", name, err)
		}
		for range n {
			st.sq.readers.turns.give()
		}
	}
}
