package store

import (
	"strings"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
)

const messageColumns = `id, header_id, kind, campaign_id, recipient_id, lead_id, step_key, to_name, address, from_address, reply_to, subject, html, text, auto,
	state, reason, detail, stage, claim, claim_until_at, attempts, due_at, queued_at, final_at, smtp_code, enhanced, size`

func scanMessage(r row) (*campaign.Message, error) {
	var m campaign.Message
	var auto, until, due, queued, final int64
	err := r.Scan(&m.ID, &m.HeaderID, &m.Kind, &m.CampaignID, &m.RecipientID, &m.LeadID, &m.StepKey, &m.ToName, &m.Address, &m.From, &m.ReplyTo, &m.Subject, &m.HTML, &m.Text, &auto,
		&m.State, &m.Reason, &m.Detail, &m.Stage, &m.Claim, &until, &m.Attempts, &due, &queued, &final, &m.SMTPCode, &m.Enhanced, &m.Size)
	m.Auto, m.ClaimUntil, m.DueAt, m.QueuedAt, m.FinalAt = auto == 1, fromMicros(until), fromMicros(due), fromMicros(queued), fromMicros(final)
	return &m, err
}

// InsertMessage adds a message to the ledger. A second one of the same workflow step is a conflict on step_key.
func (tx *Tx) InsertMessage(sc account.Scope, m *campaign.Message, addressKey string) error {
	_, err := tx.exec(`INSERT INTO messages (tenant_id, address_key, `+messageColumns+`)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22,$23,$24,$25,$26,$27,$28,$29,$30)`,
		string(sc.Tenant()), addressKey, m.ID, m.HeaderID, m.Kind, string(m.CampaignID), m.RecipientID, m.LeadID, m.StepKey, m.ToName, m.Address, m.From, m.ReplyTo, m.Subject, m.HTML, m.Text, flag(m.Auto),
		string(m.State), m.Reason, m.Detail, string(m.Stage), m.Claim, micros(m.ClaimUntil), m.Attempts, micros(m.DueAt), micros(m.QueuedAt), micros(m.FinalAt), m.SMTPCode, m.Enhanced, m.Size)
	return err
}

// Message finds one by id; in a Tx its row is locked.
func (r *Reader) Message(sc account.Scope, id string) (*campaign.Message, error) {
	return queryOne(r, scanMessage, "SELECT "+messageColumns+" FROM messages WHERE tenant_id=$1 AND id=$2"+r.lock(), string(sc.Tenant()), id)
}

// MessageByStep finds the message of a workflow step.
func (r *Reader) MessageByStep(sc account.Scope, stepKey string) (*campaign.Message, error) {
	return queryOne(r, scanMessage, "SELECT "+messageColumns+" FROM messages WHERE tenant_id=$1 AND step_key=$2 AND step_key <> ''"+r.lock(), string(sc.Tenant()), stepKey)
}

const sqlMessagesOfLead = "SELECT " + messageColumns + " FROM messages WHERE tenant_id=$1 AND lead_id=$2 AND lead_id <> '' ORDER BY id DESC LIMIT $3" // messages_by_lead

// MessagesOfLead lists what was written to a lead, newest first.
func (r *Reader) MessagesOfLead(sc account.Scope, leadID string, limit int) ([]*campaign.Message, error) {
	return queryAll(r, scanMessage, sqlMessagesOfLead, string(sc.Tenant()), leadID, limit)
}

const sqlToSend = `SELECT id FROM messages WHERE tenant_id=$1 AND campaign_id=$2 AND state='pending' AND stage='' AND due_at<=$3 ORDER BY due_at, id LIMIT $4` // messages_to_send

// ClaimMessages takes up to limit due messages of a campaign for one worker until a time.
func (tx *Tx) ClaimMessages(sc account.Scope, id campaign.ID, claim string, until time.Time, limit int) ([]*campaign.Message, error) {
	ids, err := queryAll(tx.Reader, scanString, sqlToSend+tx.claim(), string(sc.Tenant()), string(id), micros(tx.now), limit)
	if err != nil || len(ids) == 0 {
		return nil, err
	}
	list := jsonText(ids)
	if _, err := tx.exec(`UPDATE messages SET stage='claimed', claim=$3, claim_until_at=$4 WHERE tenant_id=$1 AND id IN `+tx.list("$2")+` AND state='pending' AND stage=''`,
		string(sc.Tenant()), list, claim, micros(until)); err != nil {
		return nil, err
	}
	return queryAll(tx.Reader, scanMessage, "SELECT "+messageColumns+" FROM messages WHERE tenant_id=$1 AND id IN "+tx.list("$2")+" AND claim=$3 AND stage='claimed'", string(sc.Tenant()), list, claim)
}

