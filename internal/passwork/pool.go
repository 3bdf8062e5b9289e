package passwork

import (
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/fault"
)

const (
	// niceness leaves a busy machine's cores to the server, and still a tenth of one to logins.
	niceness = 10
	idleTime = 15 * time.Second
)

// Pool keeps the children. Callers bound how many tasks run at once; each gets a child of its own.
type Pool struct {
	executable string
	log        *slog.Logger

	mu     sync.Mutex
	idle   []*child
	timer  *time.Timer // ends idle children
	closed bool
	failed bool // a start failed or must not be tried
}

// child is one process and the two ends of its pipe.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	enc *json.Encoder
	dec *json.Decoder
}

// NewPool makes a pool whose children run the executable, which must call Work when IsWorker. It starts nothing yet;
// without an executable it never will. A child has no children.
func NewPool(executable string, log *slog.Logger) *Pool {
	return &Pool{executable: executable, log: log, failed: executable == "" || IsWorker()}
}

// Hash is account.HashPassword.
func (p *Pool) Hash(params account.HashParams, password string) (string, error) {
	r := p.run(task{Params: params, Password: []byte(password)})
	if r.Failed != "" {
		return "", fault.Internal("hash a password", errors.New(r.Failed))
	}
	return r.Hash, nil
}

// Verify is account.VerifyPassword.
func (p *Pool) Verify(params account.HashParams, stored, password string) (ok, outdated bool) {
	r := p.run(task{Params: params, Stored: &stored, Password: []byte(password)})
	return r.Match, r.Outdated
}

// run gives the task to a child; when there is none, or it died, the work is done here.
func (p *Pool) run(t task) result {
	c := p.take()
	if c == nil {
		return t.do()
	}
	var r result
	err := c.enc.Encode(t)
	if err == nil {
		err = c.dec.Decode(&r)
	}
	if err != nil {
		c.end()
		p.log.Warn("a password worker died; its work is done by the server", "error", err)
		return t.do()
	}
	p.put(c)
	return r
}

func (p *Pool) take() *child {
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		c := p.idle[n-1]
		p.idle = p.idle[:n-1]
		p.mu.Unlock()
		return c
	}
	stop := p.closed || p.failed
	p.mu.Unlock()
	if stop {
		return nil
	}
	c, err := start(p.executable)
	if err != nil {
		p.mu.Lock()
		p.failed = true
		p.mu.Unlock()
		p.log.Warn("no password worker could be started; the server hashes passwords itself", "error", err)
		return nil
	}
	return c
}

func (p *Pool) put(c *child) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		go c.end()
		return
	}
	p.idle = append(p.idle, c)
	if p.timer == nil {
		p.timer = time.AfterFunc(idleTime, p.endIdle)
	} else {
		p.timer.Reset(idleTime)
	}
}

// endIdle ends the children that wait: their memory is worth more than the milliseconds of a start.
func (p *Pool) endIdle() {
	p.mu.Lock()
	idle := p.idle
	p.idle = nil
	p.mu.Unlock()
	for _, c := range idle {
		c.end()
	}
}

// Close ends all children; the pool works on without them.
func (p *Pool) Close() {
	p.mu.Lock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.mu.Unlock()
	p.endIdle()
}

// start starts a child that inherits a lowered priority. Linux lowers the priority of a thread, not of a process, and
// no one may raise it again: so the start gets a thread of its own, which ends with the goroutine that is locked to it.
func start(executable string) (*child, error) {
	type started struct {
		c   *child
		err error
	}
	out := make(chan started)
	go func() {
		runtime.LockOSThread()
		yieldThread()
		c, err := startHere(executable)
		out <- started{c, err}
	}()
	s := <-out
	return s.c, s.err
}

func startHere(executable string) (*child, error) {
	cmd := exec.Command(executable)
	cmd.Env = workerEnv
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C at a terminal is for the server
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return &child{cmd: cmd, in: in, enc: json.NewEncoder(in), dec: json.NewDecoder(out)}, nil
}

// end closes the child's input, at which it ends; one that doesn't is killed.
func (c *child) end() {
	_ = c.in.Close()
	stop := time.AfterFunc(time.Second, func() { _ = c.cmd.Process.Kill() })
	_ = c.cmd.Wait() // how it ended does not matter
	stop.Stop()
}
