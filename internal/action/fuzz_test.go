package action_test

import (
	"encoding/json"
	"strings"
	"testing"

	"leadloom/internal/action"
)

// FuzzPick: a path that a definition may name reads any reply, and what it reads is part of it.
func FuzzPick(f *testing.F) {
	for _, path := range []string{"$", "$.a[0].b", "$.a[99999999999]", "$..a", "$.a[-1]", "$.a[", "$.", "$[0][0]", "a"} {
		f.Add(`{"a":[{"b":1}],"":[[7]]}`, path)
	}
	kinds := action.NewRegistry()
	f.Fuzz(func(t *testing.T, reply, path string) {
		config, err := json.Marshal(map[string]any{"url": "https://x.example", "save": map[string]string{"v": path}})
		if err != nil {
			return
		}
		if _, problems, _ := kinds.Compile("action.http", config, ""); len(problems) > 0 {
			return
		}
		got := action.Pick([]byte(reply), map[string]string{"v": path})
		if len(got) > 1 {
			t.Fatalf("%s of %q gives %v", path, reply, got)
		}
		if text, err := json.Marshal(got); err != nil || len(text) > 6*len(reply)+64 {
			t.Fatalf("%s of %q gives %q (%v)", path, reply, text, err)
		}
	})
}

// FuzzCompile gives any configuration to every type of node: it is refused with a path below the node's and a reason, or
// taken, the same way each time.
func FuzzCompile(f *testing.F) {
	for _, s := range []string{`{}`, `{"tag":"x"}`, `{"field":"score","value":1}`, `{"url":"https://x.example/{{ lead.id }}","method":"POST","body":{"a":["{{ context.x | json }}"]},"headers":{"X-A":"b"},"save":{"v":"$.a"}}`,
		`{"to":"{{ lead.email }}","subject":"Hi","html":"<p>{{ lead.first_name }}</p>"}`, `{"points":1e99}`, `{"title":"t","due":"3d","owner":"u"}`, `{"owner":"u"}`, `{"connection":"generic"}`, `{"tags":["a"],"remove":[null]}`, `{"body":` + strings.Repeat(`[`, 40) + strings.Repeat(`]`, 40) + `}`} {
		f.Add([]byte(s))
	}
	kinds := action.NewRegistry()
	f.Fuzz(func(t *testing.T, raw []byte) {
		for _, typ := range kinds.Types() {
			_, problems, known := kinds.Compile(typ, raw, "nodes.n.config")
			if !known {
				t.Fatalf("%s is not known", typ)
			}
			for _, p := range problems {
				if !strings.HasPrefix(p.Path, "nodes.n.config") || p.Code == "" || p.Message == "" || len(p.Path)+len(p.Message) > 4000 {
					t.Fatalf("%s with %.200q: %+v", typ, raw, p)
				}
			}
			if _, again, _ := kinds.Compile(typ, raw, "nodes.n.config"); len(again) != len(problems) {
				t.Fatalf("%s with %q: %v, then %v", typ, raw, problems, again)
			}
		}
	})
}
