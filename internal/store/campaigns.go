package store

import (
	"encoding/json"
	"fmt"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
)

const campaignColumns = `id, name, kind, state, hold, hold_text, hold_since_at, topic, audience, content, from_address, reply_to, scheduled_at,
	per_minute, missing, prepared, version, created_at, updated_at, started_at, finished_at`

func scanCampaign(r row) (*campaign.Campaign, error) {
	var c campaign.Campaign
	var holdSince, scheduled, created, updated, started, finished int64
	var audience, content string
	if err := r.Scan(&c.ID, &c.Name, &c.Kind, &c.State, &c.Hold, &c.HoldText, &holdSince, &c.Topic, &audience, &content, &c.From, &c.ReplyTo, &scheduled,
		&c.PerMinute, &c.Missing, &c.Prepared, &c.Version, &created, &updated, &started, &finished); err != nil {
		return nil, err
	}
	c.HoldSince, c.ScheduledAt, c.StartedAt, c.FinishedAt = fromMicros(holdSince), fromMicros(scheduled), fromMicros(started), fromMicros(finished)
	c.CreatedAt, c.UpdatedAt = fromMicros(created), fromMicros(updated)
	if err := json.Unmarshal([]byte(audience), &c.Audience); err != nil {
		return nil, fmt.Errorf("audience of campaign %s: %w", c.ID, err)
	}
	if err := json.Unmarshal([]byte(content), &c.Content); err != nil {
		return nil, fmt.Errorf("content of campaign %s: %w", c.ID, err)
	}
	return &c, nil
}

// Campaign finds one by id; in a Tx its row is locked.
func (r *Reader) Campaign(sc account.Scope, id campaign.ID) (*campaign.Campaign, error) {
	return queryOne(r, scanCampaign, "SELECT "+campaignColumns+" FROM campaigns WHERE tenant_id=$1 AND id=$2"+r.lock(), string(sc.Tenant()), string(id))
}

// SharedCampaign reads a campaign's state so that nobody changes it until this transaction ends, while others may
// share it: a message is handed over only under a state that holds at that moment.
func (tx *Tx) SharedCampaign(sc account.Scope, id campaign.ID) (campaign.State, error) {
	share := ""
	if tx.s.pg != nil {
		share = " FOR SHARE"
	}
	s, err := queryOne(tx.Reader, scanString, "SELECT state FROM campaigns WHERE tenant_id=$1 AND id=$2"+share, string(sc.Tenant()), string(id))
	return campaign.State(s), err
}

const (
	sqlCampaigns        = "SELECT " + campaignColumns + " FROM campaigns WHERE tenant_id=$1 AND id<$2 ORDER BY id DESC LIMIT $3 OFFSET $4"              // primary key
	sqlCampaignsByState = "SELECT " + campaignColumns + " FROM campaigns WHERE tenant_id=$1 AND id<$2 AND state=$5 ORDER BY id DESC LIMIT $3 OFFSET $4" // campaigns_by_state
	lastID              = "\U0010FFFF"
)

// Campaigns lists newest first: those before an id (empty: from the start), of a state (empty: any).
func (r *Reader) Campaigns(sc account.Scope, state campaign.State, before string, skip, limit int) ([]*campaign.Campaign, error) {
	if before == "" {
		before = lastID
	}
	if state != "" {
		return queryAll(r, scanCampaign, sqlCampaignsByState, string(sc.Tenant()), before, limit, skip, string(state))
	}
	return queryAll(r, scanCampaign, sqlCampaigns, string(sc.Tenant()), before, limit, skip)
}

const sqlHeldCampaigns = "SELECT " + campaignColumns + " FROM campaigns WHERE tenant_id=$1 AND state='scheduled' AND hold=$2 ORDER BY id DESC LIMIT $3" // campaigns_by_state

// HeldCampaigns lists scheduled campaigns that something holds, newest first.
func (r *Reader) HeldCampaigns(sc account.Scope, hold string, limit int) ([]*campaign.Campaign, error) {
	return queryAll(r, scanCampaign, sqlHeldCampaigns, string(sc.Tenant()), hold, limit)
}

// CountCampaigns counts exactly; a tenant has few.
func (r *Reader) CountCampaigns(sc account.Scope, state campaign.State) (int64, error) {
	if state != "" {
		return queryOne(r, scanInt, "SELECT COUNT(*) FROM campaigns WHERE tenant_id=$1 AND state=$2", string(sc.Tenant()), string(state))
	}
	return queryOne(r, scanInt, "SELECT COUNT(*) FROM campaigns WHERE tenant_id=$1", string(sc.Tenant()))
}

// InsertCampaign stores a new one.
func (tx *Tx) InsertCampaign(sc account.Scope, c *campaign.Campaign) error {
	_, err := tx.exec(`INSERT INTO campaigns (tenant_id, `+campaignColumns+`)
		VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13,$14,$15,$16,$17,$18,$19,$20,$21,$22)`, campaignArgs(sc, c)...)
	return err
}

