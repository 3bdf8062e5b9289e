// Command run measures the product beside its ceilings or beside an older commit, keeps each run in a history, and
// prints tables and pages. `make bench` and `make bench-compare` call it; --help names every option.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"time"

	"github.com/alecthomas/kong"

	"leadloom/test/bench"
)

type commands struct {
	Ceilings ceilings `cmd:"" help:"Measure the product beside its ceilings."`
	Compare  compare  `cmd:"" help:"Measure this tree beside an older commit; exit 1 when something got significantly slower."`
	Diff     diff     `cmd:"" help:"Compare two recorded runs; exit 1 when something got significantly slower."`
	Page     page     `cmd:"" help:"Write a recorded run's page again, with the history as it is now."`
}

// measuring is what both kinds of run take.
type measuring struct {
	For         time.Duration `help:"Length of one turn." default:"2s"`
	Repeat      int           `help:"Turns of each side; below six there is no 95 % interval." default:"7"`
	Connections int           `help:"Requests in flight." default:"50"`
	Leads       int           `help:"Leads that are there before anything is measured." default:"5000"`
	Bulk        int           `help:"Leads in one bulk." default:"1000"`
	Legs        string        `help:"Only legs whose name matches, such as 'create|update'." placeholder:"REGEXP"`
	Out         string        `help:"Folder of report.json and report.html." default:"bench" placeholder:"DIR"`
	History     string        `help:"Folder that each run is added to; - keeps none." default:"bench/history" placeholder:"DIR"`
}

func (m measuring) options(binary string) (bench.Options, error) {
	o := bench.Options{Binary: binary, For: m.For, Repeat: m.Repeat, Connections: m.Connections, Leads: m.Leads, Bulk: m.Bulk, Progress: os.Stderr}
	if m.Legs != "" {
		only, err := regexp.Compile("^(?:" + m.Legs + ")$")
		if err != nil {
			return o, fmt.Errorf("--legs: %w", err)
		}
		o.Only = only
	}
	var err error
	if o.Commit, err = git("rev-parse", "HEAD"); err != nil {
		o.Commit = "unknown"
	}
	changes, _ := git("status", "--porcelain", "--untracked-files=no")
	o.Dirty = changes != ""
	return o, nil
}

func git(args ...string) (string, error) {
	out, err := exec.Command("git", args...).Output()
	return strings.TrimSpace(string(out)), err
}

// keep prints the table and writes report, page and history.
func (m measuring) keep(r *bench.Report) error {
	history := m.History
	if history == "-" {
		history = ""
	}
	runs, err := bench.AddToHistory(history, r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(m.Out, 0o755); err != nil {
		return err
	}
	if err := write(filepath.Join(m.Out, "report.json"), r.WriteJSON); err != nil {
		return err
	}
	at := filepath.Join(m.Out, "report.html")
	if err := write(at, func(w io.Writer) error { return r.WriteHTML(w, runs) }); err != nil {
		return err
	}
	fmt.Fprintln(os.Stderr, "\nThe page:", at)
	return r.Failed()
}

func write(path string, to func(io.Writer) error) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(to(f), f.Close())
}

type ceilings struct {
	measuring
	Binary string `help:"The product." default:"bin/leadloom"`
}

// Run measures and keeps.
func (c *ceilings) Run(ctx context.Context) error {
	o, err := c.options(c.Binary)
	if err != nil {
		return err
	}
	r, err := bench.Run(ctx, o)
	if err != nil {
		return err
	}
	if err := r.WriteTable(os.Stdout); err != nil {
		return err
	}
	return c.keep(r)
}

// judging is what counts as a regression.
type judging struct {
	Threshold float64 `help:"Percent that a leg may lose; more, and significant at 5 %, is a regression." default:"10"`
}

func (j judging) verdict(w io.Writer, c *bench.Comparison) error {
	if err := c.WriteTable(w); err != nil {
		return err
	}
	if bad := c.Regressions(); len(bad) > 0 {
		return fmt.Errorf("significantly slower by more than %.0f %%: %s", j.Threshold, strings.Join(bad, ", "))
	}
	return nil
}

type compare struct {
	measuring
	judging
	Binary string `help:"The product of this tree." default:"bin/leadloom"`
	Base   string `arg:"" help:"Commit to compare with."`
}

// Run builds the old product in a temporary folder, measures and judges.
func (c *compare) Run(ctx context.Context) error {
	o, err := c.options(c.Binary)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "leadloom-base-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if o.Base, o.BaseCommit, err = bench.BuildAt(ctx, c.Base, dir); err != nil {
		return err
	}
	r, err := bench.Run(ctx, o)
	if err != nil {
		return err
	}
	compared := bench.CompareSides(r, c.Threshold/100)
	if err := compared.WriteTable(os.Stdout); err != nil {
		return err
	}
	return errors.Join(c.keep(r), c.verdict(io.Discard, compared))
}

type diff struct {
	judging
	Old string `arg:"" help:"report.json or a file of the history."`
	New string `arg:"" help:"The later one."`
}

// Run compares what was recorded.
func (d *diff) Run() error {
	old, err := bench.ReadReport(d.Old)
	if err != nil {
		return err
	}
	now, err := bench.ReadReport(d.New)
	if err != nil {
		return err
	}
	compared, err := bench.CompareReports(old, now, d.Threshold/100)
	if err != nil {
		return err
	}
	return d.verdict(os.Stdout, compared)
}

type page struct {
	Report  string `arg:"" help:"report.json or a file of the history."`
	Out     string `help:"The page." default:"bench/report.html" placeholder:"FILE"`
	History string `help:"Folder of the history." default:"bench/history" placeholder:"DIR"`
}

// Run reads a report and writes its page.
func (p *page) Run() error {
	r, err := bench.ReadReport(p.Report)
	if err != nil {
		return err
	}
	runs, err := bench.ReadHistory(p.History)
	if err != nil {
		return err
	}
	return write(p.Out, func(w io.Writer) error { return r.WriteHTML(w, runs) })
}

func main() {
	if bench.Helper() {
		return
	}
	var c commands
	k := kong.Parse(&c, kong.Name("bench"), kong.Description("The product beside its ceilings, or beside an older commit."), kong.UsageOnError())
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	k.BindTo(ctx, (*context.Context)(nil))
	err := k.Run()
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
