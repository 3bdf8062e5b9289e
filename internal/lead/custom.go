package lead

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"
)

// applyCustom merges sent values into stored ones key by key. A nil value removes the key.
func (r *Rules) applyCustom(a *application, values map[string]any) {
	merged := a.after.Custom()
	for _, key := range slices.Sorted(maps.Keys(values)) {
		path := customPrefix + clipPath(key)
		def, known := r.Fields[key]
		if !known && r.AllowUnknownFields && fieldKey.MatchString(key) && misspelt(key, sortedKeys(r.Fields)) == "" {
			if v := values[key]; v == nil || v == "" {
				continue // nothing to keep, nothing to clear
			}
			def, known = FieldDef{Key: key, Type: typeOf(values[key])}, true
			a.NewFields = append(a.NewFields, def)
		}
		switch {
		case !known:
			a.problem(path, "unknown_field", unknownField(key, slices.Sorted(maps.Keys(r.Fields))))
			continue
		case def.ReadOnly && !a.trusted:
			a.problem(path, "read_only", "This field is set by workflows and syncs only; leave it out.")
			continue
		}
		v, problem := def.CheckValue(path, a.patched(merged[key], values[key]), r.Region)
		switch {
		case problem != nil:
			a.Problems = append(a.Problems, *problem)
		case v == nil:
			delete(merged, key)
		default:
			merged[key] = v
		}
	}
	raw := encodeObject(merged)
	if len(raw) > maxCustom {
		a.problem("custom_fields", "too_long", "A lead's custom fields hold at most 65536 bytes together.")
	}
	a.after.CustomFields = raw
}

// patched is a sent value, laid over the stored one when both are objects and the input is a merge patch (RFC 7396).
func (a *application) patched(stored, sent any) any {
	if patch, ok := sent.(map[string]any); ok && a.in.patch {
		return mergePatch(stored, patch)
	}
	return sent
}

func mergePatch(target any, patch map[string]any) map[string]any {
	out := map[string]any{}
	if m, ok := target.(map[string]any); ok {
		out = maps.Clone(m)
	}
	for k, v := range patch {
		if inner, ok := v.(map[string]any); ok {
			out[k] = mergePatch(out[k], inner)
		} else if v == nil {
			delete(out, k)
		} else {
			out[k] = v
		}
	}
	return out
}

// clearCustom empties the custom fields, save those that the API may not set.
func (a *application) clearCustom() {
	kept := a.after.Custom()
	maps.DeleteFunc(kept, func(key string, _ any) bool { return a.trusted || !a.rules.Fields[key].ReadOnly })
	a.after.CustomFields = encodeObject(kept)
}

// typeOf is the type of field that an unknown key becomes.
func typeOf(v any) FieldType {
	switch v := v.(type) {
	case string:
		if utf8.RuneCountInString(v) > maxText || strings.ContainsAny(v, "\n\r\t") {
			return TypeLongText
		}
		return TypeText
	case json.Number, float64:
		return TypeNumber
	case bool:
		return TypeBoolean
	}
	return TypeJSON
}

func unknownField(key string, known []string) string {
	if near := nearest(key, known); near != "" {
		return "There is no custom field of this name; the nearest is " + near + "."
	}
	return "There is no custom field of this name; define it with POST /api/fields first, or leave it out."
}
