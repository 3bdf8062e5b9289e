package connectortest

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"leadloom/internal/crm/connector"
	"leadloom/internal/crm/connector/simulator"
	"leadloom/internal/lead"
)

// pullItems are the cases of reading from a CRM, as far as connectors go.
func pullItems() []item {
	changes := func(c connector.Capabilities) bool { return c.Changes }
	return []item{
		{name: "29 every change once, across pages and equal stamps", needs: changes, opts: simulator.Options{Now: func() time.Time { return time.Unix(1_800_000_000, 0) }}, run: everyChange},
		{name: "30 cursor expired", needs: changes, run: cursorExpired}, {name: "fetch", run: fetch},
		{name: "34 webhooks", needs: func(c connector.Capabilities) bool { return c.Webhooks }, run: webhooks}, {name: "35 forget", run: forget},
	}
}

func everyChange(w *world) {
	w.good(leads(450)...) // all at one instant of the CRM's clock, more than two pages
	seen := map[string]int{}
	cursor, pages := "", 0
	for {
		p, err := w.con.Changes(w.ctx(), time.Unix(1_799_999_000, 0), cursor)
		if err != nil {
			w.Fatal(err)
		}
		for _, r := range p.Records {
			seen[r.Key]++
			if r.ID == "" || r.Stamp == "" || r.Fields["email"] == nil {
				w.Fatalf("record %+v; want id, stamp and fields", r)
			}
		}
		if pages++; p.Cursor == "" {
			break
		}
		cursor = p.Cursor
	}
	if len(seen) != 450 || pages < 2 {
		w.Errorf("%d records on %d pages; want 450 on several", len(seen), pages)
	}
	for key, n := range seen {
		if n != 1 {
			w.Errorf("%s was seen %d times", key, n)
		}
	}
}

func cursorExpired(w *world) {
	_, err := w.con.Changes(w.ctx(), time.Now(), "of another age")
	if e := w.wantClass(err, connector.ClassConfig); e.Code != "cursor_expired" {
		w.Errorf("code %s; want cursor_expired, so that everything is read again", e.Code)
	}
}

func fetch(w *world) {
	in := leads(3)
	w.good(in...)
	w.Sim.Edit(string(in[1].ID), func(r *simulator.Record) { r.Deleted = true })
	got, err := w.con.Fetch(w.ctx(), []string{string(in[0].ID), string(in[1].ID), "nobody"})
	if err != nil || len(got) != 2 || got[0].Key != string(in[0].ID) || got[0].Deleted || !got[1].Deleted {
		w.Errorf("Fetch = %+v, %v; want one record, one tombstone, and nothing of nobody", got, err)
	}
}

func webhooks(w *world) {
	secret := w.env.Secrets["webhook_secret"].Reveal()
	now := w.env.Now()
	body := []byte(`{"event_id":"e-1","records":[{"external_id":"lead-0001","id":"rec-1"},{"id":"rec-unknown"}]}`)
	signed := func(secret string, at time.Time, body []byte) http.Header {
		return http.Header{connector.SignatureHeader: {connector.Sign(secret, at, body)}}
	}
	got, err := w.con.Webhook(signed(secret, now, body), body)
	if err != nil || len(got) != 2 || got[0].EventID != "e-1" || got[0].Key != "lead-0001" || got[1].ID != "rec-unknown" {
		w.Errorf("a good webhook: %+v, %v", got, err)
	}
	huge := bytes.Repeat([]byte(" "), 10<<20)
	for name, c := range map[string]struct {
		h    http.Header
		body []byte
	}{
		"no signature": {http.Header{}, body}, "other secret": {signed("other", now, body), body}, "other body": {signed(secret, now, body), append(body, ' ')},
		"old": {signed(secret, now.Add(-6*time.Minute), body), body}, "from the future": {signed(secret, now.Add(6*time.Minute), body), body},
		"another time": {http.Header{connector.SignatureHeader: {strings.Replace(connector.Sign(secret, now.Add(-6*time.Minute), body), "t=", "t=1,t=", 1)}}, body},
		"no json":      {signed(secret, now, []byte("x")), []byte("x")}, "no event id": {signed(secret, now, []byte("{}")), []byte("{}")}, "10 MB": {signed(secret, now, huge), huge},
	} {
		if got, err := w.con.Webhook(c.h, c.body); err == nil || len(got) != 0 {
			w.Errorf("%s: %+v, %v; want a refusal", name, got, err)
		}
	}
}

func forget(w *world) {
	in := leads(2)
	w.good(in...)
	for range 2 {
		if err := w.con.Forget(w.ctx(), string(in[0].ID)); err != nil {
			w.Fatal(err)
		}
	}
	if r, _ := w.Sim.Record(string(in[0].ID)); w.Sim.Count() != 1 || len(r.Fields) != 0 {
		w.Errorf("%d records, fields %v; want one left and nothing of the other", w.Sim.Count(), r.Fields)
	}
	w.good(changed(in[1], func(l *lead.Lead) { l.Company = "Acme" }))
}
