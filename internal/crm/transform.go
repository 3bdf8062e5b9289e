package crm

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"leadloom/internal/lead"
)

// Transform changes a value on its way out. They are pure and run in order.
type Transform struct {
	Name string `json:"name" enum:"trim,lower,upper,e164,split_first,split_last,date,bool_text,text_bool,tags_join,tags_split,truncate,constant"`
	Arg  string `json:"arg,omitempty" doc:"date: a Go layout; bool_text: yes|no; tags_join and tags_split: the separator; constant: the value; truncate: the mark."`
	N    int    `json:"n,omitempty" doc:"truncate: the longest length, in characters, with the mark."`
}

// sources are the lead's fields a mapping can name.
var sources = []string{"id", "first_name", "last_name", "full_name", "email", "phone", "phone_e164", "company", "source", "status", "score", "owner_id", "tags", "notes",
	"timezone", "language", "created_at", "updated_at", "version"}

func knownSource(name string) bool {
	key, custom := strings.CutPrefix(name, "custom_fields.")
	return slices.Contains(sources, name) || (custom && key != "")
}

// source reads one field of a lead; custom fields are decoded once into cache.
func source(l *lead.Lead, name string, cache *map[string]any) any {
	switch name {
	case "id":
		return string(l.ID)
	case "first_name":
		return l.FirstName
	case "last_name":
		return l.LastName
	case "full_name":
		return strings.TrimSpace(l.FirstName + " " + l.LastName)
	case "email":
		return l.Email
	case "phone":
		return l.Phone
	case "phone_e164":
		return l.PhoneE164
	case "company":
		return l.Company
	case "source":
		return l.Source
	case "status":
		return l.Status
	case "score":
		return l.Score
	case "owner_id":
		return l.OwnerID
	case "tags":
		return append([]string{}, l.Tags...)
	case "notes":
		return l.Notes
	case "timezone":
		return l.Timezone
	case "language":
		return l.Language
	case "created_at":
		return l.CreatedAt.UTC().Format(time.RFC3339Nano)
	case "updated_at":
		return l.UpdatedAt.UTC().Format(time.RFC3339Nano)
	case "version":
		return l.Version
	}
	key, _ := strings.CutPrefix(name, "custom_fields.")
	if *cache == nil {
		*cache = l.Custom()
	}
	return (*cache)[key]
}

var transforms = map[string]func(v any, t Transform, l *lead.Lead) any{
	"trim":  onText(func(s string, _ Transform) any { return strings.TrimSpace(s) }),
	"lower": onText(func(s string, _ Transform) any { return strings.ToLower(s) }),
	"upper": onText(func(s string, _ Transform) any { return strings.ToUpper(s) }),
	"e164": func(v any, _ Transform, l *lead.Lead) any {
		if l.PhoneE164 != "" {
			return l.PhoneE164
		}
		return v
	},
	"split_first": onText(func(s string, _ Transform) any { first, _, _ := strings.Cut(strings.TrimSpace(s), " "); return first }),
	"split_last": onText(func(s string, _ Transform) any {
		_, rest, _ := strings.Cut(strings.TrimSpace(s), " ")
		return strings.TrimSpace(rest)
	}),
	"date": onText(func(s string, t Transform) any {
		at, err := time.Parse(time.RFC3339Nano, s)
		if err != nil || t.Arg == "" {
			return s
		}
		return at.UTC().Format(t.Arg)
	}),
	"bool_text": func(v any, t Transform, _ *lead.Lead) any {
		b, ok := v.(bool)
		if !ok {
			return v
		}
		yes, no, _ := strings.Cut(t.Arg, "|")
		if b {
			return yes
		}
		return no
	},
	"text_bool": onText(func(s string, _ Transform) any {
		switch strings.ToLower(s) {
		case "true", "yes", "1", "on":
			return true
		case "false", "no", "0", "off", "":
			return false
		}
		return s
	}),
	"tags_join": func(v any, t Transform, _ *lead.Lead) any {
		if tags, ok := v.([]string); ok {
			return strings.Join(tags, separator(t))
		}
		return v
	},
	"tags_split": onText(func(s string, t Transform) any {
		if s == "" {
			return []string{}
		}
		return strings.Split(s, separator(t))
	}),
	"truncate": onText(func(s string, t Transform) any {
		r, mark := []rune(s), []rune(t.Arg)
		if t.N <= len(mark) || len(r) <= t.N {
			return s
		}
		return string(r[:t.N-len(mark)]) + t.Arg
	}),
	"constant": func(_ any, t Transform, _ *lead.Lead) any { return t.Arg },
}

// TransformNames lists the transforms in order.
func TransformNames() []string { return slices.Sorted(maps.Keys(transforms)) }

func separator(t Transform) string {
	if t.Arg == "" {
		return ";"
	}
	return t.Arg
}

// onText lifts a function of texts: nil is the empty text, numbers and booleans are written out, lists stay.
func onText(f func(string, Transform) any) func(any, Transform, *lead.Lead) any {
	return func(v any, t Transform, _ *lead.Lead) any {
		switch v := v.(type) {
		case nil:
			return f("", t)
		case string:
			return f(v, t)
		case int64:
			return f(strconv.FormatInt(v, 10), t)
		case bool, fmt.Stringer:
			return f(fmt.Sprint(v), t)
		}
		return v
	}
}
