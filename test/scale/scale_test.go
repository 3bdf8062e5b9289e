package scale

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"leadloom/internal/testpg"
	"leadloom/test/live"
)

const (
	connections      = 20
	shortConnections = 2 // of the short run, which asks for right answers only
)

// setup is what `make scale` sets by environment variables; without any, a short run that shows that every kind of
// request is answered, and nothing about speed.
type setup struct {
	sizes   []int
	engines []string
	each    time.Duration
	data    string // where installations are kept for the next run; empty: nowhere
	out     string // where the report goes
	judge   bool   // limits and growth count
}

func readSetup(t *testing.T) setup {
	t.Helper()
	s := setup{sizes: []int{2000}, engines: []string{"sqlite", "postgres"}, each: 30 * time.Millisecond, data: os.Getenv("LEADLOOM_TEST_SCALE_DATA"), out: os.Getenv("LEADLOOM_TEST_SCALE_OUT")}
	if v := os.Getenv("LEADLOOM_TEST_SCALE"); v != "" {
		s.sizes, s.each, s.judge = nil, 3*time.Second, true
		for _, n := range strings.Split(v, ",") {
			size, err := strconv.Atoi(n)
			if err != nil || size < 200 || len(s.sizes) > 0 && size <= s.sizes[len(s.sizes)-1] {
				t.Fatalf("LEADLOOM_TEST_SCALE=%s: want growing numbers of leads of 200 or more", v)
			}
			s.sizes = append(s.sizes, size)
		}
	}
	if v := os.Getenv("LEADLOOM_TEST_SCALE_ENGINES"); v != "" {
		s.engines = strings.Split(v, ",")
	}
	if v := os.Getenv("LEADLOOM_TEST_SCALE_EACH"); v != "" {
		var err error
		if s.each, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// point is everything that was measured on one engine at one size.
type point struct {
	Engine  string             `json:"engine"`
	Leads   int                `json:"leads"`
	Made    float64            `json:"made_s,omitempty"`
	Start   float64            `json:"start_ms"`
	Idle    memory             `json:"idle"`
	After   memory             `json:"after_load"`
	Bytes   int64              `json:"database_bytes,omitempty"`
	Check   float64            `json:"check_s,omitempty"`
	Backup  float64            `json:"backup_s,omitempty"`
	Legs    map[string]figures `json:"legs"`
	ordered []leg
}

// TestScale measures tenants of growing size.
func TestScale(t *testing.T) {
	s := readSetup(t)
	var all []*point
	for _, engine := range s.engines {
		for _, size := range s.sizes {
			all = append(all, measure(t, s, engine, size))
		}
	}
	if s.out != "" {
		writeReport(t, s.out, all)
	}
	if s.judge {
		judge(t, all)
	}
}

func measure(t *testing.T, s setup, engine string, size int) *point {
	t.Helper()
	in := &installation{engine: engine, size: size, dir: filepath.Join(t.TempDir(), "data")}
	if s.data != "" && engine == "sqlite" {
		in.dir = filepath.Join(s.data, engine+"-"+short(size))
	}
	var args []string
	if engine == "postgres" {
		in.url = testpg.URL(t)
		args = append(args, "--database-url", in.url)
	}
	w := in.open(t)
	if err := in.settle(); err != nil {
		t.Fatal(err)
	}
	args = append(args, "--data", in.dir)
	srv := live.Start(t, append([]string{"serve", "--addr", live.FreeAddr(t), "--log-level", "error"}, args...)...)
	p := &point{Engine: engine, Leads: size, Made: in.made.Seconds(), Start: float64(srv.Took.Milliseconds()), Legs: map[string]figures{}}
	srv.Login("scale", password)
	p.Idle = memoryOf(srv.PID())
	p.ordered = legs(t, srv, w, fmt.Sprintf("r%x", time.Now().UnixNano()))
	addr := strings.TrimPrefix(srv.URL, "http://")
	t.Logf("%s, %d leads, started in %.0f ms, %v", engine, size, p.Start, p.Idle)
	t.Logf("%-44s %9s %9s %9s %9s", "", "req/s", "p50 ms", "p99 ms", "CPU ms")
	at := shortConnections
	if s.judge {
		at = connections
	}
	for _, l := range p.ordered {
		f := drive(addr, srv.Token, srv.PID(), at, s.each, l.next)
		p.Legs[l.name] = f
		t.Logf("%-44s %9.0f %9.1f %9.1f %9.2f", l.name, f.PerS, f.P50, f.P99, f.CPU)
		if f.Failed > 0 {
			t.Errorf("%s, %d leads, %s: %d of %d failed; the first: %s", engine, size, l.name, f.Failed, f.Requests, f.First)
		}
	}
	p.After = memoryOf(srv.PID())
	t.Logf("after the load: %v", p.After)
	srv.Stop()
	if os.Getenv("LEADLOOM_TEST_SCALE_EACH") == "" { // a look at some figures does not wait for the rest
		finish(t, p, in, args)
	}
	return p
}

// finish measures what is done beside or without a server.
func finish(t *testing.T, p *point, in *installation, args []string) {
	t.Helper()
	from := time.Now()
	live.MustRun(t, "", append([]string{"check"}, args...)...)
	p.Check = time.Since(from).Seconds()
	if in.engine == "sqlite" {
		if f, err := os.Stat(filepath.Join(in.dir, "leadloom.db")); err == nil {
			p.Bytes = f.Size()
		}
		file := filepath.Join(t.TempDir(), "backup")
		from = time.Now()
		live.MustRun(t, "", append(append([]string{"backup"}, args...), file)...)
		p.Backup = time.Since(from).Seconds()
		_ = os.Remove(file)
	}
	t.Logf("database %d MB, check %.1f s, backup %.1f s", p.Bytes>>20, p.Check, p.Backup)
}

func short(n int) string {
	switch {
	case n%1_000_000 == 0:
		return strconv.Itoa(n/1_000_000) + "m"
	case n%1_000 == 0:
		return strconv.Itoa(n/1_000) + "k"
	}
	return strconv.Itoa(n)
}

// judge holds the figures to the limits at a million leads, and each request to a growth of no more than log n from an
// engine's smallest size to its largest; between them a page costs most where it just takes all that a filter finds.
// The noise that it allows: a half more, and 4 ms.
func judge(t *testing.T, all []*point) {
	t.Helper()
	first, largest := map[string]*point{}, map[string]*point{}
	for _, p := range all {
		largest[p.Engine] = p
	}
	for _, p := range all {
		small := first[p.Engine]
		if small == nil {
			first[p.Engine], small = p, p
		}
		logs := math.Log(float64(p.Leads)) / math.Log(float64(small.Leads))
		for _, l := range p.ordered {
			f, was := p.Legs[l.name], small.Legs[l.name]
			if l.within > 0 && p.Engine == "sqlite" && p.Leads <= 1_000_000 && f.P99 > l.within {
				t.Errorf("%s, %d leads, %s: p99 %.1f ms, the limit is %.0f", p.Engine, p.Leads, l.name, f.P99, l.within)
			}
			if most := was.P50*logs*1.5 + 4; f.P50 > most && p == largest[p.Engine] {
				t.Errorf("%s, %s: p50 grows from %.1f ms at %d leads to %.1f at %d, more than log n (%.1f)", p.Engine, l.name, was.P50, small.Leads, f.P50, p.Leads, most)
			}
			if strings.HasPrefix(l.name, "update") && p.Engine == "sqlite" && f.CPU > 1.5*was.CPU {
				t.Errorf("%s, %s: %.2f ms of CPU at %d leads, %.2f at %d: more than 1.5 times", p.Engine, l.name, was.CPU, small.Leads, f.CPU, p.Leads)
			}
		}
	}
}

// memory is what a process holds, in MB; pages of the database file that are mapped are in Shared, not in Own.
type memory struct {
	Own    float64 `json:"anonymous_mb"`
	Shared float64 `json:"file_mb"`
}

func (m memory) String() string {
	return fmt.Sprintf("resident %.0f MB: %.0f of its own, %.0f of mapped files", m.Own+m.Shared, m.Own, m.Shared)
}

func memoryOf(pid int) (m memory) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	for _, line := range strings.Split(string(b), "\n") {
		var kb float64
		if n, _ := fmt.Sscanf(line, "RssAnon: %f kB", &kb); n == 1 {
			m.Own = kb / 1024
		}
		if n, _ := fmt.Sscanf(line, "RssFile: %f kB", &kb); n == 1 {
			m.Shared = kb / 1024
		}
	}
	return m
}

func writeReport(t *testing.T, dir string, all []*point) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	b, err := json.MarshalIndent(all, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{"scale.json": b, "scale.html": page(all)} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("the report is in %s", filepath.Join(dir, "scale.html"))
}
