package service

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"unicode/utf8"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/condition"
	"leadloom/internal/event"
	"leadloom/internal/fault"
	"leadloom/internal/mail"
	"leadloom/internal/optional"
	"leadloom/internal/store"
)

// TemplateInput is a template as a caller sends it; absent and null keys keep what is stored.
type TemplateInput struct {
	Name, Subject, HTML, Text optional.Optional[string]
}

func (in TemplateInput) apply(t *campaign.Template) error {
	for _, f := range []struct {
		in   optional.Optional[string]
		into *string
	}{{in.Name, &t.Name}, {in.Subject, &t.Subject}, {in.HTML, &t.HTML}, {in.Text, &t.Text}} {
		if f.in.Has() {
			*f.into = f.in.V
		}
	}
	t.Name = strings.TrimSpace(t.Name)
	var problems []fault.Field
	switch n := utf8.RuneCountInString(t.Name); {
	case n == 0:
		problems = append(problems, fault.Field{Path: "name", Code: "required", Message: "send a name"})
	case n > 200 || mail.CheckHeader(t.Name) != nil:
		problems = append(problems, fault.Field{Path: "name", Code: "invalid", Message: "send a name of at most 200 characters without control characters"})
	}
	_, more := parseContent(campaign.Content{Subject: t.Subject, HTML: t.HTML, Text: t.Text}, "")
	return fault.InvalidFields(append(problems, more...)).OrNil()
}

func templateKey(name string) string { return condition.Fold(strings.TrimSpace(name)) }

// findTemplate finds a template by id, else by name.
func (c *core) findTemplate(r *store.Reader, sc account.Scope, ref string) (*campaign.Template, error) {
	t, err := r.Template(sc, ref)
	if errors.Is(err, store.ErrNotFound) {
		t, err = r.TemplateByName(sc, templateKey(ref))
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil, fault.Invalid("template", "unknown_template", "there is no template with this id or name; GET /api/email/templates lists them")
	}
	return t, err
}

// Templates lists by name; after is the name of the last one seen.
func (m *Mail) Templates(ctx context.Context, sc account.Scope, after string, limit int) ([]*campaign.Template, error) {
	return m.st.Read(ctx).Templates(sc, templateKey(after), limit)
}

// Template is one by id.
func (m *Mail) Template(ctx context.Context, sc account.Scope, id string) (*campaign.Template, error) {
	t, err := m.st.Read(ctx).Template(sc, id)
	return t, notFound(err, "template", id)
}

// CreateTemplate stores a new template after checking its Liquid.
func (m *Mail) CreateTemplate(ctx context.Context, sc account.Scope, in TemplateInput) (*campaign.Template, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (*campaign.Template, error) {
		t := &campaign.Template{ID: tx.NewID(), Version: 1, CreatedAt: tx.Now(), UpdatedAt: tx.Now()}
		if err := in.apply(t); err != nil {
			return nil, err
		}
		return t, m.saveTemplate(tx, sc, t, tx.InsertTemplate(sc, t, templateKey(t.Name)))
	})
}

// UpdateTemplate changes what is sent. Campaigns that were prepared before keep the content they had.
func (m *Mail) UpdateTemplate(ctx context.Context, sc account.Scope, id string, match IfMatch, in TemplateInput) (*campaign.Template, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (*campaign.Template, error) {
		t, err := tx.Template(sc, id)
		if err != nil {
			return nil, notFound(err, "template", id)
		}
		if !match.Holds(t.Version) {
			return nil, fault.Stale(nil)
		}
		before := *t
		if err := in.apply(t); err != nil {
			return nil, err
		}
		if *t == before {
			return t, nil
		}
		t.Version, t.UpdatedAt = t.Version+1, tx.Now()
		return t, m.saveTemplate(tx, sc, t, tx.UpdateTemplate(sc, t, templateKey(t.Name)))
	})
}

func (m *Mail) saveTemplate(tx *store.Tx, sc account.Scope, t *campaign.Template, err error) error {
	if store.IsConflict(err, "name") {
		return fault.Invalid("name", "taken", "another template has this name; choose another one")
	}
	if err != nil {
		return err
	}
	_, err = tx.AppendEvent(sc, event.Event{Type: event.TemplateSaved, Subject: t.ID, Data: jsonData(map[string]any{"name": t.Name, "version": t.Version})})
	return err
}

