package lead

import (
	"bytes"
	"encoding/json"
)

// decodeObject reads a stored JSON object; an unreadable one is empty, because the store holds only what encodeObject
// wrote.
func decodeObject(raw json.RawMessage) map[string]any {
	out := map[string]any{}
	if len(raw) <= 2 {
		return out
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	if d.Decode(&out) != nil {
		return map[string]any{}
	}
	return out
}

// encodeObject is the canonical form: keys sorted, no blanks, "{}" when empty.
func encodeObject(m map[string]any) json.RawMessage {
	if len(m) == 0 {
		return json.RawMessage("{}")
	}
	return encodeValue(m)
}

// encodeValue writes v as compact JSON without escaping HTML.
func encodeValue(v any) json.RawMessage {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic("lead: a checked value does not encode: " + err.Error())
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}
