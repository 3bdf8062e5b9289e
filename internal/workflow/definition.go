package workflow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"leadloom/internal/condition"
	"leadloom/internal/fault"
)

// Limits of one definition.
const (
	MaxNodes    = 500
	MaxWait     = 365 * 24 * time.Hour
	MaxTriggers = 20
	MaxBytes    = 1 << 20
)

// End is where a run is through.
const End = "end"

// Definition is a workflow as data (behaviours 2.4). It marshals to the form it is parsed from.
type Definition struct {
	Name        string          `json:"name"`
	Description string          `json:"description,omitempty"`
	Triggers    []Trigger       `json:"triggers,omitempty"`
	Entry       Entry           `json:"entry,omitzero"`
	Start       string          `json:"start"`
	Nodes       map[string]Node `json:"nodes"`
	Goals       []Ending        `json:"goals,omitempty"`
	Exits       []Ending        `json:"exits,omitempty"`
	Layout      json.RawMessage `json:"layout,omitempty"` // positions and notes; never makes a version
}

// Entry says who may enter and how often.
type Entry struct {
	Reentry   string          `json:"reentry,omitempty"` // once, always, not_while_inside (default) or after:<duration>
	Condition json.RawMessage `json:"condition,omitempty"`
}

// Node is one box of the graph.
type Node struct {
	Type    string            `json:"type"`
	Config  json.RawMessage   `json:"config,omitempty"`
	Next    string            `json:"next,omitempty"`
	Exits   map[string]string `json:"exits,omitempty"` // named ways out: yes, no, skipped …
	OnError *OnError          `json:"on_error,omitempty"`
}

// OnError is what happens after a step failed for good; Retry comes before and only for what can succeed later.
type OnError struct {
	Retry *Retry `json:"retry,omitempty"`
	Then  string `json:"then,omitempty"` // park (default), continue, end or a node
}

// Ending is a goal or an exit: when its condition holds the run ends from anywhere.
type Ending struct {
	ID        string          `json:"id"`
	Condition json.RawMessage `json:"condition"`
}

// Trigger is one thing that can start a run; which keys apply depends on Type.
type Trigger struct {
	ID      string          `json:"id,omitempty"`
	Type    string          `json:"type"`
	Where   json.RawMessage `json:"where,omitempty"`
	Sources []string        `json:"sources,omitempty"` // lead.created
	Fields  []string        `json:"fields,omitempty"`  // lead.updated; "*" is any
	Field   string          `json:"field,omitempty"`   // lead.field_changed
	From    any             `json:"from,omitempty"`
	To      any             `json:"to,omitempty"`
	Tag     string          `json:"tag,omitempty"` // tag.added, tag.removed; empty is any
	Cron    string          `json:"cron,omitempty"`
	Every   string          `json:"every,omitempty"`
	Zone    string          `json:"zone,omitempty"`
	Missed  string          `json:"missed,omitempty"`  // once (default), all, skip
	Overlap string          `json:"overlap,omitempty"` // skip (default), allow
	Own     bool            `json:"own_changes,omitempty"`
}

// triggerKeys lists the trigger types with the keys each knows besides id and type.
var triggerKeys = map[string][]string{
	"lead.created":       {"where", "sources"},
	"lead.updated":       {"where", "fields", "own_changes"},
	"lead.field_changed": {"where", "field", "from", "to", "own_changes"},
	"tag.added":          {"where", "tag", "own_changes"},
	"tag.removed":        {"where", "tag", "own_changes"},
	"schedule":           {"cron", "every", "zone", "missed", "overlap"},
	"manual":             {},
	"api":                {},
}

// TriggerTypes lists the types of triggers, sorted.
func TriggerTypes() []string { return sortedKeys(triggerKeys) }

var nodeID = regexp.MustCompile(`^[A-Za-z0-9_-]{1,64}$`)

const badID = "an id is 1 to 64 letters, digits, - or _"

// reserved words cannot name a node, because on_error.then and next use them.
var reserved = map[string]bool{End: true, "park": true, "continue": true}

