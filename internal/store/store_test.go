package store_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/store"
	"leadloom/internal/storetest"
)

var ctx = context.Background()

// schema is every table with its columns, and every index, as the engine tells them.
func schema(t *testing.T, st *store.Store) (out []string) {
	t.Helper()
	if db := st.SQLite(); db != nil {
		rows, err := db.Query(`SELECT name || ': ' || COALESCE(sql, '') FROM sqlite_master WHERE name NOT LIKE 'sqlite_%' AND name <> 'schema_migrations' ORDER BY name`)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var text string
			if err := rows.Scan(&text); err != nil {
				t.Fatal(err)
			}
			out = append(out, text)
		}
		return out
	}
	rows, err := st.Postgres().Query(ctx, `SELECT table_name || '.' || column_name || ' ' || data_type || ' ' || is_nullable || ' ' || COALESCE(column_default, '') FROM information_schema.columns
		WHERE table_schema = current_schema() AND table_name <> 'schema_migrations'
		UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = current_schema() AND tablename <> 'schema_migrations' ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	if out, err = pgx.CollectRows(rows, pgx.RowTo[string]); err != nil {
		t.Fatal(err)
	}
	return out
}

// TestMigrations_UpDownUp: down leaves nothing behind, also one step at a time, and up again makes the same schema.
func TestMigrations_UpDownUp(t *testing.T) {
	storetest.Each(t, func(t *testing.T, st *store.Store) {
		in := account.NewInstance("test")
		first := schema(t, st)
		all, err := st.Migrations(ctx, in)
		if err != nil || len(first) < 2*len(all) {
			t.Fatalf("%d steps, %d objects: %v", len(all), len(first), err)
		}
		for i := len(all) - 1; i >= 0; i-- {
			to := int64(0)
			if i > 0 {
				to = all[i-1].Version
			}
			before := schema(t, st)
			if err := st.MigrateDown(ctx, in, to); err != nil {
				t.Fatalf("step %d down: %v", all[i].Version, err)
			}
			under := schema(t, st)
			if err := st.MigrateUp(ctx, in); err != nil {
				t.Fatalf("up again from step %d: %v", to, err)
			}
			if again := schema(t, st); !slices.Equal(first, again) {
				t.Fatalf("step %d down and up: the schema differs:\n%s\nwas\n%s", all[i].Version, strings.Join(again, "\n"), strings.Join(first, "\n"))
			}
			if err := st.MigrateDown(ctx, in, to); err != nil {
				t.Fatal(err)
			}
			if of := all[i].Name; len(under) >= len(before) && !slices.Contains([]string{"list_totals", "words", "addresses"}, of) { // those make rows alone
				t.Errorf("step %d down took nothing away", all[i].Version)
			}
		}
		if left := schema(t, st); len(left) != 0 {
			t.Errorf("all the way down leaves %v", left)
		}
		if err := st.MigrateUp(ctx, in); err != nil {
			t.Fatalf("up again: %v", err)
		}
		if again := schema(t, st); !slices.Equal(first, again) {
			t.Errorf("up again made another schema")
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

// TestWrite_HeldFileRefusesAllWaitersTogether: while a stranger holds the file, everybody who waits is refused at once with
// the first, and who has left before his turn never is run.
func TestWrite_HeldFileRefusesAllWaitersTogether(t *testing.T) {
	path := filepath.Join(t.TempDir(), "leadloom.db")
	st, err := store.Open(ctx, store.Options{Path: path})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.MigrateUp(ctx, account.NewInstance("test")); err != nil {
		t.Fatal(err)
	}
	stranger, err := sql.Open("sqlite", "file:"+path+"?_txlock=immediate&_pragma=busy_timeout(10000)")
	if err != nil {
		t.Fatal(err)
	}
	defer stranger.Close()
	tx, err := stranger.Begin()
	if err != nil {
		t.Fatal(err)
	}
	left, cancel := context.WithCancel(ctx)
	var ran atomic.Bool
	var wg sync.WaitGroup
	errs := make([]error, 300) // more than one batch
	for i := range errs {
		wg.Go(func() { errs[i] = st.Write(ctx, func(*store.Tx) error { return nil }) })
	}
	wg.Go(func() {
		if err := st.Write(left, func(*store.Tx) error { ran.Store(true); return nil }); err == nil {
			t.Error("who has left was told of a success")
		}
	})
	cancel()
	wg.Wait()
	for i, err := range errs {
		if !fault.HasCode(err, "database_unavailable") {
			t.Fatalf("caller %d: %v, want database_unavailable", i, err)
		}
	}
	if ran.Load() {
		t.Error("a request was run whose caller had left")
	}
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := st.Write(ctx, func(*store.Tx) error { return nil }); err != nil {
		t.Errorf("after the stranger has gone: %v", err)
	}
}
