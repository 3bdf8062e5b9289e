package config

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse_OrderOfSources(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leadloom.conf")
	write(t, file, "# settings\naddr = :1111\nlog-level = \"warn\"\nsmtp_host = mail.example\n")
	env := []string{"LEADLOOM_CONFIG=" + file, "LEADLOOM_ADDR=:2222", "HOME=/x"}
	for _, c := range []struct {
		args []string
		addr string
	}{{[]string{"serve"}, ":2222"}, {[]string{"serve", "--addr", ":3333"}, ":3333"}} {
		p, _, err := Parse(c.args, env, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		if p.Command != "serve" || p.Serve.Addr != c.addr || p.Serve.LogLevel != "warn" || p.Serve.SMTP.Host != "mail.example" {
			t.Errorf("%v: got command %q addr %q level %q smtp %q", c.args, p.Command, p.Serve.Addr, p.Serve.LogLevel, p.Serve.SMTP.Host)
		}
	}
}

func TestParse_ErrorsNameTheSettingInOneLine(t *testing.T) {
	file := filepath.Join(t.TempDir(), "leadloom.conf")
	write(t, file, "adr = :1111\n")
	for _, c := range []struct {
		args, env []string
		want      string
	}{
		{[]string{"serve", "--adr", ":1"}, nil, "--addr"},
		{[]string{"serv"}, nil, "serve"},
		{[]string{"serve"}, []string{"LEADLOOM_DATABASE_URI=x"}, "LEADLOOM_DATABASE_URL"},
		{[]string{"serve", "--config", file}, nil, `the nearest is "addr"`},
		{[]string{"serve", "--config", "/nonexistent"}, nil, "--config"},
		{[]string{"serve", "--addr", "8080"}, nil, "--addr"},
		{[]string{"serve", "--addr", ":http-nope"}, nil, "--addr"},
		{[]string{"serve", "--database-url", "mysql://u:hunter2@h/x"}, nil, "--database-url"},
		{[]string{"serve", "--log-level", "loud"}, nil, "--log-level"},
		{[]string{"serve"}, []string{"LEADLOOM_SHUTDOWN_TIMEOUT=soon"}, "--shutdown-timeout"},
		{[]string{"serve", "--trusted-proxies", "x"}, nil, "--trusted-proxies"},
		{[]string{"demo", "--addr", "0.0.0.0:8080"}, nil, "--addr"},
		{[]string{"bench", "--users", "0"}, nil, "--users"},
		{[]string{"bench", "--url", "localhost"}, nil, "--url"},
		{[]string{"user", "create"}, nil, "--username"},
		{[]string{"backup"}, nil, "<file>"},
	} {
		_, _, err := Parse(c.args, c.env, io.Discard)
		if err == nil {
			t.Errorf("%v %v: no error; want one that names %s", c.args, c.env, c.want)
			continue
		}
		if msg := err.Error(); !strings.Contains(msg, c.want) || strings.Contains(msg, "\n") || strings.Contains(msg, "hunter2") {
			t.Errorf("%v %v: %q; want one line that names %s and no secret", c.args, c.env, msg, c.want)
		}
	}
}

func TestParse_SecretsFromFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "url")
	write(t, file, "postgres://u:hunter2@h/x\n")
	p, _, err := Parse([]string{"serve"}, []string{"LEADLOOM_DATABASE_URL_FILE=" + file}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Serve.DatabaseURL.Reveal(); got != "postgres://u:hunter2@h/x" {
		t.Errorf("secret from its file: %q", got)
	}
	for _, form := range []string{"%v", "%+v", "%#v", "%s"} {
		if s := fmt.Sprintf(form, p.Serve); strings.Contains(s, "hunter2") {
			t.Errorf("%s shows the secret: %s", form, s)
		}
	}
	if _, _, err := Parse([]string{"serve"}, []string{"LEADLOOM_DATABASE_URL_FILE=" + file, "LEADLOOM_DATABASE_URL=postgres://h/x"}, io.Discard); err == nil {
		t.Error("a secret given twice is accepted; want an error that names both")
	}
	if _, _, err := Parse([]string{"serve"}, []string{"LEADLOOM_ADDR_FILE=" + file}, io.Discard); err == nil {
		t.Error("LEADLOOM_ADDR_FILE is accepted although addr is no secret")
	}
}

func TestParse_HelpShowsVariablesAndDefaults(t *testing.T) {
	var out strings.Builder
	_, done, err := Parse([]string{"serve", "--help"}, nil, &out)
	if err != nil || !done {
		t.Fatalf("done %v err %v", done, err)
	}
	for _, want := range []string{"LEADLOOM_ADDR", ":8080", "LEADLOOM_DATABASE_URL", "LEADLOOM_SMTP_PASSWORD"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("help lacks %s:\n%s", want, out.String())
		}
	}
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
