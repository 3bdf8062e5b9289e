package bench

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a running part of the suite: a product, or a helper that this program starts of itself.
type process struct {
	name  string
	addr  string // host:port it serves on
	cmd   *exec.Cmd
	stdin io.Closer
	ended chan struct{}
	mu    sync.Mutex
	said  []string // the last lines it printed, for errors
}

var address = regexp.MustCompile(`(?:http://)?([0-9a-zA-Z.\[\]]+:\d+)`)

// start runs a program and waits for the line that names its address. The program ends when this process does: helpers
// by the end of their standard input, products by the signal that the kernel sends.
func start(ctx context.Context, name string, env []string, path string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(path, args...), ended: make(chan struct{})}
	p.cmd.Env = env
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.stdin = stdin
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.cmd.Stderr = lines(p.note)
	ready, started := make(chan string, 1), make(chan error, 1)
	go func() { // the kernel's signal follows the thread that started the child: keep it for the child's life
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := p.cmd.Start()
		started <- err
		if err != nil {
			return
		}
		scan := bufio.NewScanner(out)
		for scan.Scan() {
			p.note(scan.Text())
			if m := address.FindStringSubmatch(scan.Text()); m != nil {
				select {
				case ready <- m[1]:
				default:
				}
			}
		}
		_ = p.cmd.Wait()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	select {
	case p.addr = <-ready:
		return p, nil
	case <-p.ended:
		return nil, fmt.Errorf("%s ended before it was ready: %s", name, p.output())
	case <-ctx.Done():
		p.stop()
		return nil, ctx.Err()
	case <-time.After(time.Minute):
		p.stop()
		return nil, fmt.Errorf("%s was not ready within a minute: %s", name, p.output())
	}
}

type lines func(string)

func (l lines) Write(b []byte) (int, error) {
	l(strings.TrimRight(string(b), "\n"))
	return len(b), nil
}

func (p *process) note(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.said = append(p.said, line); len(p.said) > 20 {
		p.said = p.said[1:]
	}
}

func (p *process) output() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.said, "\n")
}

// stop asks the process to end and makes it after 20 s.
func (p *process) stop() {
	_ = p.stdin.Close()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(20 * time.Second):
		_ = p.cmd.Process.Kill()
		<-p.ended
	}
}

// tick is the unit of /proc/PID/stat: USER_HZ is 100 on every Linux that Go runs on.
const tick = 10 * time.Millisecond

// cpu is what the process and its children, those that have ended included, have used of the processors.
func (p *process) cpu() time.Duration { return cpuOf(strconv.Itoa(p.cmd.Process.Pid)) }

func cpuOf(pid string) (sum time.Duration) {
	b, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(b), ") ") // the name before it may hold spaces
	f := strings.Fields(rest)
	for i := 11; i <= 14 && i < len(f); i++ { // utime, stime, cutime, cstime
		n, _ := strconv.ParseInt(f[i], 10, 64)
		sum += time.Duration(n) * tick
	}
	tasks, _ := os.ReadDir("/proc/" + pid + "/task")
	for _, t := range tasks {
		children, _ := os.ReadFile("/proc/" + pid + "/task/" + t.Name() + "/children")
		for _, child := range strings.Fields(string(children)) {
			sum += cpuOf(child)
		}
	}
	return sum
}

// memory is the resident size in bytes.
func (p *process) memory() int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.cmd.Process.Pid))
	if err != nil {
		return 0
	}
	if f := strings.Fields(string(b)); len(f) > 1 {
		n, _ := strconv.ParseInt(f[1], 10, 64)
		return n * int64(os.Getpagesize())
	}
	return 0
}

// caller speaks JSON with a process, outside of what is measured.
var caller = &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}}

// call sends one request and decodes a 200 into out, unless that is nil.
func (p *process) call(ctx context.Context, token, method, path string, body, out any) error {
	var r io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		r = strings.NewReader(string(b))
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+p.addr+path, r)
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := caller.Do(req)
	if err != nil {
		return fmt.Errorf("%s: %s %s: %w", p.name, method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		return errors.Join(fmt.Errorf("%s: %s %s: status %d: %.400s", p.name, method, path, resp.StatusCode, b), err)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(b, out)
}

// until asks again and again until done says so.
func (p *process) until(ctx context.Context, token, path string, every time.Duration, out any, done func() bool) error {
	pause := time.NewTicker(every)
	defer pause.Stop()
	late := time.After(3 * time.Minute)
	for {
		if err := p.call(ctx, token, "GET", path, nil, out); err != nil {
			return err
		}
		if done() {
			return nil
		}
		select {
		case <-pause.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-late:
			return fmt.Errorf("%s: %s did not come to its end within 3 minutes; the last: %+v", p.name, path, out)
		}
	}
}

// cleanEnv is the environment without settings of a server that happens to be configured here.
func cleanEnv(extra ...string) []string {
	var out []string
	for _, kv := range os.Environ() {
		if !strings.HasPrefix(kv, "LEADLOOM_") {
			out = append(out, kv)
		}
	}
	return append(out, extra...)
}
