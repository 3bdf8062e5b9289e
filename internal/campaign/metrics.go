package campaign

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"leadloom/internal/fault"
)

// Counts are the ledger's sums of one campaign, computed from its rows.
type Counts struct {
	Recipients int64 `json:"recipients" doc:"All rows of the ledger: the sum of the five below."`
	Pending    int64 `json:"pending"`
	Sent       int64 `json:"sent"`
	Skipped    int64 `json:"skipped"`
	Failed     int64 `json:"failed"`
	Unknown    int64 `json:"unknown"`
}

// Add counts n rows of a state.
func (c *Counts) Add(s RowState, n int64) {
	c.Recipients += n
	switch s {
	case RowPending:
		c.Pending += n
	case RowSent:
		c.Sent += n
	case RowSkipped:
		c.Skipped += n
	case RowFailed:
		c.Failed += n
	case RowUnknown:
		c.Unknown += n
	}
}

// Fact is something learned about messages after they were handed over.
type Fact string

// The facts. The order is that of replies.
const (
	FactSent         Fact = "sent" // elsewhere: ads, calls, another sender
	FactDelivered    Fact = "delivered"
	FactOpened       Fact = "opened"
	FactClicked      Fact = "clicked"
	FactReplied      Fact = "replied"
	FactBounced      Fact = "bounced"
	FactUnsubscribed Fact = "unsubscribed"
	FactComplained   Fact = "complained"
	FactConverted    Fact = "converted"
)

// Facts in the order of replies.
var Facts = []Fact{FactSent, FactDelivered, FactOpened, FactClicked, FactReplied, FactBounced, FactUnsubscribed, FactComplained, FactConverted}

var factNames = map[string]Fact{"send": FactSent, "sends": FactSent, "delivery": FactDelivered, "deliveries": FactDelivered, "open": FactOpened, "opens": FactOpened,
	"click": FactClicked, "clicks": FactClicked, "reply": FactReplied, "replies": FactReplied, "bounce": FactBounced, "bounces": FactBounced,
	"unsubscribe": FactUnsubscribed, "unsubscribes": FactUnsubscribed, "complaint": FactComplained, "complaints": FactComplained, "spam": FactComplained,
	"conversion": FactConverted, "conversions": FactConverted}

// ParseFact reads a fact's name, also in the forms that other systems use (open, opens, emails_opened).
func ParseFact(s string) (Fact, bool) {
	s = strings.TrimPrefix(strings.TrimPrefix(strings.ToLower(strings.TrimSpace(s)), "emails_"), "email.")
	if f, ok := factNames[s]; ok {
		return f, true
	}
	return Fact(s), slices.Contains(Facts, Fact(s))
}

// FactNames lists the facts for a message to a person.
func FactNames() string {
	names := make([]string, len(Facts))
	for i, f := range Facts {
		names[i] = string(f)
	}
	return strings.Join(names, ", ")
}

// Metrics are a campaign's figures. A rate is null when its denominator is empty.
type Metrics struct {
	Sent            int64    `json:"sent" doc:"Messages the relay accepted, and what was reported as sent elsewhere."`
	Delivered       int64    `json:"delivered" doc:"sent − bounced; elsewhere as reported there"`
	Opened          int64    `json:"opened" doc:"Unique recipients with an open."`
	Clicked         int64    `json:"clicked"`
	Replied         int64    `json:"replied"`
	Bounced         int64    `json:"bounced" doc:"Reported after the relay had accepted the message."`
	Unsubscribed    int64    `json:"unsubscribed"`
	Complained      int64    `json:"complained"`
	Converted       int64    `json:"converted"`
	Recipients      int64    `json:"recipients"`
	Pending         int64    `json:"pending"`
	Skipped         int64    `json:"skipped"`
	Failed          int64    `json:"failed"`
	Unknown         int64    `json:"unknown" doc:"Cut off in the dialogue: the relay may have it; never sent again by itself."`
	DeliveryRate    *float64 `json:"delivery_rate" doc:"delivered ÷ sent"`
	OpenRate        *float64 `json:"open_rate" doc:"opened ÷ delivered"`
	ClickRate       *float64 `json:"click_rate" doc:"clicked ÷ delivered"`
	ClickToOpenRate *float64 `json:"click_to_open_rate" doc:"clicked ÷ opened"`
	ReplyRate       *float64 `json:"reply_rate" doc:"replied ÷ delivered"`
	BounceRate      *float64 `json:"bounce_rate" doc:"bounced ÷ sent"`
	UnsubscribeRate *float64 `json:"unsubscribe_rate" doc:"unsubscribed ÷ delivered"`
	ComplaintRate   *float64 `json:"complaint_rate" doc:"complained ÷ delivered"`
	ConversionRate  *float64 `json:"conversion_rate" doc:"converted ÷ delivered"`
}

