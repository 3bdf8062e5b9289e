package mail

// Kind says on whose behalf a message goes out; it decides which suppressions hold it back.
type Kind string

// The kinds of messages.
const (
	KindTransactional Kind = "transactional" // answers something the person did; ignores marketing suppressions
	KindWorkflow      Kind = "workflow"      // a workflow's step
	KindCampaign      Kind = "campaign"      // one recipient of a campaign
	KindTest          Kind = "test"          // to oneself; in no ledger's sums
)

// Send is a request to write to one person; service.queueEmail makes a ledger row and a job of it.
type Send struct {
	To       string // "name@domain" or "Name <name@domain>"; empty: the lead's address
	LeadID   string // the lead it is about; empty: none
	Subject  string // Liquid; may be empty when Template is set
	HTML     string // Liquid; the body as HTML
	Text     string // Liquid; the body as text. Without HTML the message is text only
	Template string // id or name of a stored template: gives what is empty above
	From     string // empty: the configured sender
	ReplyTo  string
	Kind     Kind           // empty: transactional
	Auto     bool           // sent by a rule: Auto-Submitted
	Step     string         // workflow.StepRef.Key(): makes the Message-ID, queues at most once, wakes the run when done
	Values   map[string]any // further merge values under "data"; "context" and "workflow" also under their own names

	CampaignID, CampaignName string // for KindTest: what {{ campaign }} says
}
