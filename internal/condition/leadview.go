package condition

import (
	"maps"
	"slices"
	"strings"

	"leadloom/internal/lead"
)

// LeadFields is the set of a lead's own fields plus custom_fields.<key>, whose values decide their type.
var LeadFields Fields = leadFields{
	"id": Text, "first_name": Text, "last_name": Text, "email": Text, "phone": Text, "phone_e164": Text, "company": Text,
	"source": Text, "status": Text, "score": Number, "owner_id": Text, "tags": List, "notes": Text, "timezone": Text,
	"language": Text, "version": Number, "created_at": Time, "updated_at": Time,
}

type leadFields map[string]Type

func (f leadFields) Type(field string) (Type, bool) {
	if t, ok := f[field]; ok {
		return t, true
	}
	for _, prefix := range []string{"custom_fields.", "context.", "trigger."} {
		if len(field) > len(prefix) && strings.HasPrefix(field, prefix) {
			return Any, true
		}
	}
	return Any, false
}

func (f leadFields) Names() []string {
	return slices.Sorted(maps.Keys(f)) // in one order, so that suggestions are the same each time
}

// LeadView sees a lead; custom fields are decoded once, when first asked for. More, when set, answers for names that
// are no field of a lead ("context.x").
type LeadView struct {
	Lead   *lead.Lead
	More   func(field string) any
	custom map[string]any
}

// Value is the lead's value of the field, nil when it has none or there is no lead.
func (v *LeadView) Value(field string) any {
	if strings.HasPrefix(field, "context.") || strings.HasPrefix(field, "trigger.") {
		if v.More == nil {
			return nil
		}
		return v.More(field)
	}
	l := v.Lead
	if l == nil {
		return nil
	}
	if key, ok := strings.CutPrefix(field, "custom_fields."); ok {
		if v.custom == nil {
			v.custom = l.Custom()
		}
		return v.custom[key]
	}
	return LeadValue(l, field)
}

// LeadValue is the value of one of the lead's own fields; nil for an unknown name.
func LeadValue(l *lead.Lead, field string) any {
	switch field {
	case "id":
		return string(l.ID)
	case "first_name":
		return l.FirstName
	case "last_name":
		return l.LastName
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
		return l.Tags
	case "notes":
		return l.Notes
	case "timezone":
		return l.Timezone
	case "language":
		return l.Language
	case "version":
		return l.Version
	case "created_at":
		return l.CreatedAt
	case "updated_at":
		return l.UpdatedAt
	}
	return nil
}