// Measure computes the metrics from the ledger's counts, the facts about our own messages (unique recipients), and the
// results recorded from elsewhere. What our own ledger has sent is not counted again when a provider tells of it.
// Elsewhere, what is not said follows from the rest: delivered = sent − bounced.
func Measure(c Counts, ours, elsewhere map[Fact]int64) Metrics {
	both := func(f Fact) int64 { return ours[f] + elsewhere[f] }
	delivered, told := elsewhere[FactDelivered]
	if !told {
		delivered = max(elsewhere[FactSent]-elsewhere[FactBounced], 0)
	}
	sent, told := elsewhere[FactSent]
	if !told {
		sent = delivered + elsewhere[FactBounced]
	}
	m := Metrics{
		Sent: c.Sent + sent, Delivered: max(c.Sent-ours[FactBounced], 0) + delivered, Opened: both(FactOpened), Clicked: both(FactClicked), Replied: both(FactReplied),
		Bounced: both(FactBounced), Unsubscribed: both(FactUnsubscribed), Complained: both(FactComplained), Converted: both(FactConverted),
		Recipients: c.Recipients, Pending: c.Pending, Skipped: c.Skipped, Failed: c.Failed, Unknown: c.Unknown,
	}
	m.DeliveryRate, m.BounceRate = Rate(m.Delivered, m.Sent), Rate(m.Bounced, m.Sent)
	m.OpenRate, m.ClickRate, m.ReplyRate = Rate(m.Opened, m.Delivered), Rate(m.Clicked, m.Delivered), Rate(m.Replied, m.Delivered)
	m.ClickToOpenRate = Rate(m.Clicked, m.Opened)
	m.UnsubscribeRate, m.ComplaintRate, m.ConversionRate = Rate(m.Unsubscribed, m.Delivered), Rate(m.Complained, m.Delivered), Rate(m.Converted, m.Delivered)
	return m
}

// Rate is n ÷ of, rounded to four decimals; nil when there is nothing to divide by.
func Rate(n, of int64) *float64 {
	if of <= 0 {
		return nil
	}
	v := float64((n*20000+of)/(2*of)) / 10000
	return &v
}

// Result is what was measured elsewhere, one row per EventID.
type Result struct {
	EventID string
	Type    Fact
	Count   int64
	LeadID  string
	At      time.Time
	Source  string // api, webhook
}

// Limits of one post of results.
const (
	MaxResults = 1000
	MaxCount   = 1_000_000_000
)

// CheckCount reads a count as a caller sent it and refuses what cannot be one.
func CheckCount(path string, n float64) (int64, *fault.Field) {
	switch {
	case n != math.Trunc(n):
		return 0, &fault.Field{Path: path, Code: "not_an_integer", Message: "send a whole number"}
	case n < 0 || n > MaxCount:
		return 0, &fault.Field{Path: path, Code: "out_of_range", Message: fmt.Sprintf("send a whole number from 0 to %d", int64(MaxCount))}
	}
	return int64(n), nil
}
