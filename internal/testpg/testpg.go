// Package testpg gives tests an empty PostgreSQL database each. It starts a private server, shared by all test
// processes of this user, when LEADLOOM_TEST_POSTGRES does not name one; `make test` stops it at its end.
package testpg

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"leadloom/internal/testport"
)

// URL creates an empty database and returns its URL; it is dropped when the test ends. Without PostgreSQL the
// test fails and says what to install: half a suite must not pass for a whole one.
func URL(t testing.TB) string {
	t.Helper()
	base, err := server()
	if err != nil {
		t.Fatalf("PostgreSQL is needed for this test: %v\nInstall it (Debian: apt-get install postgresql) or set LEADLOOM_TEST_POSTGRES to a superuser's URL.", err)
	}
	b := make([]byte, 6)
	if _, err := rand.Read(b); err != nil {
		t.Fatal(err)
	}
	name := "ll_" + hex.EncodeToString(b)
	admin(t, base, "CREATE DATABASE "+name+" TEMPLATE template0")
	t.Cleanup(func() { admin(t, base, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)") })
	cfg, err := pgx.ParseConfig(base)
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Password != "" {
		return fmt.Sprintf("postgres://%s:%s@%s:%d/%s?sslmode=disable", cfg.User, cfg.Password, cfg.Host, cfg.Port, name)
	}
	return fmt.Sprintf("postgres://%s@%s:%d/%s?sslmode=disable", cfg.User, cfg.Host, cfg.Port, name)
}

func admin(t testing.TB, base, sql string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, base)
	if err != nil {
		t.Fatalf("PostgreSQL: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, sql); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// server returns the URL of LEADLOOM_TEST_POSTGRES, or of the shared server, which the first process starts.
var server = sync.OnceValues(func() (string, error) {
	if u := os.Getenv("LEADLOOM_TEST_POSTGRES"); u != "" {
		return u, nil
	}
	dir := filepath.Join(os.TempDir(), fmt.Sprintf("leadloom-test-pg-%d", os.Getuid()))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return "", err
	}
	defer lock.Close()
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX); err != nil {
		return "", err
	}
	if b, err := os.ReadFile(filepath.Join(dir, "port")); err == nil {
		if u := urlOf(strings.TrimSpace(string(b))); alive(u) {
			return u, nil
		}
	}
	return start(dir)
})

func urlOf(port string) string {
	return "postgres://leadloom@127.0.0.1:" + port + "/postgres?sslmode=disable"
}

func alive(u string) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, u)
	if err != nil {
		return false
	}
	conn.Close(ctx)
	return true
}

func start(dir string) (string, error) {
	bin, err := binaries()
	if err != nil {
		return "", err
	}
	port, err := freePort()
	if err != nil {
		return "", err
	}
	data := filepath.Join(dir, "data-"+port)
	if err := os.MkdirAll(data, 0o700); err != nil {
		return "", err
	}
	run := runner(data)
	if err := run(filepath.Join(bin, "initdb"), "-D", data, "-U", "leadloom", "--auth=trust", "--no-sync", "-E", "UTF8"); err != nil {
		return "", err
	}
	opts := "-p " + port + " -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c max_connections=300 -c shared_buffers=128MB -c fsync=off"
	if err := run(filepath.Join(bin, "pg_ctl"), "-D", data, "-w", "-t", "180", "-l", filepath.Join(data, "server.log"), "-o", opts, "start"); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "port"), []byte(port), 0o600); err != nil {
		return "", err
	}
	return urlOf(port), nil
}

func freePort() (string, error) {
	addr, err := testport.Free()
	if err != nil {
		return "", err
	}
	_, port, err := net.SplitHostPort(addr)
	return port, err
}

func binaries() (string, error) {
	if p, err := exec.LookPath("initdb"); err == nil {
		return filepath.Dir(p), nil
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if len(found) == 0 {
		return "", fmt.Errorf("initdb was found neither in PATH nor under /usr/lib/postgresql")
	}
	return filepath.Dir(found[len(found)-1]), nil
}

// runner starts PostgreSQL's programs; they refuse to run as root, so root becomes the user "postgres".
func runner(data string) func(name string, args ...string) error {
	return func(name string, args ...string) error {
		cmd := exec.Command(name, args...)
		cmd.Dir = "/"
		if os.Getuid() == 0 {
			u, err := user.Lookup("postgres")
			if err != nil {
				return fmt.Errorf("PostgreSQL does not run as root and there is no user postgres: %w", err)
			}
			uid, _ := strconv.Atoi(u.Uid)
			gid, _ := strconv.Atoi(u.Gid)
			if err := os.Chown(data, uid, gid); err != nil {
				return err
			}
			cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, Setsid: true}
		}
		var out strings.Builder
		// pg_ctl's server inherits the pipes of its parent and would keep Wait from returning: give it files.
		f, err := os.CreateTemp("", "leadloom-pg-*.log")
		if err != nil {
			return err
		}
		defer os.Remove(f.Name())
		defer f.Close()
		cmd.Stdout, cmd.Stderr = f, f
		if err := cmd.Run(); err != nil {
			b, _ := os.ReadFile(f.Name())
			out.Write(b)
			return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, out.String())
		}
		return nil
	}
}
