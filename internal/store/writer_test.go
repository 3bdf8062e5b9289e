package store

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"leadloom/internal/account"
)

// TestWriter_AJobsTurnEndsWhenARequestWaits: jobs that queued together share a commit as long as nobody waits; a request
// that comes meanwhile is served before those that have not begun, and they all run afterwards.
func TestWriter_AJobsTurnEndsWhenARequestWaits(t *testing.T) {
	for _, waits := range []bool{false, true} {
		t.Run(fmt.Sprintf("request waits %v", waits), func(t *testing.T) {
			st, err := Open(t.Context(), Options{Path: filepath.Join(t.TempDir(), "leadloom.db")})
			if err != nil {
				t.Fatal(err)
			}
			defer st.Close()
			if err := st.MigrateUp(t.Context(), account.NewInstance("test")); err != nil {
				t.Fatal(err)
			}
			w := st.sq.w
			var order []string // the writer's goroutine alone appends
			var wg sync.WaitGroup
			send := func(name string, job bool, then func()) *request {
				r := &request{ctx: context.WithoutCancel(t.Context()), job: job, answer: make(chan error, 1), fn: func(*Tx) error {
					order = append(order, name)
					then()
					return nil
				}}
				wg.Go(func() {
					if err := w.ask(r); err != nil {
						t.Error(name, err)
					}
				})
				return r
			}
			nothing := func() {}
			begun, queuedUp := make(chan struct{}), make(chan struct{})
			send("first", false, func() { close(begun); <-queuedUp })
			<-begun
			before := w.batches.Load()
			for i := range 3 {
				send(fmt.Sprint("job ", i), true, func() {
					if i > 0 || !waits {
						return
					}
					send("request", false, nothing)
					for len(w.reqs) == 0 {
						time.Sleep(time.Millisecond)
					}
					time.Sleep(2 * jobTurn)
				})
				for len(w.jobs) <= i {
					time.Sleep(time.Millisecond)
				}
			}
			close(queuedUp)
			wg.Wait()
			want, batches := []string{"first", "job 0", "job 1", "job 2"}, int64(2)
			if waits {
				want, batches = []string{"first", "job 0", "request", "job 1", "job 2"}, 3
			}
			if !slices.Equal(order, want) {
				t.Errorf("order %v, want %v", order, want)
			}
			if n := w.batches.Load() - before; n > batches {
				t.Errorf("%d commits, want at most %d", n, batches)
			}
		})
	}
}
