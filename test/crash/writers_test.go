package crash

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"leadloom/test/live"
)

const (
	leadWriters = 6
	recipients  = 40   // of one campaign
	bulkRows    = 1001 // more than a request writes itself: a job does
	rush        = 40   // so many leads a writer makes as fast as it can, then ten a second: a long life grows no big data
)

// acks is what the server answered with 200: it must be there for ever.
type acks struct {
	mu        sync.Mutex
	leads     []*leadAck
	runs      []runAck
	messages  []string
	campaigns []campaignAck
	bulks     []string
	bad       []string // replies that no writer may get
	count     int
	refused   int // replies that say that the server is too slow for this machine: nothing is acknowledged
}

type leadAck struct {
	id, email string
	value     int  // of custom field n, as acknowledged last; a later one may be stored too
	tagged    bool // carries the tag "seen"
	asked     bool // its deletion was asked for and not answered: it may be there or not
	deleted   bool
}

type runAck struct{ id, flow string }

type campaignAck struct{ id, name string }

// flows are the ids of the workflows that the writers trigger.
type flows struct{ walk, wait string }

// setUp makes what every life of the server needs.
func setUp(srv *live.Server, w *world) flows {
	srv.Must(nil, "POST", "/api/fields", map[string]any{"key": "n", "type": "integer"})
	srv.Must(nil, "POST", "/api/crm/config", map[string]any{"crm_type": "generic", "name": "world", "api_url": w.crm.APIURL(), "api_key": "key", "authentication": map[string]any{"rate_per_second": 100}})
	return flows{
		walk: newFlow(srv, "Walk", map[string]any{
			"score": node("action.add_score", map[string]any{"points": 1, "reason": "crash test"}, "tag"),
			"tag":   node("action.add_tag", map[string]any{"tag": "walked"}, "call"),
			"call":  node("action.http", map[string]any{"method": "POST", "url": w.host.URL + "/step", "body": map[string]any{"lead": "{{ lead.id }}"}}, "mail"),
			"mail":  node("action.send_email", map[string]any{"subject": "Walk of {{ lead.email }}", "text": "Hello", "transactional": true}, "end"),
		}, "score"),
		wait: newFlow(srv, "Wait", map[string]any{
			"tag":   node("action.add_tag", map[string]any{"tag": "waited"}, "nap"),
			"nap":   node("wait.duration", map[string]any{"duration": "1s"}, "score"),
			"score": node("action.add_score", map[string]any{"points": 2, "reason": "waited"}, "end"),
		}, "tag"),
	}
}

func node(kind string, config map[string]any, next string) map[string]any {
	return map[string]any{"type": kind, "config": config, "next": next}
}

func newFlow(srv *live.Server, name string, nodes map[string]any, start string) string {
	var out struct {
		ID string `json:"id"`
	}
	srv.Must(&out, "POST", "/api/workflows", map[string]any{"name": name, "start": start, "triggers": []any{map[string]any{"type": "api"}}, "entry": map[string]any{"reentry": "always"}, "nodes": nodes})
	return out.ID
}

// load lets writers of every kind work until the server is gone; gone ends them. Requests in flight may be lost or
// stored, only answers count.
func load(gone context.Context, srv *live.Server, f flows, name string, withBulk bool) *acks {
	a := &acks{}
	var wg sync.WaitGroup
	for i := range leadWriters {
		wg.Go(func() { a.writeLeads(gone, srv, f, fmt.Sprintf("w%d.%s", i, name)) })
	}
	wg.Go(func() { a.writeMails(gone, srv, name) })
	wg.Go(func() { a.writeCampaigns(gone, srv, name) })
	if withBulk {
		wg.Go(func() { a.writeBulk(gone, srv) })
	}
	wg.Wait()
	return a
}

// tooSlow are the codes of a 503 that a loaded machine may bring about.
var tooSlow = []string{`"too_slow"`, `"overloaded"`, `"contended"`}

// ask sends one request; false when no 200 came: the server is gone or too slow, or else it is a finding.
func (a *acks) ask(ctx context.Context, srv *live.Server, out any, method, path string, body any) bool {
	status, b, err := srv.Call(ctx, method, path, body)
	if err != nil {
		return false
	}
	if status == 200 && (out == nil || json.Unmarshal(b, out) == nil) {
		a.note(func() { a.count++ })
		return true
	}
	if status == 503 && slices.ContainsFunc(tooSlow, func(code string) bool { return bytes.Contains(b, []byte(code)) }) {
		a.note(func() { a.refused++ })
		return false
	}
	a.note(func() { a.bad = append(a.bad, fmt.Sprintf("%s %s: status %d: %.300s", method, path, status, b)) })
	return false
}

