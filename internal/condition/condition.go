package condition

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"leadloom/internal/fault"
)

// Limits of one tree; beyond them Parse answers condition_too_large.
const (
	MaxDepth   = 10
	MaxNodes   = 200
	MaxList    = 10_000
	MaxPattern = 256 // bytes of a regular expression
)

// View answers with a field's value now: string, bool, int64, float64, json.Number, time.Time, []string, []any, or
// nil for a missing one. An empty text and an empty list count as missing.
type View interface {
	Value(field string) any
}

// ViewFunc is a View made of one function.
type ViewFunc func(field string) any

// Value calls the function.
func (f ViewFunc) Value(field string) any { return f(field) }

// Env is what an answer depends on besides the data.
type Env struct {
	Now  time.Time
	Zone *time.Location // the tenant's; nil is UTC
}

// Type is a field's type as far as operators care.
type Type string

// The types. Any accepts every operator; its values decide at evaluation.
const (
	Any     Type = ""
	Text    Type = "text"
	Number  Type = "number"
	Time    Type = "datetime"
	Boolean Type = "boolean"
	List    Type = "list"
)

// Fields knows which fields exist: their type, or false. Names lists those that can be listed, for suggestions.
type Fields interface {
	Type(field string) (Type, bool)
	Names() []string
}

type kind uint8

const (
	kindLeaf kind = iota
	kindAll
	kindAny
	kindNot
)

// Condition is a parsed and checked tree, safe for concurrent use. A nil one is true.
type Condition struct {
	kind     kind
	children []*Condition
	field    string
	op       string
	eval     func(seen any, env Env) bool // of a leaf
	value    any                          // as written, for Explain
	zone     string
	empty    bool // verdict over a missing value
	source   json.RawMessage
}

// MarshalJSON gives the tree as it was written.
func (c *Condition) MarshalJSON() ([]byte, error) {
	if c == nil || c.source == nil {
		return []byte("null"), nil
	}
	return c.source, nil
}

// Parse reads a tree. Every problem found is listed with its path below base ("entry.condition"); the condition is
// nil when there is one. An absent or null tree is a nil condition without a problem.
func Parse(raw json.RawMessage, base string, fields Fields) (*Condition, []fault.Field) {
	if len(bytes.TrimSpace(raw)) == 0 || string(bytes.TrimSpace(raw)) == "null" {
		return nil, nil
	}
	p := parser{fields: fields}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if err := d.Decode(&v); err != nil {
		return nil, []fault.Field{{Path: base, Code: "malformed", Message: "a condition is a JSON object"}}
	}
	if _, err := d.Token(); err != io.EOF {
		return nil, []fault.Field{{Path: base, Code: "malformed", Message: "a condition is one JSON object; something follows it"}}
	}
	c := p.node(v, base, 1)
	if len(p.problems) > 0 {
		return nil, p.problems
	}
	c.source = slices.Clone(raw)
	return c, nil
}

type parser struct {
	fields   Fields
	problems []fault.Field
	nodes    int
	tooLarge bool
}

func (p *parser) bad(path, code, format string, args ...any) *Condition {
	p.problems = append(p.problems, fault.Field{Path: path, Code: code, Message: fmt.Sprintf(format, args...)})
	return nil
}

func (p *parser) large(path, format string, args ...any) *Condition {
	if !p.tooLarge {
		p.tooLarge = true
		p.bad(path, "condition_too_large", format, args...)
	}
	return nil
}

// later names the leaves whose data this version does not keep, so that they are refused instead of never true.
var later = map[string]string{"segment": "segments", "event": "event counts", "consent": "consent topics"}

