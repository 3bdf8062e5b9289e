package optional_test

import (
	"encoding/json"
	"reflect"
	"testing"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/optional"
)

type input struct {
	Name optional.Optional[string]   `json:"name,omitzero"`
	Tags optional.Optional[[]string] `json:"tags,omitzero"`
}

func TestOptional_TellsAbsentNullAndValueApart(t *testing.T) {
	for body, want := range map[string]optional.Optional[string]{
		`{}`:                {},
		`{"name":null}`:     optional.Null[string](),
		`{"name": null }`:   optional.Null[string](),
		`{"name":""}`:       optional.Of(""),
		`{"name":"Ada"}`:    optional.Of("Ada"),
		`{"tags":["a"]}`:    {},
		`{"name":"\u0041"}`: optional.Of("A"),
	} {
		var in input
		if err := json.Unmarshal([]byte(body), &in); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
		if in.Name != want {
			t.Errorf("%s: got %+v, want %+v", body, in.Name, want)
		}
	}
}

func TestOptional_WrongTypeIsAnError(t *testing.T) {
	var in input
	if err := json.Unmarshal([]byte(`{"name":7}`), &in); err == nil {
		t.Fatal("a number was taken for a text")
	}
}

func TestOptional_RoundTripKeepsAbsence(t *testing.T) {
	for _, in := range []input{{}, {Name: optional.Null[string]()}, {Name: optional.Of(""), Tags: optional.Of([]string{"x"})}} {
		b, err := json.Marshal(in)
		if err != nil {
			t.Fatal(err)
		}
		var out input
		if err := json.Unmarshal(b, &out); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(in, out) {
			t.Errorf("%s: got %+v, want %+v", b, out, in)
		}
	}
}

func TestOptional_SchemaTakesNullAndIsNotRequired(t *testing.T) {
	r := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	s := r.Schema(reflect.TypeFor[input](), false, "")
	name := s.Properties["name"]
	if name.Type != "string" || !name.Nullable {
		t.Errorf("name: got %+v, want a nullable string", name)
	}
	if len(s.Required) != 0 {
		t.Errorf("required: got %v, want none", s.Required)
	}
}
