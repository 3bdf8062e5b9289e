package mail

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/osteele/liquid"
)

// Limits of one rendering. Together with maxWork they hold it near its time even where it writes nothing.
const (
	maxRendered = 1 << 20 // bytes of output
	renderTime  = 50 * time.Millisecond
	secondTime  = 2 * time.Second
	maxText     = 10_000 // bytes of one value
	maxList     = 100    // members of one value
)

// Missing names the values that this recipient lacks and the template has no default for.
func (t *Template) Missing(values map[string]any) []string {
	var out []string
	for _, p := range t.needs {
		if isEmpty(lookup(values, p)) {
			out = append(out, p)
		}
	}
	return out
}

// Render fills the template for one recipient within the limits of time and size. The time is the clock's, so that a
// busy machine may use it up: who is too slow gets a second, longer chance.
func (t *Template) Render(values map[string]any) (string, error) {
	values = bounded(values)
	out, err := t.render(values, renderTime)
	if p, ok := err.(*Problem); ok && p.Code == codeTooSlow {
		return t.render(values, secondTime)
	}
	return out, err
}

const codeTooSlow = "render_too_slow"

func (t *Template) render(values map[string]any, most time.Duration) (out string, err error) {
	w := &limited{end: time.Now().Add(most)}
	defer func() {
		switch r := recover(); { // the library panics on some type mixes, and on some of our limits
		case w.err != nil:
			out, err = "", w.err
		case r != nil:
			out, err = "", &Problem{"render_error", clip(fmt.Sprint("The template failed: ", r))}
		}
	}()
	if err := t.tpl.FRender(w, values); err != nil {
		return "", &Problem{"render_error", "The template failed: " + clip(err.Error())}
	}
	return w.b.String(), nil
}

// limited collects output until a limit is met.
type limited struct {
	b   strings.Builder
	end time.Time
	err error
}

func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len()+len(p) > maxRendered {
		l.err = &Problem{"render_too_large", fmt.Sprintf("The rendered text is larger than %d KiB.", maxRendered>>10)}
	} else if time.Now().After(l.end) {
		l.err = &Problem{codeTooSlow, fmt.Sprintf("Rendering took longer than %d ms.", renderTime.Milliseconds())}
	}
	if l.err != nil {
		return 0, l.err
	}
	return l.b.Write(p)
}

// engine is shared: it holds no state of a template. Its include tag, which reads files, never gets past the checker.
var engine = sync.OnceValue(func() *liquid.Engine {
	e := liquid.NewEngine()
	register(e)
	return e
})

func text(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		var b strings.Builder
		for _, x := range v {
			b.WriteString(text(x))
		}
		return b.String()
	}
	return fmt.Sprint(v)
}

func lookup(values map[string]any, path string) any {
	var cur any = values
	for p := range strings.SplitSeq(path, ".") {
		switch v := cur.(type) {
		case map[string]any:
			cur = v[p]
		case []any:
			switch {
			case p == "size":
				return int64(len(v))
			case len(v) > 0 && p == "first":
				cur = v[0]
			case len(v) > 0 && p == "last":
				cur = v[len(v)-1]
			default:
				return nil
			}
		default:
			return nil
		}
	}
	return cur
}

func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return strings.TrimSpace(v) == ""
	case []any:
		return len(v) == 0
	}
	return false
}

// bounded cuts long texts, so that no filter can work on megabytes.
func bounded(values map[string]any) map[string]any {
	out := make(map[string]any, len(values))
	for k, v := range values {
		out[k] = boundedValue(v)
	}
	return out
}

func boundedValue(v any) any {
	switch v := v.(type) {
	case string:
		if len(v) > maxText {
			return strings.ToValidUTF8(v[:maxText], "")
		}
	case map[string]any:
		return bounded(v)
	case []any:
		out := make([]any, 0, min(len(v), maxList))
		for _, x := range v[:min(len(v), maxList)] {
			out = append(out, boundedValue(x))
		}
		return out
	}
	return v
}
