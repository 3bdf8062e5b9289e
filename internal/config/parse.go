package config

import (
	"fmt"
	"io"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/alecthomas/kong"

	"leadloom/internal/secret"
)

const envPrefix = "LEADLOOM_"

// Parsed is a command that was asked for, with its settings.
type Parsed struct {
	CLI
	Command string // "serve", "user create", …
}

// exitNow carries kong's wish to end (after --help) out of its callback.
type exitNow struct{ code int }

// Parse reads arguments, variables ("K=V" as os.Environ gives them) and the config file. done is true when help was
// printed to out and there is nothing to do. An error is one line that names the setting.
func Parse(args, environ []string, out io.Writer) (p *Parsed, done bool, err error) {
	defer func() {
		if r := recover(); r != nil {
			if e, ok := r.(exitNow); ok {
				p, done, err = nil, e.code == 0, nil
				return
			}
			panic(r)
		}
	}()
	p = &Parsed{}
	src := &source{env: map[string]string{}}
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, envPrefix) {
			src.env[k] = v
		}
	}
	parser, err := kong.New(&p.CLI,
		kong.Name("leadloom"),
		kong.Description("Leadloom: leads in, workflows run, CRMs in step. Each flag is also a LEADLOOM_* variable and a key of the config file; secrets also as *_FILE."),
		kong.Writers(out, out),
		kong.Exit(func(code int) { panic(exitNow{code}) }),
		kong.Resolvers(src),
		kong.PostBuild(src.learn),
		kong.ValueFormatter(describe),
	)
	if err != nil {
		return nil, false, err
	}
	if err := src.load(args); err != nil {
		return nil, false, err
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	ctx, err := parser.Parse(args)
	if err != nil {
		return nil, false, oneLine(err)
	}
	p.Command = commandName(ctx)
	return p, false, nil
}

func commandName(ctx *kong.Context) string {
	var words []string
	for _, w := range strings.Fields(ctx.Command()) {
		if !strings.HasPrefix(w, "<") {
			words = append(words, w)
		}
	}
	return strings.Join(words, " ")
}

func oneLine(err error) error {
	return fmt.Errorf("%s", strings.Join(strings.Fields(err.Error()), " "))
}

// source resolves settings that were not given as flags: from the environment, a secret's file, the config file.
type source struct {
	env   map[string]string
	file  map[string]string
	path  string
	names []string        // every setting's name, for the nearest one
	isSec map[string]bool // settings that may come as *_FILE
}

// learn notes every setting of every command.
func (s *source) learn(k *kong.Kong) error {
	s.isSec = map[string]bool{}
	var visit func(n *kong.Node)
	visit = func(n *kong.Node) {
		for _, f := range n.Flags {
			if f.Name == "help" {
				continue
			}
			if !slices.Contains(s.names, f.Name) {
				s.names = append(s.names, f.Name)
			}
			if f.Target.Type() == reflect.TypeFor[secret.Masked]() {
				s.isSec[f.Name] = true
			}
		}
		for _, c := range n.Children {
			visit(c)
		}
	}
	visit(k.Model.Node)
	return nil
}

// describe is a setting's line of help with its variable and, where a placeholder hides it, its default.
func describe(v *kong.Value) string {
	if v.Flag == nil || v.Name == "help" {
		return v.Help
	}
	extra := envName(v.Name)
	if v.Target.Type() == reflect.TypeFor[secret.Masked]() {
		extra += ", " + extra + "_FILE"
	} else if v.HasDefault && v.Flag.PlaceHolder != "" {
		extra += ", default " + v.Default
	}
	return v.Help + " (" + extra + ")"
}

func envName(flag string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// load refuses unknown variables and reads the config file, when one is named, refusing unknown keys.
func (s *source) load(args []string) error {
	for _, k := range sortedKeys(s.env) {
		if strings.HasPrefix(k, envPrefix+"TEST_") {
			continue
		}
		name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(k, envPrefix), "_", "-"))
		if base, ok := strings.CutSuffix(name, "-file"); ok && s.isSec[base] {
			continue
		}
		if !slices.Contains(s.names, name) {
			if quoted := strconv.Quote(k); quoted != `"`+k+`"` { // a line break in a name must not break the line
				k = quoted
			}
			return fmt.Errorf("%s: no such setting; the nearest is %s", k, envName(nearest(name, s.names)))
		}
	}
	s.path = s.env[envPrefix+"CONFIG"]
	for i, a := range args {
		if v, ok := strings.CutPrefix(a, "--config="); ok {
			s.path = v
		} else if a == "--config" && i+1 < len(args) {
			s.path = args[i+1]
		}
	}
	if s.path == "" {
		return nil
	}
	text, err := os.ReadFile(s.path)
	if err != nil {
		return fmt.Errorf("--config: cannot read %s: %w", s.path, err)
	}
	s.file, err = parseFile(s.path, string(text), s.names)
	return err
}

// parseFile reads 'name = value' lines; # starts a comment line; quotes around a value are taken off.
func parseFile(path, text string, names []string) (map[string]string, error) {
	out := map[string]string{}
	for i, line := range strings.Split(text, "\n") {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		k, v, ok := strings.Cut(line, "=")
		k, v = strings.ReplaceAll(strings.TrimSpace(k), "_", "-"), strings.TrimSpace(v)
		if !ok {
			return nil, fmt.Errorf("%s line %d: write 'name = value'", path, i+1)
		}
		if !slices.Contains(names, k) {
			return nil, fmt.Errorf("%s line %d: no setting %q; the nearest is %q", path, i+1, k, nearest(k, names))
		}
		if _, twice := out[k]; twice {
			return nil, fmt.Errorf("%s line %d: %q is set twice", path, i+1, k)
		}
		if len(v) > 1 && v[0] == '"' && v[len(v)-1] == '"' {
			v = v[1 : len(v)-1]
		}
		out[k] = v
	}
	return out, nil
}

// Validate is kong's hook for checking a source against the whole program; load has done it.
func (s *source) Validate(*kong.Application) error { return nil }

// Resolve finds a setting's value: variable, then file of a secret, then config file.
func (s *source) Resolve(_ *kong.Context, _ *kong.Path, f *kong.Flag) (any, error) {
	env := envName(f.Name)
	value, isSet := s.env[env]
	if file, ok := s.env[env+"_FILE"]; ok && s.isSec[f.Name] {
		if isSet {
			return nil, fmt.Errorf("both %s and %s_FILE are set; keep one", env, env)
		}
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, fmt.Errorf("%s_FILE: %w", env, err)
		}
		return strings.TrimRight(string(b), "\r\n"), nil
	}
	if isSet {
		return value, nil
	}
	if v, ok := s.file[f.Name]; ok {
		return v, nil
	}
	return nil, nil
}

func sortedKeys(m map[string]string) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}

// nearest is the name with the fewest edits from s.
func nearest(s string, names []string) string {
	best, at := "", 1<<30
	for _, n := range names {
		if d := edits(s, n); d < at {
			best, at = n, d
		}
	}
	return best
}

// edits is the Levenshtein distance of two short names.
func edits(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}
