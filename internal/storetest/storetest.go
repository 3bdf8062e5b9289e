// Package storetest runs a store test on both engines: on a SQLite file of its own and in a PostgreSQL database of
// its own (see testpg).
package storetest

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/store"
	"leadloom/internal/testpg"
)

// Each runs f on SQLite and on PostgreSQL, each time with an empty, migrated database.
func Each(t *testing.T, f func(t *testing.T, st *store.Store)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { f(t, SQLite(t)) })
	t.Run("postgres", func(t *testing.T) { f(t, Postgres(t)) })
}

// EachDB runs f on both engines; open opens the test's one database, each time as a process that starts would, with the
// clock given. The caller closes what it opened before.
func EachDB(t *testing.T, f func(t *testing.T, open func(now func() time.Time) *store.Store)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "leadloom.db")
		f(t, func(now func() time.Time) *store.Store { return open(t, store.Options{Path: path, Now: now}) })
	})
	t.Run("postgres", func(t *testing.T) {
		url := testpg.URL(t)
		f(t, func(now func() time.Time) *store.Store {
			return open(t, store.Options{PostgresURL: url, PoolSize: 8, Now: now})
		})
	})
}

// SQLite opens an empty, migrated database in a folder that the test removes.
func SQLite(t testing.TB) *store.Store {
	t.Helper()
	return open(t, store.Options{Path: filepath.Join(t.TempDir(), "leadloom.db")})
}

// Postgres opens an empty, migrated database of its own.
func Postgres(t testing.TB) *store.Store {
	t.Helper()
	return open(t, store.Options{PostgresURL: testpg.URL(t), PoolSize: 8})
}

func open(t testing.TB, o store.Options) *store.Store {
	t.Helper()
	ctx := context.Background()
	st, err := store.Open(ctx, o)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() { _ = st.Close() })
	if err := st.MigrateUp(ctx, account.NewInstance("test")); err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return st
}

// PostgresURL is the URL of an empty database of the test's own.
func PostgresURL(t testing.TB) string { return testpg.URL(t) }
