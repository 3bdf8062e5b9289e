// Package walkthrough executes the README's walk-through line by line against the binary that `make run` starts, so
// that what a newcomer copies works as printed.
package walkthrough

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"leadloom/test/live"
)

// step is one line of the README with the text that its output must hold.
type step struct {
	line   int
	text   string
	expect []string
}

const (
	begin  = "<!-- walk-through: every line below is executed by test/walkthrough -->"
	end    = "<!-- end of the walk-through -->"
	shows  = "#→ "
	marker = "@@walkthrough-done@@"
	give   = 2 * time.Minute // a line that looks at background work is repeated until it shows what it should
)

func TestREADME_WalkThroughWorksAsPrinted(t *testing.T) {
	if c, err := net.DialTimeout("tcp", "127.0.0.1:8080", time.Second); err == nil {
		c.Close()
		t.Fatal("something listens on 127.0.0.1:8080 already: end it, because the walk-through uses that address")
	}
	steps := read(t)
	srv := live.Start(t, "demo", "--addr", "127.0.0.1:8080", "--log-level", "warn")
	if !strings.Contains(srv.Ready, "http://127.0.0.1:8080") || !strings.Contains(srv.Ready, "admin / admin123") {
		t.Errorf("make run prints %q; want the address and the login", srv.Ready)
	}
	sh := start(t)
	for _, s := range steps {
		deadline := time.Now().Add(give)
		for {
			out, code := sh.run(s.text)
			missing := missing(out, s.expect)
			if code == 0 && missing == "" {
				t.Logf("README line %d: ok", s.line)
				break
			}
			if time.Now().After(deadline) || len(s.expect) == 0 || strings.Contains(s.text, " -d ") {
				t.Fatalf("README line %d: %s\nexit code %d, without %q in\n%.2000s\n%s", s.line, s.text, code, missing, out, srv.Log())
			}
		}
	}
	srv.Stop()
}

func missing(out string, expect []string) string {
	for _, e := range expect {
		if !strings.Contains(out, e) {
			return e
		}
	}
	return ""
}

// read takes the lines of the fenced sh blocks between the two markers; a line that begins with "#→ " says what the
// one before it shows, and a backslash joins lines.
func read(t *testing.T) []step {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(live.Root(), "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	var out []step
	inside, fenced, joined := false, false, false
	for i, l := range strings.Split(string(text), "\n") {
		switch {
		case l == begin:
			inside = true
		case l == end:
			inside = false
		case !inside:
		case l == "```sh":
			fenced = true
		case l == "```":
			fenced = false
		case !fenced || l == "":
		case strings.HasPrefix(l, shows):
			out[len(out)-1].expect = append(out[len(out)-1].expect, strings.TrimPrefix(l, shows))
		case joined:
			out[len(out)-1].text += "\n" + l
			joined = strings.HasSuffix(l, "\\")
		default:
			out = append(out, step{line: i + 1, text: l})
			joined = strings.HasSuffix(l, "\\")
		}
	}
	if len(out) < 8 {
		t.Fatalf("the README's walk-through has %d lines; the markers or fences are broken", len(out))
	}
	return out
}

// shell is one bash in which the lines run one after the other, as they would in a terminal.
type shell struct {
	t   *testing.T
	in  io.Writer
	out *bufio.Reader
}

func start(t *testing.T) *shell {
	t.Helper()
	cmd := exec.Command("bash", "--norc")
	cmd.Dir = live.Root()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait(); r.Close() })
	return &shell{t, in, bufio.NewReader(r)}
}

func (s *shell) run(line string) (out string, code int) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.in, "%s\necho \"\n%s $?\"\n", line, marker); err != nil {
		s.t.Fatal(err)
	}
	var b bytes.Buffer
	for {
		l, err := s.out.ReadString('\n')
		if err != nil {
			s.t.Fatalf("the shell ended: %v\n%s", err, b.String())
		}
		if n, _ := fmt.Sscanf(l, marker+" %d", &code); n == 1 {
			return b.String(), code
		}
		b.WriteString(l)
	}
}
