package lead

import (
	"encoding/json"
	"fmt"
	"math/big"
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
	l := &Lead{}
	if id, problem := checkText("external_id", in.ExternalID.Or(""), maxText, false); problem == nil {
		l.ExternalID = id
	}
	if addr, problem := ParseEmail("email", in.Email.Or("")); problem == nil {
		l.Email = addr
	}
	if _, e164, _, problem := ParsePhone("phone", in.Phone.Or(""), r.Region); problem == nil {
		l.PhoneE164 = e164
	}
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
		if exact, ok := new(big.Rat).SetString(v.String()); ok { // 1, 1.0 and 1e0 are one value
			return exact.RatString()
		}
		return v.String()
	}
	return fmt.Sprint(v)
}

// MostAlike is the lead among others, who all share a role address with l, that may be the same person: no name
// contradicts, and no other one has more names in common. It is nil when every one of them is somebody else.
func MostAlike(l *Lead, others []*Lead) *Lead {
	var best *Lead
	most := -1
	for _, o := range others {
		if n := namesInCommon(l, o); n > most {
			best, most = o, n
		}
	}
	return best
}

// namesInCommon is -1 when a name contradicts.
func namesInCommon(a, b *Lead) int {
	n := 0
	for _, pair := range [][2]string{{a.FirstName, b.FirstName}, {a.LastName, b.LastName}} {
		switch {
		case pair[0] == "" || pair[1] == "":
		case Fold(pair[0]) != Fold(pair[1]):
			return -1
		default:
			n++
		}
	}
	return n
}
