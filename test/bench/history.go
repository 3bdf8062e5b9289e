package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// AddToHistory adds a run to a folder, one file a run, and returns all runs that are there, the oldest first. Without a
// folder there is the run alone.
func AddToHistory(dir string, r *Report) ([]*Report, error) {
	if dir == "" {
		return []*Report{r}, nil
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	name := fmt.Sprintf("%s-%s-%s.json", r.StartedAt.UTC().Format("20060102T150405Z"), r.Kind, short(r.Commit))
	f, err := os.Create(filepath.Join(dir, name))
	if err != nil {
		return nil, err
	}
	if err := r.WriteJSON(f); err != nil {
		_ = f.Close()
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	return ReadHistory(dir)
}

// ReadHistory reads every run of a folder, the oldest first; a folder that is not there holds none.
func ReadHistory(dir string) ([]*Report, error) {
	files, err := os.ReadDir(dir)
	if os.IsNotExist(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []*Report
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".json") {
			continue
		}
		r, err := ReadReport(filepath.Join(dir, f.Name()))
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	slices.SortStableFunc(out, func(a, b *Report) int { return a.StartedAt.Compare(b.StartedAt) })
	return out, nil
}
