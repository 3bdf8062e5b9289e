package service

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/riverqueue/river"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/event"
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
	"leadloom/internal/mail"
	"leadloom/internal/queue"
	"leadloom/internal/store"
	"leadloom/internal/workflow"
)

// lease is how long a claim holds: longer than any dialogue (a free connection 30 s, connecting 30 s, message 30 s, the
// relay's answer 2 min), so that a claim that ran out has no worker any more. The claims of a process that is known to
// be dead are taken back at once; see claimants.
const lease = 4 * time.Minute

func mailScope(tenant string) account.Scope {
	return account.SystemScope(account.TenantID(tenant), "mail")
}

// jobs registers the workers of single messages and of campaigns, and the sweep that puts abandoned messages right.
func (m *Mail) jobs(reg *queue.Registry) []queue.Periodic {
	queue.Register(reg, queue.Kind{Queue: queue.QueueMail, Timeout: lease, Attempts: 12}, m.sendJob)
	queue.Register(reg, queue.Kind{Queue: queue.QueueSystem, Timeout: time.Minute, Attempts: 3}, m.sweepJob)
	return []queue.Periodic{{ID: "mail.sweep", Schedule: queue.Every(time.Minute),
		Job: func(time.Time) (river.JobArgs, *river.InsertOpts) { return mailSweepArgs{}, queue.Unique() }}}
}

// mailSweepArgs has no arguments: the sweep looks at every tenant.
type mailSweepArgs struct{}

// Kind implements river.JobArgs.
func (mailSweepArgs) Kind() string { return "mail.sweep" }

// sendJob hands one message to the relay. Relay trouble and deferrals snooze: they use up no attempt.
func (m *Mail) sendJob(ctx context.Context, job queue.Job[sendArgs]) error {
	sc := mailScope(job.Args.TenantID)
	claim := fmt.Sprintf("%s:m%d", m.claimant(job.Node()), job.ID)
	if wait, hold, text := m.mailer.ready(); wait > 0 {
		if err := m.holdMessage(ctx, sc, job.Args.MessageID, hold, text); err != nil {
			return err
		}
		return queue.Snooze(wait)
	}
	msg, wait, err := m.claimOne(ctx, sc, job.Args.MessageID, m.claimants(job.Node()), claim)
	if err != nil || msg == nil {
		if err == nil && wait > 0 {
			return queue.Snooze(wait)
		}
		return err
	}
	var opened *campaign.Message
	if err := m.st.Write(ctx, func(tx *store.Tx) error {
		x := *msg
		ok, err := m.openMessage(tx, sc, &x)
		if opened = nil; ok {
			opened = &x
		}
		return err
	}); err != nil || opened == nil {
		return err
	}
	msg = opened
	failpoint.Hit(failpoint.MailOpened)
	o := m.mailer.sender.Send(ctx, m.letter(msg))
	failpoint.Hit(failpoint.MailAccepted)
	if err := m.recordOne(ctx, sc, msg, o); err != nil {
		return err
	}
	if d := msg.DueAt.Sub(m.now()); msg.State == campaign.RowPending {
		return queue.Snooze(max(d, time.Second))
	}
	return nil
}

// claimOne takes a single message. A nil message without error: nothing to do now; wait says when to look again.
func (m *Mail) claimOne(ctx context.Context, sc account.Scope, id string, who store.Claimants, claim string) (msg *campaign.Message, wait time.Duration, err error) {
	err = m.st.Write(ctx, func(tx *store.Tx) error {
		msg, wait = nil, 0
		x, err := tx.Message(sc, id)
		if errors.Is(err, store.ErrNotFound) {
			return nil // erased meanwhile
		}
		if err != nil || x.State != campaign.RowPending {
			return err
		}
		if x.Stage != campaign.StageWaiting {
			if x.Claim != claim {
				gone, err := tx.Abandoned(sc, x, who)
				if err != nil {
					return err
				}
				if !gone { // look again when its claimant may be
					wait = min(max(x.ClaimUntil.Sub(tx.Now()), time.Second), queue.LeaseFor)
					return nil
				}
			}
			if err := m.recover(tx, sc, x); err != nil || x.State != campaign.RowPending {
				return err
			}
		}
		if d := x.DueAt.Sub(tx.Now()); d > 0 {
			wait = d
			return nil
		}
		if _, err := tx.SetStage(sc, x, campaign.StageClaimed, claim, tx.Now().Add(lease)); err != nil {
			return err
		}
		msg = x
		return nil
	})
	return msg, wait, err
}

// claimant is the name under which a job on a node claims messages: on PostgreSQL the node's, so that its claims end
// with its lease, on SQLite this process's.
func (c *core) claimant(node string) string {
	if c.st.Engine() == "postgres" {
		return node
	}
	return c.mailer.process
}

