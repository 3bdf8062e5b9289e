package app

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"leadloom/internal/account"
	"leadloom/internal/store"
	"leadloom/internal/testpg"
)

// command runs leadloom in this process and returns its exit code and what it printed.
func command(t *testing.T, stdin string, args ...string) (code int, out string) {
	t.Helper()
	var b bytes.Buffer
	code = Main(args, nil, Streams{In: strings.NewReader(stdin), Out: &b, Err: &b})
	return code, b.String()
}

func must(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	code, out := command(t, stdin, args...)
	if code != exitOK {
		t.Fatalf("leadloom %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

const testPassword = "a password for tests 1\n"

func TestBackup_RestoreBringsBackWhatWasThere(t *testing.T) {
	for engine, target := range map[string]func(t *testing.T) []string{
		"sqlite":   func(t *testing.T) []string { return []string{"--data", t.TempDir()} },
		"postgres": func(t *testing.T) []string { return []string{"--data", t.TempDir(), "--database-url", testpg.URL(t)} },
	} {
		t.Run(engine, func(t *testing.T) {
			from, to, dir := target(t), target(t), t.TempDir()
			with := func(at []string, args ...string) []string { return append(args, at...) }
			must(t, testPassword, with(from, "user", "create", "--username", "ada", "--email", "ada@example.com", "--password-stdin")...)
			file := filepath.Join(dir, "b.bak")
			must(t, "", with(from, "backup", file, "--passphrase", "correct horse")...)
			if code, out := command(t, "", with(from, "backup", file)...); code == exitOK || !strings.Contains(out, "never overwrites") {
				t.Errorf("a backup over another: exit code %d, %s; want a refusal", code, out)
			}
			if code, out := command(t, "", with(to, "restore", file, "--passphrase", "wrong")...); code != exitFailed || !strings.Contains(out, "passphrase") {
				t.Errorf("restore with another passphrase: exit code %d, %s", code, out)
			}
			fresh := to // the refusal left nothing behind
			must(t, "", with(fresh, "restore", file, "--passphrase", "correct horse")...)
			if out := must(t, "", with(fresh, "user", "list")...); !strings.Contains(out, "ada@example.com") {
				t.Errorf("after the restore:\n%s\nwant the user of before", out)
			}
			a, errA := os.ReadFile(filepath.Join(from[1], "secret.key"))
			b, errB := os.ReadFile(filepath.Join(fresh[1], "secret.key"))
			if errA != nil || errB != nil || !bytes.Equal(a, b) {
				t.Errorf("the secret key did not come back: %v %v", errA, errB)
			}
			if code, out := command(t, "", with(fresh, "restore", file, "--passphrase", "correct horse")...); code != exitFailed || !strings.Contains(out, "mpty") {
				t.Errorf("restore over data: exit code %d, %s; want a refusal", code, out)
			}
			must(t, testPassword, with(fresh, "user", "create", "--username", "bob", "--email", "bob@example.com", "--password-stdin")...)
		})
	}
}

func TestRestore_DamagedFileChangesNothing(t *testing.T) {
	from, to := t.TempDir(), t.TempDir()
	must(t, testPassword, "user", "create", "--username", "ada", "--email", "ada@example.com", "--password-stdin", "--data", from)
	file := filepath.Join(t.TempDir(), "b.bak")
	out := must(t, "", "backup", file, "--data", from)
	if !strings.Contains(out, "secret key is NOT in this backup") {
		t.Errorf("a backup without its key says only: %s", out)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text[len(text)/2] ^= 1
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, out := command(t, "", "restore", file, "--data", to); code != exitFailed || !strings.Contains(out, "damaged") {
		t.Errorf("exit code %d, %s; want a refusal", code, out)
	}
	if left, _ := os.ReadDir(to); len(left) > 0 {
		t.Errorf("the refused restore left %v", left)
	}
}

// A restore that was cut off leaves a database that no server takes, and no server leaves a key beside it: it would open
// nothing of what the repeated restore brings.
func TestServe_LeavesACutOffRestoreAlone(t *testing.T) {
	dir, url := t.TempDir(), testpg.URL(t)
	st, err := store.Open(t.Context(), store.Options{PostgresURL: url})
	if err != nil {
		t.Fatal(err)
	}
	defer st.Close()
	if _, err := st.BeginRestore(t.Context(), account.NewInstance("test")); err != nil {
		t.Fatal(err)
	}
	if code, out := command(t, "", "serve", "--addr", "127.0.0.1:0", "--data", dir, "--database-url", url); code == 0 || !strings.Contains(out, "Repeat the restore") {
		t.Errorf("serve ended with %d: %s", code, out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v (%v)", left, err)
	}
}

func TestDemo_RefusesFoldersOfOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "letters.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out := command(t, "", "demo", "--addr", "127.0.0.1:0", "--data", dir)
	if code != exitFailed || !strings.Contains(out, "letters.txt") || !strings.Contains(out, "not made by a demo") {
		t.Errorf("exit code %d, %s; want a refusal that names what is there", code, out)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("the refused demo left %v", left)
	}
	for _, want := range []bool{false, false} { // claimed, and cut off before it was ready: seeded again
		if seeded, err := claimDemo(filepath.Join(dir, "own")); err != nil || seeded != want {
			t.Errorf("claim: %v, %v; want %v", seeded, err, want)
		}
	}
}

func TestUsers_PasswordsComeOnStandardInputOnly(t *testing.T) {
	dir := t.TempDir()
	if code, out := command(t, testPassword, "user", "create", "--username", "ada", "--data", dir); code == exitOK || !strings.Contains(out, "--password-stdin") {
		t.Errorf("exit code %d, %s; want a refusal that names --password-stdin", code, out)
	}
	if code, out := command(t, "short\n", "user", "create", "--username", "ada", "--email", "ada@example.com", "--password-stdin", "--data", dir); code != exitFailed || !strings.Contains(out, "password") {
		t.Errorf("a short password: exit code %d, %s", code, out)
	}
	must(t, testPassword, "user", "create", "--username", "ada", "--email", "ada@example.com", "--password-stdin", "--data", dir)
	must(t, "another password 22\n", "user", "passwd", "--username", "ada", "--password-stdin", "--data", dir)
	if code, out := command(t, testPassword, "user", "passwd", "--username", "nobody", "--password-stdin", "--data", dir); code != exitFailed || !strings.Contains(out, "nobody") {
		t.Errorf("an unknown user: exit code %d, %s", code, out)
	}
}

func TestMigrate_DownAsksFirst(t *testing.T) {
	dir := t.TempDir()
	must(t, "", "migrate", "up", "--data", dir)
	if out := must(t, "", "migrate", "status", "--data", dir); strings.Contains(out, " pending\n") && !strings.Contains(out, "queue: 0 pending") {
		t.Errorf("pending after up:\n%s", out)
	}
	if code, out := command(t, "", "migrate", "down", "--data", dir); code != exitFailed || !strings.Contains(out, "--force") {
		t.Errorf("down without --force: exit code %d, %s", code, out)
	}
	must(t, "", "migrate", "down", "--force", "--data", dir)
	if code, out := command(t, "", "check", "--data", dir); code != exitFailed || !strings.Contains(out, "migrate up") {
		t.Errorf("check of an old schema: exit code %d, %s", code, out)
	}
	must(t, "", "migrate", "up", "--data", dir)
	must(t, "", "check", "--data", dir)
}

func TestMain_OneLineForWrongSettings(t *testing.T) {
	for _, args := range [][]string{{"serve", "--addr", "x"}, {"nonsense"}, {"restore", "/nonexistent/b.bak", "--data", t.TempDir()}} {
		code, out := command(t, "", args...)
		if code == exitOK || strings.Count(strings.TrimSpace(out), "\n") != 0 {
			t.Errorf("%v: exit code %d and\n%s\nwant one line", args, code, out)
		}
	}
}

func TestOpenAPI_PrintsTheDocument(t *testing.T) {
	out := must(t, "", "openapi")
	for _, want := range []string{`"openapi":"3.1.`, `"/api/leads"`, `"/api/auth/login"`} {
		if !strings.Contains(out, want) {
			t.Errorf("the document lacks %s", want)
		}
	}
}
