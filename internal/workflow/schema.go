package workflow

import (
	"reflect"
	"strings"

	"leadloom/internal/condition"
)

// object is a part of a JSON Schema.
type object = map[string]any

// Schema is the JSON Schema (2020-12) of a definition, made from the structs that read it and from the list of actions.
// What a schema cannot say (a node that no way leads to, an unknown field) the static check says.
func Schema(kinds Kinds) map[string]any {
	nodes, types := []any{}, append([]string{TypeBranch, TypeWait}, kinds.Types()...)
	for _, t := range types {
		k, _ := kinds.Kind(t)
		switch t {
		case TypeBranch:
			k = Kind{Type: t, Summary: "Go one of two ways.", Exits: []string{"yes", "no"}, Config: &branchConfig{}}
		case TypeWait:
			k = Kind{Type: t, Summary: "Wait for a while.", Config: &waitConfig{}}
		}
		nodes = append(nodes, nodeSchema(k))
	}
	triggers := []any{}
	for _, t := range TriggerTypes() {
		triggers = append(triggers, triggerSchema(t))
	}
	top := structSchema(reflect.TypeFor[Definition]())
	props := top["properties"].(object)
	props["name"] = object{"type": "string", "minLength": 1, "maxLength": 200}
	props["triggers"] = object{"type": "array", "maxItems": MaxTriggers, "items": object{"oneOf": triggers}}
	props["nodes"] = object{"type": "object", "minProperties": 1, "maxProperties": MaxNodes, "propertyNames": object{"pattern": nodeID.String()}, "additionalProperties": object{"oneOf": nodes}}
	entry := structSchema(reflect.TypeFor[Entry]())
	entry["properties"].(object)["reentry"] = object{"type": "string", "pattern": "^(once|always|not_while_inside|after:[1-9][0-9]*[smhdw])$", "default": "not_while_inside"}
	props["entry"] = entry
	props["layout"] = object{"description": "Positions and notes of the editor; never makes a version."}
	top["required"] = []string{"name", "start", "nodes"}
	top["$schema"], top["$id"], top["title"] = "https://json-schema.org/draft/2020-12/schema", "/api/workflows/schema", "Workflow definition"
	top["$defs"] = object{"condition": conditionSchema()}
	return top
}

func nodeSchema(k Kind) object {
	exits := object{}
	for _, e := range k.Exits {
		exits[e] = object{"type": "string"}
	}
	props := object{"type": object{"const": k.Type}, "config": structSchema(reflect.TypeOf(k.Config).Elem()), "next": object{"type": "string", "description": `A node, or "end".`},
		"exits": object{"type": "object", "properties": exits, "additionalProperties": false}}
	onError := object{"then": object{"type": "string", "description": `"park" (default), "continue", "end" or a node.`}}
	if k.Outside {
		onError["retry"] = structSchema(reflect.TypeFor[Retry]())
	}
	props["on_error"] = object{"type": "object", "properties": onError, "additionalProperties": false}
	required := []string{"type", "next"}
	if k.Type == TypeBranch {
		required = []string{"type", "config", "exits"}
		delete(props, "next")
	}
	return object{"type": "object", "description": k.Summary, "properties": props, "required": required, "additionalProperties": false}
}

func triggerSchema(name string) object {
	all := structSchema(reflect.TypeFor[Trigger]())["properties"].(object)
	props := object{"id": object{"type": "string", "pattern": nodeID.String()}, "type": object{"const": name}}
	for _, key := range triggerKeys[name] {
		props[key] = all[key]
	}
	return object{"type": "object", "properties": props, "required": []string{"type"}, "additionalProperties": false}
}

// structSchema describes a struct by its json and doc tags, as Strict reads it.
func structSchema(t reflect.Type) object {
	props := object{}
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if name == "" || name == "-" {
			continue
		}
		p := typeSchema(f.Type)
		if name == "condition" || name == "where" {
			p = object{"$ref": "#/$defs/condition"}
		}
		if doc := f.Tag.Get("doc"); doc != "" {
			p["description"] = doc
		}
		props[name] = p
	}
	return object{"type": "object", "properties": props, "additionalProperties": false}
}

func typeSchema(t reflect.Type) object {
	switch t.Kind() {
	case reflect.Pointer:
		return typeSchema(t.Elem())
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return object{} // raw JSON: any value
		}
		return object{"type": "array", "items": typeSchema(t.Elem())}
	case reflect.Map:
		return object{"type": "object", "additionalProperties": typeSchema(t.Elem())}
	case reflect.Struct:
		return structSchema(t)
	}
	return object{}
}

func conditionSchema() object {
	ref := object{"$ref": "#/$defs/condition"}
	list := object{"type": "array", "minItems": 1, "items": ref}
	one := func(key string, v object) object {
		return object{"type": "object", "properties": object{key: v}, "required": []string{key}, "additionalProperties": false}
	}
	leaf := object{"type": "object", "required": []string{"field", "op"}, "additionalProperties": false, "properties": object{
		"field": object{"type": "string", "description": "A field of the lead, custom_fields.<key>, context.<name> or trigger.<name>."},
		"op":    object{"enum": condition.OperatorNames()}, "value": object{}, "tz": object{"type": "string"}}}
	return object{"oneOf": []any{one("all", list), one("any", list), one("not", ref), one("tag", object{"type": "string", "minLength": 1}), leaf}}
}
