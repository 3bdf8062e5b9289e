package hostile

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"
)

// schema is the part of JSON Schema that the document uses; a type may be one word or a list.
type schema = map[string]any

// operation is one method of one path.
type operation struct {
	method, path string
	id           string
	params       []param
	body         schema // nil: it takes none
	responses    map[string]map[string]schema
}

type param struct {
	name, in string
	schema   schema
}

func (o *operation) String() string { return o.method + " " + o.path }

// spec is the server's own document.
type spec struct {
	schemas    map[string]any
	operations []*operation
}

func readSpec(text []byte) (*spec, error) {
	var doc struct {
		Components struct{ Schemas map[string]any }
		Paths      map[string]map[string]struct {
			OperationID string
			Parameters  []struct {
				Name, In string
				Schema   schema
			}
			RequestBody struct {
				Content map[string]struct{ Schema schema }
			}
			Responses map[string]struct {
				Content map[string]struct{ Schema schema }
			}
		}
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, fmt.Errorf("the OpenAPI document: %w", err)
	}
	s := &spec{schemas: doc.Components.Schemas}
	for path, item := range doc.Paths {
		for method, op := range item {
			o := &operation{method: strings.ToUpper(method), path: path, id: op.OperationID, responses: map[string]map[string]schema{}}
			for _, p := range op.Parameters {
				o.params = append(o.params, param{p.Name, p.In, p.Schema})
			}
			if c, ok := op.RequestBody.Content["application/json"]; ok {
				if o.body = c.Schema; o.body == nil {
					o.body = schema{}
				}
			}
			for status, r := range op.Responses {
				o.responses[status] = map[string]schema{}
				for kind, c := range r.Content {
					o.responses[status][kind] = c.Schema
				}
			}
			s.operations = append(s.operations, o)
		}
	}
	sort.Slice(s.operations, func(i, j int) bool { return s.operations[i].String() < s.operations[j].String() })
	return s, nil
}

// resolve follows a reference.
func (s *spec) resolve(sc schema) schema {
	for range 8 {
		ref, ok := sc["$ref"].(string)
		if !ok {
			return sc
		}
		sc, _ = s.schemas[ref[strings.LastIndexByte(ref, '/')+1:]].(schema)
	}
	return sc
}

// types are the JSON types that a schema allows; none means any.
func types(sc schema) (out []string) {
	switch t := sc["type"].(type) {
	case string:
		return []string{t}
	case []any:
		for _, x := range t {
			if name, ok := x.(string); ok {
				out = append(out, name)
			}
		}
	}
	return out
}

// differs says where a decoded value (numbers as json.Number) is not as its schema has it; empty when it is.
func (s *spec) differs(sc schema, v any, path string) string {
	sc = s.resolve(sc)
	for _, word := range []string{"anyOf", "oneOf"} {
		if list, ok := sc[word].([]any); ok {
			var why []string
			for _, one := range list {
				branch, _ := one.(schema)
				d := s.differs(branch, v, path)
				if d == "" {
					return ""
				}
				why = append(why, d)
			}
			return strings.Join(why, "; and ")
		}
	}
	if allowed := types(sc); len(allowed) > 0 && !slices.Contains(allowed, typeOf(v)) && !(typeOf(v) == "integer" && slices.Contains(allowed, "number")) {
		return fmt.Sprintf("%s is of type %s, documented is %v", path, typeOf(v), allowed)
	}
	if values, ok := sc["enum"].([]any); ok && v != nil && !slices.ContainsFunc(values, func(x any) bool { return fmt.Sprint(x) == fmt.Sprint(v) }) {
		return fmt.Sprintf("%s is none of the documented %v", path, values)
	}
	switch v := v.(type) {
	case map[string]any:
		return s.objectDiffers(sc, v, path)
	case []any:
		items, ok := sc["items"].(schema)
		for i, x := range v {
			if !ok {
				break
			}
			if d := s.differs(items, x, fmt.Sprintf("%s[%d]", path, i)); d != "" {
				return d
			}
		}
	case string:
		if most, ok := sc["maxLength"].(float64); ok && float64(utf8.RuneCountInString(v)) > most {
			return path + " is longer than documented"
		}
	}
	return ""
}

func (s *spec) objectDiffers(sc schema, v map[string]any, path string) string {
	props, _ := sc["properties"].(schema)
	required, _ := sc["required"].([]any)
	for _, r := range required {
		if _, there := v[r.(string)]; !there {
			return fmt.Sprintf("%s.%s is missing", path, r)
		}
	}
	for k, x := range v {
		if p, ok := props[k].(schema); ok {
			if d := s.differs(p, x, path+"."+k); d != "" {
				return d
			}
			continue
		}
		switch more := sc["additionalProperties"].(type) {
		case bool:
			if !more {
				return path + "." + k + " is not documented"
			}
		case schema:
			if d := s.differs(more, x, path+"."+k); d != "" {
				return d
			}
		}
	}
	return ""
}

func typeOf(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case bool:
		return "boolean"
	case string:
		return "string"
	case json.Number:
		if strings.ContainsAny(v.String(), ".eE") {
			return "number"
		}
		return "integer"
	case []any:
		return "array"
	}
	return "object"
}
