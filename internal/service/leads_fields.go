package service

import (
	"encoding/json"
	"slices"

	"leadloom/internal/account"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/store"
)

// Fields lists the tenant's custom field definitions.
func (s *Leads) Fields(ctx ctxT, sc account.Scope) ([]*store.Field, error) {
	return s.st.Read(ctx).Fields(sc)
}

// Field reads one definition.
func (s *Leads) Field(ctx ctxT, sc account.Scope, key string) (*store.Field, error) {
	f, err := s.st.Read(ctx).Field(sc, key)
	return f, notFound(err, "custom field", key)
}

// DefineField adds a custom field.
func (s *Leads) DefineField(ctx ctxT, sc account.Scope, d lead.FieldDef) (*store.Field, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*store.Field, error) {
		if err := s.defineField(tx, sc, d); err != nil {
			return nil, err
		}
		return tx.Field(sc, d.Key)
	})
}

func (c *core) defineField(tx *store.Tx, sc account.Scope, d lead.FieldDef) error {
	rules, err := c.leadRules(tx, sc)
	if err != nil {
		return err
	}
	if err := d.Check(rules); err != nil {
		return err
	}
	if len(rules.Fields) >= lead.MaxFields {
		return fault.Conflict("too_many_fields", "A tenant has at most 200 custom fields. Remove one that is not used.")
	}
	added, err := tx.InsertField(sc, d)
	if err != nil {
		return err
	}
	if added && d.Unique { // leads may hold values of a field of this key that was removed
		if err := c.reidentify(tx, sc); err != nil {
			return err
		}
	}
	if !added {
		f := fault.Conflict("field_exists", "There is a custom field with this key already. Send another key, or change that field with PUT.")
		f.Fields = []fault.Field{{Path: "key", Code: "taken", Message: "Send a key that is not used yet."}}
		return f
	}
	return c.fieldChanged(tx, sc, event.FieldDefined, d)
}

// defineNew makes text fields of the unknown custom keys that the tenant's rules accept.
func (c *core) defineNew(tx *store.Tx, sc account.Scope, defs []lead.FieldDef) error {
	for _, d := range defs {
		if err := c.defineField(tx, sc, d); err != nil && !fault.HasCode(err, "field_exists") {
			return err
		}
	}
	return nil
}

func (c *core) fieldChanged(tx *store.Tx, sc account.Scope, typ event.Type, d lead.FieldDef) error {
	if err := tx.BumpCache(sc, areaLeads); err != nil {
		return err
	}
	_, err := tx.AppendEvent(sc, event.Event{Type: typ, Subject: d.Key, Data: data(d)})
	return err
}

// ChangeField replaces a definition. Key and type are fixed; a unique field can't be made of one that was not.
func (s *Leads) ChangeField(ctx ctxT, sc account.Scope, d lead.FieldDef, m IfMatch) (*store.Field, error) {
	return write(ctx, s.core, sc, func(tx *store.Tx) (*store.Field, error) {
		f, err := tx.Field(sc, d.Key)
		if err != nil {
			return nil, notFound(err, "custom field", d.Key)
		}
		if !m.Holds(f.Version) {
			return nil, fault.Stale(f)
		}
		rules, err := s.leadRules(tx, sc)
		if err != nil {
			return nil, err
		}
		if d.Type == "" {
			d.Type = f.Type
		}
		if err := d.Check(rules); err != nil {
			return nil, err
		}
		if d.Type != f.Type {
			return nil, fault.Invalid("type", "fixed", "The type of a field that exists is fixed. Define another field and remove this one.")
		}
		if d.Unique && !f.Unique {
			return nil, fault.Invalid("unique", "fixed", "Leads may already share a value. Define another field that is unique from the start.")
		}
		if f.Unique && !d.Unique {
			if err := s.reidentify(tx, sc); err != nil {
				return nil, err
			}
		}
		f.FieldDef = d
		if err := tx.UpdateField(sc, f); err != nil {
			return nil, err
		}
		return f, s.fieldChanged(tx, sc, event.FieldDefined, d)
	})
}

// RemoveField removes a definition that nothing uses; else it says where it is used. Stored values become invisible
// to checks, and stay in the leads.
func (s *Leads) RemoveField(ctx ctxT, sc account.Scope, key string) error {
	_, err := write(ctx, s.core, sc, func(tx *store.Tx) (bool, error) {
		f, err := tx.Field(sc, key)
		if err != nil {
			return false, notFound(err, "custom field", key)
		}
		uses, err := tx.FieldUses(sc, key)
		if err != nil {
			return false, err
		}
		if len(uses) > 0 {
			err := fault.Conflict("field_in_use", "The field is used. Take it out of what errors lists first.")
			for _, u := range uses {
				err.Fields = append(err.Fields, fault.Field{Path: u, Code: "uses_field", Message: "This names the field. Take it out there."})
			}
			return false, err
		}
		if err := tx.DeleteField(sc, key); err != nil {
			return false, err
		}
		if f.Unique {
			if err := s.reidentify(tx, sc); err != nil {
				return false, err
			}
		}
		return true, s.fieldChanged(tx, sc, event.FieldRemoved, f.FieldDef)
	})
	return err
}

// SaveLeadRules stores the tenant's statuses, required fields, identity rule and region.
func (s *Leads) SaveLeadRules(ctx ctxT, sc account.Scope, rules lead.Rules) (*lead.Rules, error) {
	if err := rules.Check(); err != nil {
		return nil, err
	}
	return write(ctx, s.core, sc, func(tx *store.Tx) (*lead.Rules, error) {
		before, err := s.leadRules(tx, sc)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(rules)
		if err != nil {
			return nil, fault.Internal("write the lead rules", err)
		}
		if err := tx.SaveLeadSettings(sc, settingLeads, string(text)); err != nil {
			return nil, err
		}
		if err := tx.BumpCache(sc, areaLeads); err != nil {
			return nil, err
		}
		if !slices.Equal(before.Identity, rules.Identity) || !slices.Equal(before.RoleNames, rules.RoleNames) {
			if err := s.reidentify(tx, sc); err != nil {
				return nil, err
			}
		}
		_, err = tx.AppendEvent(sc, event.Event{Type: event.SettingChanged, Subject: settingLeads,
			Changes: map[string]event.Change{settingLeads: {From: before, To: rules}}})
		return &rules, err
	})
}

// Tags lists the tags of live leads with their number, after a tag.
func (s *Leads) Tags(ctx ctxT, sc account.Scope, after string, limit int) ([]store.TagCount, error) {
	return s.st.Read(ctx).Tags(sc, after, limit)
}