// SetStage moves a message between the stages of a pending one, if it still is at the stage and claim given.
func (tx *Tx) SetStage(sc account.Scope, m *campaign.Message, to campaign.Stage, claim string, until time.Time) (bool, error) {
	n, err := tx.exec(`UPDATE messages SET stage=$3, claim=$4, claim_until_at=$5 WHERE tenant_id=$1 AND id=$2 AND state='pending' AND stage=$6 AND claim=$7`,
		string(sc.Tenant()), m.ID, string(to), claim, micros(until), string(m.Stage), m.Claim)
	if n == 1 {
		m.Stage, m.Claim, m.ClaimUntil = to, claim, until
	}
	return n == 1, err
}

// SaveMessage stores what came of a message, with its recipient's row, if the message is still pending at the stage
// and claim in was. It reports false when somebody else has decided.
func (tx *Tx) SaveMessage(sc account.Scope, was campaign.Message, m *campaign.Message) (bool, error) {
	n, err := tx.exec(`UPDATE messages SET state=$3, reason=$4, detail=$5, stage=$6, claim=$7, claim_until_at=$8, attempts=$9, due_at=$10, final_at=$11, smtp_code=$12, enhanced=$13, size=$14,
		subject=$15, from_address=$16 WHERE tenant_id=$1 AND id=$2 AND state=$17 AND stage=$18 AND claim=$19`,
		string(sc.Tenant()), m.ID, string(m.State), m.Reason, m.Detail, string(m.Stage), m.Claim, micros(m.ClaimUntil), m.Attempts, micros(m.DueAt), micros(m.FinalAt), m.SMTPCode, m.Enhanced, m.Size,
		m.Subject, m.From, string(was.State), string(was.Stage), was.Claim)
	if err != nil || n == 0 || m.RecipientID == "" {
		return n == 1, err
	}
	_, err = tx.exec(`UPDATE campaign_recipients SET state=$4, reason=$5, detail=$6, updated_at=$7 WHERE tenant_id=$1 AND campaign_id=$2 AND id=$3`,
		string(sc.Tenant()), string(m.CampaignID), m.RecipientID, string(m.State), m.Reason, m.Detail, micros(tx.now))
	return true, err
}

// Backlog is what a campaign has left to do.
type Backlog struct {
	Waiting int64     // due or to become due
	Working int64     // claimed or open
	NextAt  time.Time // earliest due time of a waiting one
}

// CampaignBacklog says whether anything is left of a campaign, and when.
func (r *Reader) CampaignBacklog(sc account.Scope, id campaign.ID) (b Backlog, err error) {
	next, err := queryAll(r, scanInt, `SELECT due_at FROM messages WHERE tenant_id=$1 AND campaign_id=$2 AND state='pending' AND stage='' ORDER BY due_at, id LIMIT 1`, string(sc.Tenant()), string(id))
	if err != nil {
		return b, err
	}
	if len(next) > 0 {
		b.Waiting, b.NextAt = 1, fromMicros(next[0])
	}
	b.Working, err = queryOne(r, scanInt, `SELECT COUNT(*) FROM messages WHERE tenant_id=$1 AND campaign_id=$2 AND stage IN ('claimed', 'open') AND stage <> ''`, string(sc.Tenant()), string(id))
	return b, err
}

// HandedOverSince counts a campaign's messages that ended since a time, for its pace.
func (r *Reader) HandedOverSince(sc account.Scope, id campaign.ID, since time.Time) (int64, error) {
	return queryOne(r, scanInt, `SELECT COUNT(*) FROM messages WHERE tenant_id=$1 AND campaign_id=$2 AND campaign_id <> '' AND final_at>=$3 AND state <> 'pending'`, string(sc.Tenant()), string(id), micros(since))
}

// Claimed is a message whose worker is gone.
type Claimed struct {
	Tenant  account.TenantID
	Message *campaign.Message
}

// Claimants says whose claims hold. A claim is its claimant's name, a colon, and what tells its jobs apart.
type Claimants struct {
	Me    string        // who asks; SQLite belongs to one process, so that the claims of every other one are abandoned
	Lease time.Duration // PostgreSQL: so are those of other nodes that have not renewed theirs in queue_nodes for so long
}

// claimantLives is whether the claimant of a message m is $4 or has a lease; the database's own clock decides, as in the
// queue. Who asks lives: after an outage of the database its own dialogues are still under way.
const claimantLives = `(starts_with(m.claim, $4 || ':') OR EXISTS (SELECT 1 FROM queue_nodes q WHERE starts_with(m.claim, q.id || ':') AND q.seen_at > now() - make_interval(secs => $3)))`

const (
	sqlAbandoned   = `SELECT tenant_id, id FROM messages WHERE stage <> '' AND (claim_until_at<=$1 OR substr(claim, 1, length($3)) <> $3) ORDER BY claim_until_at, tenant_id, id LIMIT $2` // messages_claimed
	sqlAbandonedPG = `SELECT tenant_id, id FROM messages m WHERE stage <> '' AND (claim_until_at<=$1 OR NOT ` + claimantLives + `) ORDER BY claim_until_at, tenant_id, id LIMIT $2`
)

