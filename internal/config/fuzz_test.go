package config

import (
	"strings"
	"testing"
)

// FuzzParseFile: a file is refused in one line that names its place, or gives known names only, each with the value that
// stands in it.
func FuzzParseFile(f *testing.F) {
	for _, s := range []string{"addr = :1111\nlog-level = \"warn\"\n", "# c\n\n", "adr = 1", "addr", "addr = 1\naddr=2", "addr = \"", "addr = \"\"\"", "smtp_host=\r\n", "addr = a=b # c", "\xff = \x00"} {
		f.Add(s)
	}
	names := []string{"addr", "log-level", "smtp-host"}
	f.Fuzz(func(t *testing.T, text string) {
		got, err := parseFile("leadloom.conf", text, names)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "leadloom.conf line ") || strings.ContainsAny(err.Error(), "\r\n") {
				t.Fatalf("refused with %q", err)
			}
			return
		}
		var again strings.Builder
		for k, v := range got {
			if !strings.Contains(text, v) || strings.Contains(v, "\n") {
				t.Fatalf("%s is %q, which the file does not hold", k, v)
			}
			again.WriteString(k + " = \"" + v + "\"\n")
		}
		same, err := parseFile("leadloom.conf", again.String(), names)
		if err != nil || len(same) != len(got) {
			t.Fatalf("%q, written again, gives %v (%v)", text, same, err)
		}
		for k, v := range got {
			if same[k] != v {
				t.Fatalf("%s was %q and is %q", k, v, same[k])
			}
		}
	})
}

// FuzzParseArguments: arguments and variables are refused in one line or give a command that exists.
func FuzzParseArguments(f *testing.F) {
	f.Add("serve\x1f--addr\x1f:1", "LEADLOOM_ADDR=:2")
	f.Add("user\x1fcreate\x1f--x", "LEADLOOM_=1")
	f.Add("--help", "")
	f.Add("check\x1f--", "LEADLOOM_LOG_LEVEL=\n")
	f.Fuzz(func(t *testing.T, args, variable string) {
		if strings.Contains(args, "config") || strings.HasPrefix(variable, "LEADLOOM_CONFIG") || strings.Contains(variable, "_FILE") {
			return // files of this machine are none of our business here
		}
		p, done, err := Parse(strings.Split(args, "\x1f"), []string{variable}, discard{})
		switch {
		case err != nil:
			if strings.TrimSpace(err.Error()) == "" || strings.Contains(err.Error(), "\n") {
				t.Fatalf("refused with %q", err)
			}
		case !done && (p == nil || p.Command == ""):
			t.Fatalf("%q gives no command and no error", args)
		}
	})
}

type discard struct{}

func (discard) Write(b []byte) (int, error) { return len(b), nil }