func (a *acks) note(f func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	f()
}

// writeLeads creates, changes, tags, deletes and triggers.
func (a *acks) writeLeads(ctx context.Context, srv *live.Server, f flows, name string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for i := 0; ctx.Err() == nil; i++ {
		if i >= rush {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
		}
		l := &leadAck{email: name + "." + strconv.Itoa(i) + "@example.com"}
		var made struct {
			ID string `json:"id"`
		}
		if !a.ask(ctx, srv, &made, "POST", "/api/leads", map[string]any{"email": l.email, "last_name": "Crash", "custom_fields": map[string]any{"n": 1}}) {
			return
		}
		l.id, l.value = made.ID, 1
		a.note(func() { a.leads = append(a.leads, l) })
		path := "/api/leads/" + l.id
		if !a.ask(ctx, srv, nil, "PUT", path, map[string]any{"custom_fields": map[string]any{"n": 2}}) {
			return
		}
		l.value = 2
		switch i % 4 {
		case 0:
			if !a.ask(ctx, srv, nil, "PUT", path, map[string]any{"tags": []string{"seen"}}) {
				return
			}
			l.tagged = true
		case 1:
			l.asked = true
			if !a.ask(ctx, srv, nil, "DELETE", path, nil) {
				return
			}
			l.deleted = true
		default:
			flow := f.wait
			if i%8 == 3 { // fewer: the host takes four calls at a time
				flow = f.walk
			}
			var run struct {
				ID string `json:"execution_id"`
			}
			if !a.ask(ctx, srv, &run, "POST", "/api/workflows/trigger", map[string]any{"workflow_id": flow, "lead_id": l.id}) {
				return
			}
			a.note(func() { a.runs = append(a.runs, runAck{run.ID, flow}) })
		}
	}
}

// writeMails sends single messages.
func (a *acks) writeMails(ctx context.Context, srv *live.Server, name string) {
	for i := 0; ctx.Err() == nil && i < 40; i++ {
		var m struct {
			ID string `json:"execution_id"`
		}
		if !a.ask(ctx, srv, &m, "POST", "/api/email/send", map[string]any{"to": fmt.Sprintf("m%d.%s@example.com", i, name), "subject": fmt.Sprintf("Single %d of %s", i, name), "text": "Hello"}) {
			return
		}
		a.note(func() { a.messages = append(a.messages, m.ID) })
	}
}

// writeCampaigns starts campaigns to people of their own, and asks for a sync of every lead between.
func (a *acks) writeCampaigns(ctx context.Context, srv *live.Server, name string) {
	for i := 0; ctx.Err() == nil && i < 3; i++ {
		c := campaignAck{name: fmt.Sprintf("Campaign %d of %s", i, name)}
		people := make([]string, recipients)
		for n := range people {
			people[n] = fmt.Sprintf("p%d.c%d.%s@example.com", n, i, name)
		}
		var made struct {
			ID string `json:"campaign_id"`
		}
		if !a.ask(ctx, srv, &made, "POST", "/api/email/campaign", map[string]any{"name": c.name, "subject": c.name, "text": "Hello", "recipients": people}) {
			return
		}
		c.id = made.ID
		a.note(func() { a.campaigns = append(a.campaigns, c) })
		if i == 0 && !a.ask(ctx, srv, nil, "POST", "/api/crm/generic/sync", map[string]any{}) {
			return
		}
	}
}

// writeBulk hands in one bulk that becomes a job; the same people each time, so that the data stay small.
func (a *acks) writeBulk(ctx context.Context, srv *live.Server) {
	rows := make([]map[string]any, bulkRows)
	for i := range rows {
		rows[i] = map[string]any{"email": fmt.Sprintf("bulk%d@example.com", i), "last_name": "Bulk", "tags": []string{"bulk"}}
	}
	var out struct {
		Job string `json:"job_id"`
	}
	if a.ask(ctx, srv, &out, "POST", "/api/leads/bulk", map[string]any{"leads": rows}) {
		a.note(func() { a.bulks = append(a.bulks, out.Job) })
	}
}

func (a *acks) add(b *acks) {
	a.leads, a.runs, a.messages = append(a.leads, b.leads...), append(a.runs, b.runs...), append(a.messages, b.messages...)
	a.campaigns, a.bulks, a.bad = append(a.campaigns, b.campaigns...), append(a.bulks, b.bulks...), append(a.bad, b.bad...)
	a.count, a.refused = a.count+b.count, a.refused+b.refused
}

func finished(status string) bool { return strings.HasPrefix(status, "finished") }