// AbandonedMessages lists messages whose claim has run out or whose claimant is gone. One that another worker claims at
// this moment may be among them: ask Abandoned about each.
func (tx *Tx) AbandonedMessages(_ account.Instance, c Claimants, limit int) ([]Claimed, error) {
	scan := func(r row) (c Claimed, err error) {
		c.Message = &campaign.Message{}
		err = r.Scan(&c.Tenant, &c.Message.ID)
		return
	}
	if tx.s.pg == nil {
		return queryAll(tx.Reader, scan, sqlAbandoned, micros(tx.now), limit, c.Me+":")
	}
	return queryAll(tx.Reader, scan, sqlAbandonedPG+tx.claim(), micros(tx.now), limit, c.Lease.Seconds(), c.Me)
}

// Abandoned reports that nobody works on a claimed message any more. The caller has locked its row by reading it in this
// Tx: whoever claimed it had its lease before that, so that this look sees it.
func (tx *Tx) Abandoned(sc account.Scope, m *campaign.Message, c Claimants) (bool, error) {
	if !m.ClaimUntil.After(tx.now) {
		return true, nil
	}
	if tx.s.pg == nil {
		return !strings.HasPrefix(m.Claim, c.Me+":"), nil
	}
	lives, err := queryOne(tx.Reader, func(r row) (lives bool, err error) { err = r.Scan(&lives); return },
		`SELECT `+claimantLives+` FROM messages m WHERE tenant_id=$1 AND id=$2`, string(sc.Tenant()), m.ID, c.Lease.Seconds(), c.Me)
	return !lives, err
}

const sqlOverdue = `SELECT tenant_id, id FROM messages WHERE state='pending' AND stage='' AND campaign_id='' AND due_at<=$1 ORDER BY due_at, tenant_id, id LIMIT $2` // messages_overdue

// OverdueMessages lists messages of no campaign that have been due since before a time, oldest first.
func (r *Reader) OverdueMessages(_ account.Instance, before time.Time, limit int) ([]Claimed, error) {
	return queryAll(r, func(r row) (c Claimed, err error) {
		c.Message = &campaign.Message{}
		err = r.Scan(&c.Tenant, &c.Message.ID)
		return
	}, sqlOverdue, micros(before), limit)
}

// InsertMessageEvent adds a fact about a message; false when the event id is known already.
func (tx *Tx) InsertMessageEvent(sc account.Scope, eventID string, m *campaign.Message, f campaign.Fact, source, detail string, at time.Time) (bool, error) {
	n, err := tx.exec(`INSERT INTO message_events (tenant_id, event_id, message_id, campaign_id, lead_id, type, source, detail, at, recorded_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10) ON CONFLICT DO NOTHING`,
		string(sc.Tenant()), eventID, m.ID, string(m.CampaignID), m.LeadID, string(f), source, detail, micros(at), micros(tx.now))
	return n == 1, err
}

// InsertResult adds a result measured elsewhere; false when the campaign has that event id already. With replace the
// count of an existing row is set instead.
func (tx *Tx) InsertResult(sc account.Scope, id campaign.ID, x campaign.Result, replace bool) (bool, error) {
	then := "DO NOTHING"
	if replace {
		then = "(tenant_id, campaign_id, event_id) DO UPDATE SET n=excluded.n, at=excluded.at, recorded_at=excluded.recorded_at WHERE campaign_results.n <> excluded.n"
	}
	n, err := tx.exec(`INSERT INTO campaign_results (tenant_id, campaign_id, event_id, type, n, lead_id, source, at, recorded_at) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9) ON CONFLICT `+then,
		string(sc.Tenant()), string(id), x.EventID, string(x.Type), x.Count, x.LeadID, x.Source, micros(x.At), micros(tx.now))
	return n == 1, err
}

const (
	// message_events_by_campaign, then the message's primary key
	sqlFacts = `SELECT e.type, COUNT(DISTINCT e.message_id) FROM message_events e JOIN messages m ON m.tenant_id=e.tenant_id AND m.id=e.message_id
		WHERE e.tenant_id=$1 AND e.campaign_id=$2 AND m.state='sent' GROUP BY e.type`
	sqlResults = `SELECT type, CAST(SUM(n) AS BIGINT) FROM campaign_results WHERE tenant_id=$1 AND campaign_id=$2 GROUP BY type` // primary key
)

// CampaignFacts sums facts of a campaign: unique sent messages of ours, and what was recorded from elsewhere.
func (r *Reader) CampaignFacts(sc account.Scope, id campaign.ID) (ours, elsewhere map[campaign.Fact]int64, err error) {
	if ours, err = factCounts(r, sqlFacts, string(sc.Tenant()), string(id)); err != nil {
		return nil, nil, err
	}
	elsewhere, err = factCounts(r, sqlResults, string(sc.Tenant()), string(id))
	return ours, elsewhere, err
}

func factCounts(r *Reader, text string, args ...any) (map[campaign.Fact]int64, error) {
	out := map[campaign.Fact]int64{}
	_, err := queryAll(r, func(r row) (struct{}, error) {
		var f campaign.Fact
		var n int64
		err := r.Scan(&f, &n)
		out[f] += n
		return struct{}{}, err
	}, text, args...)
	return out, err
}
