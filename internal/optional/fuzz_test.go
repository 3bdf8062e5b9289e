package optional

import (
	"encoding/json"
	"testing"
)

// FuzzOptional: absent, null and a value stay three things on the way through JSON, whatever else the object holds.
func FuzzOptional(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":null}`, `{"a":"x","b":0,"c":[]}`, `{"a":null,"a":"x"}`, `{"A":"x"}`, `{"c":[null]}`, `{"b":1.5}`} {
		f.Add([]byte(s))
	}
	type object struct {
		A Optional[string]   `json:"a,omitzero"`
		B Optional[int64]    `json:"b,omitzero"`
		C Optional[[]string] `json:"c,omitzero"`
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		var o, again object
		if json.Unmarshal(raw, &o) != nil {
			return
		}
		text, err := json.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(text, &again); err != nil || o.A != again.A || o.B != again.B || o.C.Set != again.C.Set || o.C.Null != again.C.Null || len(o.C.V) != len(again.C.V) {
			t.Fatalf("%s is %+v, written %s, read %+v (%v)", raw, o, text, again, err)
		}
	})
}