// UpdateCampaign stores the state of a campaign read in this transaction; version and time are the caller's.
func (tx *Tx) UpdateCampaign(sc account.Scope, c *campaign.Campaign) error {
	n, err := tx.exec(`UPDATE campaigns SET name=$3, kind=$4, state=$5, hold=$6, hold_text=$7, hold_since_at=$8, topic=$9, audience=$10, content=$11,
		from_address=$12, reply_to=$13, scheduled_at=$14, per_minute=$15, missing=$16, prepared=$17, version=$18, created_at=$19, updated_at=$20, started_at=$21,
		finished_at=$22 WHERE tenant_id=$1 AND id=$2`, campaignArgs(sc, c)...)
	return one(n, err)
}

// SavePrepared notes how far the audience is frozen.
func (tx *Tx) SavePrepared(sc account.Scope, id campaign.ID, prepared string) error {
	n, err := tx.exec(`UPDATE campaigns SET prepared=$3 WHERE tenant_id=$1 AND id=$2`, string(sc.Tenant()), string(id), prepared)
	return one(n, err)
}

func campaignArgs(sc account.Scope, c *campaign.Campaign) []any {
	return []any{string(sc.Tenant()), string(c.ID), c.Name, string(c.Kind), string(c.State), c.Hold, c.HoldText, micros(c.HoldSince), c.Topic, jsonText(c.Audience), jsonText(c.Content),
		c.From, c.ReplyTo, micros(c.ScheduledAt), c.PerMinute, string(c.Missing), c.Prepared, c.Version, micros(c.CreatedAt), micros(c.UpdatedAt), micros(c.StartedAt), micros(c.FinishedAt)}
}

// DeleteCampaign removes a campaign with its ledger and results. Its messages stay on their leads' timelines.
func (tx *Tx) DeleteCampaign(sc account.Scope, id campaign.ID) error {
	for _, t := range []string{"campaign_recipients", "campaign_results", "campaign_named"} {
		if _, err := tx.exec("DELETE FROM "+t+" WHERE tenant_id=$1 AND campaign_id=$2", string(sc.Tenant()), string(id)); err != nil {
			return err
		}
	}
	n, err := tx.exec("DELETE FROM campaigns WHERE tenant_id=$1 AND id=$2", string(sc.Tenant()), string(id))
	return one(n, err)
}

// MovingCampaign is one that the system has to move on.
type MovingCampaign struct {
	Tenant account.TenantID
	ID     campaign.ID
	State  campaign.State
	DueAt  time.Time
	Held   bool // a person decides
}

const sqlMoving = `SELECT tenant_id, id, state, scheduled_at, hold FROM campaigns WHERE state=$1 AND state IN ('scheduled', 'preparing', 'sending') AND (tenant_id, id) > ($2, $3) ORDER BY tenant_id, id LIMIT $4` // campaigns_moving

// MovingCampaigns lists campaigns of all tenants in a state that time or a job must end.
func (r *Reader) MovingCampaigns(_ account.Instance, state campaign.State, afterTenant account.TenantID, afterID campaign.ID, limit int) ([]MovingCampaign, error) {
	return queryAll(r, func(r row) (m MovingCampaign, err error) {
		var due int64
		var hold string
		err = r.Scan(&m.Tenant, &m.ID, &m.State, &due, &hold)
		m.DueAt, m.Held = fromMicros(due), hold == campaign.HoldMissed
		return
	}, sqlMoving, string(state), string(afterTenant), string(afterID), limit)
}

const sqlLedgerCounts = `SELECT campaign_id, state, COUNT(*) FROM campaign_recipients WHERE tenant_id=$1 AND campaign_id=$2 GROUP BY campaign_id, state` // campaign_recipients_by_state

// LedgerCounts sums a campaign's ledger from its rows.
func (r *Reader) LedgerCounts(sc account.Scope, id campaign.ID) (campaign.Counts, error) {
	var c campaign.Counts
	_, err := queryAll(r, func(r row) (struct{}, error) {
		var of string
		var s campaign.RowState
		var n int64
		err := r.Scan(&of, &s, &n)
		c.Add(s, n)
		return struct{}{}, err
	}, sqlLedgerCounts, string(sc.Tenant()), string(id))
	return c, err
}

// ReasonCounts sums a campaign's ledger by state and reason.
func (r *Reader) ReasonCounts(sc account.Scope, id campaign.ID) (map[string]int64, error) {
	out := map[string]int64{}
	_, err := queryAll(r, func(r row) (struct{}, error) {
		var state, reason string
		var n int64
		err := r.Scan(&state, &reason, &n)
		if reason != "" {
			out[reason] += n
		}
		return struct{}{}, err
	}, `SELECT state, reason, COUNT(*) FROM campaign_recipients WHERE tenant_id=$1 AND campaign_id=$2 GROUP BY state, reason`, string(sc.Tenant()), string(id))
	return out, err
}

