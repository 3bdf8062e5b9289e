package action

import (
	"leadloom/internal/fault"
	"leadloom/internal/mail"
	"leadloom/internal/workflow"
)

type sendEmail struct {
	To            string `json:"to" doc:"A fixed address; the lead's when absent."`
	Subject       string `json:"subject" doc:"Liquid."`
	Body          string `json:"body" doc:"Liquid, as HTML."`
	Text          string `json:"text" doc:"Liquid, as plain text."`
	Template      string `json:"template" doc:"A stored template: gives what is absent above."`
	Transactional bool   `json:"transactional" doc:"Answers something the person did, so that marketing opt-outs do not hold it back."`
}

func (c *sendEmail) check(path string) (problems []fault.Field) {
	if c.To != "" {
		if _, err := mail.ParseAddress(c.To); err != nil {
			problems = append(problems, fault.Field{Path: path + ".to", Code: "not_an_address", Message: "write one address, name@domain"})
		}
	}
	if c.Template == "" && c.Subject == "" {
		problems = append(problems, missing(path+".subject", "write a subject, or name a template"))
	}
	if c.Template == "" && c.Body == "" && c.Text == "" {
		problems = append(problems, missing(path+".body", "write a body, or name a template"))
	}
	for _, part := range []struct {
		key, source string
		format      mail.Format
	}{{"subject", c.Subject, mail.FormatText}, {"body", c.Body, mail.FormatHTML}, {"text", c.Text, mail.FormatText}} {
		if part.source == "" {
			continue
		}
		if _, err := mail.ParseTemplate(part.source, part.format); err != nil {
			problems = append(problems, fault.Field{Path: path + "." + part.key, Code: "bad_template", Message: err.Error()})
		}
	}
	return problems
}

// NeedsLead says that without a fixed address the message goes to the run's lead.
func (c *sendEmail) NeedsLead() bool { return c.To == "" }

// Do implements workflow.Action.
func (c *sendEmail) Do(w workflow.World) (workflow.Result, error) {
	err := w.Send(workflow.Email{To: c.To, Subject: c.Subject, HTML: c.Body, Text: c.Text, Template: c.Template, Transactional: c.Transactional})
	return workflow.Result{Outside: true}, err
}
