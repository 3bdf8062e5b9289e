package failpoint

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestPoints_EachLiesInTheCodeOnce holds the list against the sources: a point that nobody hits proves nothing, and one
// that is not listed is never killed at.
func TestPoints_EachLiesInTheCodeOnce(t *testing.T) {
	places := map[string][]string{}
	root := filepath.Join("..")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			sel, ok := call.Fun.(*ast.SelectorExpr)
			if !ok || len(call.Args) != 1 {
				return true
			}
			if pkg, ok := sel.X.(*ast.Ident); !ok || pkg.Name != "failpoint" || sel.Sel.Name != "Hit" {
				return true
			}
			arg, ok := call.Args[0].(*ast.SelectorExpr)
			if !ok {
				t.Errorf("%s: name the point by its constant", fset.Position(call.Pos()))
				return true
			}
			places[arg.Sel.Name] = append(places[arg.Sel.Name], fset.Position(call.Pos()).String())
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	declared := constants(t)
	if len(declared) != len(All()) {
		t.Errorf("%d points are declared and %d listed by All", len(declared), len(All()))
	}
	values := map[Name]bool{}
	for _, n := range All() {
		if values[n] || !regexp.MustCompile(`^[a-z]+\.[a-z_]+$`).MatchString(string(n)) {
			t.Errorf("%q is listed twice or is no noun.what_happened", n)
		}
		values[n] = true
	}
	for ident := range declared {
		// An engine each has its own code for some moments.
		if n := len(places[ident]); n < 1 || n > 2 {
			t.Errorf("%s is hit at %d places, want one (or one for each engine): %v", ident, n, places[ident])
		}
	}
}

// constants are the identifiers of type Name in points.go.
func constants(t *testing.T) map[string]bool {
	f, err := parser.ParseFile(token.NewFileSet(), "points.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, d := range f.Decls {
		g, ok := d.(*ast.GenDecl)
		if !ok || g.Tok != token.CONST {
			continue
		}
		for _, s := range g.Specs {
			v := s.(*ast.ValueSpec)
			if typ, ok := v.Type.(*ast.Ident); ok && typ.Name == "Name" {
				for _, n := range v.Names {
					out[n.Name] = true
				}
			}
		}
	}
	return out
}
