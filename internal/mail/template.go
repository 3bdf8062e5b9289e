package mail

import (
	"fmt"
	"html"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/osteele/liquid"
)

// Limits of a template and of one rendering.
const (
	MaxTemplate   = 512 << 10 // bytes of source
	maxRendered   = 1 << 20   // bytes of output
	renderTime    = 50 * time.Millisecond
	maxLoops      = 10
	maxLoopDepth  = 2
	maxAssigns    = 10
	maxFilters    = 8
	maxValueRunes = 10_000
)

// Format says how merge values are escaped.
type Format uint8

// The formats: values in HTML are escaped by their place, values in text and subjects stand as they are.
const (
	FormatText Format = iota
	FormatHTML
)

// Template is a checked Liquid source, ready to be rendered for many recipients. It is safe for concurrent use.
type Template struct {
	tpl    *liquid.Template
	format Format
	needs  []string // paths used without a default, e.g. "lead.first_name"
}

// Problem is why a source is no template: a stable code and a sentence.
type Problem struct{ Code, Message string }

// Error is the sentence.
func (p *Problem) Error() string { return p.Message }

var (
	tags = map[string]bool{"if": true, "elsif": true, "else": true, "endif": true, "unless": true, "endunless": true, "case": true, "when": true,
		"endcase": true, "for": true, "endfor": true, "break": true, "continue": true, "assign": true, "comment": true, "endcomment": true}
	filters = []string{"abs", "append", "at_least", "at_most", "capitalize", "ceil", "date", "default", "divided_by", "downcase", "escape",
		"escape_once", "first", "floor", "join", "last", "lstrip", "minus", "modulo", "newline_to_br", "plus", "prepend", "remove", "remove_first",
		"replace", "replace_first", "reverse", "round", "rstrip", "size", "slice", "sort", "strip", "strip_html", "strip_newlines", "times", "truncate",
		"truncatewords", "uniq", "upcase", "url_encode"}
	roots = []string{"lead", "campaign", "data", "context", "workflow"}

	liquidToken = regexp.MustCompile(`(?s)\{\{-?(.*?)-?\}\}|\{%-?(.*?)-?%\}`)
	pathStart   = regexp.MustCompile(`^[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*|\[(?:\d+|"[^"]*"|'[^']*')\])*`)
	forTag      = regexp.MustCompile(`^for\s+([A-Za-z_]\w*)\s+in\s+([A-Za-z_][\w.-]*)(\s+(reversed|limit:\s*\d+|offset:\s*\d+))*$`)
	assignTag   = regexp.MustCompile(`^assign\s+([A-Za-z_]\w*)\s*=\s*(.+)$`)
	quoted      = regexp.MustCompile(`"[^"]*"|'[^']*'`)
	anyPath     = regexp.MustCompile(`[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)+`)
	linkStart   = regexp.MustCompile(`(?is)\b(?:href|src|action|background|cite|poster)\s*=\s*(?:"([^"]*)|'([^']*)|([^\s"'>]*))$`)
)

// ParseTemplate checks a source and prepares it. Only a fixed set of tags and filters is allowed, loops go over plain
// values only, and an unknown name is an error with the nearest known thing to say. Errors are *Problem.
func ParseTemplate(source string, f Format) (*Template, error) {
	if len(source) > MaxTemplate {
		return nil, &Problem{"template_too_large", fmt.Sprintf("The template is larger than %d KiB.", MaxTemplate>>10)}
	}
	if !utf8.ValidString(source) {
		return nil, &Problem{"template_invalid", "The template is not valid UTF-8."}
	}
	c := checker{names: map[string]int{}, format: f}
	rewritten, err := c.rewrite(source)
	if err != nil {
		return nil, err
	}
	tpl, perr := engine().ParseString(rewritten)
	if perr != nil {
		return nil, &Problem{"template_invalid", "The template cannot be read: " + clip(perr.Error())}
	}
	return &Template{tpl: tpl, format: f, needs: c.needs}, nil
}

// checker walks a source's tokens once.
type checker struct {
	format         Format
	names          map[string]int // loop variables and assigned names
	needs          []string
	loops, depth   int
	assigns        int
	scopes         []string
	out, plainHTML strings.Builder
}

