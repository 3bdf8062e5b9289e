package bench

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"time"
)

// leg is one thing that is measured on two sides.
type leg struct {
	name, title, unit string
	note              string // what the ceiling is, in words
	lower             bool   // less is better
	aim               aim
	ceiling           func(context.Context, *world) (turner, error)
	product           func(context.Context, *world, *product) (turner, error)
}

// aim is what docs/architecture asks of the product; 0 means nothing is asked.
type aim struct {
	ratio float64 // at least this share of the ceiling
	value float64 // at least this much in the leg's unit, or at most when less is better
	cpu   float64 // at most this many ms of processor time for one operation
}

// turner does one turn: whatever must be prepared first, then what is measured.
type turner func(ctx context.Context, round int) (measured, error)

// measured is one turn of one side.
type measured struct {
	value   float64       // in the leg's unit
	count   int64         // operations, for the processor time of each
	cpu     time.Duration // of the server, with what it left to do afterwards
	latency []int64       // µs
}

// lead legs ask both sides the same; kind says how.
type requestLeg struct {
	next    func(t *target, w *world, round int) (load, error)
	prepare func(ctx context.Context, t *target, w *world, round int) error
	each    int // things in one request; 0 means 1
}

// turn drives a target and adds its processor time.
func (r requestLeg) turn(w *world, t *target) turner {
	return func(ctx context.Context, round int) (measured, error) {
		if r.prepare != nil {
			if err := r.prepare(ctx, t, w, round); err != nil {
				return measured{}, err
			}
			w.settle(ctx, t.process)
		}
		l, err := r.next(t, w, round)
		if err != nil {
			return measured{}, err
		}
		if l.connections == 0 {
			l.connections = w.o.Connections
		}
		before := t.cpu()
		d, err := drive(ctx, t.addr, t.token, l)
		if err != nil {
			return measured{}, err
		}
		w.settle(ctx, t.process)
		n := d.count * int64(max(r.each, 1))
		return measured{value: float64(n) / d.took.Seconds(), count: n, cpu: t.cpu() - before, latency: d.latency}, nil
	}
}

func (r requestLeg) leg(name, title, unit, note string, a aim) leg {
	return leg{name: name, title: title, unit: unit, note: note, aim: a,
		ceiling: func(ctx context.Context, w *world) (turner, error) {
			t, err := w.bareServer(ctx)
			if err != nil {
				return nil, err
			}
			return r.turn(w, t), nil
		},
		product: func(_ context.Context, w *world, p *product) (turner, error) { return r.turn(w, &p.target), nil },
	}
}

// endless is a load without an end but time's.
func (w *world) endless(next func(c, n int) (method, path, body string)) load {
	return load{lasts: w.o.For, next: func(c, n int) (string, string, string, bool) {
		method, path, body := next(c, n)
		return method, path, body, true
	}}
}

// spread picks a lead for the n-th request of a connection, far from its neighbours'.
func (t *target) spread(c, n int) string { return t.ids[(c*7919+n*31)%len(t.ids)] }

// reading is a leg of one GET whose reply must hold want leads; 0 means that it is one lead, -1 that only its status counts.
func reading(path func(t *target, c, n int) string, want func(w *world) int) requestLeg {
	return requestLeg{next: func(t *target, w *world, _ int) (load, error) {
		l := w.endless(func(c, n int) (string, string, string) { return "GET", path(t, c, n), "" })
		l.check = func(_, _ int, body []byte) error {
			var got struct {
				ID    string
				Leads []json.RawMessage
			}
			if err := json.Unmarshal(body, &got); err != nil {
				return err
			}
			switch n := want(w); {
			case n == 0 && got.ID == "":
				return fmt.Errorf("no lead in the reply")
			case n > 0 && len(got.Leads) != n:
				return fmt.Errorf("%d leads in the reply; want %d", len(got.Leads), n)
			}
			return nil
		}
		return l, nil
	}}
}

// writing is a leg of one kind of write whose replies must name the lead.
func writing(next func(t *target, run string, c, n int) (method, path, body string)) requestLeg {
	return requestLeg{next: func(t *target, w *world, _ int) (load, error) {
		run := unique()
		l := w.endless(func(c, n int) (string, string, string) { return next(t, run, c, n) })
		l.check = func(_, _ int, body []byte) error {
			var got struct {
				ID     string
				LeadID string `json:"lead_id"`
			}
			if err := json.Unmarshal(body, &got); err != nil {
				return err
			}
			if got.ID == "" && got.LeadID == "" {
				return fmt.Errorf("the reply names no lead")
			}
			return nil
		}
		return l, nil
	}}
}

func newPerson(run string, c, n int) string {
	return person(fmt.Sprintf("%s.%d.%d", run, c, n), "Lovelace", "bench")
}

func change(c, n int) string {
	return fmt.Sprintf(`{"first_name":"Up%d","company":"Company %d.%d"}`, n, c, n)
}

// deleting removes leads that were stored just before, an equal share on each connection.
func deleting() requestLeg {
	var doomed map[*target][]string
	return requestLeg{
		prepare: func(ctx context.Context, t *target, w *world, _ int) (err error) {
			if doomed == nil {
				doomed = map[*target][]string{}
			}
			run := unique()
			doomed[t], err = t.store(ctx, "/api/leads/bulk", w.o.deletes(), func(i int) string { return newPerson(run, 0, i) })
			return err
		},
		next: func(t *target, w *world, _ int) (load, error) {
			ids, all := doomed[t], w.o.Connections
			return load{next: func(c, n int) (string, string, string, bool) {
				i := n*all + c
				if i >= len(ids) {
					return "", "", "", false
				}
				return "DELETE", "/api/leads/" + ids[i], "", true
			}}, nil
		},
	}
}

