package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// BuildAt builds the product of a commit in a folder and returns the binary and the commit's whole name. Nothing of the
// commit but the product is used: the legs drive both binaries from outside.
func BuildAt(ctx context.Context, commit, dir string) (binary, name string, err error) {
	out, err := exec.CommandContext(ctx, "git", "rev-parse", "--verify", commit+"^{commit}").CombinedOutput()
	if err != nil {
		return "", "", fmt.Errorf("%s is no commit of this repository: %s", commit, bytes.TrimSpace(out))
	}
	name = strings.TrimSpace(string(out))
	top, err := exec.CommandContext(ctx, "git", "rev-parse", "--show-toplevel").Output()
	if err != nil {
		return "", "", err
	}
	source := filepath.Join(dir, "source")
	if err := os.MkdirAll(source, 0o700); err != nil {
		return "", "", err
	}
	if err := pipe(
		inDir(exec.CommandContext(ctx, "git", "archive", name), strings.TrimSpace(string(top))),
		exec.CommandContext(ctx, "tar", "-x", "-C", source)); err != nil {
		return "", "", fmt.Errorf("unpack %s: %w", short(name), err)
	}
	binary = filepath.Join(dir, "leadloom")
	build := inDir(exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w -X leadloom/internal/app.version="+short(name), "-o", binary, "./cmd/leadloom"), source)
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", "", fmt.Errorf("build %s: %w\n%s", short(name), err, out)
	}
	return binary, name, nil
}

func inDir(c *exec.Cmd, dir string) *exec.Cmd { c.Dir = dir; return c }

// pipe runs one command into another.
func pipe(from, to *exec.Cmd) (err error) {
	var said bytes.Buffer
	if to.Stdin, err = from.StdoutPipe(); err != nil {
		return err
	}
	from.Stderr, to.Stderr = &said, &said
	if err := to.Start(); err != nil {
		return err
	}
	if err := errors.Join(from.Run(), to.Wait()); err != nil {
		return fmt.Errorf("%w: %s", err, said.String())
	}
	return nil
}

// Comparison is an old and a new measurement of the same legs.
type Comparison struct {
	Old, New  string
	Threshold float64 // share that a leg may lose
	Rows      []Row
	Remarks   []string
}

// Row is one leg's figure, old and new.
type Row struct {
	Leg, Unit string
	Lower     bool // less is better
	Judged    bool // it can be a regression; else it is shown only
	Delta
}

// Worse is how much it lost, as a share; negative when it gained.
func (r Row) Worse() float64 {
	if r.Lower {
		return r.Change
	}
	return -r.Change
}

// CompareSides reads the two sides of one run: this tree beside an older commit.
func CompareSides(r *Report, threshold float64) *Comparison {
	c := &Comparison{Old: short(r.Base), New: r.name(), Threshold: threshold}
	for i := range r.Legs {
		l := &r.Legs[i]
		if l.Error != "" {
			c.Remarks = append(c.Remarks, fmt.Sprintf("%s was not measured: %s", l.Name, firstLine(l.Error)))
			continue
		}
		cpu := func(t Turn) float64 { return t.CPU }
		c.Rows = append(c.Rows, Row{l.Name, l.Unit, l.Lower, true, delta(l.Sides[0].values(), l.Sides[1].values())},
			Row{l.Name, "CPU ms", true, false, delta(column(l.Sides[0].Turns, cpu), column(l.Sides[1].Turns, cpu))})
	}
	return c
}

// CompareReports reads two runs of different times. The machine may have been another one in the meantime: legs with a
// ceiling are judged by their ratio to it; the plain figures are shown beside.
func CompareReports(old, new *Report, threshold float64) (*Comparison, error) {
	if old.Kind != kindCeilings || new.Kind != kindCeilings {
		return nil, errors.New("both runs must be of the product beside its ceilings (make bench)")
	}
	c := &Comparison{Old: old.name(), New: new.name(), Threshold: threshold}
	if old.Machine != new.Machine {
		c.Remarks = append(c.Remarks, fmt.Sprintf("The machines differ (%s; %s): only the ratios can be compared.", old.Machine, new.Machine))
	}
	if old.For != new.For || old.Connections != new.Connections || old.Leads != new.Leads {
		c.Remarks = append(c.Remarks, fmt.Sprintf("The runs differ: %v, %d connections, %d leads; %v, %d, %d.", old.For, old.Connections, old.Leads, new.For, new.Connections, new.Leads))
	}
	for i := range new.Legs {
		n := &new.Legs[i]
		o := old.leg(n.Name)
		if o == nil || o.Error != "" || n.Error != "" {
			c.Remarks = append(c.Remarks, n.Name+" is not in both runs.")
			continue
		}
		c.Rows = append(c.Rows, Row{n.Name, "of ceiling", false, true, delta(o.ratios(), n.ratios())},
			Row{n.Name, n.Unit, n.Lower, false, delta(o.Sides[1].values(), n.Sides[1].values())})
	}
	if len(c.Rows) == 0 {
		return nil, errors.New("the runs have no leg in common")
	}
	return c, nil
}

func (r *Report) leg(name string) *Leg {
	for i := range r.Legs {
		if r.Legs[i].Name == name {
			return &r.Legs[i]
		}
	}
	return nil
}

// Regressions names the legs that lost significantly more than the threshold.
func (c *Comparison) Regressions() (out []string) {
	for _, r := range c.Rows {
		if c.regressed(r) {
			out = append(out, r.Leg)
		}
	}
	return out
}

func (c *Comparison) regressed(r Row) bool {
	return r.Judged && r.Significant() && r.Worse() > c.Threshold
}

// WriteTable prints old, new, the change and how likely chance alone would have made it.
func (c *Comparison) WriteTable(w io.Writer) error {
	p := &printer{w: w}
	p.line("%-9s %-12s %16s %7s %16s %7s %9s", "leg", "unit", c.Old, "±", c.New, "±", "change")
	for _, r := range c.Rows {
		show := figure
		if r.Unit == "of ceiling" {
			show = func(v float64) string { return fmt.Sprintf("%.0f %%", 100*v) }
		}
		change, mark := "~", ""
		if r.Significant() {
			change = fmt.Sprintf("%+.1f %%", 100*r.Change)
			switch {
			case c.regressed(r):
				mark = "REGRESSION"
			case r.Judged && r.Worse() > 0:
				mark = "slower"
			case r.Judged && r.Worse() < 0:
				mark = "faster"
			}
		}
		p.line("%-9s %-12s %16s %7s %16s %7s %9s  p=%.3f n=%d+%d %s", r.Leg, r.Unit, show(r.Delta.Old.Median), r.Delta.Old.spread(), show(r.Delta.New.Median), r.Delta.New.spread(), change,
			r.P, r.Delta.Old.N, r.Delta.New.N, mark)
	}
	p.line("~: no significant difference at 5 %% (Mann-Whitney U). Regression: significant and worse by more than %.0f %%. ±: of the 95 %% interval of the median.", 100*c.Threshold)
	for _, r := range c.Rows {
		if r.Note != "" {
			p.line("With so few turns the test can tell nothing: %s.", r.Note)
			break
		}
	}
	for _, m := range c.Remarks {
		p.line("%s", m)
	}
	return p.err
}
