package stress

import (
	"bufio"
	"bytes"
	"context"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Process is what the server says of itself at /metrics, and what this client has used. Zero where it says nothing.
type Process struct {
	MemoryBefore int64         `json:"memory_before_bytes"` // resident, before the first user came
	MemoryFull   int64         `json:"memory_full_bytes"`   // when everybody had arrived
	MemoryPeak   int64         `json:"memory_peak_bytes"`   // as seen every few seconds
	CPU          time.Duration `json:"cpu_ns"`              // of the server at full load, its password workers not included
	ClientCPU    time.Duration `json:"client_cpu_ns"`       // of this process at full load
	ClientCPUs   int           `json:"client_cpus"`
}

const watchEvery = 2 * time.Second

// watch asks the server for its figures while a run lasts.
type watch struct {
	target target
	stop   context.CancelFunc
	done   sync.WaitGroup
	mu     sync.Mutex
	p      Process
	cpu    time.Duration // of the server, at the mark
	client time.Duration // of ours, at the mark
}

func watchServer(ctx context.Context, t target) *watch {
	ctx, stop := context.WithCancel(ctx)
	w := &watch{target: t, stop: stop}
	w.p.ClientCPUs = runtime.NumCPU()
	w.p.MemoryBefore, _ = w.look()
	w.done.Go(func() {
		for pause(ctx, watchEvery) {
			w.look()
		}
	})
	return w
}

// mark says that full load begins.
func (w *watch) mark() {
	memory, cpu := w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.p.MemoryFull, w.cpu, w.client = memory, cpu, ownCPU()
}

// end gives the figures of the time since the mark.
func (w *watch) end() Process {
	w.stop()
	w.done.Wait()
	_, cpu := w.look()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.p.CPU, w.p.ClientCPU = cpu-w.cpu, ownCPU()-w.client
	return w.p
}

func (w *watch) look() (memory int64, cpu time.Duration) {
	m := scrape(w.target, "process_resident_memory_bytes", "process_cpu_seconds_total")
	memory, cpu = int64(m[0]), time.Duration(m[1]*float64(time.Second))
	w.mu.Lock()
	defer w.mu.Unlock()
	w.p.MemoryPeak = max(w.p.MemoryPeak, memory)
	return memory, cpu
}

// scrape reads some figures off /metrics; 0 for one that is not there.
func scrape(t target, names ...string) []float64 {
	out := make([]float64, len(names))
	b := buffers.Get().(*buffer)
	defer b.release()
	c := conn{target: t}
	defer c.close()
	b.out = appendRequest(b.out[:0], t.host, "", call{method: http.MethodGet, path: "/metrics"})
	r, err := c.exchange(b.out, 5*time.Second, b)
	if err != nil || r.status != http.StatusOK {
		return out
	}
	for lines := bufio.NewScanner(bytes.NewReader(r.body)); lines.Scan(); {
		for i, name := range names {
			if v, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
				out[i], _ = strconv.ParseFloat(v, 64)
			}
		}
	}
	return out
}

// ownCPU is what this process has used.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
