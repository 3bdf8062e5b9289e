package store_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

var ctx = context.Background()

func TestMigrations_UpDownUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		in := account.NewInstance("test")
		if err := st.MigrateDown(ctx, in, 0); err != nil {
			t.Fatalf("down: %v", err)
		}
		if err := st.MigrateUp(ctx, in); err != nil {
			t.Fatalf("up again: %v", err)
		}
		all, err := st.Migrations(ctx, in)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range all {
			if m.AppliedAt.IsZero() {
				t.Errorf("step %d (%s) is pending after going up", m.Version, m.Name)
			}
		}
		if st.InstanceID() == "" {
			t.Error("the database has no instance id")
		}
	})
}

func TestWrite_OneCallersErrorLeavesTheOthersRows(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sc := account.SystemScope("t-one", "test")
		bad := errors.New("refused")
		var wg sync.WaitGroup
		errs := make([]error, 200)
		for i := range errs {
			wg.Go(func() {
				errs[i] = st.Write(ctx, func(tx *store.Tx) error {
					if _, err := tx.AppendEvent(sc, event.Event{Type: "x.test", Subject: fmt.Sprint(i)}); err != nil {
						return err
					}
					tx.AddCount(sc, "test", 1)
					switch i % 10 {
					case 3:
						return bad
					case 7:
						panic("boom")
					}
					return nil
				})
			})
		}
		wg.Wait()
		for i, err := range errs {
			switch i % 10 {
			case 3:
				if !errors.Is(err, bad) {
					t.Errorf("caller %d got %v, want its own error", i, err)
				}
			case 7:
				if err == nil {
					t.Errorf("caller %d panicked and got no error", i)
				}
			default:
				if err != nil {
					t.Errorf("caller %d: %v", i, err)
				}
			}
		}
		n, err := st.Read(ctx).Count(sc, "test")
		if err != nil || n != 160 {
			t.Errorf("count = %d (%v), want 160: only what committed is counted", n, err)
		}
	})
}

func TestWrite_CancelledCallerIsNotRun(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		c, cancel := context.WithCancel(ctx)
		cancel()
		if err := st.Write(c, func(*store.Tx) error { return nil }); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, want context.Canceled", err)
		}
	})
}

func TestIdempotency_SecondClaimSeesTheFirstResult(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sc := account.SystemScope("t-one", "test")
		sc.Idempotency = &account.Idempotency{Key: "k", Route: "POST /x", Digest: "d"}
		if err := st.Write(ctx, func(tx *store.Tx) error {
			old, err := tx.ClaimIdempotency(sc)
			if err != nil || old != nil {
				return fmt.Errorf("first claim: %v %v", old, err)
			}
			return tx.SaveResult(sc, []byte("result"))
		}); err != nil {
			t.Fatal(err)
		}
		if err := st.Write(ctx, func(tx *store.Tx) error {
			old, err := tx.ClaimIdempotency(sc)
			if err != nil || old == nil || string(old.Result) != "result" || old.Digest != "d" {
				return fmt.Errorf("second claim: %+v %v", old, err)
			}
			return nil
		}); err != nil {
			t.Fatal(err)
		}
	})
}

// TestCacheVersion_IsNeverSeenTwice: what a transaction kept under its own version and then rolled back must not become
// valid with the next change.
func TestCacheVersion_IsNeverSeenTwice(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		sc, other := account.SystemScope("t-one", "test"), account.SystemScope("t-two", "test")
		seen := map[int64]bool{0: true}
		for _, undo := range []error{nil, errors.New("roll back"), nil} {
			var inside int64
			err := st.Write(ctx, func(tx *store.Tx) (err error) {
				if err = tx.BumpCache(sc, "rules"); err == nil {
					inside, err = tx.CacheVersion(sc, "rules")
				}
				return errors.Join(err, undo)
			})
			if !errors.Is(err, undo) {
				t.Fatal(err)
			}
			if seen[inside] {
				t.Fatalf("version %d is there again", inside)
			}
			seen[inside] = true
			if v, err := st.Read(ctx).CacheVersion(sc, "rules"); err != nil || (v == inside) != (undo == nil) {
				t.Fatalf("version %d (%v) after one of %d", v, err, inside)
			}
		}
		if v, _ := st.Read(ctx).CacheVersion(other, "rules"); v != 0 {
			t.Errorf("another tenant's version is %d, want 0", v)
		}
	})
}
