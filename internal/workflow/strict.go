package workflow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"leadloom/internal/condition"
	"leadloom/internal/fault"
)

// Strict decodes a JSON object into the struct dst points to, by its json tags. Every unknown key is refused with
// the nearest known one, every value of a wrong type with what to send; all problems come at once.
func Strict(raw json.RawMessage, path string, dst any) []fault.Field {
	var object map[string]json.RawMessage
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, &object); err != nil || object == nil {
		return []fault.Field{{Path: path, Code: "wrong_type", Message: "write a JSON object here"}}
	}
	known := map[string]reflect.Value{}
	var names []string
	v := reflect.ValueOf(dst).Elem()
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if name != "" && name != "-" {
			known[name] = v.Field(i)
			names = append(names, name)
		}
	}
	var problems []fault.Field
	for _, key := range sortedKeys(object) {
		raw := object[key]
		field, ok := known[key]
		key, at := clip(key), join(path, clip(key))
		if !ok {
			message := fmt.Sprintf("unknown key %q; nothing is configured here", clip(key))
			if len(names) > 0 {
				message = fmt.Sprintf("unknown key %q; did you mean %q?", clip(key), condition.Nearest(key, names))
			}
			problems = append(problems, fault.Field{Path: at, Code: "unknown_key", Message: message})
			continue
		}
		d := json.NewDecoder(bytes.NewReader(raw))
		d.UseNumber() // values of any kind keep their digits
		if err := d.Decode(field.Addr().Interface()); err != nil {
			problems = append(problems, fault.Field{Path: at, Code: "wrong_type", Message: "write " + describe(field.Type()) + " here"})
		}
	}
	return problems
}

// clip keeps an echoed key short.
func clip(key string) string {
	if r := []rune(key); len(r) > 64 {
		return string(r[:64]) + "…"
	}
	return key
}

func describe(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Pointer:
		return describe(t.Elem())
	case reflect.String:
		return "a text"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64:
		return "a whole number"
	case reflect.Slice:
		return "a list, each element " + describe(t.Elem())
	}
	return "an object"
}

func join(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}

func sortedKeys[V any](m map[string]V) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
