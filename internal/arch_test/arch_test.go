// Package arch_test keeps the layers of the house: arrows between packages point down only. A package that is not in
// the table below fails too, so that a new one is given its place on purpose.
package arch_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layer is a row of the house; a package may import those of lower rows, and of its own row where peers is set.
type layer struct {
	name     string
	why      string
	packages []string
	peers    bool
	forbid   []string // imports no package here may have
}

var house = []layer{
	{name: "main", why: "main only parses flags and hands over", packages: []string{"cmd/leadloom"}},
	{name: "app", why: "app wires and nothing else, so nothing may lean on it", packages: []string{"internal/app"}},
	{name: "tools of app", why: "they know the product by its HTTP contract or by its files",
		packages: []string{"internal/app/stress", "internal/app/demo", "internal/app/archive"}},
	{name: "httpapi", why: "one room holds all HTTP", packages: []string{"internal/httpapi"}, forbid: []string{"database/sql", "github.com/jackc/pgx/v5", "modernc.org/sqlite"}},
	{name: "service", why: "the product's verbs know no HTTP and no SQL", packages: []string{"internal/service"}, forbid: []string{"database/sql", "github.com/jackc/pgx/v5", "modernc.org/sqlite"}},
	{name: "engines", why: "store, queue, actions, CRM and mail serve the services and do not know each other's meaning", peers: true,
		packages: []string{"internal/store", "internal/storetest", "internal/testpg", "internal/queue", "internal/passwork", "internal/action", "internal/crm", "internal/mail", "internal/outbound"}},
	{name: "rules", why: "rules are pure: no I/O, no clock, no SQL, so that a table tests them in milliseconds", peers: true,
		packages: []string{"internal/account", "internal/lead", "internal/campaign", "internal/workflow", "internal/condition", "internal/event",
			"internal/score", "internal/consent", "internal/segment", "internal/analytics", "internal/dedupe"},
		forbid: []string{"database/sql", "net/http", "os", "os/exec", "github.com/jackc/pgx/v5", "modernc.org/sqlite", "github.com/riverqueue/river"}},
	{name: "ground", why: "what everything stands on stands on nothing", peers: true,
		packages: []string{"internal/fault", "internal/failpoint", "internal/config", "internal/secret", "internal/optional", "internal/testport", "internal/sqlitemem"}},
}

const module = "leadloom/"

// place finds a package's row: its own entry, or the nearest parent's (crm/connector belongs to crm).
func place(pkg string) int {
	for p := pkg; p != "." && p != "/"; p = filepath.Dir(p) {
		for i, l := range house {
			if slices.Contains(l.packages, p) {
				return i
			}
		}
	}
	return -1
}

func TestArrowsPointDown(t *testing.T) {
	root := filepath.Join("..", "..")
	for _, top := range []string{"cmd", "internal"} {
		err := filepath.WalkDir(filepath.Join(root, top), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			rel, _ := filepath.Rel(root, path)
			checkFile(t, path, filepath.Dir(rel))
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

func checkFile(t *testing.T, path, pkg string) {
	t.Helper()
	from := place(pkg)
	if from < 0 {
		t.Errorf("%s has no layer: give it a place in the table of this test", pkg)
		return
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	for _, spec := range f.Imports {
		imp, _ := strconv.Unquote(spec.Path.Value)
		for _, bad := range house[from].forbid {
			if imp == bad || strings.HasPrefix(imp, bad+"/") && bad != "os" {
				t.Errorf("%s imports %s, which the layer %q must not: %s", path, imp, house[from].name, house[from].why)
			}
		}
		own, ok := strings.CutPrefix(imp, module)
		if !ok {
			continue
		}
		to := place(own)
		switch {
		case to < 0:
			t.Errorf("%s imports %s, which has no layer", path, imp)
		case to < from:
			t.Errorf("%s (%s) imports %s (%s): arrows point down only; %s", path, house[from].name, imp, house[to].name, house[to].why)
		case to == from && !house[from].peers && family(pkg) != family(own):
			t.Errorf("%s imports %s of its own layer %q: %s", path, imp, house[from].name, house[from].why)
		}
	}
}

// family is the package under internal that a sub-package belongs to.
func family(pkg string) string {
	parts := strings.Split(pkg, "/")
	return strings.Join(parts[:min(2, len(parts))], "/")
}

// The versions below were tried together; libc must be the one in the sqlite release's own go.mod.
var pins = map[string]string{
	"modernc.org/sqlite":                                  "v1.62.0",
	"modernc.org/libc":                                    "v1.80.1",
	"github.com/danielgtaylor/huma/v2":                    "v2.39.1",
	"github.com/riverqueue/river":                         "v0.51.1",
	"github.com/riverqueue/river/riverdriver":             "v0.51.1",
	"github.com/riverqueue/river/rivershared":             "v0.51.1",
	"github.com/riverqueue/river/rivertype":               "v0.51.1",
	"github.com/riverqueue/river/riverdriver/riversqlite": "v0.51.1",
	"github.com/riverqueue/river/riverdriver/riverpgxv5":  "v0.51.1",
	"github.com/jackc/pgx/v5":                             "v5.12.0",
}

func TestPinnedVersions(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	have := map[string]string{}
	for _, line := range strings.Split(string(text), "\n") {
		if f := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require ")); len(f) >= 2 && strings.HasPrefix(f[1], "v") {
			have[f[0]] = f[1]
		}
	}
	for mod, want := range pins {
		if have[mod] != want {
			t.Errorf("go.mod has %s %s; the tried version is %s (docs/dependencies.md says how to change a pin)", mod, have[mod], want)
		}
	}
}