// mixed is the life of a lead on each connection: create, read, update, patch, delete.
func mixed() requestLeg {
	return requestLeg{next: func(t *target, w *world, _ int) (load, error) {
		run := unique()
		own := make([]string, w.o.Connections)
		l := load{lasts: w.o.For, checked: math.MaxInt}
		// The id is in the reply to the create: the loop hands every reply to check before it asks for the next request.
		l.next = func(c, n int) (string, string, string, bool) {
			switch path := "/api/leads/" + own[c]; n % 5 {
			case 0:
				return "POST", "/api/leads", newPerson(run, c, n), true
			case 1:
				return "GET", path, "", true
			case 2:
				return "PUT", path, change(c, n), true
			case 3:
				return "PATCH", path, change(c, n), true
			default:
				return "DELETE", path, "", true
			}
		}
		l.check = func(c, n int, body []byte) (err error) {
			if n%5 == 0 {
				own[c], err = idOf(body)
			}
			return err
		}
		return l, nil
	}}
}

// idOf finds "id" in a reply without decoding the rest: it is done for each fifth request of a measured loop.
func idOf(body []byte) (string, error) {
	const key = `"id":"`
	for i := 0; i+len(key) < len(body); i++ {
		if string(body[i:i+len(key)]) != key {
			continue
		}
		for j := i + len(key); j < len(body); j++ {
			if body[j] == '"' {
				return string(body[i+len(key) : j]), nil
			}
		}
	}
	return "", fmt.Errorf("no id in the reply")
}

// bulk sends as many leads in one request as the options say.
func bulk(w *world) requestLeg {
	return requestLeg{each: w.o.Bulk, next: func(*target, *world, int) (load, error) {
		run := unique()
		l := w.endless(func(c, n int) (string, string, string) {
			b := append(make([]byte, 0, 200*w.o.Bulk), `{"leads":[`...)
			for i := range w.o.Bulk {
				if i > 0 {
					b = append(b, ',')
				}
				b = append(b, newPerson(run, c, n*w.o.Bulk+i)...)
			}
			return "POST", "/api/leads/bulk", string(append(b, "]}"...))
		})
		l.check = func(_, _ int, body []byte) error {
			var got struct {
				LeadIDs []string `json:"lead_ids"`
			}
			if err := json.Unmarshal(body, &got); err != nil {
				return err
			}
			if len(got.LeadIDs) != w.o.Bulk {
				return fmt.Errorf("%d leads were stored; want %d", len(got.LeadIDs), w.o.Bulk)
			}
			return nil
		}
		return l, nil
	}}
}

// legs are all that can be measured, in the order of the run: reads first, then what makes the database grow.
func legs(w *world) []leg {
	const bareNote = "net/http, the same driver, the same row, group commit"
	half := func(cpu float64) aim { return aim{ratio: 0.5, cpu: cpu} }
	one := func(*world) int { return 0 }
	list := func(n int) func(*world) int { return func(w *world) int { return min(n, w.o.Leads/4) } }
	path := func(s string) func(*target, int, int) string {
		return func(*target, int, int) string { return s }
	}
	return append([]leg{
		reading(path("/health"), func(*world) int { return -1 }).leg("health", "Health", "requests/s", "net/http that answers a fixed document", aim{value: 40_000}),
		wrkLeg(),
		reading(func(t *target, c, n int) string { return "/api/leads/" + t.spread(c, n) }, one).leg("get", "Lead by id", "requests/s", bareNote, half(0.15)),
		reading(path("/api/leads?limit=100"), list(100)).leg("list", "List of 100", "requests/s", bareNote, half(1)),
		reading(path("/api/leads?limit=100&source=fair"), list(100)).leg("filter", "List of 100 by source", "requests/s", bareNote+"; an index on the source", half(0)),
		reading(func(_ *target, c, n int) string {
			return fmt.Sprintf("/api/leads?limit=100&q=Lovelace%03d", (c*7+n)%100)
		},
			func(w *world) int { return min(w.o.Leads/100, 100) }).leg("search", "Search by a word", "requests/s", bareNote+"; one index look-up of the whole name", half(0)),
		writing(func(_ *target, run string, c, n int) (string, string, string) {
			return "POST", "/api/leads", newPerson(run, c, n)
		}).leg("create", "Create", "requests/s", bareNote, half(0.4)),
		writing(func(t *target, _ string, c, n int) (string, string, string) {
			return "PUT", "/api/leads/" + t.spread(c, n), change(c, n)
		}).leg("update", "Update (PUT)", "requests/s", bareNote, half(0.4)),
		writing(func(t *target, _ string, c, n int) (string, string, string) {
			return "PATCH", "/api/leads/" + t.spread(c, n), change(c, n)
		}).leg("patch", "Merge patch (PATCH)", "requests/s", bareNote, half(0.4)),
		deleting().leg("delete", "Delete", "requests/s", bareNote+"; it removes the row, the product keeps it as deleted", aim{}),
		mixed().leg("mixed", "A lead's life: create, get, PUT, PATCH, delete", "requests/s", bareNote, half(0)),
	}, append(workLegs(), bulk(w).leg("bulk", fmt.Sprintf("Bulk of %d", w.o.Bulk), "leads/s", bareNote+"; one transaction a request", aim{}))...)
}
