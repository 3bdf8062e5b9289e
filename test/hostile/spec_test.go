package hostile

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestDiffers: the judge of replies sees what is not as documented, else a whole run proves nothing.
func TestDiffers(t *testing.T) {
	s := &spec{schemas: map[string]any{"Lead": schema{"type": "object", "required": []any{"id"}, "additionalProperties": false,
		"properties": schema{"id": schema{"type": "string", "maxLength": 3.0}, "score": schema{"type": "integer"}, "state": schema{"type": "string", "enum": []any{"a", "b"}}, "tags": schema{"type": []any{"array", "null"}, "items": schema{"type": "string"}}}}}}
	lead := schema{"$ref": "#/components/schemas/Lead"}
	for body, want := range map[string]string{`{"id":"x","score":1,"tags":["a"],"state":"a"}`: "", `{"id":"x","tags":null}`: "", `{"score":1}`: "missing", `{"id":7}`: "type", `{"id":"x","score":1.5}`: "type",
		`{"id":"x","tags":[null]}`: "tags[0]", `{"id":"x","more":1}`: "not documented", `{"id":"x","state":"c"}`: "none of", `{"id":"long"}`: "longer", `[]`: "type"} {
		d := json.NewDecoder(strings.NewReader(body))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatal(err)
		}
		if got := s.differs(lead, v, "reply"); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want it to say %q", body, got, want)
		}
	}
}
