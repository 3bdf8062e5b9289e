package lead

import "slices"

// Group is inputs or leads that are judged to be one person: indexes into the list, the first one stays.
type Group struct {
	Kind    string // email or phone
	Value   string
	Members []int
}

// GroupExact groups leads by equal folded e-mail address or equal E.164 number. Role addresses group nobody, and a
// shared number does not chain two groups together.
func (r *Rules) GroupExact(leads []*Lead, kind string) []Group {
	byValue := map[string]int{}
	var groups []Group
	for i, l := range leads {
		v := r.exactValue(l, kind)
		if v == "" {
			continue
		}
		g, known := byValue[v]
		if !known {
			byValue[v] = len(groups)
			groups = append(groups, Group{Kind: kind, Value: v, Members: []int{i}})
			continue
		}
		groups[g].Members = append(groups[g].Members, i)
	}
	return slices.DeleteFunc(groups, func(g Group) bool { return len(g.Members) < 2 })
}

func (r *Rules) exactValue(l *Lead, kind string) string {
	if kind == KindPhone {
		return l.PhoneE164
	}
	if f := FoldEmail(l.Email); f != "" && !r.IsRole(f) {
		return f
	}
	return ""
}

// Merge is the survivor with what it lacks taken from the other: its own fields stay, empty ones are filled, tags
// unite, custom fields fill up. Score and identities are the caller's business.
func Merge(survivor, other *Lead) *Lead {
	out := survivor.Clone()
	for _, name := range textNames {
		if name == "status" || name == "phone" {
			continue
		}
		if p := out.text(name); *p == "" {
			*p = *other.text(name)
		}
	}
	if out.Phone == "" {
		out.Phone, out.PhoneE164 = other.Phone, other.PhoneE164
	}
	for _, t := range Minus(other.Tags, out.Tags) {
		if len(out.Tags) < maxTags {
			out.Tags = append(out.Tags, t)
		}
	}
	custom := out.Custom()
	for k, v := range other.Custom() {
		if _, has := custom[k]; !has {
			custom[k] = v
		}
	}
	if raw := encodeObject(custom); len(raw) <= maxCustom {
		out.CustomFields = raw
	}
	out.Score = survivor.Score + other.Score
	return out
}
