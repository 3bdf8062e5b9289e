package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"
)

// The kinds of a run.
const (
	kindCeilings = "ceilings"
	kindCompare  = "compare"
)

// Options say what is measured and for how long.
type Options struct {
	Binary      string        // the product
	Base        string        // an older product: the two are compared; empty: the product beside its ceilings
	BaseCommit  string        // what Base was built of
	Commit      string        // what Binary was built of
	Dirty       bool          // and changes that no commit holds
	For         time.Duration // of a turn
	Repeat      int           // turns of each side
	Connections int
	Leads       int            // that are there before anything is measured
	Bulk        int            // leads in one bulk
	Only        *regexp.Regexp // legs by name; nil: all
	Progress    io.Writer      // a line for each leg as it ends; nil: none
}

// Defaults fill what is zero: 7 turns of 2 s at 50 connections over 5,000 leads.
func (o Options) withDefaults() Options {
	if o.For <= 0 {
		o.For = 2 * time.Second
	}
	if o.Repeat <= 0 {
		o.Repeat = 7
	}
	if o.Connections <= 0 {
		o.Connections = 50
	}
	if o.Leads <= 0 {
		o.Leads = 5000
	}
	if o.Bulk <= 0 {
		o.Bulk = 1000
	}
	if o.Progress == nil {
		o.Progress = io.Discard
	}
	return o
}

func (o Options) deletes() int  { return max(int(o.For.Seconds()*3000), 100) }
func (o Options) messages() int { return max(int(o.For.Seconds()*2000), 100) }
func (o Options) drained() int {
	return max(int(o.For.Seconds()*4000), 3*crmBatch) / crmBatch * crmBatch
}

// world is what a run has started.
type world struct {
	o         Options
	dir       string
	processes []*process
	helpers   map[string]*process
	bare      *target
	sink, crm *process
	mail      arrivals // where the sink and
	simulator arrivals // the simulator take deliveries
}

// bareServer is the ceiling of requests, started at the first use.
func (w *world) bareServer(ctx context.Context) (t *target, err error) {
	if w.bare == nil {
		w.bare, err = openBare(ctx, w)
	}
	return w.bare, err
}

// helper is a process of this program, started at the first use.
func (w *world) helper(ctx context.Context, name, arg string) (*process, error) {
	if p := w.helpers[name]; p != nil {
		return p, nil
	}
	p, err := startHelper(ctx, name, arg)
	if err == nil {
		w.helpers[name] = p
		w.processes = append(w.processes, p)
	}
	return p, err
}

// settle waits until the process rests, at most 3 s, so that what a turn leaves behind (sealing, checkpoints, jobs)
// neither falls into the other side's turn nor out of the account.
func (w *world) settle(ctx context.Context, p *process) {
	if w.o.For < time.Second { // a moment-long run says nothing of speed anyway
		return
	}
	const look = 60 * time.Millisecond
	pause := time.NewTicker(look)
	defer pause.Stop()
	last := p.cpu()
	for quiet, n := 0, 0; quiet < 2 && n < 50; n++ {
		select {
		case <-pause.C:
		case <-ctx.Done():
			return
		}
		now := p.cpu()
		if quiet++; now-last > tick {
			quiet = 0
		}
		last = now
	}
}

func (w *world) close() {
	for _, p := range slices.Backward(w.processes) {
		p.stop()
	}
}

// open starts what every leg needs.
func (w *world) open(ctx context.Context) (err error) {
	if w.sink, err = w.helper(ctx, "sink", ""); err != nil {
		return err
	}
	if w.crm, err = w.helper(ctx, "crm", ""); err != nil {
		return err
	}
	return errors.Join(w.sink.call(ctx, "", "GET", "/state", nil, &w.mail), w.crm.call(ctx, "", "GET", "/state", nil, &w.simulator))
}

