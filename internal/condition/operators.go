package condition

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
)

type test = func(seen any, env Env) bool

// operator is one row of the table of behaviours 2.3: the types it applies to, whether it stands without a value,
// its verdict over a missing value, and how to compile it for a value.
type operator struct {
	types []Type
	unary bool
	empty bool
	build func(t Type, value any) (test, string)
}

var operators map[string]operator

func init() { // a plain literal would refer to itself through OperatorNames
	operators = map[string]operator{
		"is":             {types: []Type{Text, Number, Boolean}, build: buildIs},
		"is_not":         {types: []Type{Text, Number, Boolean}, empty: true, build: negated(buildIs)},
		"in":             {types: []Type{Text, Number}, build: buildIn},
		"not_in":         {types: []Type{Text, Number}, empty: true, build: negated(buildIn)},
		"contains":       {types: []Type{Text}, build: textTest(strings.Contains)},
		"not_contains":   {types: []Type{Text}, empty: true, build: negated(textTest(strings.Contains))},
		"starts_with":    {types: []Type{Text}, build: textTest(strings.HasPrefix)},
		"ends_with":      {types: []Type{Text}, build: textTest(strings.HasSuffix)},
		"matches":        {types: []Type{Text}, build: buildMatches},
		"is_set":         {types: []Type{Text, Number, Time, Boolean, List}, unary: true, build: constant(true)},
		"is_empty":       {types: []Type{Text, Number, Time, Boolean, List}, unary: true, empty: true, build: constant(false)},
		"<":              {types: []Type{Number}, build: numberTest(func(c int) bool { return c < 0 })},
		"<=":             {types: []Type{Number}, build: numberTest(func(c int) bool { return c <= 0 })},
		">":              {types: []Type{Number}, build: numberTest(func(c int) bool { return c > 0 })},
		">=":             {types: []Type{Number}, build: numberTest(func(c int) bool { return c >= 0 })},
		"between":        {types: []Type{Number, Time}, build: buildBetween},
		"on":             {types: []Type{Time}, build: buildOn},
		"before":         {types: []Type{Time}, build: timeTest(func(seen, want time.Time) bool { return seen.Before(want) })},
		"after":          {types: []Type{Time}, build: timeTest(func(seen, want time.Time) bool { return seen.After(want) })},
		"in_last":        {types: []Type{Time}, build: spanTest(inLast)},
		"in_next":        {types: []Type{Time}, build: spanTest(inNext)},
		"older_than":     {types: []Type{Time}, build: spanTest(olderThan)},
		"anniversary_in": {types: []Type{Time}, build: spanTest(anniversaryIn)},
		"is_true":        {types: []Type{Boolean}, unary: true, build: buildBool(true)},
		"is_false":       {types: []Type{Boolean}, unary: true, build: buildBool(false)},
		"has":            {types: []Type{List}, build: listTest(func(seen, want []string) bool { return containsAll(seen, want) })},
		"has_all":        {types: []Type{List}, build: listTest(containsAll)},
		"has_any":        {types: []Type{List}, build: listTest(containsAny)},
		"has_none":       {types: []Type{List}, empty: true, build: negated(listTest(containsAny))},
		"count":          {types: []Type{List}, build: buildCount},
	}
}

// OperatorNames lists every operator, sorted.
func OperatorNames() []string {
	out := make([]string, 0, len(operators))
	for name := range operators {
		out = append(out, name)
	}
	slices.Sort(out)
	return out
}