// claimants says whose claims hold for a job on a node. No message meets the relay twice where this is wrong about one that lives, cut
// off from the database say: each of its next steps finds another claim on the row and does nothing.
func (c *core) claimants(node string) store.Claimants {
	return store.Claimants{Me: c.claimant(node), Lease: queue.LeaseFor}
}

// recover puts an abandoned message right: one that never met the relay waits again; one that may have is unknown and
// is never sent again by itself.
func (c *core) recover(tx *store.Tx, sc account.Scope, x *campaign.Message) error {
	was := *x
	x.Claim, x.ClaimUntil = "", time.Time{}
	x.Stage = campaign.StageWaiting
	if was.Stage == campaign.StageOpen {
		return c.finishMessage(tx, sc, was, x, campaign.RowUnknown, campaign.ReasonCutOff, "This server ended while it talked to the relay. Look the Message-ID up there before sending again.")
	}
	_, err := tx.SaveMessage(sc, was, x)
	return err
}

// openMessage is the last look before the dialogue: suppressed and erased recipients are skipped now. It reports
// whether to go on; the message is then open.
func (c *core) openMessage(tx *store.Tx, sc account.Scope, x *campaign.Message) (bool, error) {
	to, err := mail.ParseAddress(x.Address)
	was := *x
	if err != nil {
		return false, c.finishMessage(tx, sc, was, x, campaign.RowSkipped, campaign.ReasonInvalid, err.Error())
	}
	list, err := tx.SuppressionsOf(sc, to.Key())
	if err != nil {
		return false, err
	}
	for _, s := range list {
		if s.Holds(x.Kind == string(mail.KindTransactional), tx.Now()) {
			return false, c.finishMessage(tx, sc, was, x, campaign.RowSkipped, campaign.ReasonSuppressed+s.Kind, s.Reason)
		}
	}
	if ok, err := c.mayMail(tx, sc, x); err != nil || !ok {
		return false, err
	}
	return tx.SetStage(sc, x, campaign.StageOpen, x.Claim, tx.Now().Add(lease))
}

// finishMessage ends a message: ledger row, recipient, timeline and the waiting workflow step, in one transaction.
// A message that somebody else has ended stays as it is.
func (c *core) finishMessage(tx *store.Tx, sc account.Scope, was campaign.Message, x *campaign.Message, state campaign.RowState, reason, detail string) error {
	x.State, x.Reason, x.Detail = state, reason, detail
	x.Stage, x.Claim, x.ClaimUntil, x.FinalAt = campaign.StageWaiting, "", time.Time{}, tx.Now()
	ours, err := tx.SaveMessage(sc, was, x)
	if err != nil || !ours {
		return err
	}
	typ := map[campaign.RowState]event.Type{campaign.RowSent: event.EmailSent, campaign.RowFailed: event.EmailFailed, campaign.RowSkipped: event.EmailSkipped, campaign.RowUnknown: event.EmailUnknown}[state]
	e := event.Event{Type: typ, LeadID: x.LeadID, Subject: x.ID, Data: emailData(x)}
	if x.Kind != string(mail.KindTest) {
		if _, err := tx.AppendEvent(sc, e); err != nil {
			return err
		}
	}
	return c.messageDone(tx, sc, x)
}

// messageDone wakes the workflow step that waits for the message.
func (c *core) messageDone(tx *store.Tx, sc account.Scope, x *campaign.Message) error {
	ref, ok := workflow.ParseStepRef(x.StepKey)
	if !ok {
		return nil
	}
	o := workflow.Outcome{Code: x.Reason, Message: x.Detail, RemoteID: x.HeaderID, Output: map[string]any{"message_id": x.ID, "to": x.Address, "subject": x.Subject}}
	switch x.State {
	case campaign.RowSent:
		o.State = workflow.Done
	case campaign.RowSkipped:
		o.State = workflow.Skipped
	case campaign.RowUnknown:
		o.State = workflow.Unknown
	default:
		o.State = workflow.Failed
	}
	return c.resumeStep(tx, sc, ref, o)
}

// letter is the message in the sender's terms. Addresses were checked when the row was made.
func (c *core) letter(x *campaign.Message) *mail.Message {
	to, _ := mail.ParseAddress(x.Address)
	if mail.CheckHeader(x.ToName) == nil {
		to.Name = x.ToName
	}
	from, err := mail.ParseAddress(firstOf(x.From, c.mailer.sender.Settings().From))
	if err != nil {
		from = mail.Address{}
	}
	reply, _ := mail.ParseAddress(x.ReplyTo)
	return &mail.Message{MessageID: x.HeaderID, Date: c.now(), From: from, ReplyTo: reply, To: to, Subject: x.Subject, HTML: x.HTML, Text: x.Text, Auto: x.Auto,
		Bulk: x.CampaignID != ""}
}