const recipientColumns = "id, campaign_id, lead_id, name, address, state, reason, detail, message_id, created_at, updated_at"

func scanRecipient(r row) (*campaign.Recipient, error) {
	var x campaign.Recipient
	var created, updated int64
	err := r.Scan(&x.ID, &x.CampaignID, &x.LeadID, &x.Name, &x.Address, &x.State, &x.Reason, &x.Detail, &x.MessageID, &created, &updated)
	x.CreatedAt, x.UpdatedAt = fromMicros(created), fromMicros(updated)
	return &x, err
}

const (
	sqlRecipients        = "SELECT " + recipientColumns + " FROM campaign_recipients WHERE tenant_id=$1 AND campaign_id=$2 AND id>$3 ORDER BY id LIMIT $4"              // primary key
	sqlRecipientsByState = "SELECT " + recipientColumns + " FROM campaign_recipients WHERE tenant_id=$1 AND campaign_id=$2 AND state=$5 AND id>$3 ORDER BY id LIMIT $4" // campaign_recipients_by_state
)

// Recipients lists a campaign's ledger in the order of its freezing: those after an id, of a state (empty: any).
func (r *Reader) Recipients(sc account.Scope, id campaign.ID, state campaign.RowState, after string, limit int) ([]*campaign.Recipient, error) {
	if state != "" {
		return queryAll(r, scanRecipient, sqlRecipientsByState, string(sc.Tenant()), string(id), after, limit, string(state))
	}
	return queryAll(r, scanRecipient, sqlRecipients, string(sc.Tenant()), string(id), after, limit)
}

// InsertRecipient adds a ledger row. It reports false when the lead and address have one already. A row whose address
// another lead of the campaign has is stored as skipped: duplicate_address, which it writes into x.
func (tx *Tx) InsertRecipient(sc account.Scope, x *campaign.Recipient, addressKey string) (bool, error) {
	n, err := tx.insertRecipient(sc, x, addressKey)
	if err != nil || n == 1 {
		return n == 1, err
	}
	if addressKey == "" {
		return false, nil
	}
	x.State, x.Reason, x.Detail, x.MessageID = campaign.RowSkipped, campaign.ReasonDuplicate, "another lead of this campaign has the same address", ""
	n, err = tx.insertRecipient(sc, x, addressKey)
	return n == 1, err
}

func (tx *Tx) insertRecipient(sc account.Scope, x *campaign.Recipient, addressKey string) (int64, error) {
	return tx.exec(`INSERT INTO campaign_recipients (tenant_id, address_key, `+recipientColumns+`) VALUES ($1,$2,$3,$4,$5,$6,$7,$8,$9,$10,$11,$12,$13) ON CONFLICT DO NOTHING`,
		string(sc.Tenant()), addressKey, x.ID, string(x.CampaignID), x.LeadID, x.Name, x.Address, string(x.State), x.Reason, x.Detail, x.MessageID, micros(x.CreatedAt), micros(x.UpdatedAt))
}

// CancelPending ends up to limit waiting rows of a campaign as skipped: cancelled, messages and recipients alike, and
// returns what its caller needs to write an event of each message that it ended. Rows in a dialogue finish by themselves.
func (tx *Tx) CancelPending(sc account.Scope, id campaign.ID, limit int) ([]*campaign.Message, error) {
	ended, err := queryAll(tx.Reader, scanPending, `SELECT id, kind, lead_id, address, subject FROM messages WHERE tenant_id=$1 AND campaign_id=$2 AND state='pending' AND stage='' ORDER BY due_at, id LIMIT $3`+tx.claim(),
		string(sc.Tenant()), string(id), limit)
	if err != nil || len(ended) == 0 {
		return nil, err
	}
	ids := make([]string, len(ended))
	for i, m := range ended {
		ids[i], m.CampaignID, m.State, m.Reason, m.FinalAt = m.ID, id, campaign.RowSkipped, campaign.ReasonCancelled, tx.now
	}
	list, now := jsonText(ids), micros(tx.now)
	if _, err := tx.exec(`UPDATE messages SET state='skipped', reason=$4, final_at=$3 WHERE tenant_id=$1 AND id IN `+tx.list("$2"), string(sc.Tenant()), list, now, campaign.ReasonCancelled); err != nil {
		return nil, err
	}
	_, err = tx.exec(`UPDATE campaign_recipients SET state='skipped', reason=$5, detail='', updated_at=$3 WHERE tenant_id=$1 AND campaign_id=$4 AND state='pending'
		AND id IN (SELECT recipient_id FROM messages WHERE tenant_id=$1 AND id IN `+tx.list("$2")+`)`, string(sc.Tenant()), list, now, string(id), campaign.ReasonCancelled)
	return ended, err
}

func scanPending(r row) (*campaign.Message, error) {
	var m campaign.Message
	err := r.Scan(&m.ID, &m.Kind, &m.LeadID, &m.Address, &m.Subject)
	return &m, err
}