// Parse reads a definition and checks its shape: keys, types and names. Compile then checks what it means.
func Parse(raw json.RawMessage) (*Definition, []fault.Field) {
	if len(raw) > MaxBytes {
		return nil, []fault.Field{{Path: "", Code: "too_large", Message: "a definition is at most 1 MiB"}}
	}
	var top struct {
		Name        string                     `json:"name"`
		Description string                     `json:"description"`
		Triggers    []json.RawMessage          `json:"triggers"`
		Entry       json.RawMessage            `json:"entry"`
		Start       string                     `json:"start"`
		Nodes       map[string]json.RawMessage `json:"nodes"`
		Goals       []json.RawMessage          `json:"goals"`
		Exits       []json.RawMessage          `json:"exits"`
		Limits      map[string]json.RawMessage `json:"limits"`
		Layout      json.RawMessage            `json:"layout"`
	}
	problems := Strict(raw, "", &top)
	d := &Definition{Name: strings.TrimSpace(top.Name), Description: top.Description, Start: top.Start, Layout: top.Layout, Nodes: map[string]Node{}}
	add := func(path, code, format string, args ...any) {
		problems = append(problems, fault.Field{Path: path, Code: code, Message: fmt.Sprintf(format, args...)})
	}
	if n := utf8.RuneCountInString(d.Name); n == 0 {
		add("name", "required", "give the workflow a name")
	} else if n > 200 {
		add("name", "too_long", "a name has at most 200 characters")
	} else if strings.ContainsFunc(d.Name, unicode.IsControl) {
		add("name", "control_character", "a name is one line without control characters")
	}
	if utf8.RuneCountInString(d.Description) > 2000 {
		add("description", "too_long", "a description has at most 2,000 characters")
	}
	for _, key := range sortedKeys(top.Limits) {
		add("limits."+clip(key), "unknown_key", "no limit %q can be set; the fixed limits of the engine apply", clip(key))
	}
	problems = append(problems, Strict(top.Entry, "entry", &d.Entry)...)
	if len(top.Triggers) > MaxTriggers {
		add("triggers", "too_many", "a workflow has at most %d triggers", MaxTriggers)
	}
	seen := map[string]bool{}
	for i, rawTrigger := range top.Triggers {
		t, found := parseTrigger(rawTrigger, fmt.Sprintf("triggers[%d]", i))
		problems = append(problems, found...)
		if t.ID == "" {
			t.ID = fmt.Sprintf("t%d", i+1)
		} else if !nodeID.MatchString(t.ID) {
			add(fmt.Sprintf("triggers[%d].id", i), "bad_id", badID)
		}
		if seen[t.ID] {
			add(fmt.Sprintf("triggers[%d].id", i), "not_unique", "the id %q is used twice", clip(t.ID))
		}
		seen[t.ID] = true
		d.Triggers = append(d.Triggers, t)
	}
	if len(top.Nodes) > MaxNodes {
		add("nodes", "too_many", "a workflow has at most %d nodes", MaxNodes)
	}
	for _, id := range sortedKeys(top.Nodes) {
		node, found := parseNode(top.Nodes[id], id)
		problems = append(problems, found...)
		d.Nodes[id] = node
	}
	parseEndings := func(key string, list []json.RawMessage) (out []Ending) {
		for i, rawEnding := range list {
			var e Ending
			path := fmt.Sprintf("%s[%d]", key, i)
			problems = append(problems, Strict(rawEnding, path, &e)...)
			if absent(e.Condition) {
				add(path+".condition", "required", "say when the run ends")
			}
			if e.ID == "" {
				e.ID = fmt.Sprintf("%c%d", key[0], i+1)
			} else if !nodeID.MatchString(e.ID) {
				add(path+".id", "bad_id", badID)
			}
			out = append(out, e)
		}
		return out
	}
	d.Goals, d.Exits = parseEndings("goals", top.Goals), parseEndings("exits", top.Exits)
	return d, problems
}

