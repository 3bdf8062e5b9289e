package faults

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"leadloom/test/live"
)

// A stop in the middle of a load ends with exit code 0, and what was acknowledged is there after the next start.
func TestSIGTERM_InMidLoadLosesNothing(t *testing.T) {
	dir := t.TempDir()
	s := serve(t, "--data", dir)
	var l ledger
	stop := l.load(s, 8)
	for range 50 {
		l.writes(t, s, 200)
	}
	s.Stop() // fails unless the exit code is 0
	stop()
	again := live.Start(t, "serve", "--addr", live.FreeAddr(t), "--log-level", "warn", "--data", dir)
	again.Login("ada", password)
	l.bad = nil // connections that were refused once it had stopped
	l.settle(t, again)
	again.Stop()
	live.MustRun(t, "", "check", "--data", dir)
}

// The first signal waits for a request that hangs, the second one does not.
func TestSIGTERM_TheSecondOneIsImmediate(t *testing.T) {
	s := serve(t, "--data", t.TempDir())
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST /api/leads HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n", s.Token)
	if b := make([]byte, 12); readFull(conn, b) != nil || string(b) != "HTTP/1.1 100" {
		t.Fatalf("the request was not taken: %q", b) // the server reads its body: it is in the middle of it
	}
	if err := s.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	for began := time.Now(); ; <-time.After(20 * time.Millisecond) { // it has stopped accepting
		c, err := net.Dial("tcp", strings.TrimPrefix(s.URL, "http://"))
		if err != nil {
			break
		}
		c.Close()
		if time.Since(began) > patience {
			t.Fatal("it still accepts after SIGTERM")
		}
	}
	if err, ended := s.Exited(0); ended {
		t.Fatalf("the first signal cut off a request in hand: %v", err)
	}
	_ = s.Signal(syscall.SIGTERM)
	if err, ended := s.Exited(patience); !ended {
		t.Error("the second signal did not end it")
	} else if exitCode(err) != 130 {
		t.Errorf("ended with %v, want exit code 130", err)
	}
}

func readFull(r io.Reader, b []byte) error { _, err := io.ReadFull(r, b); return err }

var setupURL = regexp.MustCompile(`http://\S+/setup\?token=\S+`)

// The first start prints a link that a browser can use, once.
func TestSetupLink_WorksInABrowserOnce(t *testing.T) {
	dir := t.TempDir()
	s := live.Start(t, "serve", "--addr", live.FreeAddr(t), "--log-level", "warn", "--data", dir)
	link := setupURL.FindString(s.Ready)
	if link == "" {
		t.Fatalf("no set-up link in %q", s.Ready)
	}
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	browser := &http.Client{Jar: jar, Timeout: patience}
	get := func(address string) (int, string) {
		t.Helper()
		res, err := browser.Get(address)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	post := func(address string, form url.Values) (int, string) {
		t.Helper()
		req, err := http.NewRequest("POST", address, strings.NewReader(form.Encode()))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.Header.Set("Origin", s.URL)
		res, err := browser.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	st, page := get(link)
	hidden := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(page)
	if st != 200 || hidden == nil {
		t.Fatalf("the link shows %d\n%s", st, page)
	}
	form := url.Values{"token": {hidden[1]}, "username": {"ada"}, "email": {"ada@example.com"}, "password": {"short"}}
	if st, page := post(s.URL+"/setup", form); st != 422 || !strings.Contains(page, `role="alert"`) {
		t.Errorf("a short password shows %d\n%s", st, page)
	}
	form.Set("password", password)
	if st, page := post(s.URL+"/setup", form); st != 200 || !strings.Contains(page, "<h1>Leadloom</h1>") {
		t.Fatalf("setting up leads to %d\n%s", st, page)
	}
	if st, page := get(s.URL + "/admin/jobs/"); st != 200 || !strings.Contains(page, "<html") {
		t.Errorf("the session of the set-up opens the jobs screen with %d\n%.300s", st, page)
	}
	if st, _ := get(s.URL + "/api/tenants"); st != 200 {
		t.Errorf("the first user is no administrator of the instance: %d", st)
	}
	form.Set("username", "eve")
	if st, page := post(s.URL+"/setup", form); st != 401 {
		t.Errorf("the link worked twice: %d\n%s", st, page)
	}
	s.Stop()
	if again := live.Start(t, "serve", "--addr", live.FreeAddr(t), "--data", dir); strings.Contains(again.Ready, "setup") {
		t.Errorf("a link although there is a user: %q", again.Ready)
	}
}

// Everybody knows a demo's password: its data are never served to others, nor a backup of them.
func TestDemoData_AreNotServed(t *testing.T) {
	dir, other, file := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "demo.bak")
	folder := filepath.Join(dir, "demo")
	d := live.Start(t, "demo", "--addr", live.FreeAddr(t), "--data", folder)
	live.MustRun(t, "", "backup", file, "--data", folder)
	if m := d.Memory(); m == 0 {
		t.Error("no memory figure")
	}
	d.Stop()
	refused := func(data string) {
		t.Helper()
		out, err := live.Run(t, "", "serve", "--addr", live.FreeAddr(t), "--data", data)
		if exitCode(err) != 1 || strings.Count(strings.TrimSpace(out), "\n") != 0 || !strings.Contains(out, "made by a demo") {
			t.Errorf("serve on a demo's data: %v\n%s\nwant a refusal in one line", err, out)
		}
	}
	refused(folder)
	live.MustRun(t, "", "restore", file, "--data", other)
	refused(other)
	again := live.Start(t, "demo", "--addr", live.FreeAddr(t), "--data", folder) // goes on where it was
	again.Login("admin", "admin123")
	again.Must(nil, "GET", "/api/leads/lead-1", nil)
	again.Stop()
}

// What a restored server would send is held until a person says so.
func TestRestore_HoldsWhatGoesOutUntilResumed(t *testing.T) {
	dir, to, file := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "b.bak")
	live.MustRun(t, password+"\n", "user", "create", "--username", "ada", "--password-stdin", "--data", dir)
	live.MustRun(t, "", "backup", file, "--data", dir)
	if out := live.MustRun(t, "", "restore", file, "--data", to); !strings.Contains(out, "held") {
		t.Errorf("the restore does not say that sending is held:\n%s", out)
	}
	s := live.Start(t, "serve", "--addr", live.FreeAddr(t), "--log-level", "warn", "--data", to)
	s.Login("ada", password)
	shows := func(what string) func(b []byte) bool {
		return func(b []byte) bool { return strings.Contains(string(b), what) }
	}
	s.Until(patience, "health says what is held", "/health/detailed", shows("paused queues crm, http, mail"))
	for _, q := range []string{"mail", "http", "crm"} {
		if st, b, err := s.Call(context.Background(), "PUT", "/admin/jobs/api/queues/"+q+"/resume", nil); err != nil || st != 200 {
			t.Fatalf("resume %s: %d %v\n%s", q, st, err, b)
		}
	}
	s.Until(patience, "health is content", "/health/detailed", func(b []byte) bool { return !shows("paused queues")(b) })
	s.Stop()
}

