package lead

import (
	"slices"
	"strings"
	"time"

	"golang.org/x/text/language"

	"leadloom/internal/fault"
)

// Result is what an input would make of a lead.
type Result struct {
	Lead      *Lead // the lead after the change; Version and times are the store's business
	Warnings  []fault.Field
	NewFields []FieldDef // unknown custom keys that the tenant's rules accept as text
}

// application is one input on its way into one lead.
type application struct {
	rules     *Rules
	in        *Input
	before    *Lead // nil for a new lead
	after     *Lead
	trusted   bool // may set read-only custom fields
	Problems  []fault.Field
	Warnings  []fault.Field
	NewFields []FieldDef
}

func (a *application) problem(path, code, message string) {
	a.Problems = append(a.Problems, fault.Field{Path: path, Code: code, Message: message})
}

// New makes a lead of an input. The error lists every problem.
func (r *Rules) New(in *Input) (*Result, error) { return r.apply(nil, in, false) }

// Apply lays an input over a stored lead, which stays as it is. The error lists every problem.
func (r *Rules) Apply(l *Lead, in *Input) (*Result, error) { return r.apply(l, in, false) }

// ApplyTrusted is Apply for workflows and syncs, which may also set read-only custom fields.
func (r *Rules) ApplyTrusted(l *Lead, in *Input) (*Result, error) { return r.apply(l, in, true) }

func (r *Rules) apply(before *Lead, in *Input, trusted bool) (*Result, error) {
	a := &application{rules: r, in: in, before: before, trusted: trusted,
		Problems: slices.Clone(in.problems), Warnings: slices.Clone(in.warnings)}
	if before != nil {
		a.after = before.Clone()
	} else {
		a.after = &Lead{CustomFields: encodeObject(nil), Status: r.Statuses[0]}
	}
	a.texts()
	a.tags()
	if in.clear {
		a.clearCustom()
	}
	if in.CustomFields.Has() {
		r.applyCustom(a, in.custom())
	}
	if before == nil {
		a.defaults()
	}
	a.required()
	if len(a.Problems) > 0 {
		return nil, fault.InvalidFields(a.Problems)
	}
	return &Result{a.after, a.Warnings, a.NewFields}, nil
}

func (a *application) texts() {
	for _, f := range a.in.texts() {
		if !f.value.Has() {
			continue
		}
		s, problem := a.text(f.name, f.value.V)
		if problem != nil {
			a.Problems = append(a.Problems, *problem)
			continue
		}
		*a.after.text(f.name) = s
	}
}

// text checks one text field by its name.
func (a *application) text(name, s string) (string, *fault.Field) {
	switch name {
	case "email":
		addr, problem := ParseEmail(name, s)
		if w := emailWarning(name, addr); problem == nil && w != nil {
			a.Warnings = append(a.Warnings, *w)
		}
		return addr, problem
	case "phone":
		if a.before != nil && a.before.Phone == s {
			return s, nil
		}
		typed, e164, warning, problem := ParsePhone(name, s, a.rules.Region)
		if problem == nil {
			a.after.PhoneE164 = e164
		}
		if warning != nil {
			a.Warnings = append(a.Warnings, *warning)
		}
		return typed, problem
	case "notes":
		return checkText(name, s, maxNotes, true)
	}
	s, problem := checkText(name, s, maxText, false)
	if problem != nil || s == "" && name != "status" {
		return s, problem
	}
	if a.before != nil && *a.before.text(name) == s {
		return s, nil // what is stored stays sendable, even a status that the tenant has taken off its list since
	}
	return a.choice(name, s)
}

// choice checks the texts that allow only some values.
func (a *application) choice(name, s string) (string, *fault.Field) {
	switch name {
	case "status":
		known, ok := a.rules.status(s)
		if !ok {
			return "", &fault.Field{Path: name, Code: "unknown_status", Message: "Send one of " + strings.Join(a.rules.Statuses, ", ") + "."}
		}
		return known, nil
	case "timezone":
		if !validZone(s) {
			return "", &fault.Field{Path: name, Code: "unknown_timezone", Message: "Send an IANA time zone like Europe/Berlin."}
		}
	case "language":
		tag, err := language.Parse(s)
		if err != nil {
			return "", &fault.Field{Path: name, Code: "unknown_language", Message: "Send a BCP 47 language tag like de or pt-BR."}
		}
		return tag.String(), nil
	}
	return s, nil
}

