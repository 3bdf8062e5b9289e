// Package live runs the real binary for tests: it builds it once a process, starts it, waits for the line that says
// it is ready, speaks its HTTP API and ends it, gently or not.
package live

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"leadloom/internal/testport"
)

// Root is the project's folder.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

var build = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(Root(), "bin", "leadloom")
	cmd := exec.Command("make", "-s", "build")
	cmd.Dir = Root()
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("make build: %w\n%s", err, out)
	}
	return bin, nil
})

// Binary builds the program as it is released and returns its path.
func Binary(t testing.TB) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

var buildFailpoints = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(Root(), "bin", "leadloom-failpoint")
	cmd := exec.Command("go", "build", "-tags", "failpoint", "-trimpath", "-o", bin, "./cmd/leadloom")
	cmd.Dir = Root()
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build -tags failpoint: %w\n%s", err, out)
	}
	return bin, nil
})

// FailpointBinary builds the program with the tag failpoint (internal/failpoint) and returns its path.
func FailpointBinary(t testing.TB) string {
	t.Helper()
	bin, err := buildFailpoints()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// How says what differs from the usual start; the zero value is the program as it is released.
type How struct {
	Failpoints bool     // the binary with the tag failpoint
	Env        []string // "NAME=value", beside an environment without LEADLOOM_ settings
}

func (h How) command(t testing.TB, args []string) *exec.Cmd {
	t.Helper()
	bin := ""
	if h.Failpoints {
		bin = FailpointBinary(t)
	} else {
		bin = Binary(t)
	}
	cmd := exec.Command(bin, args...)
	cmd.Env = append(cleanEnv(), h.Env...)
	return cmd
}

// Run runs a command of the binary to its end and returns what it printed on both streams.
func Run(t testing.TB, stdin string, args ...string) (string, error) {
	t.Helper()
	return RunHow(t, How{}, stdin, args...)
}

// RunHow is Run for another build or environment.
func RunHow(t testing.TB, how How, stdin string, args ...string) (string, error) {
	t.Helper()
	cmd := how.command(t, args)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// MustRun is Run for a command that must succeed.
func MustRun(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	out, err := Run(t, stdin, args...)
	if err != nil {
		t.Fatalf("leadloom %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// cleanEnv is the environment without settings of a server that happens to be configured here.
func cleanEnv() []string {
	var out []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "LEADLOOM_") {
			out = append(out, kv)
		}
	}
	return out
}

// Server is a running process.
type Server struct {
	URL    string
	Ready  string        // the line that said so
	Took   time.Duration // from the start to that line
	t      testing.TB
	cmd    *exec.Cmd
	log    *bytes.Buffer
	logMu  *sync.Mutex
	exited chan error
	Token  string
	Client *http.Client
}

// NewClient makes an HTTP client that keeps its connections.
func NewClient() *http.Client {
	return &http.Client{Timeout: 60 * time.Second, Transport: &http.Transport{MaxIdleConnsPerHost: 256, DisableCompression: true}}
}

var readyLine = regexp.MustCompile(`http://[0-9a-zA-Z.\[\]:]+`)

// Start runs a command that serves ("serve …" or "demo …") and waits until it accepts requests.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s, err := Try(t, args...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// Try is Start for a start that may fail; the error holds what the process printed.
func Try(t testing.TB, args ...string) (*Server, error) {
	t.Helper()
	return TryHow(t, How{}, args...)
}

// TryHow is Try for another build or environment.
func TryHow(t testing.TB, how How, args ...string) (*Server, error) {
	t.Helper()
	cmd := how.command(t, args)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	s := &Server{t: t, cmd: cmd, log: &bytes.Buffer{}, logMu: &sync.Mutex{}, exited: make(chan error, 1),
		Client: NewClient()}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = writer(s.note)
	from := time.Now()
	// Pdeathsig follows the thread that starts the child: keep that thread for the life of the child.
	ready, started := make(chan string, 1), make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		started <- nil
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			s.note([]byte(lines.Text() + "\n"))
			select {
			case ready <- lines.Text():
			default:
			}
		}
		s.exited <- cmd.Wait()
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	t.Cleanup(s.Close)
	select {
	case s.Ready = <-ready:
		s.Took = time.Since(from)
		s.URL = readyLine.FindString(s.Ready)
		if s.URL == "" {
			return nil, fmt.Errorf("the first line names no address: %q", s.Ready)
		}
		return s, nil
	case err := <-s.exited:
		s.exited <- err
		return nil, fmt.Errorf("%s ended before it was ready: %v\n%s", strings.Join(args, " "), err, s.Log())
	case <-time.After(3 * time.Minute):
		return nil, fmt.Errorf("%s was not ready within three minutes:\n%s", strings.Join(args, " "), s.Log())
	}
}

type writer func([]byte)

func (w writer) Write(b []byte) (int, error) { w(b); return len(b), nil }

func (s *Server) note(b []byte) {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	if s.log.Len() < 1<<20 {
		s.log.Write(b)
	}
}

// Log is what the process has printed.
func (s *Server) Log() string {
	s.logMu.Lock()
	defer s.logMu.Unlock()
	return s.log.String()
}

// PID of the process.
func (s *Server) PID() int { return s.cmd.Process.Pid }

// Close ends the process when it still runs, and the client's connections; the end of the test does so by itself.
func (s *Server) Close() { s.Kill(); s.Client.CloseIdleConnections() }

// Kill ends the process as kill -9 does and waits until it is gone.
func (s *Server) Kill() {
	_ = s.cmd.Process.Kill()
	s.wait()
}

func (s *Server) wait() error {
	err := <-s.exited
	s.exited <- err
	return err
}

// Stop asks the process to end in good order and fails when it does not within three minutes, or with another code than 0.
func (s *Server) Stop() {
	s.t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case err := <-s.exited:
		s.exited <- err
		if err != nil {
			s.t.Errorf("after SIGTERM: %v; want exit code 0\n%s", err, s.Log())
		}
	case <-time.After(3 * time.Minute):
		s.t.Errorf("still running three minutes after SIGTERM\n%s", s.Log())
	}
}

// Signal sends any signal.
func (s *Server) Signal(sig os.Signal) error { return s.cmd.Process.Signal(sig) }

// Exited gives the result of the process within a time; false when it still runs.
func (s *Server) Exited(within time.Duration) (result error, ended bool) {
	select {
	case err := <-s.exited:
		s.exited <- err // for whoever asks next
		return err, true
	case <-time.After(within):
		return nil, false
	}
}

// Login keeps the token of a user for the calls that follow.
func (s *Server) Login(username, password string) {
	s.t.Helper()
	var out struct {
		AccessToken string `json:"access_token"`
	}
	s.Must(&out, "POST", "/api/auth/login", map[string]string{"username": username, "password": password})
	s.Token = out.AccessToken
}

// Call sends a request with body as JSON and reads the reply whole.
func (s *Server) Call(ctx context.Context, method, path string, body any, header ...string) (int, []byte, error) {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return 0, nil, err
		}
		r = bytes.NewReader(b)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.URL+path, r)
	if err != nil {
		return 0, nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if s.Token != "" {
		req.Header.Set("Authorization", "Bearer "+s.Token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := s.Client.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, b, err
}

// Must sends a request that must be answered with 200 and decodes the reply into out, unless that is nil.
func (s *Server) Must(out any, method, path string, body any) {
	s.t.Helper()
	status, b, err := s.Call(context.Background(), method, path, body)
	if err != nil || status != 200 {
		s.t.Fatalf("%s %s: status %d, %v; want 200\n%s", method, path, status, err, b)
	}
	if out != nil {
		if err := json.Unmarshal(b, out); err != nil {
			s.t.Fatalf("%s %s: %v\n%s", method, path, err, b)
		}
	}
}

// Until asks again and again until done says so, and fails with the last reply when it does not in time.
func (s *Server) Until(timeout time.Duration, what, path string, done func([]byte) bool) {
	s.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(timeout)
	var last []byte
	for {
		status, b, err := s.Call(context.Background(), "GET", path, nil)
		if err == nil && status == 200 && done(b) {
			return
		}
		last = b
		select {
		case <-tick.C:
		case <-deadline:
			s.t.Fatalf("%s: not so after %v; the last reply of %s was\n%.2000s", what, timeout, path, last)
		}
	}
}

// FreeAddr is a loopback address that nobody listens on now.
func FreeAddr(t testing.TB) string {
	t.Helper()
	addr, err := testport.Free()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

// Memory is the resident memory of the process in bytes.
func (s *Server) Memory() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if err != nil {
		return 0
	}
	for _, line := range strings.Split(string(b), "\n") {
		var kb int64
		if n, _ := fmt.Sscanf(line, "VmRSS: %d kB", &kb); n == 1 {
			return kb << 10
		}
	}
	return 0
}
