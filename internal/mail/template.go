package mail

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/osteele/liquid"
)

// Limits of a template.
const (
	MaxTemplate  = 512 << 10 // bytes of source
	maxLoops     = 10
	maxLoopDepth = 2
	maxAssigns   = 10
	maxFilters   = 8
	maxWork      = 100_000 // tags and values that one rendering may meet, loops included
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
	tpl   *liquid.Template
	needs []string // paths used without a default, e.g. "lead.first_name"
	roots []string // what its values begin with
}

// Roots names what the template's values begin with: lead, campaign, data, context, workflow.
func (t *Template) Roots() []string { return t.roots }

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
	anyPath     = regexp.MustCompile(`[A-Za-z_][\w-]*(\.[A-Za-z_][\w-]*)*`)
	lastFilter  = regexp.MustCompile(`\|\s*([a-z_]+)\s*$`)
	dateWidth   = regexp.MustCompile(`%[-_^#0:]*\d`)
)

// ParseTemplate checks a source and prepares it. Only a fixed set of tags and filters is allowed, loops go over plain
// values only, and an unknown name is an error with the nearest known thing to say. Errors are *Problem.
func ParseTemplate(source string, f Format) (*Template, error) {
	if len(source) > MaxTemplate {
		return nil, &Problem{"template_too_large", fmt.Sprintf("The template is larger than %d KiB.", MaxTemplate>>10)}
	}
	if !utf8.ValidString(source) || strings.ContainsRune(source, 0) {
		return nil, &Problem{"template_invalid", "The template is not valid UTF-8, or holds a NUL character."}
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
	return &Template{tpl: tpl, needs: c.needs, roots: c.roots}, nil
}

// checker walks a source's tokens once.
type checker struct {
	format       Format
	names        map[string]int // loop variables and assigned names
	needs, roots []string
	loops, depth int
	work         int
	assigns      int
	scopes       []string
	out          strings.Builder
	place        place // in the HTML
}

func (c *checker) rewrite(source string) (string, error) {
	last := 0
	for _, m := range liquidToken.FindAllStringSubmatchIndex(source, -1) {
		c.text(source[last:m[0]])
		last = m[1]
		if c.work += c.repeats(); c.work > maxWork {
			return "", &Problem{"template_too_costly", "The template does too much in its loops. Put less into them."}
		}
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

// repeats is how often what stands here may be met in one rendering.
func (c *checker) repeats() int {
	n := 1
	for range c.depth {
		n *= maxList
	}
	return n
}

func (c *checker) text(s string) {
	c.out.WriteString(s)
	if c.format == FormatHTML {
		c.place.feed(s)
	}
}

// output checks {{ … }} and appends the escape that its place in the HTML asks for. It is written on one line: the
// engine knows no other.
func (c *checker) output(token, expr string) error {
	if err := c.expression(expr, true); err != nil {
		return err
	}
	expr = strings.Join(strings.FieldsFunc(expr, func(r rune) bool { return r == '\n' || r == '\r' }), " ")
	if c.format == FormatHTML {
		filter, err := c.place.escape()
		if err != nil {
			return err
		}
		expr = escaped(expr, filter)
		c.place.value()
	}
	open, end := "{{", "}}"
	if strings.HasPrefix(token, "{{-") {
		open = "{{-"
	}
	if strings.HasSuffix(token, "-}}") {
		end = "-}}"
	}
	c.out.WriteString(open + " " + expr + " " + end)
	return nil
}

// escaped appends the escape, unless the author's last filter has done just that; line breaks are made of what is
// escaped already.
func escaped(expr, filter string) string {
	m := lastFilter.FindStringSubmatchIndex(expr)
	if m == nil {
		return expr + " | " + filter
	}
	switch last := expr[m[2]:m[3]]; {
	case last == "newline_to_br" && filter == "leadloom_text":
		return expr[:m[0]] + "| leadloom_text | newline_to_br"
	case (last == "escape" || last == "escape_once") && filter == "leadloom_text", last == "url_encode" && filter != "leadloom_link":
		return expr
	}
	return expr + " | " + filter
}

func (c *checker) tag(body string) error {
	name := body
	if i := strings.IndexFunc(body, unicode.IsSpace); i > 0 {
		name = body[:i]
	}
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
	if err := c.namesIn(parts[0]); err != nil {
		return err
	}
	hasDefault := false
	for _, p := range parts[1:] {
		name, args, _ := strings.Cut(strings.TrimSpace(p), ":")
		name = strings.TrimSpace(name)
		if !slices.Contains(filters, name) {
			return &Problem{"unknown_filter", fmt.Sprintf("There is no filter %q.", clip(name))}
		}
		if err := c.namesIn(args); err != nil {
			return err
		}
		hasDefault = hasDefault || name == "default"
	}
	if !output {
		return nil
	}
	path := pathStart.FindString(strings.TrimSpace(bare))
	root, rest, _ := strings.Cut(path, ".")
	if slices.Contains(roots, root) && rest == "" && c.names[root] == 0 && !strings.Contains(bare, "[") {
		return &Problem{"unknown_variable", fmt.Sprintf("%q is not one value; name a field of it, e.g. lead.first_name.", root)}
	}
	if rest != "" && !hasDefault && c.names[root] == 0 && !strings.Contains(path, "[") && !slices.Contains(c.needs, path) {
		c.needs = append(c.needs, path)
	}
	return nil
}

// namesIn checks every name in a piece of an expression; texts in quotes are blanked before.
func (c *checker) namesIn(expr string) error {
	expr = strings.ReplaceAll(expr, "'", " ")
	for _, m := range anyPath.FindAllStringIndex(expr, -1) {
		if m[0] > 0 && (expr[m[0]-1] == '.' || expr[m[0]-1] >= '0' && expr[m[0]-1] <= '9') { // a field of what stands in brackets
			continue
		}
		if path := expr[m[0]:m[1]]; !slices.Contains(words, path) {
			if err := c.known(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// words of expressions that are no names.
var words = []string{"and", "or", "contains", "in", "true", "false", "nil"}

var leadNames = []string{"id", "first_name", "last_name", "name", "email", "phone", "company", "source", "status", "score", "owner_id", "tags", "custom_fields", "timezone", "language", "created_at"}

func (c *checker) known(path string) error {
	root, rest, _ := strings.Cut(path, ".")
	if c.names[root] > 0 {
		return nil
	}
	if root == "blank" || root == "empty" {
		return &Problem{"unknown_variable", fmt.Sprintf("Compare with \"\" instead of %s.", root)}
	}
	if !slices.Contains(roots, root) {
		return &Problem{"unknown_variable", fmt.Sprintf("There is no value %q; values begin with %s.", clip(path), strings.Join(roots[:3], ", "))}
	}
	if !slices.Contains(c.roots, root) {
		c.roots = append(c.roots, root)
	}
	if first, _, _ := strings.Cut(rest, "."); root == "lead" && first != "" && !slices.Contains(leadNames, first) {
		return &Problem{"unknown_variable", fmt.Sprintf("A lead has no field %q; its own fields are lead.custom_fields.%s.", clip(first), clip(first))}
	}
	return nil
}