// OperatorsFor lists the operators of a type, sorted.
func OperatorsFor(t Type) []string {
	var out []string
	for name, op := range operators {
		if slices.Contains(op.types, t) {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func constant(b bool) func(Type, any) (test, string) {
	return func(Type, any) (test, string) { return func(any, Env) bool { return b }, "" }
}

func negated(build func(Type, any) (test, string)) func(Type, any) (test, string) {
	return func(t Type, v any) (test, string) {
		f, problem := build(t, v)
		if problem != "" {
			return nil, problem
		}
		return func(seen any, env Env) bool { return !f(seen, env) }, ""
	}
}

func buildIs(t Type, value any) (test, string) {
	switch v := value.(type) {
	case bool:
		if t == Text || t == Number {
			return nil, fmt.Sprintf("compare a %s field with a %s", t, t)
		}
		return func(seen any, _ Env) bool { b, ok := seen.(bool); return ok && b == v }, ""
	case json.Number:
		if t == Boolean {
			return nil, "compare with true or false"
		}
		want, ok := parseNumber(v)
		if !ok {
			return nil, "this number is out of range"
		}
		folded := Fold(v.String())
		return func(seen any, _ Env) bool {
			if s, isText := seen.(string); isText {
				return Fold(s) == folded
			}
			n, ok := parseNumber(seen)
			return ok && n.cmp(want) == 0
		}, ""
	case string:
		if t == Boolean {
			return nil, "compare with true or false"
		}
		want, isNumber := parseNumber(v)
		if t == Number && !isNumber {
			return nil, "compare with a number"
		}
		folded := Fold(v)
		return func(seen any, _ Env) bool {
			if s, ok := asText(seen); ok {
				return Fold(s) == folded
			}
			n, ok := parseNumber(seen)
			return ok && isNumber && n.cmp(want) == 0
		}, ""
	}
	return nil, "compare with a text, a number, true or false"
}

func buildIn(t Type, value any) (test, string) {
	items, ok := value.([]any)
	if !ok || len(items) == 0 {
		return nil, "list at least one value"
	}
	if len(items) > MaxList {
		return nil, fmt.Sprintf("a list has at most %d values", MaxList)
	}
	texts := make(map[string]bool, len(items))
	var rest []test
	for _, item := range items {
		if s, ok := item.(string); ok && t != Number {
			texts[Fold(s)] = true
			continue
		}
		f, problem := buildIs(t, item)
		if problem != "" {
			return nil, problem
		}
		rest = append(rest, f)
	}
	return func(seen any, env Env) bool {
		if s, ok := asText(seen); ok && texts[Fold(s)] {
			return true
		}
		return slices.ContainsFunc(rest, func(f test) bool { return f(seen, env) })
	}, ""
}

func textTest(f func(seen, want string) bool) func(Type, any) (test, string) {
	return func(_ Type, value any) (test, string) {
		s, ok := value.(string)
		want := Fold(s)
		if !ok || want == "" {
			return nil, "compare with a text that is not empty"
		}
		return func(seen any, _ Env) bool { got, ok := asText(seen); return ok && f(Fold(got), want) }, ""
	}
}

func buildMatches(_ Type, value any) (test, string) {
	s, ok := value.(string)
	if !ok || s == "" {
		return nil, "write an RE2 pattern"
	}
	re, problem := compile(s)
	if problem != "" {
		return nil, problem
	}
	return func(seen any, _ Env) bool { got, ok := asText(seen); return ok && re.MatchString(got) }, ""
}

func numberTest(f func(cmp int) bool) func(Type, any) (test, string) {
	return func(_ Type, value any) (test, string) {
		want, ok := parseNumber(value)
		if !ok {
			return nil, "compare with a number"
		}
		return func(seen any, _ Env) bool { n, ok := parseNumber(seen); return ok && f(n.cmp(want)) }, ""
	}
}

func buildBetween(t Type, value any) (test, string) {
	items, ok := value.([]any)
	if !ok || len(items) != 2 {
		return nil, "write two values: [from, to]"
	}
	if t != Time {
		from, ok1 := parseNumber(items[0])
		to, ok2 := parseNumber(items[1])
		if ok1 && ok2 {
			if from.cmp(to) > 0 {
				return nil, "the first value must not be above the second"
			}
			return func(seen any, _ Env) bool {
				n, ok := parseNumber(seen)
				return ok && n.cmp(from) >= 0 && n.cmp(to) <= 0
			}, ""
		}
		if t == Number {
			return nil, "write two numbers"
		}
	}
	from, p1 := parseInstant(items[0])
	to, p2 := parseInstant(items[1])
	if p1 != "" || p2 != "" {
		return nil, cmp.Or(p1, p2)
	}
	return func(seen any, env Env) bool {
		at, ok := asTime(seen, env.Zone)
		return ok && !at.Before(from.start(env.Zone)) && at.Before(to.end(env.Zone))
	}, ""
}

func buildBool(want bool) func(Type, any) (test, string) {
	return func(Type, any) (test, string) {
		return func(seen any, _ Env) bool { b, ok := seen.(bool); return ok && b == want }, ""
	}
}

func listTest(f func(seen, want []string) bool) func(Type, any) (test, string) {
	return func(_ Type, value any) (test, string) {
		want, ok := asList(value)
		if !ok || len(want) == 0 {
			return nil, "name one value or list several"
		}
		if len(want) > MaxList {
			return nil, fmt.Sprintf("a list has at most %d values", MaxList)
		}
		return func(seen any, _ Env) bool { got, ok := asList(seen); return ok && f(got, want) }, ""
	}
}

func buildCount(_ Type, value any) (test, string) {
	m, ok := value.(map[string]any)
	name, _ := m["op"].(string)
	op, known := operators[name]
	if !ok || !known || !slices.Contains(op.types, Number) || op.unary || len(m) != 2 {
		return nil, `write {"op":">=","value":2}`
	}
	inner, problem := op.build(Number, m["value"])
	if problem != "" {
		return nil, problem
	}
	return func(seen any, env Env) bool { got, ok := asList(seen); return ok && inner(int64(len(got)), env) }, ""
}
