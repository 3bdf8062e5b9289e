package arch_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// The titles by which a licence's text is known; the first that stands in its first lines is meant. A title of copyleft is
// looked for before all others.
var licences = []struct {
	name    string
	title   *regexp.Regexp
	allowed bool
}{
	{"GPL or AGPL", regexp.MustCompile(`(?i)GNU\s+(AFFERO\s+|LESSER\s+)?GENERAL\s+PUBLIC\s+LICENSE`), false},
	{"MPL-2.0", regexp.MustCompile(`(?i)Mozilla Public License`), true},
	{"Apache-2.0", regexp.MustCompile(`(?i)Apache License`), true},
	{"MIT", regexp.MustCompile(`(?i)MIT License|Permission is hereby granted`), true},
	{"BSD", regexp.MustCompile(`(?i)Redistribution and use in source and binary forms`), true},
}

// licenceHead is how many bytes of a licence's text hold its title: the MPL names the GPL further down.
const licenceHead = 1200

func licenceOf(text string) (name string, allowed bool) {
	text = text[:min(len(text), licenceHead)]
	for _, l := range licences {
		if l.title.MatchString(text) {
			return l.name, l.allowed
		}
	}
	return "an unknown licence", false
}

func TestLicenceOf(t *testing.T) {
	for text, want := range map[string]bool{"GNU AFFERO GENERAL PUBLIC LICENSE\nVersion 3": false, "                    GNU GENERAL PUBLIC LICENSE": false, "All rights reserved.": false, "": false,
		"Mozilla Public License Version 2.0": true, "The MIT License (MIT)": true, "Redistribution and use in source and binary forms, with": true} {
		if name, allowed := licenceOf(text); allowed != want {
			t.Errorf("%.40q is %s, allowed %v", text, name, allowed)
		}
	}
}

// TestLicences reads the licence of every module that is linked into the program: each has one, and none is of a kind that
// would reach our own code.
func TestLicences(t *testing.T) {
	cmd := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}\t{{.Dir}}{{end}}", "./cmd/leadloom")
	cmd.Dir = filepath.Join("..", "..")
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v", err)
	}
	seen, counts := map[string]bool{}, map[string]int{}
	for line := range strings.Lines(string(out)) {
		module, dir, ok := strings.Cut(strings.TrimSpace(line), "\t")
		if !ok || seen[module] {
			continue
		}
		seen[module] = true
		files, _ := filepath.Glob(filepath.Join(dir, "[LC][IO][CP][EY][NI][SN][EG]*"))
		if len(files) == 0 {
			t.Errorf("%s has no licence in its folder", module)
			continue
		}
		text, err := os.ReadFile(files[0])
		if err != nil {
			t.Fatal(err)
		}
		name, allowed := licenceOf(string(text))
		if counts[name]++; !allowed {
			t.Errorf("%s is under %s (%s)", module, name, filepath.Base(files[0]))
		}
	}
	if len(seen) < 40 {
		t.Errorf("only %d modules were found", len(seen))
	}
	t.Logf("%d modules: %v", len(seen), counts)
}
