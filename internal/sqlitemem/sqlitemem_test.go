package sqlitemem

import (
	"context"
	"database/sql"
	"path/filepath"
	"sync"
	"testing"

	"modernc.org/sqlite"
)

// After an update of the driver this tells whether the settings still reach it.
func TestSettingsReachTheDriver(t *testing.T) {
	if !Separate() || pageCaches.FseparateCache != 1 {
		t.Error("connections share one page cache: the driver keeps its state elsewhere")
	}
	db, err := sql.Open("sqlite", "file:"+filepath.Join(t.TempDir(), "m.db")+"?_pragma=journal_mode(WAL)")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	ctx := context.Background()
	if _, err := db.ExecContext(ctx, "CREATE TABLE t AS WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20000) SELECT i, 'text of row '||i AS s FROM n"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			conn, err := db.Conn(ctx)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			var n int
			if err := conn.QueryRowContext(ctx, "SELECT COUNT(*) FROM t WHERE s||'' LIKE '%row 1%'").Scan(&n); err != nil || n != 11_111 {
				t.Errorf("%d rows (%v), want 11111", n, err)
			}
			err = conn.Raw(func(c any) error {
				_, most, err := c.(sqlite.DBStatus).Status(sqlite.DBStatusLookasideUsed, false)
				if err == nil && most == 0 {
					t.Error("no memory was taken from the connection's own")
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}