// recordOne stores what came of a dialogue. It tries hard: an outcome that cannot be stored becomes unknown.
func (m *Mail) recordOne(ctx context.Context, sc account.Scope, x *campaign.Message, o mail.Outcome) error {
	return m.writeHard(ctx, func(tx *store.Tx) error { return m.record(tx, sc, x, o) })
}

// writeHard repeats a write that the database cannot take now, for half a minute, also when ctx has ended.
func (c *core) writeHard(ctx context.Context, fn func(*store.Tx) error) error {
	ctx = context.WithoutCancel(ctx)
	var err error
	for wait := 100 * time.Millisecond; wait < 30*time.Second; wait *= 2 {
		if err = c.st.Write(ctx, fn); err == nil || !fault.IsKind(err, fault.KindUnavailable) {
			return err
		}
		t := time.NewTimer(wait)
		<-t.C
	}
	return err
}

// record turns an outcome into the row's new state. x changes after the commit only: the function may run twice.
func (c *core) record(tx *store.Tx, sc account.Scope, x *campaign.Message, o mail.Outcome) error {
	was := *x
	y := was
	y.SMTPCode, y.Enhanced, y.Size = int64(o.Code), o.Enhanced, int64(o.Size)
	err := c.recordInto(tx, sc, was, &y, o)
	if err == nil {
		tx.OnCommit(func() { *x = y })
	}
	return err
}

func (c *core) recordInto(tx *store.Tx, sc account.Scope, was campaign.Message, y *campaign.Message, o mail.Outcome) error {
	switch o.Result {
	case mail.Sent:
		return c.finishMessage(tx, sc, was, y, campaign.RowSent, campaign.ReasonAccepted, o.Text)
	case mail.Unknown:
		return c.finishMessage(tx, sc, was, y, campaign.RowUnknown, campaign.ReasonCutOff, o.Text)
	case mail.Unfit:
		reason := campaign.ReasonRender
		if strings.Contains(o.Text, mail.ErrTooLarge.Error()) {
			reason = campaign.ReasonTooLarge
		}
		return c.finishMessage(tx, sc, was, y, campaign.RowFailed, reason, o.Text)
	case mail.Rejected:
		return c.recordRejected(tx, sc, was, y, o)
	}
	y.Stage, y.Claim, y.ClaimUntil, y.Detail = campaign.StageWaiting, "", time.Time{}, o.Text
	if o.Result == mail.Relay {
		wait, _, _ := c.mailer.ready()
		y.Reason, y.DueAt = campaign.ReasonWaitsRelay, tx.Now().Add(max(wait, time.Second))
	} else {
		y.Attempts++
		if campaign.Exhausted(y.Attempts) {
			return c.finishMessage(tx, sc, was, y, campaign.RowFailed, campaign.ReasonSoft, o.Text)
		}
		y.Reason, y.DueAt = campaign.ReasonRetry, tx.Now().Add(campaign.RetryAfter(y.Attempts))
	}
	_, err := tx.SaveMessage(sc, was, y)
	return err
}

// recordRejected fails one row for its own reason, and suppresses an address that does not exist.
func (c *core) recordRejected(tx *store.Tx, sc account.Scope, was campaign.Message, y *campaign.Message, o mail.Outcome) error {
	reason := campaign.ReasonBlock
	switch {
	case o.Stage == mail.StageSender:
		reason = campaign.ReasonRefused
	case o.Enhanced == "5.3.4" || o.Enhanced == "5.2.3" || o.Stage == mail.StageContent && o.Code == 552:
		reason = campaign.ReasonTooLarge
	case o.Class == mail.ClassHard:
		reason = campaign.ReasonHard
	}
	y.Attempts++
	if reason == campaign.ReasonHard {
		if err := c.suppress(tx, sc, y.Address, campaign.SuppressHard, o.Text, y.LeadID); err != nil {
			return err
		}
	}
	return c.finishMessage(tx, sc, was, y, campaign.RowFailed, reason, strings.TrimSpace(fmt.Sprintf("%d %s", o.Code, o.Text)))
}

// holdMessage shows why a message waits; it writes only when the reason is new.
func (m *Mail) holdMessage(ctx context.Context, sc account.Scope, id, hold, text string) error {
	x, err := m.st.Read(ctx).Message(sc, id)
	if errors.Is(err, store.ErrNotFound) || err == nil && (x.State != campaign.RowPending || x.Reason == hold && x.Detail == text) {
		return nil
	}
	if err != nil {
		return err
	}
	return m.st.Write(ctx, func(tx *store.Tx) error {
		x, err := tx.Message(sc, id)
		if err != nil || x.State != campaign.RowPending || x.Stage != campaign.StageWaiting {
			return err
		}
		was := *x
		x.Reason, x.Detail = hold, text
		_, err = tx.SaveMessage(sc, was, x)
		return err
	})
}
