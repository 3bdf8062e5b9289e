package scale

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"leadloom/internal/secret"
	"leadloom/internal/service"
	"leadloom/internal/store"
)

const (
	seed     = 20
	password = "scale-password-1"
)

// installation is a data folder, and for PostgreSQL a database, with a tenant of a size.
type installation struct {
	engine, dir, url string
	size             int
	made             time.Duration // what making it took; 0 when it was there
}

// open makes the installation, or takes the one that an earlier run has made and said so in the file "scale".
func (in *installation) open(t testing.TB) {
	t.Helper()
	done := filepath.Join(in.dir, "scale")
	if _, err := os.Stat(done); err == nil {
		return
	} else if !errors.Is(err, fs.ErrNotExist) {
		t.Fatal(err)
	}
	if err := os.MkdirAll(in.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if entries, err := os.ReadDir(in.dir); err != nil || len(entries) > 0 {
		t.Fatalf("%s is neither empty nor whole (%v): remove it and start again", in.dir, err)
	}
	from := time.Now()
	if err := in.make(t.Context(), func(n int) {
		t.Logf("%s: %d of %d leads after %v", in.engine, n, in.size, time.Since(from).Round(time.Second))
	}); err != nil {
		t.Fatalf("%s, %d leads: %v", in.engine, in.size, err)
	}
	in.made = time.Since(from)
	if err := os.WriteFile(done, fmt.Appendf(nil, "%s, %d leads, seed %d\n", in.engine, in.size, seed), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (in *installation) make(ctx context.Context, progress func(int)) (err error) {
	o := store.Options{PostgresURL: in.url, PoolSize: 4}
	if in.url == "" {
		o.Path = filepath.Join(in.dir, "leadloom.db")
	}
	st, err := store.Open(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := migrate(ctx, st); err != nil {
		return err
	}
	svc := service.New(service.Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
	defer svc.Accounts.Close()
	sc, owners, err := found(ctx, svc, st, password)
	if err != nil {
		return err
	}
	rules, err := svc.Leads.LeadRules(ctx, sc)
	if err != nil {
		return err
	}
	return newWorld(seed, in.size, time.Now().UTC().Truncate(24*time.Hour), owners).fill(ctx, st, sc, rules, progress)
}
