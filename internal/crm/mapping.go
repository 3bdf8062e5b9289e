package crm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"unicode/utf8"

	"leadloom/internal/crm/connector"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
)

// FieldMap says how one field of ours becomes one of theirs.
type FieldMap struct {
	Ours        string      `json:"ours" doc:"A lead's field, full_name, or custom_fields.<key>."`
	Theirs      string      `json:"theirs"`
	Direction   string      `json:"direction,omitempty" enum:"push,pull,both,none" doc:"Default push."`
	Transforms  []Transform `json:"transforms,omitempty"`
	Picklist    *Picklist   `json:"picklist,omitempty"`
	Required    bool        `json:"required_in_target,omitempty"`
	MaxLen      int         `json:"max_len,omitempty" minimum:"0" maximum:"100000"`
	OnEmpty     string      `json:"on_empty,omitempty" enum:"clear,skip,placeholder" doc:"Default clear: an empty text is sent."`
	Placeholder string      `json:"placeholder,omitempty"`
}

// Picklist maps our values to theirs. Unknown says what happens to a value without an entry.
type Picklist struct {
	Values  map[string]string `json:"values"`
	Default string            `json:"default,omitempty"`
	Unknown string            `json:"unknown,omitempty" enum:"fail,drop,pass" doc:"Default pass."`
}

// Mapping is an ordered, versioned list of field maps.
type Mapping struct {
	Version int64
	Fields  []FieldMap
}

// DefaultMapping is the starting point of the generic contract.
func DefaultMapping() []FieldMap {
	names := []string{"first_name", "last_name", "email", "phone", "company", "source", "status", "score", "owner_id:owner", "tags", "notes", "created_at", "version"}
	out := make([]FieldMap, len(names))
	for i, n := range names {
		ours, theirs, ok := strings.Cut(n, ":")
		if !ok {
			theirs = ours
		}
		out[i] = FieldMap{Ours: ours, Theirs: theirs}
	}
	return out
}

// MappingFrom turns the old clients' object {ours: theirs} into field maps, in order of our names.
func MappingFrom(m map[string]string) []FieldMap {
	out := make([]FieldMap, 0, len(m))
	for ours, theirs := range m {
		out = append(out, FieldMap{Ours: ours, Theirs: theirs})
	}
	slices.SortFunc(out, func(a, b FieldMap) int { return strings.Compare(a.Ours, b.Ours) })
	return out
}

// maxFieldMaps and maxTransforms bound a mapping: each lead is walked through all of it.
const (
	maxFieldMaps  = 500
	maxTransforms = 20
)

// CheckMapping reports every wrong field map; prefix is put before each path ("mapping").
func CheckMapping(prefix string, fields []FieldMap) (out []fault.Field) {
	if len(fields) == 0 || len(fields) > maxFieldMaps {
		return []fault.Field{{Path: prefix, Code: "out_of_range", Message: fmt.Sprintf("send 1 to %d field maps", maxFieldMaps)}}
	}
	seen := map[string]bool{}
	for i, f := range fields {
		bad := func(path, code, msg string) {
			out = append(out, fault.Field{Path: fmt.Sprintf("%s[%d].%s", prefix, i, path), Code: code, Message: msg})
		}
		if !knownSource(f.Ours) {
			bad("ours", "unknown_field", "send one of "+strings.Join(sources, ", ")+" or custom_fields.<key>")
		}
		if f.Theirs == "" || utf8.RuneCountInString(f.Theirs) > 200 || f.Theirs == "external_id" {
			bad("theirs", "not_a_field", "send the name of the CRM's field; external_id is filled by us")
		} else if seen[f.Theirs] && f.Direction != "none" {
			bad("theirs", "twice", "this field of the CRM is filled twice")
		}
		seen[f.Theirs] = true
		if !slices.Contains([]string{"", "push", "pull", "both", "none"}, f.Direction) {
			bad("direction", "unknown_value", "send push, pull, both or none")
		}
		if !slices.Contains([]string{"", "clear", "skip", "placeholder"}, f.OnEmpty) {
			bad("on_empty", "unknown_value", "send clear, skip or placeholder")
		}
		if f.Picklist != nil && !slices.Contains([]string{"", "fail", "drop", "pass"}, f.Picklist.Unknown) {
			bad("picklist.unknown", "unknown_value", "send fail, drop or pass")
		}
		if len(f.Transforms) > maxTransforms {
			bad("transforms", "wrong_length", fmt.Sprintf("send at most %d transforms", maxTransforms))
			continue
		}
		for j, t := range f.Transforms {
			if transforms[t.Name] == nil {
				bad(fmt.Sprintf("transforms[%d].name", j), "unknown_value", "send one of "+strings.Join(TransformNames(), ", "))
			}
			if t.Name == "truncate" && t.N <= utf8.RuneCountInString(t.Arg) {
				bad(fmt.Sprintf("transforms[%d].n", j), "out_of_range", "send the longest length in characters, longer than the mark")
			}
		}
	}
	return out
}

