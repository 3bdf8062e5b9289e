package lead

import (
	"bytes"
	"reflect"
	"slices"

	"leadloom/internal/event"
)

// textNames lists the text fields that a change can name.
var textNames = []string{"external_id", "first_name", "last_name", "email", "phone", "company", "source", "status", "owner_id",
	"notes", "timezone", "language"}

// Diff names every field in which two states of a lead differ; custom fields one by one as "custom_fields.key".
// A nil before is a new lead. It is empty when nothing changed.
func Diff(before, after *Lead) map[string]event.Change {
	if before == nil {
		before = &Lead{}
	}
	var out map[string]event.Change
	put := func(name string, from, to any) {
		if out == nil {
			out = map[string]event.Change{}
		}
		out[name] = event.Change{From: from, To: to}
	}
	for _, name := range textNames {
		from, to := before.text(name), after.text(name)
		if *from != *to {
			put(name, empty(*from), empty(*to))
		}
	}
	if before.Score != after.Score {
		put("score", before.Score, after.Score)
	}
	if !slices.Equal(before.Tags, after.Tags) {
		put("tags", list(before.Tags), list(after.Tags))
	}
	if !bytes.Equal(before.CustomFields, after.CustomFields) {
		diffCustom(before.Custom(), after.Custom(), put)
	}
	return out
}

func diffCustom(from, to map[string]any, put func(name string, from, to any)) {
	for k, v := range to {
		if old, had := from[k]; !had || !reflect.DeepEqual(old, v) {
			put(customPrefix+k, old, v)
		}
	}
	for k, old := range from {
		if _, has := to[k]; !has {
			put(customPrefix+k, old, nil)
		}
	}
}

// empty shows a missing text as null.
func empty(s string) any {
	if s == "" {
		return nil
	}
	return s
}

func list(tags []string) []string {
	if tags == nil {
		return []string{}
	}
	return tags
}

// Minus is the tags of a that are not in b, compared folded.
func Minus(a, b []string) []string {
	if len(a) == 0 {
		return nil
	}
	have := make(map[string]bool, len(b))
	for _, t := range b {
		have[Fold(t)] = true
	}
	var out []string
	for _, t := range a {
		if !have[Fold(t)] {
			out = append(out, t)
		}
	}
	return out
}
