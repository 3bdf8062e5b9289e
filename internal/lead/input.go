package lead

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
	"unicode/utf8"

	"leadloom/internal/fault"
	"leadloom/internal/optional"
)

// Input is what a caller wants a lead to be: every field absent, null or a value. Null keeps the stored value, as
// old clients need; a merge patch calls ClearNulls first. Lists in TagsAdd and TagsRemove change single tags.
type Input struct {
	ExternalID   optional.Optional[string]         `json:"external_id,omitzero"`
	FirstName    optional.Optional[string]         `json:"first_name,omitzero"`
	LastName     optional.Optional[string]         `json:"last_name,omitzero"`
	Email        optional.Optional[string]         `json:"email,omitzero"`
	Phone        optional.Optional[string]         `json:"phone,omitzero"`
	Company      optional.Optional[string]         `json:"company,omitzero"`
	Source       optional.Optional[string]         `json:"source,omitzero"`
	Status       optional.Optional[string]         `json:"status,omitzero"`
	OwnerID      optional.Optional[string]         `json:"owner_id,omitzero"`
	Notes        optional.Optional[string]         `json:"notes,omitzero"`
	Timezone     optional.Optional[string]         `json:"timezone,omitzero"`
	Language     optional.Optional[string]         `json:"language,omitzero"`
	Tags         optional.Optional[[]string]       `json:"tags,omitzero"`
	TagsAdd      optional.Optional[[]string]       `json:"tags_add,omitzero"`
	TagsRemove   optional.Optional[[]string]       `json:"tags_remove,omitzero"`
	CustomFields optional.Optional[map[string]any] `json:"custom_fields,omitzero"`

	problems []fault.Field // keys of a wrong type, found while decoding
	warnings []fault.Field // unknown and read-only keys, which old routes ignore
	clear    bool          // custom_fields was null in a merge patch
	patch    bool          // null clears
}

// texts lists the text fields in the order in which problems are reported.
func (in *Input) texts() [12]struct {
	name  string
	value *optional.Optional[string]
} {
	return [12]struct {
		name  string
		value *optional.Optional[string]
	}{{"external_id", &in.ExternalID}, {"first_name", &in.FirstName}, {"last_name", &in.LastName}, {"email", &in.Email},
		{"phone", &in.Phone}, {"company", &in.Company}, {"source", &in.Source}, {"status", &in.Status}, {"owner_id", &in.OwnerID},
		{"notes", &in.Notes}, {"timezone", &in.Timezone}, {"language", &in.Language}}
}

// readOnly are keys of the lead's own shape that no caller sets; old clients send them back all the same.
var readOnly = []string{"created_at", "crm", "crm_id", "deleted_at", "id", "lead_id", "merged_into", "phone_e164", "score", "tenant_id", "updated_at", "version"}

// maxWarnings bounds how many ignored keys are named.
const maxWarnings = 100

var inputNames = []string{"external_id", "first_name", "last_name", "email", "phone", "company", "source", "status", "owner_id",
	"notes", "timezone", "language", "tags", "tags_add", "tags_remove", "custom_fields"}

// Decode reads one JSON object. Keys of a wrong type are remembered and reported by Apply together with all other
// problems; unknown and read-only keys become warnings. The error is for input that is no JSON object at all.
func Decode(raw []byte) (*Input, error) {
	if !utf8.Valid(raw) {
		return nil, fault.Malformed("invalid_utf8", "The body is not valid UTF-8. Send JSON encoded as UTF-8.")
	}
	var keys map[string]json.RawMessage
	if err := json.Unmarshal(raw, &keys); err != nil {
		if json.Valid(raw) {
			return nil, fault.Invalid("", "wrong_type", "Send a JSON object with the lead's fields.")
		}
		return nil, fault.Malformed("malformed_json", "The body is not valid JSON. Send one JSON object with the lead's fields.")
	}
	in := &Input{}
	if keys == nil {
		return nil, fault.Invalid("", "wrong_type", "Send a JSON object with the lead's fields, not null.")
	}
	for key, v := range keys {
		in.decodeKey(key, v)
	}
	if len(in.problems)+len(in.warnings) > 1 {
		byPath := func(a, b fault.Field) int { return bytes.Compare([]byte(a.Path), []byte(b.Path)) }
		slices.SortFunc(in.problems, byPath)
		slices.SortFunc(in.warnings, byPath)
	}
	return in, nil
}

func (in *Input) decodeKey(key string, v json.RawMessage) {
	for _, f := range in.texts() {
		if f.name == key {
			in.decodeText(key, v, f.value)
			return
		}
	}
	switch key {
	case "tags":
		in.decodeTags(key, v, &in.Tags)
	case "tags_add":
		in.decodeTags(key, v, &in.TagsAdd)
	case "tags_remove":
		in.decodeTags(key, v, &in.TagsRemove)
	case "custom_fields":
		d := json.NewDecoder(bytes.NewReader(v))
		d.UseNumber()
		in.CustomFields.Set = true
		if isNull(v) {
			in.CustomFields.Null = true
		} else if d.Decode(&in.CustomFields.V) != nil {
			in.problems = append(in.problems, *wrongType(key, "an object of custom fields by key"))
		}
	default:
		if len(in.warnings) < maxWarnings {
			in.warnings = append(in.warnings, ignored(key))
		}
	}
}

