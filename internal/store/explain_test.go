package store

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/testpg"
)

// plans are the queries that lists and workers run; each must be served by an index. A room adds its rows in its own
// *_test.go with addPlans.
var plans []plan

type plan struct {
	name string
	sql  string // as the room sends it to SQLite
	args []any
}

func addPlans(p ...plan) struct{} {
	plans = append(plans, p...)
	return struct{}{}
}

var _ = addPlans(
	plan{"events of a lead", "SELECT " + eventColumns + " FROM events WHERE tenant_id=$1 AND lead_id=$2 ORDER BY id DESC LIMIT 50", []any{"t", "l"}},
	plan{"old idempotency keys", "SELECT key FROM idempotency_keys WHERE created_at < $1 ORDER BY created_at LIMIT 500", []any{1}},
)

// TestPlans_NoFullScanOnPostgres forbids sequential scans, so that one that remains has no index to use.
func TestPlans_NoFullScanOnPostgres(t *testing.T) {
	ctx := context.Background()
	st, err := Open(ctx, Options{PostgresURL: testpg.URL(t)})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if err := st.MigrateUp(ctx, account.NewInstance("test")); err != nil {
		t.Fatal(err)
	}
	for _, p := range plans {
		t.Run(p.name, func(t *testing.T) {
			err := st.Write(ctx, func(tx *Tx) error {
				if _, err := tx.exec("SET LOCAL enable_seqscan = off"); err != nil {
					return err
				}
				text := strings.NewReplacer("(SELECT value FROM json_each($2))", postgresDialect.list("$2"), "(SELECT value FROM json_each($1))", postgresDialect.list("$1")).Replace(p.sql)
				steps, err := queryAll(tx.Reader, scanString, "EXPLAIN "+text, p.args...)
				for _, s := range steps {
					if strings.Contains(s, "Seq Scan") {
						t.Errorf("full scan: %s\n%s", s, text)
					}
				}
				return err
			})
			if err != nil {
				t.Fatalf("%v\n%s", err, p.sql)
			}
		})
	}
}

// emptyStore is a migrated SQLite store without a row.
func emptyStore(t *testing.T) *Store {
	t.Helper()
	st, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "plans.db")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = st.Close() })
	if err := st.MigrateUp(t.Context(), account.NewInstance("test")); err != nil {
		t.Fatal(err)
	}
	return st
}

// TestPlans_NoFullScan asks SQLite for each plan. A full scan shows as "SCAN table" without an index.
func TestPlans_NoFullScan(t *testing.T) {
	ctx := context.Background()
	st := emptyStore(t)
	for _, p := range plans {
		t.Run(p.name, func(t *testing.T) {
			steps, err := queryAll(st.Read(ctx), func(r row) (string, error) {
				var id, parent, x int64
				var detail string
				err := r.Scan(&id, &parent, &x, &detail)
				return detail, err
			}, "EXPLAIN QUERY PLAN "+p.sql, p.args...)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range steps {
				if strings.HasPrefix(s, "SCAN ") && !strings.Contains(s, "INDEX") && !strings.Contains(s, "json_each") && !strings.Contains(s, "CONSTANT ROW") && !strings.Contains(s, "VIRTUAL") {
					t.Errorf("full scan: %s\n%s", s, fmt.Sprint(p.sql))
				}
				if strings.Contains(s, "USE TEMP B-TREE FOR ORDER BY") {
					t.Errorf("sorts the whole result: %s\n%s", s, p.sql)
				}
			}
		})
	}
}