func (p *parser) node(v any, path string, depth int) *Condition {
	if p.nodes++; p.nodes > MaxNodes {
		return p.large(path, "a condition has at most %d parts; split it", MaxNodes)
	}
	if depth > MaxDepth {
		return p.large(path, "a condition is at most %d levels deep; flatten it", MaxDepth)
	}
	m, ok := v.(map[string]any)
	if !ok {
		return p.bad(path, "wrong_type", `write an object such as {"field":"status","op":"is","value":"new"}`)
	}
	for _, k := range []string{"all", "any"} {
		if list, ok := m[k]; ok {
			return p.group(m, k, list, path, depth)
		}
	}
	if inner, ok := m["not"]; ok {
		p.only(m, path, "not")
		child := p.node(inner, path+".not", depth+1)
		return &Condition{kind: kindNot, children: []*Condition{child}}
	}
	if tag, ok := m["tag"]; ok {
		p.only(m, path, "tag")
		name, ok := tag.(string)
		if !ok || strings.TrimSpace(name) == "" {
			return p.bad(path+".tag", "wrong_type", "name the tag as text")
		}
		return p.leaf(map[string]any{"field": "tags", "op": "has", "value": name}, path)
	}
	for k, noun := range later {
		if _, ok := m[k]; ok {
			return p.bad(path+"."+k, "unsupported_condition", "conditions over %s are not available; use field, tag, all, any and not", noun)
		}
	}
	p.only(m, path, "field", "op", "value", "tz")
	return p.leaf(m, path)
}

func (p *parser) group(m map[string]any, key string, list any, path string, depth int) *Condition {
	p.only(m, path, key)
	items, ok := list.([]any)
	if !ok || len(items) == 0 {
		return p.bad(path+"."+key, "wrong_type", "list at least one condition")
	}
	c := &Condition{kind: kindAll}
	if key == "any" {
		c.kind = kindAny
	}
	for i, item := range items {
		c.children = append(c.children, p.node(item, fmt.Sprintf("%s.%s[%d]", path, key, i), depth+1))
		if p.tooLarge {
			return nil
		}
	}
	return c
}

func (p *parser) only(m map[string]any, path string, allowed ...string) {
	for k := range m {
		if !slices.Contains(allowed, k) {
			p.bad(path+"."+k, "unknown_key", "unknown key %q; did you mean %q?", k, Nearest(k, allowed))
		}
	}
}

func (p *parser) leaf(m map[string]any, path string) *Condition {
	field, _ := m["field"].(string)
	if field == "" {
		return p.bad(path+".field", "required", "name the field to look at")
	}
	t, known := Any, true
	if p.fields != nil {
		t, known = p.fields.Type(field)
	}
	if !known {
		return p.bad(path+".field", "unknown_field", "there is no field %q; did you mean %q?", field, Nearest(field, p.fields.Names()))
	}
	name, _ := m["op"].(string)
	op, ok := operators[name]
	if !ok {
		return p.bad(path+".op", "unknown_operator", "unknown operator %q; did you mean %q?", name, Nearest(name, OperatorNames()))
	}
	if t != Any && !slices.Contains(op.types, t) {
		return p.bad(path+".op", "wrong_operator", "%q does not apply to %q, which is a %s field", name, field, t)
	}
	zone, _ := m["tz"].(string)
	if raw, has := m["tz"]; has {
		if _, err := time.LoadLocation(zone); raw != zone || zone == "" || (zone != "lead" && err != nil) {
			return p.bad(path+".tz", "unknown_zone", `name an IANA zone such as "Europe/Berlin", or "lead"`)
		}
	}
	value, has := m["value"]
	if has == op.unary {
		if op.unary {
			return p.bad(path+".value", "unexpected", "%q takes no value", name)
		}
		return p.bad(path+".value", "required", "say what %q compares with", name)
	}
	eval, problem := op.build(t, value)
	if problem != "" {
		return p.bad(path+".value", "wrong_value", "%s", problem)
	}
	return &Condition{field: field, op: name, value: value, eval: eval, zone: zone, empty: op.empty}
}

