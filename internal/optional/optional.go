package optional

import (
	"bytes"
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// Optional is a JSON key that may be absent (the zero Optional), null (Set and Null) or a value (Set, V).
// Tag the field `json:"name,omitzero"` so that huma does not require it and an absent one stays absent.
type Optional[T any] struct {
	Set  bool
	Null bool
	V    T
}

// Of is a present value.
func Of[T any](v T) Optional[T] { return Optional[T]{Set: true, V: v} }

// Null is a present null.
func Null[T any]() Optional[T] { return Optional[T]{Set: true, Null: true} }

// Has reports whether a value was sent: neither absent nor null.
func (o Optional[T]) Has() bool { return o.Set && !o.Null }

// Or is the value sent, else fallback.
func (o Optional[T]) Or(fallback T) T {
	if o.Has() {
		return o.V
	}
	return fallback
}

// IsZero reports absence; encoding/json's omitzero asks it.
func (o Optional[T]) IsZero() bool { return !o.Set }

// UnmarshalJSON is called for present keys only, null included.
func (o *Optional[T]) UnmarshalJSON(b []byte) error {
	*o = Optional[T]{Set: true}
	if bytes.Equal(bytes.TrimSpace(b), []byte("null")) {
		o.Null = true
		return nil
	}
	return json.Unmarshal(b, &o.V)
}

// MarshalJSON writes the value, or null when there is none.
func (o Optional[T]) MarshalJSON() ([]byte, error) {
	if !o.Has() {
		return []byte("null"), nil
	}
	return json.Marshal(o.V)
}

// Schema is the schema of T that also takes null.
func (o Optional[T]) Schema(r huma.Registry) *huma.Schema {
	s := *r.Schema(reflect.TypeFor[T](), true, "")
	if s.Ref != "" {
		return &huma.Schema{OneOf: []*huma.Schema{{Ref: s.Ref}, {Type: "null"}}}
	}
	s.Nullable = true
	return &s
}
