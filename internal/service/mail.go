package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/fault"
	"leadloom/internal/lead"
	"leadloom/internal/mail"
	"leadloom/internal/optional"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// Mail are the verbs on single messages, templates and suppressions, and the worker that hands messages over.
type Mail struct{ *core }

// mailer is what every room that writes to people shares: the relay and who we are to it.
type mailer struct {
	sender  *mail.Sender
	key     []byte // signs Message-IDs
	process string // name of this process's claims; see claimant
	broken  error  // why the settings cannot be used
}

// newMailer prepares the relay. Wrong settings stop no start here: app checks them first, and what they leave unsent
// says why.
func newMailer(s mail.Settings, key []byte) *mailer {
	m := &mailer{key: key, process: uuid.NewString()[:13]}
	if m.sender, m.broken = mail.NewSender(s); m.broken != nil {
		m.sender, _ = mail.NewSender(mail.Settings{})
	}
	return m
}

// ready says whether a dialogue may begin; when not, for how long not, which hold it is, and why.
func (m *mailer) ready() (wait time.Duration, hold, text string) {
	wait, _, text = m.sender.Ready()
	switch {
	case m.broken != nil:
		return time.Minute, campaign.HoldNoRelay, "The SMTP settings cannot be used: " + m.broken.Error()
	case !m.sender.Settings().Configured():
		return time.Minute, campaign.HoldNoRelay, "No SMTP relay is configured. Messages wait until the server is started with one."
	case wait > 0:
		return wait, campaign.HoldRelay, "The SMTP relay is in trouble: " + text
	}
	return 0, "", ""
}

// sendArgs name one message that belongs to no campaign.
type sendArgs struct {
	TenantID  string `json:"tenant_id"`
	MessageID string `json:"message_id"`
}

// Kind implements river.JobArgs.
func (sendArgs) Kind() string { return "mail.send" }

// queueEmail writes a message into the ledger and queues its dialogue, in the caller's transaction. It renders now:
// a template's error is the caller's. The same Step never queues twice; its first message's id is returned again.
// Errors: fault.Invalid on "to", "subject", "body", "template", "from" or "reply_to"; fault.NotFound for the lead.
func (c *core) queueEmail(tx *store.Tx, sc account.Scope, s mail.Send) (string, error) {
	if s.Step != "" {
		old, err := tx.MessageByStep(sc, s.Step)
		if err == nil {
			return old.ID, nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return "", err
		}
	}
	m, to, err := c.compose(tx, sc, s)
	if err != nil {
		return "", err
	}
	if err := tx.InsertMessage(sc, m, to.Key()); err != nil {
		return "", err
	}
	return m.ID, enqueueMessage(tx, string(sc.Tenant()), m.ID)
}

// enqueueMessage queues the dialogue of one message; it is unique, so that the sweep may do it again.
func enqueueMessage(tx *store.Tx, tenant, id string) error {
	o := queue.Unique()
	o.Queue, o.Priority = queue.QueueMail, 1
	return tx.Enqueue(sendArgs{tenant, id}, o)
}

// compose checks and renders a request into a pending ledger row.
func (c *core) compose(tx *store.Tx, sc account.Scope, s mail.Send) (*campaign.Message, mail.Address, error) {
	var problems []fault.Field
	bad := func(path, code, message string) {
		problems = append(problems, fault.Field{Path: path, Code: code, Message: message})
	}
	var person *lead.Lead
	if s.LeadID != "" {
		var err error
		if person, err = tx.Lead(sc, lead.ID(s.LeadID)); err != nil {
			return nil, mail.Address{}, notFound(err, "lead", s.LeadID)
		}
		if !person.Live() {
			return nil, mail.Address{}, fault.NotFound("lead", s.LeadID)
		}
		if s.To == "" {
			s.To = person.Email
		}
	}
	if s.Template != "" {
		t, err := c.findTemplate(tx.Reader, sc, s.Template)
		if err != nil {
			return nil, mail.Address{}, err
		}
		s.Subject = firstOf(s.Subject, t.Subject)
		if s.HTML == "" && s.Text == "" {
			s.HTML, s.Text = t.HTML, t.Text
		}
	}
	to, err := mail.ParseAddress(s.To)
	if err != nil {
		bad("to", "not_an_address", err.Error())
	}
	for path, a := range map[string]string{"from": s.From, "reply_to": s.ReplyTo} {
		if a != "" {
			if _, err := mail.ParseAddress(a); err != nil {
				bad(path, "not_an_address", err.Error())
			}
		}
	}
	content, found := parseContent(campaign.Content{Subject: s.Subject, HTML: s.HTML, Text: s.Text}, "")
	problems = append(problems, found...)
	if len(problems) > 0 {
		return nil, to, fault.InvalidFields(problems)
	}
	values := mergeValues(person, to, campaign.ID(s.CampaignID), s.CampaignName)
	if s.Values != nil {
		values["data"] = s.Values
		for _, own := range []string{"context", "workflow"} { // a workflow's values stand beside the lead's
			if v, ok := s.Values[own]; ok {
				values[own] = v
			}
		}
	}
	subject, html, text, err := content.render(values)
	if err != nil {
		return nil, to, renderFault(err)
	}
	kind := s.Kind
	if kind == "" {
		kind = mail.KindTransactional
	}
	id := tx.NewID()
	if s.Step != "" {
		id = mail.StepMessageID(string(sc.Tenant()), s.Step)
	}
	now := tx.Now()
	if kind == mail.KindTest {
		subject = "[Test] " + subject
	}
	return &campaign.Message{
		ID: id, HeaderID: mail.MessageID(c.mailer.key, string(sc.Tenant()), id, c.mailer.sender.Settings().Domain()), Kind: string(kind), LeadID: s.LeadID, StepKey: s.Step,
		ToName: firstOf(to.Name, fullName(person)), Address: to.Addr, From: s.From, ReplyTo: s.ReplyTo, Subject: subject, HTML: html, Text: text, Auto: s.Auto,
		State: campaign.RowPending, DueAt: now, QueuedAt: now, Size: int64(len(html) + len(text)),
	}, to, nil
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if strings.TrimSpace(t) != "" {
			return t
		}
	}
	return ""
}

