package service

import (
	"context"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// sweepJob puts messages right whose worker is gone, and campaigns that nobody moves.
func (m *Mail) sweepJob(ctx context.Context, job queue.Job[mailSweepArgs]) error {
	if _, err := m.Recover(ctx, job.Node()); err != nil {
		return err
	}
	return m.st.Write(ctx, m.requeue)
}

// requeue gives a job to what should have one: messages long due (their job died), and campaigns that should move.
// Jobs are unique, so that what has one gets no second.
func (m *Mail) requeue(tx *store.Tx) error {
	in := account.NewInstance("mail")
	overdue, err := tx.OverdueMessages(in, tx.Now().Add(-10*time.Minute), 200)
	if err != nil {
		return err
	}
	for _, o := range overdue {
		if err := enqueueMessage(tx, string(o.Tenant), o.Message.ID); err != nil {
			return err
		}
	}
	for _, state := range []campaign.State{campaign.Scheduled, campaign.Preparing, campaign.Sending} {
		moving, err := tx.MovingCampaigns(in, state, "", "", 1000)
		if err != nil {
			return err
		}
		for _, c := range moving {
			if err := requeueCampaign(tx, c); err != nil {
				return err
			}
		}
	}
	return nil
}

// Recover puts right every message whose worker is gone and says how many it looked at; node is the asking job's. Each
// transaction takes at most 200.
func (c *core) Recover(ctx context.Context, node string) (total int, err error) {
	who := c.claimants(node)
	for {
		var n int
		err := c.st.Write(ctx, func(tx *store.Tx) error {
			gone, err := tx.AbandonedMessages(account.NewInstance("mail"), who, 200)
			n = len(gone)
			for _, g := range gone {
				sc := account.SystemScope(g.Tenant, "mail")
				x, err := tx.Message(sc, g.Message.ID)
				if err != nil {
					return err
				}
				if x.State != campaign.RowPending || x.Stage == campaign.StageWaiting {
					continue
				}
				if gone, err := tx.Abandoned(sc, x, who); err != nil {
					return err
				} else if !gone {
					continue
				}
				if err := c.recover(tx, sc, x); err != nil {
					return err
				}
			}
			return err
		})
		total += n
		if err != nil || n < 200 {
			return total, err
		}
	}
}