func (c *checker) rewrite(source string) (string, error) {
	last := 0
	for _, m := range liquidToken.FindAllStringSubmatchIndex(source, -1) {
		c.text(source[last:m[0]])
		last = m[1]
		token := source[m[0]:m[1]]
		if m[2] >= 0 {
			if err := c.output(token, strings.TrimSpace(source[m[2]:m[3]])); err != nil {
				return "", err
			}
			continue
		}
		if err := c.tag(strings.TrimSpace(source[m[4]:m[5]])); err != nil {
			return "", err
		}
		c.out.WriteString(token)
	}
	c.text(source[last:])
	if strings.Contains(source[last:], "{{") || strings.Contains(source[last:], "{%") {
		return "", &Problem{"template_invalid", "A {{ or {% at the end is never closed."}
	}
	return c.out.String(), nil
}

func (c *checker) text(s string) {
	c.out.WriteString(s)
	if c.format == FormatHTML {
		c.plainHTML.WriteString(s)
	}
}

// output checks {{ … }} and appends the escape that its place in the HTML asks for.
func (c *checker) output(token, expr string) error {
	if err := c.expression(expr, true); err != nil {
		return err
	}
	if c.format != FormatHTML {
		c.out.WriteString(token)
		return nil
	}
	open, end := "{{", "}}"
	if strings.HasPrefix(token, "{{-") {
		open = "{{-"
	}
	if strings.HasSuffix(token, "-}}") {
		end = "-}}"
	}
	c.out.WriteString(open + " " + expr + " | " + c.escapeHere() + " " + end)
	c.plainHTML.WriteString("x")
	return nil
}

// escapeHere names the escape for a value at this place: a whole link, a part of a link, or text.
func (c *checker) escapeHere() string {
	s := c.plainHTML.String()
	open := strings.LastIndexByte(s, '<')
	if open < 0 || strings.LastIndexByte(s, '>') > open {
		return "leadloom_text"
	}
	m := linkStart.FindStringSubmatch(s[open:])
	switch {
	case m == nil:
		return "leadloom_text"
	case m[1]+m[2]+m[3] == "":
		return "leadloom_link"
	default:
		return "leadloom_part"
	}
}

func (c *checker) tag(body string) error {
	name, _, _ := strings.Cut(body, " ")
	name = strings.TrimSpace(name)
	if !tags[name] {
		return &Problem{"unknown_tag", fmt.Sprintf("The tag %q is not allowed here. Allowed are if, unless, case, for, assign and comment.", clip(name))}
	}
	rest := strings.TrimSpace(strings.TrimPrefix(body, name))
	switch name {
	case "if", "elsif", "unless", "case", "when":
		return c.expression(rest, false)
	case "for":
		m := forTag.FindStringSubmatch(strings.Join(strings.Fields(body), " "))
		if m == nil {
			return &Problem{"loop_not_allowed", "A for loop goes over one plain value, e.g. {% for tag in lead.tags %}; ranges and filters are not allowed in it."}
		}
		if c.loops++; c.loops > maxLoops {
			return &Problem{"too_many_loops", fmt.Sprintf("More than %d loops in one template.", maxLoops)}
		}
		if c.depth++; c.depth > maxLoopDepth {
			return &Problem{"loops_too_deep", fmt.Sprintf("Loops may be nested %d deep.", maxLoopDepth)}
		}
		if err := c.known(m[2]); err != nil {
			return err
		}
		c.names[m[1]]++
		c.names["forloop"]++
		c.scopes = append(c.scopes, m[1])
	case "endfor":
		if n := len(c.scopes); n > 0 {
			c.names[c.scopes[n-1]]--
			c.names["forloop"]--
			c.scopes, c.depth = c.scopes[:n-1], c.depth-1
		}
	case "assign":
		m := assignTag.FindStringSubmatch(body)
		if m == nil {
			return &Problem{"template_invalid", "assign is written {% assign name = value %}."}
		}
		if c.assigns++; c.assigns > maxAssigns || c.depth > 0 {
			return &Problem{"assign_not_allowed", fmt.Sprintf("At most %d assigns, none of them inside a loop.", maxAssigns)}
		}
		if err := c.expression(m[2], false); err != nil {
			return err
		}
		c.names[m[1]]++
	}
	return nil
}