// Run measures every leg on both sides. A leg that cannot be measured says so in the report and ends nothing; an error
// means that nothing could be measured.
func Run(ctx context.Context, o Options) (*Report, error) {
	o = o.withDefaults()
	dir, err := os.MkdirTemp("", "leadloom-bench-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	w := &world{o: o, dir: dir, helpers: map[string]*process{}}
	defer w.close()
	if err := w.open(ctx); err != nil {
		return nil, err
	}
	now, err := openProduct(ctx, w, "leadloom", o.Binary)
	if err != nil {
		return nil, err
	}
	var old *product
	r := &Report{Kind: kindCeilings, Commit: o.Commit, Dirty: o.Dirty, StartedAt: time.Now().UTC(), Machine: thisMachine(), Engine: "sqlite", For: o.For, Repeat: o.Repeat,
		Connections: o.Connections, Leads: o.Leads}
	if o.Base != "" {
		r.Kind, r.Base = kindCompare, o.BaseCommit
		if old, err = openProduct(ctx, w, "base", o.Base); err != nil {
			return nil, err
		}
	}
	for _, l := range legs(w) {
		if o.Only != nil && !o.Only.MatchString(l.name) {
			continue
		}
		if _, err := exec.LookPath("wrk"); l.name == "wrk" && err != nil {
			_, _ = fmt.Fprintln(o.Progress, "wrk        left out: wrk is not installed")
			continue
		}
		out := measure(ctx, w, l, now, old)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		r.Legs = append(r.Legs, out)
		_, _ = fmt.Fprintln(o.Progress, out.progress())
	}
	if len(r.Legs) == 0 {
		return nil, errors.New("no leg has such a name")
	}
	r.Memory, r.Took = now.memory(), time.Since(r.StartedAt)
	return r, nil
}

// measure runs one leg's turns, the sides in the order A B, B A, A B …: what drifts steadily meets both alike.
func measure(ctx context.Context, w *world, l leg, now, old *product) Leg {
	out := Leg{Name: l.name, Title: l.title, Unit: l.unit, Note: l.note, Lower: l.lower, Aim: Aim{l.aim.ratio, l.aim.value, l.aim.cpu}}
	var sides [2]turner
	var err, err2 error
	if old != nil {
		out.Note, out.Aim = "", Aim{}
		out.Sides[0].Name, out.Sides[1].Name = short(w.o.BaseCommit), "this tree"
		sides[0], err = l.product(ctx, w, old)
	} else {
		out.Sides[0].Name, out.Sides[1].Name = "ceiling", "leadloom"
		sides[0], err = l.ceiling(ctx, w)
	}
	sides[1], err2 = l.product(ctx, w, now)
	for round := 0; round < w.o.Repeat && err == nil && err2 == nil; round++ {
		for k := range 2 {
			i := (k + round) % 2
			var m measured
			if m, err = sides[i](ctx, round); err != nil {
				err = fmt.Errorf("%s: %w", out.Sides[i].Name, err)
				break
			}
			out.Sides[i].add(m)
		}
	}
	if err = errors.Join(err, err2); err != nil {
		out.Error = err.Error()
		return out
	}
	out.finish()
	return out
}

func (l *Leg) progress() string {
	if l.Error != "" {
		return fmt.Sprintf("%-9s not measured: %s", l.Name, firstLine(l.Error))
	}
	return fmt.Sprintf("%-9s %12s %12s %-12s %s", l.Name, figure(l.Sides[0].Value.Median), figure(l.Sides[1].Value.Median), l.Unit, l.Ratio.percent())
}

// thisMachine reads what the kernel says about it.
func thisMachine() Machine {
	m := Machine{CPU: runtime.GOARCH, Cores: runtime.NumCPU(), OS: runtime.GOOS, Go: runtime.Version()}
	b, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(line, ":"); ok && strings.TrimSpace(k) == "model name" {
			m.CPU = strings.TrimSpace(v)
			break
		}
	}
	return m
}