func parseNode(raw json.RawMessage, id string) (Node, []fault.Field) {
	var n struct {
		Type    string            `json:"type"`
		Config  json.RawMessage   `json:"config"`
		Next    string            `json:"next"`
		Exits   map[string]string `json:"exits"`
		OnError json.RawMessage   `json:"on_error"`
	}
	path := "nodes." + clip(id)
	problems := Strict(raw, path, &n)
	if !nodeID.MatchString(id) || reserved[id] {
		problems = append(problems, fault.Field{Path: path, Code: "bad_id", Message: "a node's id is 1 to 64 letters, digits, - or _, and none of end, park, continue"})
	}
	out := Node{Type: n.Type, Config: n.Config, Next: n.Next, Exits: n.Exits}
	if !absent(n.OnError) {
		var e struct {
			Retry json.RawMessage `json:"retry"`
			Then  string          `json:"then"`
		}
		problems = append(problems, Strict(n.OnError, path+".on_error", &e)...)
		out.OnError = &OnError{Then: e.Then}
		if !absent(e.Retry) {
			out.OnError.Retry = &Retry{}
			problems = append(problems, Strict(e.Retry, path+".on_error.retry", out.OnError.Retry)...)
			problems = append(problems, out.OnError.Retry.check(path+".on_error.retry")...)
		}
	}
	return out, problems
}

func parseTrigger(raw json.RawMessage, path string) (Trigger, []fault.Field) {
	var t Trigger
	problems := Strict(raw, path, &t)
	add := func(key, code, format string, args ...any) {
		problems = append(problems, fault.Field{Path: path + "." + key, Code: code, Message: fmt.Sprintf(format, args...)})
	}
	allowed, ok := triggerKeys[t.Type]
	if !ok {
		add("type", "unknown_trigger", "there is no trigger %q; did you mean %q?", clip(t.Type), condition.Nearest(t.Type, TriggerTypes()))
		return t, problems
	}
	allowed = append([]string{"id", "type"}, allowed...)
	var object map[string]json.RawMessage
	_ = json.Unmarshal(raw, &object) // Strict has reported what it is when it is no object
	given := func(key string) bool { _, has := object[key]; return has }
	for _, key := range sortedKeys(object) {
		if !contains(allowed, key) && !hasPath(problems, path+"."+key) {
			add(key, "unknown_key", "the trigger %s does not know %q; it knows %s", t.Type, clip(key), strings.Join(allowed, ", "))
		}
	}
	switch t.Type {
	case "lead.updated":
		if len(t.Fields) == 0 {
			add("fields", "required", `list the fields to watch, or ["*"] for any`)
		}
		for i, f := range t.Fields {
			if _, ok := condition.LeadFields.Type(f); !ok && f != "*" {
				add(fmt.Sprintf("fields[%d]", i), "unknown_field", "there is no field %q; did you mean %q?", clip(f), condition.Nearest(f, condition.LeadFields.Names()))
			}
		}
	case "lead.field_changed":
		if _, ok := condition.LeadFields.Type(t.Field); !ok {
			add("field", "unknown_field", "there is no field %q; did you mean %q?", clip(t.Field), condition.Nearest(t.Field, condition.LeadFields.Names()))
		}
		for key, v := range map[string]any{"from": t.From, "to": t.To} {
			if _, list := v.([]any); list {
				add(key, "wrong_type", `name one value, or "any", "set" or "empty"`)
			}
		}
	case "schedule":
		if _, err := t.Schedule(); err != nil {
			key := "cron"
			if given("every") {
				key = "every"
			}
			if f := fault.As(err); f != nil && len(f.Fields) > 0 {
				key = f.Fields[0].Path
				add(key, f.Fields[0].Code, "%s", f.Fields[0].Message)
			} else {
				add(key, "bad_schedule", "%s", err.Error())
			}
		}
	}
	return t, problems
}

func absent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }

func contains(list []string, s string) bool {
	for _, e := range list {
		if e == s {
			return true
		}
	}
	return false
}

func hasPath(problems []fault.Field, path string) bool {
	for _, p := range problems {
		if p.Path == path {
			return true
		}
	}
	return false
}

// Canonical is the definition without its layout as compact JSON with sorted keys: equal canonical forms are the same
// version.
func (d *Definition) Canonical() json.RawMessage {
	bare := *d
	bare.Layout = nil
	out, err := json.Marshal(bare)
	if err != nil {
		return json.RawMessage("{}") // every raw part came from a JSON decoder
	}
	dec := json.NewDecoder(bytes.NewReader(out))
	dec.UseNumber()
	var sorted any // objects inside configurations and conditions come in their author's order
	if dec.Decode(&sorted) != nil {
		return out
	}
	if again, err := json.Marshal(sorted); err == nil {
		return again
	}
	return out
}