// expression checks names and filters; with output, a path without default is noted as needed.
func (c *checker) expression(expr string, output bool) error {
	if strings.Contains(quoted.ReplaceAllString(expr, ""), "..") {
		return &Problem{"range_not_allowed", "Ranges such as (1..9) are not allowed."}
	}
	bare := quoted.ReplaceAllStringFunc(expr, func(q string) string { return strings.Repeat("'", len(q)) })
	parts := strings.Split(bare, "|")
	if len(parts) > maxFilters+1 {
		return &Problem{"too_many_filters", fmt.Sprintf("More than %d filters on one value.", maxFilters)}
	}
	hasDefault := false
	for _, p := range parts[1:] {
		name, args, _ := strings.Cut(strings.TrimSpace(p), ":")
		name = strings.TrimSpace(name)
		if !slices.Contains(filters, name) {
			return &Problem{"unknown_filter", fmt.Sprintf("There is no filter %q.", clip(name))}
		}
		if strings.HasPrefix(name, "replace") && anyPath.MatchString(args) {
			return &Problem{"filter_argument", "replace takes texts in quotes, not values."}
		}
		hasDefault = hasDefault || name == "default"
	}
	for _, p := range anyPath.FindAllString(strings.ReplaceAll(bare, "'", " "), -1) {
		if err := c.known(p); err != nil {
			return err
		}
	}
	if !output {
		return nil
	}
	path := pathStart.FindString(strings.TrimSpace(bare))
	if path == "" {
		return nil
	}
	if err := c.known(path); err != nil {
		return err
	}
	root, _, _ := strings.Cut(path, ".")
	if !hasDefault && c.names[root] == 0 && !slices.Contains(c.needs, path) {
		c.needs = append(c.needs, path)
	}
	return nil
}

var leadNames = []string{"id", "first_name", "last_name", "name", "email", "phone", "company", "source", "status", "score", "owner_id", "tags", "custom_fields", "timezone", "language", "created_at"}

func (c *checker) known(path string) error {
	root, rest, _ := strings.Cut(path, ".")
	switch root {
	case "true", "false", "nil", "null", "empty", "blank":
		return nil
	}
	if c.names[root] > 0 {
		return nil
	}
	if !slices.Contains(roots, root) {
		return &Problem{"unknown_variable", fmt.Sprintf("There is no value %q; values begin with %s.", clip(path), strings.Join(roots[:3], ", "))}
	}
	if first, _, _ := strings.Cut(rest, "."); root == "lead" && first != "" && !slices.Contains(leadNames, first) {
		return &Problem{"unknown_variable", fmt.Sprintf("A lead has no field %q; its own fields are lead.custom_fields.%s.", clip(first), clip(first))}
	}
	return nil
}

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

// Render fills the template for one recipient within the limits of time and size.
func (t *Template) Render(values map[string]any) (out string, err error) {
	defer func() {
		if r := recover(); r != nil { // the library panics on some type mixes
			out, err = "", &Problem{"render_error", clip(fmt.Sprint("The template failed: ", r))}
		}
	}()
	w := &limited{end: time.Now().Add(renderTime)}
	if rerr := t.tpl.FRender(w, bounded(values)); rerr != nil {
		if w.err != nil {
			return "", w.err
		}
		return "", &Problem{"render_error", "The template failed: " + clip(rerr.Error())}
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
		l.err = &Problem{"render_too_slow", fmt.Sprintf("Rendering took longer than %d ms.", renderTime.Milliseconds())}
	}
	if l.err != nil {
		return 0, l.err
	}
	return l.b.Write(p)
}

// engine is shared: it holds no state of a template. Its include tag, which reads files, never gets past the checker.
var engine = sync.OnceValue(func() *liquid.Engine {
	e := liquid.NewEngine()
	e.RegisterFilter("leadloom_text", func(v any) string { return html.EscapeString(text(v)) })
	e.RegisterFilter("leadloom_part", func(v any) string { return strings.ReplaceAll(url.QueryEscape(text(v)), "+", "%20") })
	e.RegisterFilter("leadloom_link", func(v any) string {
		if s := text(v); AllowedLink(s) {
			return html.EscapeString(s)
		}
		return "#"
	})
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
		m, ok := cur.(map[string]any)
		if !ok {
			return nil
		}
		cur = m[p]
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
		if len(v) > maxValueRunes {
			return strings.ToValidUTF8(v[:maxValueRunes], "")
		}
	case map[string]any:
		return bounded(v)
	case []any:
		out := make([]any, 0, min(len(v), 200))
		for _, x := range v[:min(len(v), 200)] {
			out = append(out, boundedValue(x))
		}
		return out
	}
	return v
}