func fullName(l *lead.Lead) string {
	if l == nil {
		return ""
	}
	return strings.TrimSpace(l.FirstName + " " + l.LastName)
}

func renderFault(err error) error {
	var p *mail.Problem
	if errors.As(err, &p) {
		return fault.Invalid("body", p.Code, p.Message)
	}
	return err
}

// QueuedEmail is what SendEmail answers.
type QueuedEmail struct {
	MessageID string
	LeadID    string
	At        time.Time
}

// SendEmail queues one transactional message. The address's lead is found, or made when nobody has it yet.
func (m *Mail) SendEmail(ctx context.Context, sc account.Scope, s mail.Send) (*QueuedEmail, error) {
	return write(ctx, m.core, sc, func(tx *store.Tx) (*QueuedEmail, error) {
		s.Kind = mail.KindTransactional
		if s.LeadID == "" {
			to, err := mail.ParseAddress(s.To)
			if err != nil {
				return nil, fault.Invalid("to", "not_an_address", err.Error())
			}
			l, err := m.leadAt(tx, sc, campaign.Person{Email: to.Addr}, "email")
			if err != nil {
				return nil, err
			}
			s.LeadID = string(l.ID)
		}
		id, err := m.queueEmail(tx, sc, s)
		return &QueuedEmail{MessageID: id, LeadID: s.LeadID, At: tx.Now()}, err
	})
}

// leadAt finds the lead of an address or makes one.
func (c *core) leadAt(tx *store.Tx, sc account.Scope, p campaign.Person, source string) (*lead.Lead, error) {
	found, err := tx.FindIdentities(sc, []lead.Identity{{Kind: lead.KindEmail, Value: lead.FoldEmail(p.Email)}}, true)
	if err != nil {
		return nil, err
	}
	if len(found) > 0 {
		return tx.Lead(sc, found[0].LeadID)
	}
	in := lead.Input{Email: optional.Of(p.Email), Source: optional.Of(source)}
	if p.FirstName != "" {
		in.FirstName = optional.Of(p.FirstName)
	}
	if p.LastName != "" {
		in.LastName = optional.Of(p.LastName)
	}
	l, _, err := c.upsertLead(tx, sc, in)
	return l, err
}

// Message is one message of the ledger.
func (m *Mail) Message(ctx context.Context, sc account.Scope, id string) (*campaign.Message, error) {
	out, err := m.st.Read(ctx).Message(sc, id)
	return out, notFound(err, "message", id)
}

// emailData is what an e-mail event tells.
func emailData(m *campaign.Message) json.RawMessage {
	d := map[string]any{"message_id": m.ID, "kind": m.Kind, "subject": m.Subject, "to": m.Address, "state": m.State, "reason": m.Reason}
	if m.CampaignID != "" {
		d["campaign_id"] = m.CampaignID
	}
	if m.Detail != "" {
		d["detail"] = m.Detail
	}
	if m.SMTPCode != 0 {
		d["smtp_code"] = m.SMTPCode
	}
	b, err := json.Marshal(d)
	if err != nil {
		panic(fmt.Sprintf("service: an e-mail event is not JSON: %v", err)) // texts and numbers only
	}
	return b
}