// Eval answers the condition. A nil one is true.
func (c *Condition) Eval(v View, env Env) bool {
	if c == nil {
		return true
	}
	switch c.kind {
	case kindAll:
		for _, child := range c.children {
			if !child.Eval(v, env) {
				return false
			}
		}
		return true
	case kindAny:
		for _, child := range c.children {
			if child.Eval(v, env) {
				return true
			}
		}
		return false
	case kindNot:
		return !c.children[0].Eval(v, env)
	}
	return c.answer(v, v.Value(c.field), env)
}

func (c *Condition) answer(v View, seen any, env Env) bool {
	if missing(seen) {
		return c.empty
	}
	if env.Zone == nil {
		env.Zone = time.UTC
	}
	if c.zone != "" {
		env.Zone = zoneOf(c.zone, v, env.Zone)
	}
	return c.eval(seen, env)
}

func zoneOf(name string, v View, or *time.Location) *time.Location {
	if name == "lead" {
		name, _ = v.Value("timezone").(string)
		if name == "" {
			return or
		}
	}
	if loc, err := time.LoadLocation(name); err == nil {
		return loc
	}
	return or
}

// Verdict is a part of an answered tree: what was asked, what was seen and what came of it.
type Verdict struct {
	Is       string    `json:"is"` // all, any, not or leaf
	Result   bool      `json:"result"`
	Field    string    `json:"field,omitempty"`
	Op       string    `json:"op,omitempty"`
	Value    any       `json:"value,omitempty"`
	Seen     any       `json:"seen,omitempty"`
	Children []Verdict `json:"children,omitempty"`
}

// Explain answers every part of the tree, also those an answer alone would not need. The result equals Eval's.
func (c *Condition) Explain(v View, env Env) Verdict {
	if c == nil {
		return Verdict{Is: "all", Result: true}
	}
	if c.kind == kindLeaf {
		seen := v.Value(c.field)
		return Verdict{Is: "leaf", Field: c.field, Op: c.op, Value: shorten(c.value), Seen: shorten(seen), Result: c.answer(v, seen, env)}
	}
	out := Verdict{Is: map[kind]string{kindAll: "all", kindAny: "any", kindNot: "not"}[c.kind]}
	out.Result = c.kind != kindAny
	for _, child := range c.children {
		one := child.Explain(v, env)
		out.Children = append(out.Children, one)
		switch c.kind {
		case kindAll:
			out.Result = out.Result && one.Result
		case kindAny:
			out.Result = out.Result || one.Result
		default:
			out.Result = !one.Result
		}
	}
	return out
}

// Uses lists the fields the tree looks at, sorted and once each.
func (c *Condition) Uses() []string {
	var out []string
	var walk func(*Condition)
	walk = func(c *Condition) {
		if c == nil {
			return
		}
		if c.kind == kindLeaf {
			out = append(out, c.field)
		}
		for _, child := range c.children {
			walk(child)
		}
	}
	walk(c)
	slices.Sort(out)
	return slices.Compact(out)
}

// shorten keeps explanations readable: long lists and texts are cut.
func shorten(v any) any {
	switch x := v.(type) {
	case string:
		if r := []rune(x); len(r) > 200 {
			return string(r[:200]) + "…"
		}
	case []any:
		if len(x) > 20 {
			return append(slices.Clone(x[:20]), "…")
		}
	case []string:
		if len(x) > 20 {
			return append(slices.Clone(x[:20]), "…")
		}
	}
	return v
}

func missing(v any) bool {
	switch x := v.(type) {
	case nil:
		return true
	case string:
		return x == ""
	case []string:
		return len(x) == 0
	case []any:
		return len(x) == 0
	case time.Time:
		return x.IsZero()
	}
	return false
}

// compile is regexp.Compile with our length limit.
func compile(s string) (*regexp.Regexp, string) {
	if len(s) > MaxPattern {
		return nil, fmt.Sprintf("a pattern is at most %d bytes long", MaxPattern)
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, "this is not an RE2 pattern"
	}
	return re, ""
}
