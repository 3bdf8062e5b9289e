package crm

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"leadloom/internal/crm/connector"
	"leadloom/internal/lead"
)

// Item is one dirty lead on its way out.
type Item struct {
	Dirty  Dirty
	Lead   *lead.Lead
	Link   *Link // nil when it was never sent
	Values Values
	Hash   string
	Record connector.Record
}

// Plan is what to do with a batch of dirty rows.
type Plan struct {
	Send    []Item
	Same    []Item    // nothing that the CRM should know has changed: counts as in step, no call
	Refused []Verdict // cannot be sent as they are: problems that cost no call
	Gone    []Dirty   // the lead is no longer there: drop the row
}

// errRing ends a ring of servers at one lead. The connection goes on: callers name the hops, and must not be able to
// switch it off.
var errRing = &connector.Error{Class: connector.ClassRecord, Code: "self_loop",
	Message: "This change has passed too many servers of this kind: their connections point at each other in a ring. Take one of them out; then retry."}

// MakePlan maps the leads of a batch. leads and links hold those of the rows that exist; deleted leads are Gone.
func MakePlan(c *Connection, m *Mapping, rows []Dirty, leads map[lead.ID]*lead.Lead, links map[lead.ID]*Link) Plan {
	var p Plan
	for _, d := range rows {
		l := leads[d.LeadID]
		if l == nil || !l.DeletedAt.IsZero() || l.MergedInto != "" {
			p.Gone = append(p.Gone, d)
			continue
		}
		it := Item{Dirty: d, Lead: l, Link: links[d.LeadID]}
		if d.Hops > connector.MaxHops {
			p.Refused = append(p.Refused, Verdict{Item: it, Err: errRing})
			continue
		}
		values, refused := m.Push(l)
		if len(refused) > 0 {
			p.Refused = append(p.Refused, Verdict{Item: it, Err: refused[0]})
			continue
		}
		it.Values, it.Hash = values, m.Hash(values)
		current := it.Link != nil && it.Link.MappingVersion == m.Version && it.Link.Base != nil
		if current && it.Link.SentHash == it.Hash && !d.Forced {
			p.Same = append(p.Same, it)
			continue
		}
		fields := values
		if current && !d.Forced {
			fields = m.Changed(values, it.Link.Base)
		}
		it.Record = connector.Record{Key: string(l.ID), Version: l.Version, Fields: fields, IdempotencyKey: idempotencyKey(c.ID, it, m.Version, fields)}
		p.Send = append(p.Send, it)
	}
	return p
}

// idempotencyKey is the same when the same state is sent again after a crash, and another one for everything else.
func idempotencyKey(c ConnectionID, it Item, mapping int64, fields Values) string {
	forced := int64(0)
	if it.Dirty.Forced {
		forced = it.Dirty.MarkedAt.UnixMicro()
	}
	body, _ := json.Marshal(fields)
	sum := sha256.Sum256(fmt.Appendf(nil, "%s\n%s\n%d\n%d\n%d\n%s", c, it.Lead.ID, it.Lead.Version, mapping, forced, body))
	return hex.EncodeToString(sum[:])
}
