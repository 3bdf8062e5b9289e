package outbound

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestOnlyThisPackageCallsOut: a second client would be one without the guard. The load generator of bench is no part
// of a server.
func TestOnlyThisPackageCallsOut(t *testing.T) {
	other := regexp.MustCompile(`http\.(Get|Post|PostForm|Head|DefaultClient|DefaultTransport)\b|http\.Client\{|http\.Transport\{`)
	allowed := []string{"outbound" + string(filepath.Separator), filepath.Join("app", "stress") + string(filepath.Separator)}
	seen := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		seen++
		rel, err := filepath.Rel("..", path)
		if err != nil {
			return err
		}
		for _, a := range allowed {
			if strings.HasPrefix(rel, a) {
				return nil
			}
		}
		b, err := os.ReadFile(path)
		if found := other.Find(b); found != nil {
			t.Errorf("internal/%s has %s: calls of other hosts go through outbound.Client", rel, found)
		}
		return err
	})
	if err != nil || seen < 100 {
		t.Fatalf("%d files looked at, %v", seen, err)
	}
}