func ignored(key string) fault.Field {
	if _, found := slices.BinarySearch(readOnly, key); found {
		return fault.Field{Path: key, Code: "read_only", Message: "This field cannot be set; it was ignored."}
	}
	message := "This field is unknown; it was ignored."
	if near := nearest(key, inputNames); near != "" {
		message = "This field is unknown; it was ignored. Was " + near + " meant?"
	}
	return fault.Field{Path: clipPath(key), Code: "unknown_field", Message: message}
}

// clipPath keeps an echoed key short and printable.
func clipPath(key string) string {
	clean, problem := checkText("", key, 64, false)
	if problem != nil {
		return "?"
	}
	return clean
}

func (in *Input) decodeText(key string, v json.RawMessage, into *optional.Optional[string]) {
	into.Set = true
	if isNull(v) {
		into.Null = true
		return
	}
	if n := len(v); n >= 2 && v[0] == '"' && bytes.IndexByte(v, '\\') < 0 {
		into.V = string(v[1 : n-1])
		return
	}
	if json.Unmarshal(v, &into.V) != nil {
		in.problems = append(in.problems, *wrongType(key, "a text in quotes, or null"))
		*into = optional.Optional[string]{}
	}
}

func (in *Input) decodeTags(key string, v json.RawMessage, into *optional.Optional[[]string]) {
	into.Set = true
	if isNull(v) {
		into.Null = true
		return
	}
	var list []json.RawMessage
	if json.Unmarshal(v, &list) != nil {
		in.problems = append(in.problems, *wrongType(key, "a list of texts"))
		*into = optional.Optional[[]string]{}
		return
	}
	into.V = make([]string, 0, len(list))
	for i, e := range list {
		var s *string
		if json.Unmarshal(e, &s) != nil || s == nil {
			in.problems = append(in.problems, *wrongType(at(key, i), "a text in quotes"))
			continue
		}
		into.V = append(into.V, *s)
	}
}

func isNull(v json.RawMessage) bool { return len(v) == 4 && v[0] == 'n' }

// UnmarshalJSON is Decode, so that inputs can be stored and posted in lists.
func (in *Input) UnmarshalJSON(raw []byte) error {
	d, err := Decode(raw)
	if err != nil {
		return err
	}
	*in = *d
	return nil
}

// ClearNulls makes null mean "clear", as in a merge patch (RFC 7396), custom fields included.
func (in *Input) ClearNulls() *Input {
	in.patch = true
	for _, f := range in.texts() {
		if f.value.Null {
			*f.value = optional.Of("")
		}
	}
	if in.Tags.Null {
		in.Tags = optional.Of([]string{})
	}
	if in.CustomFields.Null {
		in.CustomFields, in.clear = optional.Of(map[string]any{}), true
	}
	return in
}

// Warnings are the keys that were ignored.
func (in *Input) Warnings() []fault.Field { return in.warnings }

// Empty reports that no field would be set.
func (in *Input) Empty() bool {
	for _, f := range in.texts() {
		if f.value.Has() {
			return false
		}
	}
	return len(in.problems) == 0 && !in.Tags.Has() && !in.TagsAdd.Has() && !in.TagsRemove.Has() && !in.CustomFields.Has()
}

// SetField is an input that sets one field by its API name, custom fields by "custom_fields.key"; v is what JSON
// would carry, nil clears. It is how workflows and syncs write a field whose name is data.
func SetField(name string, v any) *Input {
	keys := map[string]any{name: v}
	if key, ok := cutCustom(name); ok {
		keys = map[string]any{"custom_fields": map[string]any{key: v}}
	}
	raw, err := json.Marshal(keys)
	if err != nil {
		return &Input{problems: []fault.Field{*wrongType(name, "a JSON value")}}
	}
	in, err := Decode(raw)
	if err != nil {
		return &Input{problems: []fault.Field{*wrongType(name, "a JSON value")}}
	}
	for _, w := range in.warnings {
		in.problems = append(in.problems, fault.Field{Path: w.Path, Code: w.Code, Message: "There is no field of this name that can be set."})
	}
	return in.ClearNulls()
}

func cutCustom(name string) (string, bool) {
	if len(name) > len(customPrefix) && name[:len(customPrefix)] == customPrefix {
		return name[len(customPrefix):], true
	}
	return "", false
}

// custom is the map to merge: nil values are dropped unless null clears.
func (in *Input) custom() map[string]any {
	values := maps.Clone(in.CustomFields.V)
	if !in.patch {
		maps.DeleteFunc(values, func(_ string, v any) bool { return v == nil })
	}
	return values
}

// AddTags is an input that only adds tags.
func AddTags(tags []string) *Input { return &Input{TagsAdd: optional.Of(tags)} }

// RemoveTags is an input that only removes tags.
func RemoveTags(tags []string) *Input { return &Input{TagsRemove: optional.Of(tags)} }
