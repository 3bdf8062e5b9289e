package service

import (
	"errors"
	"strings"
	"time"

	"leadloom/internal/campaign"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/mail"
)

// content is a checked subject and body.
type content struct {
	subject, html, text *mail.Template
}

// parseContent checks the three Liquid sources; paths of problems begin with prefix.
func parseContent(c campaign.Content, prefix string) (*content, []fault.Field) {
	var out content
	var problems []fault.Field
	add := func(path string, err error) {
		var p *mail.Problem
		if errors.As(err, &p) {
			problems = append(problems, fault.Field{Path: prefix + path, Code: p.Code, Message: p.Message})
		}
	}
	var err error
	switch {
	case strings.TrimSpace(c.Subject) == "":
		problems = append(problems, fault.Field{Path: prefix + "subject", Code: "required", Message: "send a subject, or a template that has one"})
	case len(c.Subject) > mail.MaxSubject:
		problems = append(problems, fault.Field{Path: prefix + "subject", Code: "too_long", Message: "a subject has at most 998 bytes"})
	case mail.CheckHeader(c.Subject) != nil:
		problems = append(problems, fault.Field{Path: prefix + "subject", Code: "control_character", Message: "the subject " + mail.CheckHeader(c.Subject).Error()})
	default:
		out.subject, err = mail.ParseTemplate(c.Subject, mail.FormatText)
		add("subject", err)
	}
	if strings.TrimSpace(c.HTML) == "" && strings.TrimSpace(c.Text) == "" {
		problems = append(problems, fault.Field{Path: prefix + "body", Code: "required", Message: "send a body, or a template that has one"})
	}
	if c.HTML != "" {
		out.html, err = mail.ParseTemplate(c.HTML, mail.FormatHTML)
		add("html", err)
	}
	if c.Text != "" {
		out.text, err = mail.ParseTemplate(c.Text, mail.FormatText)
		add("text", err)
	}
	return &out, problems
}

// absent are the problems of content that speaks of what nobody has in a campaign: it would be sent with holes.
func (c *content) absent() []fault.Field {
	var out []fault.Field
	for _, t := range []struct {
		path string
		*mail.Template
	}{{"subject", c.subject}, {"html", c.html}, {"text", c.text}} {
		if t.Template == nil {
			continue
		}
		for _, root := range t.Roots() {
			if root != "lead" && root != "campaign" {
				out = append(out, fault.Field{Path: t.path, Code: "unknown_variable", Message: "a campaign has no " + root + "; its values begin with lead and campaign"})
			}
		}
	}
	return out
}

// missing names the values without a default that this recipient lacks.
func (c *content) missing(values map[string]any) []string {
	var out []string
	for _, t := range []*mail.Template{c.subject, c.html, c.text} {
		if t != nil {
			out = append(out, t.Missing(values)...)
		}
	}
	return out
}

// render fills subject and bodies for one recipient. A value that brings a control character into the subject is an
// error: it is refused, never stripped.
func (c *content) render(values map[string]any) (subject, html, text string, err error) {
	if subject, err = c.subject.Render(values); err != nil {
		return
	}
	if err = mail.CheckHeader(subject); err != nil {
		return "", "", "", &mail.Problem{Code: "control_character", Message: "The rendered subject " + err.Error() + "."}
	}
	if c.html != nil {
		if html, err = c.html.Render(values); err != nil {
			return
		}
	}
	if c.text != nil {
		if text, err = c.text.Render(values); err != nil {
			return
		}
	}
	if strings.ContainsRune(html, 0) || strings.ContainsRune(text, 0) {
		return "", "", "", &mail.Problem{Code: "control_character", Message: "The rendered body holds a NUL character."}
	}
	return
}

// mergeValues are what a template can say about a recipient. l may be nil.
func mergeValues(l *lead.Lead, to mail.Address, campaignID campaign.ID, campaignName string) map[string]any {
	person := map[string]any{"id": "", "first_name": "", "last_name": "", "name": to.Name, "email": to.Addr, "phone": "", "company": "", "source": "", "status": "",
		"score": int64(0), "owner_id": "", "tags": []any{}, "custom_fields": map[string]any{}, "timezone": "", "language": "", "created_at": ""}
	if l != nil {
		tags := make([]any, len(l.Tags))
		for i, t := range l.Tags {
			tags[i] = t
		}
		custom := l.Custom()
		for k, v := range custom {
			custom[k] = plain(v)
		}
		person = map[string]any{"id": string(l.ID), "first_name": l.FirstName, "last_name": l.LastName, "name": fullName(l), "email": l.Email, "phone": l.Phone, "company": l.Company,
			"source": l.Source, "status": l.Status, "score": l.Score, "owner_id": l.OwnerID, "tags": tags, "custom_fields": custom, "timezone": l.Timezone, "language": l.Language,
			"created_at": l.CreatedAt.Format(time.RFC3339)}
	}
	return map[string]any{"lead": person, "campaign": map[string]any{"id": string(campaignID), "name": campaignName}}
}

// plain turns a JSON number into one that a template can compare.
func plain(v any) any {
	n, ok := v.(interface {
		Int64() (int64, error)
		Float64() (float64, error)
	})
	if !ok {
		return v
	}
	if i, err := n.Int64(); err == nil {
		return i
	}
	if f, err := n.Float64(); err == nil {
		return f
	}
	return v
}
