package workflow

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"time"

	"leadloom/internal/condition"
)

// MaxText bounds what one text renders to, and maxFilters what one merge field does: url makes a value longer each time.
const (
	MaxText    = 1 << 20
	maxFilters = 8
)

// Text is a text with merge fields: "Call {{ lead.first_name | default: 'the lead' }}". It has no loops and no
// conditions, so that rendering cannot run away. Filters: default, upcase, downcase, json, url.
type Text struct {
	parts []part
}

type part struct {
	literal string
	path    string
	filters []filter
	escaped bool // by the filter url
}

type filter struct {
	name string
	arg  string
}

// mergeRoots are the first words a merge field may begin with; mergeFields are what may follow those that have a fixed
// set.
var (
	mergeRoots  = []string{"lead", "context", "trigger", "run", "workflow", "error"}
	mergeFields = map[string][]string{"trigger": {"id", "event_id"}, "run": {"id", "started_at", "version"}, "workflow": {"id", "name"}, "error": {"code", "message", "node"}}
)

// ParseText compiles a text; the error says what is wrong with it.
func ParseText(s string) (*Text, error) {
	t := &Text{}
	for s != "" {
		open := strings.Index(s, "{{")
		if open < 0 {
			t.parts = append(t.parts, part{literal: s})
			break
		}
		if open > 0 {
			t.parts = append(t.parts, part{literal: s[:open]})
		}
		end := strings.Index(s[open:], "}}")
		if end < 0 {
			return nil, fmt.Errorf("a merge field that starts with {{ must end with }}")
		}
		p, err := parseField(strings.TrimSpace(s[open+2 : open+end]))
		if err != nil {
			return nil, err
		}
		t.parts = append(t.parts, p)
		s = s[open+end+2:]
	}
	return t, nil
}

func parseField(s string) (part, error) {
	pieces := splitOutsideQuotes(s, '|')
	p := part{path: strings.TrimSpace(pieces[0])}
	root, rest, dotted := strings.Cut(p.path, ".")
	if !contains(mergeRoots, root) || !dotted || rest == "" || strings.ContainsAny(p.path, " '\"") {
		return p, fmt.Errorf("%q is no merge field; write {{ lead.first_name }} or another of %s", clip(p.path), strings.Join(mergeRoots, ", "))
	}
	if err := knownField(root, rest); err != nil {
		return p, err
	}
	if len(pieces) > maxFilters+1 {
		return p, fmt.Errorf("a merge field takes at most %d filters", maxFilters)
	}
	for _, piece := range pieces[1:] {
		name, arg, has := strings.Cut(strings.TrimSpace(piece), ":")
		f := filter{name: strings.TrimSpace(name), arg: strings.TrimSpace(arg)}
		switch f.name {
		case "default":
			if len(f.arg) < 2 || (f.arg[0] != '\'' && f.arg[0] != '"') || f.arg[len(f.arg)-1] != f.arg[0] {
				return p, fmt.Errorf("write | default: 'text' with quotes")
			}
			f.arg = f.arg[1 : len(f.arg)-1]
		case "upcase", "downcase", "json", "url":
			if has {
				return p, fmt.Errorf("the filter %s takes no argument", f.name)
			}
		default:
			return p, fmt.Errorf("there is no filter %q; use default, upcase, downcase, json or url", clip(f.name))
		}
		p.filters = append(p.filters, f)
		p.escaped = p.escaped || f.name == "url"
	}
	return p, nil
}

// knownField refuses a merge field that would be empty for everybody.
func knownField(root, field string) error {
	known := mergeFields[root]
	switch {
	case root == "context" || root == "lead" && len(field) > len(customPrefix) && strings.HasPrefix(field, customPrefix):
		return nil
	case root == "lead":
		known = condition.LeadFields.Names()
	}
	if contains(known, field) {
		return nil
	}
	return fmt.Errorf("there is no merge field %q; did you mean %q?", root+"."+clip(field), root+"."+condition.Nearest(field, known))
}

const customPrefix = "custom_fields."

func splitOutsideQuotes(s string, sep byte) []string {
	var out []string
	var quote byte
	start := 0
	for i := 0; i < len(s); i++ {
		switch {
		case quote != 0:
			if s[i] == quote {
				quote = 0
			}
		case s[i] == '\'' || s[i] == '"':
			quote = s[i]
		case s[i] == sep:
			out = append(out, s[start:i])
			start = i + 1
		}
	}
	return append(out, s[start:])
}

// Uses reports whether a merge field begins with the root.
func (t *Text) Uses(root string) bool {
	for _, p := range t.parts {
		if strings.HasPrefix(p.path, root+".") {
			return true
		}
	}
	return false
}

// Render fills the merge fields from look; a missing value is empty. escape, when given, is applied to every value that
// the filter url has not escaped already.
func (t *Text) Render(look func(path string) any, escape func(string) string) (string, error) {
	if t == nil {
		return "", nil
	}
	if len(t.parts) == 1 && t.parts[0].path == "" {
		return t.parts[0].literal, nil
	}
	var b strings.Builder
	for _, p := range t.parts {
		s := p.literal
		if p.path != "" {
			s = renderField(p, look(p.path))
			if escape != nil && !p.escaped {
				s = escape(s)
			}
		}
		if b.Len()+len(s) > MaxText {
			return "", fmt.Errorf("the text is longer than 1 MiB")
		}
		b.WriteString(s)
	}
	return b.String(), nil
}

func renderField(p part, v any) string {
	s := plain(v)
	for _, f := range p.filters {
		switch f.name {
		case "default":
			if s == "" {
				s = f.arg
			}
		case "upcase":
			s = strings.ToUpper(s)
		case "downcase":
			s = strings.ToLower(s)
		case "json":
			raw, _ := json.Marshal(v) // values come from JSON or from a lead
			s = string(raw)
		case "url":
			s = EscapeURL(s)
		}
	}
	return s
}

// EscapeURL makes a value safe in any part of a path or query.
func EscapeURL(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-_.~", c) >= 0 {
			b.WriteByte(c)
		} else {
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}

func plain(v any) string {
	switch x := v.(type) {
	case nil:
		return ""
	case string:
		return x
	case int64:
		return strconv.FormatInt(x, 10)
	case bool:
		return strconv.FormatBool(x)
	case json.Number:
		return x.String()
	case float64:
		return strconv.FormatFloat(x, 'f', -1, 64)
	case []string:
		return strings.Join(x, ", ")
	case time.Time:
		if x.IsZero() {
			return ""
		}
		return x.UTC().Format(time.RFC3339)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(raw)
}
