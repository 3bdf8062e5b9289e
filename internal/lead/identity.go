package lead

import (
	"encoding/json"
	"fmt"
	"strings"
)

// Kinds of identity. A unique custom field is a further kind: "custom_fields.key".
const (
	KindExternal = "external_id"
	KindEmail    = "email"
	KindPhone    = "phone"
)

// Identity is a normalised value that recognises one lead; live ones are unique in their tenant.
type Identity struct {
	Kind  string
	Value string
}

// FoundIdentity is a stored identity and whose it is.
type FoundIdentity struct {
	Identity
	LeadID ID
}

// Sketch is what an input says about who it is, as far as that is valid by itself.
func (r *Rules) Sketch(in *Input) *Lead {
	l := &Lead{ExternalID: Normalize(in.ExternalID.Or(""))}
	if addr, problem := ParseEmail("email", in.Email.Or("")); problem == nil {
		l.Email = addr
	}
	l.PhoneE164 = E164(in.Phone.Or(""), r.Region)
	return l
}

// IdentitiesOf are the identities an input names, as far as they are valid by themselves.
func (r *Rules) IdentitiesOf(in *Input) []Identity {
	plain := *r
	plain.Fields = nil
	return plain.Identities(r.Sketch(in))
}

// Outcome says what an upsert did.
type Outcome string

// Outcomes of an upsert and of a row of a bulk.
const (
	Created            Outcome = "created"
	Updated            Outcome = "updated"
	Unchanged          Outcome = "unchanged" // inside only: the API says updated
	DuplicateSuspected Outcome = "duplicate_suspected"
	Invalid            Outcome = "invalid"
)

// Identities are the values by which the tenant's identity rule recognises l, strongest first, then its unique
// custom fields. A role address identifies nobody.
func (r *Rules) Identities(l *Lead) []Identity {
	out := make([]Identity, 0, 2)
	for _, kind := range r.Identity {
		switch kind {
		case KindExternal:
			if l.ExternalID != "" {
				out = append(out, Identity{kind, l.ExternalID})
			}
		case KindEmail:
			if l.Email != "" {
				if f := FoldEmail(l.Email); !r.IsRole(f) {
					out = append(out, Identity{kind, f})
				}
			}
		case KindPhone:
			if l.PhoneE164 != "" {
				out = append(out, Identity{kind, l.PhoneE164})
			}
		}
	}
	if r.hasUnique() {
		custom := l.Custom()
		for _, key := range sortedKeys(r.Fields) {
			if v, ok := custom[key]; ok && r.Fields[key].Unique {
				out = append(out, Identity{customPrefix + key, foldValue(v)})
			}
		}
	}
	return out
}

// Recognises reports whether an upsert looks a lead up by this kind; unique custom fields only refuse.
func (i Identity) Recognises() bool { return !strings.HasPrefix(i.Kind, customPrefix) }

func (r *Rules) hasUnique() bool {
	for _, d := range r.Fields {
		if d.Unique {
			return true
		}
	}
	return false
}

func foldValue(v any) string {
	switch v := v.(type) {
	case string:
		return Fold(v)
	case json.Number:
		return v.String()
	}
	return fmt.Sprint(v)
}

// SamePerson reports whether two leads that share a role address may be one person: no name contradicts.
func SamePerson(a, b *Lead) bool {
	agree := func(x, y string) bool { return x == "" || y == "" || Fold(x) == Fold(y) }
	return agree(a.FirstName, b.FirstName) && agree(a.LastName, b.LastName)
}
