package service

import (
	"context"
	"fmt"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/campaign"
	"leadloom/internal/failpoint"
)

// relayPatience is how long the relay may be in trouble before a person is told.
const relayPatience = 30 * time.Minute

// mailAlerts tell of mail that waits for a person: a relay that has been in trouble for long, and campaigns whose time
// passed while the server was down.
func (c *core) mailAlerts(ctx context.Context, sc account.Scope) ([]Alert, error) {
	now, out := c.now(), []Alert{}
	if lasts := c.mailer.sender.TroubleFor(); lasts >= failpoint.Shorten(relayPatience) {
		_, _, text := c.mailer.sender.Ready()
		out = append(out, Alert{ID: "mail.relay", Severity: "critical", Source: "mail", At: now.Add(-lasts),
			Message: fmt.Sprintf("The SMTP relay has been in trouble for %d minutes; mail waits: %s", int(lasts.Minutes()), text),
			Action:  "Check the SMTP settings and the relay. What waits is sent by itself once it answers."})
	}
	missed, err := c.st.Read(ctx).HeldCampaigns(sc, campaign.HoldMissed, 20)
	for _, m := range missed {
		out = append(out, Alert{ID: "campaign.missed." + string(m.ID), Severity: "warning", Source: "campaigns", At: m.HoldSince,
			Message: fmt.Sprintf("Campaign %q was not sent: %s", m.Name, m.HoldText), Action: "Start it now, schedule it again, or cancel it."})
	}
	return out, err
}