// validZone asks the zone database; "Local" would be the server's own zone.
func validZone(s string) bool {
	if s == "Local" || s == "" {
		return false
	}
	_, err := time.LoadLocation(s)
	return err == nil
}

func (a *application) tags() {
	if a.in.Tags.Has() {
		a.after.Tags = a.addTags(nil, "tags", a.in.Tags.V)
	}
	if a.in.TagsAdd.Has() {
		a.after.Tags = a.addTags(a.after.Tags, "tags_add", a.in.TagsAdd.V)
	}
	if a.in.TagsRemove.Has() {
		a.after.Tags = Minus(a.after.Tags, a.in.TagsRemove.V)
	}
	if len(a.after.Tags) > maxTags {
		a.problem("tags", "too_many", "A lead has at most 100 tags; these are "+number(len(a.after.Tags))+".")
	}
}

// addTags appends tags that are not there yet, compared folded; the spelling that came first stays.
func (a *application) addTags(have []string, path string, more []string) []string {
	if len(more) > 10*maxTags {
		a.problem(path, "too_many", "Send at most 100 tags.")
		return have
	}
	seen := map[string]bool{}
	for _, t := range have {
		seen[Fold(t)] = true
	}
	for i, t := range more {
		t, problem := checkText(at(path, i), t, maxTag, false)
		switch {
		case problem != nil:
			a.Problems = append(a.Problems, *problem)
		case t == "" || Fold(t) == "":
			a.problem(at(path, i), "empty", "Send a tag of 1 to 64 characters, or leave it out.")
		case !seen[Fold(t)]:
			seen[Fold(t)] = true
			have = append(have, t)
		}
	}
	return have
}

// defaults gives a new lead the custom values that definitions name.
func (a *application) defaults() {
	var merged map[string]any
	for key, def := range a.rules.Fields {
		if len(def.Default) == 0 {
			continue
		}
		if merged == nil {
			merged = a.after.Custom()
		}
		if _, sent := merged[key]; sent {
			continue
		}
		if v, problem := def.checkRaw(customPrefix+key, def.Default, a.rules.Region); problem == nil && v != nil {
			merged[key] = v
		}
	}
	if merged != nil {
		a.after.CustomFields = encodeObject(merged)
	}
}

// required checks what must be there. An update is only held to it where it touches the field, so that a rule made
// later does not block unrelated edits.
func (a *application) required() {
	for _, name := range a.rules.Required {
		if p := a.after.text(name); p != nil && *p == "" && (a.before == nil || *a.before.text(name) != "") {
			a.problem(name, "required", "Send a "+strings.ReplaceAll(name, "_", " ")+"; it is required here.")
		}
	}
	if a.before == nil && len(a.Problems) == 0 && a.after.nameless() {
		a.problem("", "empty_lead", "Send at least one of email, phone, external_id, first_name, last_name or company.")
	}
	var values, stored map[string]any
	for _, key := range sortedKeys(a.rules.Fields) {
		def := a.rules.Fields[key]
		if !def.Required && !slices.Contains(def.RequiredForStatus, a.after.Status) {
			continue
		}
		if values == nil {
			values = a.after.Custom()
			if a.before != nil {
				stored = a.before.Custom()
			}
		}
		if _, there := values[key]; there {
			continue
		}
		_, was := stored[key]
		if a.before == nil || was || !def.Required && a.before.Status != a.after.Status {
			a.problem(customPrefix+key, "required", "Send a value for "+def.Label+"; it is required here.")
		}
	}
}

func sortedKeys(m map[string]FieldDef) []string {
	if len(m) == 0 {
		return nil
	}
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// nameless leads could never be found again.
func (l *Lead) nameless() bool {
	return l.Email == "" && l.Phone == "" && l.ExternalID == "" && l.FirstName == "" && l.LastName == "" && l.Company == ""
}

// Prefix puts a path before those of an error's fields: "leads[3]." for a row of a bulk.
func Prefix(prefix string, fields []fault.Field) []fault.Field {
	out := make([]fault.Field, len(fields))
	for i, f := range fields {
		f.Path = strings.TrimSuffix(prefix+f.Path, ".")
		out[i] = f
	}
	return out
}
