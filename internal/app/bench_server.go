package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"syscall"
	"time"
)

const (
	benchReady = time.Minute // for the demo to seed itself
	benchStop  = 30 * time.Second
)

var readyAddress = regexp.MustCompile(`http://[0-9a-zA-Z.\[\]:]+`)

// startDemo starts a demo on data of its own for a bench and returns its address and how to end it. It is a process of
// its own: in one with the client, each would wait for the other's garbage collector, and memory and file descriptors
// would be nobody's.
func startDemo(ctx context.Context, s Streams) (url string, stop func(), err error) {
	if s.Self == "" {
		return "", nil, errors.New("this program does not know its own file; start leadloom demo and name it with --url")
	}
	cmd := exec.Command(s.Self, "demo", "--addr", "127.0.0.1:0", "--log-level", "error", "--log-format", "text")
	cmd.Stderr = s.Err
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the bench, which ends it in order
	out, err := cmd.StdoutPipe()
	if err != nil {
		return "", nil, err
	}
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	line := make(chan string, 1)
	exited := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			select {
			case line <- lines.Text():
			default:
			}
		}
		exited <- cmd.Wait()
	}()
	stop = func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-exited:
			if err != nil {
				fmt.Fprintln(s.Err, "leadloom: the demo ended badly:", err)
			}
		case <-time.After(benchStop):
			_ = cmd.Process.Kill()
		}
	}
	select {
	case l := <-line:
		if url = readyAddress.FindString(l); url != "" {
			return url, stop, nil
		}
		err = fmt.Errorf("the demo named no address: %q", l)
	case err = <-exited:
		return "", nil, fmt.Errorf("it ended before it was ready: %w", err)
	case <-time.After(benchReady):
		err = errors.New("it was not ready within a minute")
	case <-ctx.Done():
		err = ctx.Err()
	}
	stop()
	return "", nil, err
}