// Start is refused in one line that names the setting and what to do.
func TestStart_RefusalsNameTheSetting(t *testing.T) {
	dir := t.TempDir()
	s := live.Start(t, "serve", "--addr", live.FreeAddr(t), "--data", dir)
	taken := strings.TrimPrefix(s.URL, "http://")
	for _, c := range []struct {
		env  string
		args []string
		code int
		want string
	}{
		{"LEADLOOM_ADRR=:1", []string{"serve"}, 2, "LEADLOOM_ADDR"},
		{"LEADLOOM_SECRET_KEY_FILE=/nowhere", []string{"serve"}, 2, "LEADLOOM_SECRET_KEY_FILE"},
		{"LEADLOOM_SECRET_KEY=short", []string{"serve"}, 2, "--secret-key"},
		{"LEADLOOM_SHUTDOWN_TIMEOUT=soon", []string{"serve"}, 2, "shutdown-timeout"},
		{"", []string{"serve", "--data", t.TempDir(), "--addr", taken}, 1, "--addr"},
		{"", []string{"serve", "--data", t.TempDir(), "--addr", live.FreeAddr(t), "--metrics-addr", taken}, 1, "--metrics-addr"},
		{"", []string{"serve", "--data", dir, "--addr", live.FreeAddr(t)}, 1, "Another Leadloom process"},
		{"", []string{"serve", "--database-url", "mysql://x", "--addr", live.FreeAddr(t)}, 2, "--database-url"},
		{"", []string{"serve", "--data", t.TempDir(), "--database-url", "postgres://u:secret@127.0.0.1:1/x", "--addr", live.FreeAddr(t)}, 1, "PostgreSQL"},
		{"", []string{"demo", "--addr", "0.0.0.0:0"}, 2, "--addr"},
		{"", []string{"demo", "--data", dir, "--addr", live.FreeAddr(t)}, 1, "not made by a demo"},
		{"", []string{"check", "--data", t.TempDir()}, 1, "no database"},
		{"", []string{"serv"}, 2, "serve"},
	} {
		cmd := exec.Command(live.Binary(t), c.args...)
		cmd.Env = append(os.Environ(), c.env)
		out, err := cmd.CombinedOutput()
		text := strings.TrimSpace(string(out))
		if exitCode(err) != c.code || strings.Contains(text, "\n") || !strings.Contains(text, c.want) || strings.Contains(text, "secret@") {
			t.Errorf("%s %v: exit code %d and\n%s\nwant code %d and one line with %q", c.env, c.args, exitCode(err), text, c.code, c.want)
		}
	}
	live.MustRun(t, "", "migrate", "status", "--data", dir) // these read beside the running server
	live.MustRun(t, "", "check", "--data", dir)
}

// TestIdle_MemoryGoesBelow60MB: after the start nothing is kept that only the start has needed.
func TestIdle_MemoryGoesBelow60MB(t *testing.T) {
	for _, c := range [][]string{{"demo"}, {"serve", "--data", t.TempDir()}} {
		s := live.Start(t, append(c, "--addr", live.FreeAddr(t))...)
		const limit = 60 << 20
		for began := time.Now(); s.Memory() >= limit; <-time.After(100 * time.Millisecond) {
			if time.Since(began) > patience {
				t.Errorf("%s: %d MB idle, want below 60", c[0], s.Memory()>>20)
				break
			}
		}
		t.Logf("%s: ready after %s, %d MB idle", c[0], s.Took.Round(time.Millisecond), s.Memory()>>20)
		s.Stop()
	}
}