// DeleteTemplate removes a template; campaigns keep the content they took from it.
func (m *Mail) DeleteTemplate(ctx context.Context, sc account.Scope, id string, match IfMatch) error {
	_, err := write(ctx, m.core, sc, func(tx *store.Tx) (string, error) {
		t, err := tx.Template(sc, id)
		if err != nil {
			return "", notFound(err, "template", id)
		}
		if !match.Holds(t.Version) {
			return "", fault.Stale(nil)
		}
		if err := tx.DeleteTemplate(sc, id); err != nil {
			return "", err
		}
		_, err = tx.AppendEvent(sc, event.Event{Type: event.TemplateDeleted, Subject: id, Data: jsonData(map[string]any{"name": t.Name})})
		return id, err
	})
	return err
}

// suppress puts an address on the list and tells the lead's timeline, once.
func (c *core) suppress(tx *store.Tx, sc account.Scope, address, kind, reason, leadID string) error {
	a, err := mail.ParseAddress(address)
	if err != nil {
		return nil // no such address can be written to anyway
	}
	added, err := tx.Suppress(sc, a.Key(), campaign.Suppression{Address: a.Addr, Kind: kind, Reason: reason, At: tx.Now()})
	if err != nil || !added {
		return err
	}
	_, err = tx.AppendEvent(sc, event.Event{Type: event.SuppressionAdded, LeadID: leadID, Subject: a.Key(), Data: jsonData(map[string]any{"kind": kind, "reason": reason})})
	return err
}

// Suppressions lists by address and kind; after is the last one seen.
func (m *Mail) Suppressions(ctx context.Context, sc account.Scope, afterAddress, afterKind string, limit int) ([]*campaign.Suppression, error) {
	return m.st.Read(ctx).Suppressions(sc, strings.ToLower(afterAddress), afterKind, limit)
}

// Suppress puts an address on the list by hand.
func (m *Mail) Suppress(ctx context.Context, sc account.Scope, address, reason string) (*campaign.Suppression, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (*campaign.Suppression, error) {
		a, err := mail.ParseAddress(address)
		if err != nil {
			return nil, fault.Invalid("address", "not_an_address", err.Error())
		}
		if strings.ContainsRune(reason, 0) {
			return nil, fault.Invalid("reason", "control_character", "send the reason without NUL characters")
		}
		if err := m.suppress(tx, sc, a.Addr, campaign.SuppressManual, reason, ""); err != nil {
			return nil, err
		}
		list, err := tx.SuppressionsOf(sc, a.Key())
		if err != nil {
			return nil, err
		}
		return list[slices.IndexFunc(list, func(s *campaign.Suppression) bool { return s.Kind == campaign.SuppressManual })], nil
	})
}

// Unsuppress takes an address off the list, for one kind or (kind empty) all of them; the reason is kept in the audit.
// An erased one stays.
func (m *Mail) Unsuppress(ctx context.Context, sc account.Scope, address, kind, reason string) error {
	_, err := write(ctx, m.core, sc, func(tx *store.Tx) (string, error) {
		if strings.TrimSpace(reason) == "" || strings.ContainsRune(reason, 0) {
			return "", fault.Invalid("reason", "required", "say why this address may be written to again")
		}
		a, err := mail.ParseAddress(address)
		if err != nil {
			return "", fault.NotFound("suppression", address)
		}
		list, err := tx.SuppressionsOf(sc, a.Key())
		if err != nil {
			return "", err
		}
		list = slices.DeleteFunc(list, func(s *campaign.Suppression) bool { return kind != "" && s.Kind != kind })
		if len(list) == 0 {
			return "", fault.NotFound("suppression", address)
		}
		for _, s := range list {
			if s.Kind == campaign.SuppressErased {
				return "", fault.Conflict("erased", "This person asked to be erased; the address stays suppressed for good.")
			}
			if err := tx.Unsuppress(sc, a.Key(), s.Kind); err != nil {
				return "", err
			}
			if _, err = tx.AppendEvent(sc, event.Event{Type: event.SuppressionEnded, Subject: a.Key(), Data: jsonData(map[string]any{"kind": s.Kind, "reason": reason})}); err != nil {
				return "", err
			}
		}
		return a.Key(), nil
	})
	return err
}

func jsonData(v map[string]any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic("service: event data is not JSON: " + err.Error()) // texts and numbers only
	}
	return b
}

// HasTemplate reports whether a template has this id or name.
func (m *Mail) HasTemplate(ctx context.Context, sc account.Scope, ref string) (bool, error) {
	_, err := m.findTemplate(m.st.Read(ctx), sc, ref)
	if fault.IsKind(err, fault.KindInvalid) {
		return false, nil
	}
	return err == nil, err
}
