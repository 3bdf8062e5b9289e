package scale

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"leadloom/internal/account"
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

// open makes the installation, or takes the one that an earlier run has made: it wrote down the world in the file "scale".
func (in *installation) open(t testing.TB) *world {
	t.Helper()
	done := filepath.Join(in.dir, "scale")
	if b, err := os.ReadFile(done); err == nil {
		var r record
		if err := json.Unmarshal(b, &r); err != nil || r.Size != in.size {
			t.Fatalf("%s is no tenant of %d leads (%v)", in.dir, in.size, err)
		}
		return newWorld(r.Seed, r.Size, r.Until, r.Owners)
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
	w, err := in.make(t.Context(), func(n int) {
		t.Logf("%s: %d of %d leads after %v", in.engine, n, in.size, time.Since(from).Round(time.Second))
	})
	if err != nil {
		t.Fatalf("%s, %d leads: %v", in.engine, in.size, err)
	}
	in.made = time.Since(from)
	b, err := json.Marshal(record{w.seed, w.size, w.until, w.owners})
	if err == nil {
		err = os.WriteFile(done, b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// settle leaves SQLite's file as a server finds it that has run for a while: written to the disk, and read once.
func (in *installation) settle() error {
	if in.url != "" {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(in.dir, "leadloom.db"), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	if err := f.Sync(); err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, f)
	return err
}

// record is a world as an installation keeps it.
type record struct {
	Seed   uint64
	Size   int
	Until  time.Time
	Owners []account.Actor
}

func (in *installation) make(ctx context.Context, progress func(int)) (w *world, err error) {
	o := store.Options{PostgresURL: in.url, PoolSize: 4}
	if in.url == "" {
		o.Path = filepath.Join(in.dir, "leadloom.db")
	}
	st, err := store.Open(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	if err := migrate(ctx, st); err != nil {
		return nil, err
	}
	svc := service.New(service.Deps{Store: st, Secrets: secret.NewBox(bytes.Repeat([]byte{7}, 32))})
	defer svc.Accounts.Close()
	sc, owners, err := found(ctx, svc, password)
	if err != nil {
		return nil, err
	}
	rules, err := svc.Leads.LeadRules(ctx, sc)
	if err != nil {
		return nil, err
	}
	w = newWorld(seed, in.size, time.Now().UTC().Truncate(24*time.Hour), owners)
	return w, w.fill(ctx, st, sc, rules, progress)
}
