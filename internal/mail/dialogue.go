package mail

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/textproto"
	"strings"
	"time"

	"github.com/wneessen/go-mail/smtp"
)

// finalWait bounds the wait for the answer to a whole message. A relay may look into the message before it answers,
// and giving up on it here leaves the message unknown for good (RFC 5321 4.5.3.2.6 asks for minutes).
const finalWait = 2 * time.Minute

// letter is a message in its transport form.
type letter struct {
	from, to string
	raw      []byte
}

// ending is how a dialogue ended for its connection.
type ending uint8

const (
	reusable ending = iota // the relay waits for the next message
	broken                 // nothing more can be said on it
	stale                  // it was dead before anything was said: the message may go over another one
)

// speak runs one dialogue over a connection. fresh: nothing was sent over it before. Until the final dot is on its way
// the relay cannot have the message; from then on only its answer tells.
func (s *Sender) speak(c *smtp.Client, l letter, fresh bool) (Outcome, ending) {
	if err := c.UpdateDeadline(s.settings.Timeout); err != nil {
		return Outcome{Result: Relay, Stage: StageDial, Text: clip(err.Error())}, staleUnless(fresh)
	}
	if err := c.Mail("<" + l.from + ">"); err != nil {
		r := readReply(err)
		if timedOut(err) { // a relay that hangs would hang on the next connection too
			return r.outcome(StageSender, Relay), broken
		}
		if r.code == 0 || r.code == 421 { // the relay had given an idle connection up, or takes no more over this one
			return r.outcome(StageSender, Relay), staleUnless(fresh)
		}
		return refused(c, r, StageSender)
	}
	if err := c.Rcpt("<" + l.to + ">"); err != nil {
		return refused(c, readReply(err), StageRecipient)
	}
	w, err := c.Data()
	if err != nil {
		return refused(c, readReply(err), StageContent)
	}
	if _, err := w.Write(l.raw); err != nil { // without the final dot it is no message
		return readReply(err).outcome(StageContent, Relay), broken
	}
	if err := c.UpdateDeadline(max(s.settings.Timeout, min(4*s.settings.Timeout, finalWait))); err != nil {
		return Outcome{Result: Relay, Stage: StageContent, Text: clip(err.Error())}, broken
	}
	if err := w.Close(); err != nil {
		r := readReply(err)
		if r.code == 0 {
			o := r.outcome(StageContent, Unknown)
			o.Text = clip("the connection ended after the message and before the relay's answer: " + r.words)
			return o, broken
		}
		return judge(r, StageContent)
	}
	o := Outcome{Result: Sent, Stage: StageContent, Code: 250}
	if d, ok := w.(*smtp.DataCloser); ok {
		o.Text, o.Enhanced = clip(d.ServerResponse()), Enhanced(d.ServerResponse())
	}
	return o, reusable
}

func timedOut(err error) bool {
	var ne net.Error
	return errors.As(err, &ne) && ne.Timeout()
}

func staleUnless(fresh bool) ending {
	if fresh {
		return broken
	}
	return stale
}

// refused judges a refusal before the content and takes the open transaction back, so that the connection can serve
// the next message.
func refused(c *smtp.Client, r reply, stage string) (Outcome, ending) {
	o, end := judge(r, stage)
	if end == reusable && c.Reset() != nil {
		end = broken
	}
	return o, end
}

// judge says what a refusal means.
func judge(r reply, stage string) (Outcome, ending) {
	o := r.outcome(stage, Relay)
	switch {
	case r.code == 0 || r.code == 421:
		return o, broken
	case relayTrouble(r.code, r.words) || stage == StageSender && r.code < 500:
		return o, broken
	case r.code < 500:
		o.Result, o.Class = Deferred, ClassSoft
		return o, reusable
	}
	o.Result, o.Class = Rejected, Classify(r.code, o.Enhanced, r.words)
	if o.Class == ClassSoft {
		o.Result = Deferred
	}
	if stage != StageRecipient && o.Class == ClassHard {
		o.Class = ClassBlock // a refusal of sender or content says nothing about the mailbox
	}
	return o, reusable
}

// reply is what the relay said, all lines of it, or the error of the connection with code 0.
type reply struct {
	code  int
	words string
}

func readReply(err error) reply {
	var e *textproto.Error
	if errors.As(err, &e) && e.Code >= 200 && e.Code <= 599 {
		return reply{e.Code, strings.ReplaceAll(e.Msg, "\n", " ")}
	}
	return reply{0, err.Error()}
}

func (r reply) outcome(stage string, result Result) Outcome {
	return Outcome{Result: result, Stage: stage, Code: r.code, Enhanced: Enhanced(r.words), Text: clip(r.words)}
}

// write gives the message its transport form.
func write(m *Message) (letter, error) {
	msg, err := build(m)
	if err != nil {
		return letter{}, err
	}
	var b bytes.Buffer
	b.Grow(2*(len(m.HTML)+len(m.Text)) + 1024)
	if _, err := msg.WriteTo(&b); err != nil {
		return letter{}, fmt.Errorf("write the message: %w", err)
	}
	return letter{m.From.Addr, m.To.Addr, b.Bytes()}, nil
}
