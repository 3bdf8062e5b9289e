package store

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
)

// What is over is not begun, what is short runs to its end, and what may take long ends with its caller.
func TestStatements_AndContextsThatEnd(t *testing.T) {
	st := openForPlans(t, Options{Path: filepath.Join(t.TempDir(), "contexts.db")})
	const endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n) SELECT COUNT(*) FROM n"
	ctx, cancel := context.WithCancel(context.Background())
	long := make(chan error, 1)
	go func() {
		_, err := queryOne(st.Read(ctx).patient(), scanInt, endless)
		long <- err
	}()
	if n, err := queryOne(st.Read(ctx), scanInt, "SELECT 1"); err != nil || n != 1 {
		t.Fatalf("%d %v", n, err)
	}
	cancel()
	if err := <-long; err == nil {
		t.Error("a query without an end has ended by itself")
	}
	if _, err := queryOne(st.Read(ctx), scanInt, "SELECT 1"); !errors.Is(err, context.Canceled) {
		t.Errorf("a statement for nobody: %v", err)
	}
}
