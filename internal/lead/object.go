package lead

import (
	"bytes"
	"encoding/json"
)

// decodeObject reads a stored JSON object; an unreadable one is empty, because the store holds only what Encode wrote.
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