// Values is a lead mapped for one CRM, by remote field.
type Values map[string]any

// Push maps a lead. Every refusal is a record error with the remote field; values are complete only without one.
func (m *Mapping) Push(l *lead.Lead) (Values, []*connector.Error) {
	out := make(Values, len(m.Fields))
	var refused []*connector.Error
	var custom map[string]any
	for _, f := range m.Fields {
		if f.Direction == "none" || f.Direction == "pull" {
			continue
		}
		v := source(l, f.Ours, &custom)
		for _, t := range f.Transforms {
			if fn := transforms[t.Name]; fn != nil {
				v = fn(v, t, l)
			}
		}
		v, send, err := f.finish(v)
		if err != nil {
			err.Class, err.Field = connector.ClassRecord, f.Theirs
			refused = append(refused, err)
			continue
		}
		if send {
			out[f.Theirs] = v
		}
	}
	return out, refused
}

// finish applies the picklist, then the rules of empty, required and length.
func (f *FieldMap) finish(v any) (any, bool, *connector.Error) {
	if s, ok := v.(string); ok && s != "" && f.Picklist != nil {
		mapped, known := f.Picklist.Values[s]
		switch {
		case known:
			v = mapped
		case f.Picklist.Default != "":
			v = f.Picklist.Default
		case f.Picklist.Unknown == "fail":
			return nil, false, &connector.Error{Code: "unknown_option", Message: "The value has no entry in the picklist of this field: add one to the mapping."}
		case f.Picklist.Unknown == "drop":
			return nil, false, nil
		}
	}
	if isEmpty(v) {
		switch {
		case f.OnEmpty == "placeholder" || (f.Required && f.Placeholder != ""):
			v = f.Placeholder
		case f.Required:
			return nil, false, &connector.Error{Code: "required_missing", Message: "The CRM requires this field and the lead has no value for it."}
		case f.OnEmpty == "skip":
			return nil, false, nil
		case v == nil:
			v = ""
		}
	}
	for _, s := range texts(v) {
		if !utf8.ValidString(s) || strings.ContainsRune(s, 0) {
			return nil, false, &connector.Error{Code: "bad_text", Message: "The value contains characters that cannot be sent."}
		}
		if f.MaxLen > 0 && utf8.RuneCountInString(s) > f.MaxLen {
			return nil, false, &connector.Error{Code: "too_long", Message: fmt.Sprintf("The value is longer than the %d characters the CRM takes: shorten it, or add the truncate transform.", f.MaxLen)}
		}
	}
	return v, true, nil
}

func texts(v any) []string {
	switch v := v.(type) {
	case string:
		return []string{v}
	case []string:
		return v
	}
	return nil
}

func isEmpty(v any) bool {
	switch v := v.(type) {
	case nil:
		return true
	case string:
		return v == ""
	case []string:
		return len(v) == 0
	}
	return false
}

// stamps are fields that change with every version: they go along, but never make a lead worth sending.
func (m *Mapping) stamps() map[string]bool {
	out := map[string]bool{}
	for _, f := range m.Fields {
		if f.Ours == "version" || f.Ours == "updated_at" {
			out[f.Theirs] = true
		}
	}
	return out
}

// Hash is what is compared to see whether a lead needs sending: every value but the stamps.
func (m *Mapping) Hash(v Values) string {
	stamps := m.stamps()
	keep := make(Values, len(v))
	for k, x := range v {
		if !stamps[k] {
			keep[k] = x
		}
	}
	b, _ := json.Marshal(keep) // keys sorted; values are JSON scalars and lists of strings
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// Changed keeps what differs from the agreed base, and the stamps.
func (m *Mapping) Changed(v Values, base map[string]any) Values {
	stamps := m.stamps()
	out := make(Values, len(v))
	for k, x := range v {
		if old, ok := base[k]; !ok || stamps[k] || !sameJSON(old, x) {
			out[k] = x
		}
	}
	return out
}

// Pending lists their fields that a lead would change, in order; link is nil when it was never sent.
func (m *Mapping) Pending(l *lead.Lead, link *Link) []string {
	values, _ := m.Push(l)
	if link != nil && link.MappingVersion == m.Version {
		values = m.Changed(values, link.Base)
	}
	stamps := m.stamps()
	var out []string
	for name := range values {
		if !stamps[name] {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

func sameJSON(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}
