package passwork

import (
	"encoding/json"
	"errors"
	"io"
	"os"

	"leadloom/internal/account"
)

// workerEnv is the child's whole environment: it needs none of the server's. The memory limit makes it collect one
// hashing's 19 MiB before it takes many more.
var workerEnv = []string{"LEADLOOM_PASSWORD_WORKER=1", "GOMAXPROCS=1", "GOMEMLIMIT=48MiB"}

// task is a hashing when Stored is nil, else a comparison.
type task struct {
	Params   account.HashParams
	Stored   *string
	Password []byte
}

type result struct {
	Hash     string
	Failed   string
	Match    bool
	Outdated bool
}

// IsWorker reports whether this process was started as a child; main must then call Work and nothing else.
func IsWorker() bool { return os.Getenv("LEADLOOM_PASSWORD_WORKER") == "1" }

// Work answers tasks until the server closes its end or dies.
func Work(in io.Reader, out io.Writer) error {
	d, e := json.NewDecoder(in), json.NewEncoder(out)
	for {
		var t task
		if err := d.Decode(&t); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := e.Encode(t.do()); err != nil {
			return err
		}
	}
}

// do is the work itself, in whichever process.
func (t task) do() (r result) {
	if t.Stored != nil {
		r.Match, r.Outdated = account.VerifyPassword(t.Params, *t.Stored, string(t.Password))
		return r
	}
	hash, err := account.HashPassword(t.Params, string(t.Password))
	r.Hash = hash
	if err != nil {
		r.Failed = err.Error()
	}
	return r
}
