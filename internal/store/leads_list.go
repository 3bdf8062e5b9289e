package store

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/lead"
)

// LeadFilter is a list of live leads: every filter that is set must hold. Texts compare folded.
type LeadFilter struct {
	Source, Email, Status, Tag, Owner string
	Q                                 string   // as typed; an exact id or address wins
	Address                           string   // Q's folded address, when it is one
	Words                             []string // lead.QueryWords(Q)
	Sort                              string   // one of LeadSorts; "" is created_at
	Ascending                         bool
	After                             *LeadPosition // the last row of the page before
	Skip, Limit                       int
}

// LeadSorts are the orders in which leads can be listed; each has an index. Leads without an owner come last in both
// directions.
var LeadSorts = []string{"created_at", "updated_at", "score", sortOwner}

const sortOwner = "owner"

// LeadPosition is where a page ended: the values of its last row in the columns of the order.
type LeadPosition struct {
	Owner string // of the order by owner
	Value int64
	ID    lead.ID
}

// Position is where a page that ends in l goes on.
func (f LeadFilter) Position(l *lead.Lead) LeadPosition {
	switch f.Sort {
	case "score":
		return LeadPosition{Value: l.Score, ID: l.ID}
	case "updated_at":
		return LeadPosition{Value: micros(l.UpdatedAt), ID: l.ID}
	case sortOwner:
		return LeadPosition{l.OwnerID, micros(l.CreatedAt), l.ID}
	}
	return LeadPosition{Value: micros(l.CreatedAt), ID: l.ID}
}

// Leads reads one page. next is where the next page goes on when this one ended before it was full although there may
// be more: it has looked at as many leads as one page may.
func (r *Reader) Leads(sc account.Scope, p *LeadPlan) (leads []*lead.Lead, next *LeadPosition, err error) {
	f := p.filter
	if p.empty {
		return nil, nil, nil
	}
	parts := []string{""}
	if f.Sort == sortOwner {
		if parts = []string{ownedOnly, unownedOnly}; f.After != nil && f.After.Owner == "" {
			parts = parts[1:]
		}
	}
	whole := f.After == nil && f.Skip == 0
	if whole {
		defer func() { p.found = int64(len(leads)) }()
	}
	for i, part := range parts {
		page, next, err := r.leadPage(p, part, f)
		if leads = append(leads, page...); err != nil || next != nil || len(leads) >= p.filter.Limit {
			return leads, next, err
		}
		f.After, f.Limit = nil, p.filter.Limit-len(leads)
		if f.Skip > 0 && i == 0 && len(parts) > 1 {
			text, args := p.countUpTo(part, f.Skip)
			n, err := queryOne(r, scanInt, text, args...)
			if err != nil {
				return nil, nil, err
			}
			f.Skip -= int(n)
		}
	}
	if whole {
		p.known = int64(len(leads))
	}
	return leads, nil, nil
}

// leadPage reads a page of a part of the order. When the first look has not filled it, and as long as the allowance
// lasts, it takes all that a rare part of the filter finds, or looks on until the page is full.
func (r *Reader) leadPage(p *LeadPlan, part string, f LeadFilter) (leads []*lead.Lead, next *LeadPosition, err error) {
	look, begin := *p, f
	step, far := goesOn*p.most, p.furthest()
	for looked := 0; ; {
		text, args := look.page(part, f.After, f.Skip, f.Limit-len(leads))
		found, err := queryAll(r, scanLead, text, args...)
		if leads = append(leads, found...); err != nil || len(leads) >= f.Limit || look.most == 0 {
			f.sort(leads)
			return leads, nil, err
		}
		text, args = look.end(part, f.After, f.Skip)
		at, err := queryOne(r, func(rw row) (at LeadPosition, err error) {
			err = rw.Scan(&at.Owner, &at.Value, &at.ID)
			return
		}, text, args...)
		first := looked == 0
		looked += look.most
		on := err == nil && looked < far && (!first || r.s.further.begin(r.s.now()))
		if !on || f.Skip > 0 && !first {
			f.sort(leads)
			switch err {
			case nil:
				return leads, &at, nil
			case ErrNotFound:
				return leads, nil, nil
			}
			return nil, nil, err
		}
		f.After, look.most = &at, step
		if first {
			defer r.s.further.end()
			switch whole, err := r.whole(p); {
			case err != nil:
				return nil, nil, err
			case whole != nil: // from the beginning, by another index perhaps
				look, f, leads = *whole, begin, nil
				if step, far = goesOn*whole.firstLook(), whole.most; far > 0 && f.Skip == 0 {
					look.most = step
				}
			case f.Skip > 0: // what is left to skip is not known
				f.sort(leads)
				return leads, &at, nil
			}
		}
		runtime.Gosched() // the others' pages first: they are shorter
	}
}

// sort puts a page in the order of the list, all of it owned or all of it without an owner.
func (f LeadFilter) sort(leads []*lead.Lead) {
	slices.SortFunc(leads, func(a, b *lead.Lead) int {
		x, y := f.Position(a), f.Position(b)
		c := cmp.Or(cmp.Compare(x.Owner, y.Owner), cmp.Compare(x.Value, y.Value), cmp.Compare(x.ID, y.ID))
		if !f.Ascending {
			return -c
		}
		return c
	})
}

// CountLeads is a list's total: the maintained one where there is one, exact as far as a page may look, else how many
// of those looked at match, with the mark of an estimate ("at least").
func (r *Reader) CountLeads(sc account.Scope, p *LeadPlan) (total int64, estimate bool, err error) {
	switch {
	case p.empty:
		return 0, false, nil
	case p.known >= 0:
		return p.known, false, nil
	case p.found >= 0 && p.only == nil && p.most > 0 && !p.all: // the page has seen more than would be looked at for a total
		return p.found, true, nil
	case p.only != nil && p.only.once && p.only.repeats: // more than were counted
		return p.only.leadsN, true, nil
	case p.counter != "":
		n, err := r.Count(sc, p.counter)
		return n, false, err
	case p.only != nil && p.only.side != "" && p.only.counter == "":
		all := *p.only
		err := all.count(r, string(sc.Tenant()), wordMatches+1)
		return min(all.n, wordMatches), all.n > wordMatches, err
	}
	type counts struct{ seen, match int64 }
	text, args, most := p.count()
	n, err := queryOne(r, func(rw row) (c counts, err error) {
		err = rw.Scan(&c.seen, &c.match)
		return
	}, text, args...)
	return min(n.match, int64(most)), n.seen > int64(most), err
}

// LeadsByID reads live leads of these ids, in no order.
func (r *Reader) LeadsByID(sc account.Scope, ids []lead.ID) ([]*lead.Lead, error) {
	return queryAll(r, scanLead, "SELECT "+leadColumns+" FROM leads l WHERE l.tenant_id=$1 AND l.deleted_at=0 AND l.id IN "+r.list("$2"), string(sc.Tenant()), jsonText(ids))
}

// LeadsByRoleAddress reads live leads with a shared mailbox's address, oldest first, at most 100. No index makes them
// unique: on PostgreSQL it waits for other transactions that ask the same. Index: leads_by_email.
func (tx *Tx) LeadsByRoleAddress(sc account.Scope, folded string) ([]*lead.Lead, error) {
	if tx.s.pg != nil {
		if _, err := tx.exec("SELECT pg_advisory_xact_lock(hashtextextended($1, 7235419002))", string(sc.Tenant())+" "+folded); err != nil {
			return nil, err
		}
	}
	return queryAll(tx.Reader, scanLead, roleAddressSQL+tx.lock(), string(sc.Tenant()), folded)
}

var roleAddressSQL = "SELECT " + leadColumns + ` FROM leads l WHERE l.tenant_id=$1 AND l.email_folded=$2 AND l.email_folded<>'' AND l.deleted_at=0
	ORDER BY l.created_at, l.id LIMIT 100`

// LiveIdentities are those that a lead is recognised by. Index: the key.
func (r *Reader) LiveIdentities(sc account.Scope, id lead.ID) ([]lead.Identity, error) {
	return queryAll(r, func(rw row) (i lead.Identity, err error) {
		err = rw.Scan(&i.Kind, &i.Value)
		return
	}, "SELECT kind, value FROM lead_identities WHERE tenant_id=$1 AND lead_id=$2 AND live=1", string(sc.Tenant()), string(id))
}

// DuplicateGroup is live leads that share one folded e-mail address or phone number, oldest first.
type DuplicateGroup struct {
	Value string
	IDs   []lead.ID
}

// Duplicates finds groups of more than one live lead by column email_folded or phone_e164, after a value, at most
// limit groups. It walks the column's index.
func (r *Reader) Duplicates(sc account.Scope, by string, after string, limit int) ([]DuplicateGroup, error) {
	column := map[string]string{lead.KindEmail: "email_folded", lead.KindPhone: "phone_e164"}[by]
	if column == "" {
		return nil, fmt.Errorf("store: no duplicates by %q", by)
	}
	values, err := queryAll(r, scanString, strings.ReplaceAll(`SELECT COL FROM leads WHERE tenant_id=$1 AND deleted_at=0 AND COL<>'' AND COL>$2
		GROUP BY COL HAVING COUNT(*)>1 ORDER BY COL LIMIT $3`, "COL", column), string(sc.Tenant()), after, limit)
	if err != nil {
		return nil, err
	}
	groups := make([]DuplicateGroup, 0, len(values))
	for _, v := range values {
		ids, err := queryAll(r, scanString, strings.ReplaceAll(`SELECT id FROM leads WHERE tenant_id=$1 AND deleted_at=0 AND COL<>'' AND COL=$2
			ORDER BY created_at, id LIMIT 500`, "COL", column), string(sc.Tenant()), v)
		if err != nil {
			return nil, err
		}
		g := DuplicateGroup{Value: v}
		for _, id := range ids {
			g.IDs = append(g.IDs, lead.ID(id))
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// allowance bounds what looking further than usual costs a node: one page does it at a time, so many do in a row, and
// so many a second. It takes some milliseconds. A page that may not ends before it is full.
type allowance struct {
	mu   sync.Mutex
	busy bool
	left float64
	at   time.Time
}

const (
	pagesInARow    = 5
	pagesPerSecond = 4
)

// begin is true when a page may look further; it says when it has.
func (a *allowance) begin(now time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.at.IsZero() {
		a.left = pagesInARow
	} else if passed := now.Sub(a.at).Seconds(); passed > 0 {
		a.left = min(a.left+passed*pagesPerSecond, pagesInARow)
	}
	a.at = now
	if a.busy || a.left < 1 {
		return false
	}
	a.busy = true
	a.left--
	return true
}

// rest takes what is left for a page that has begun, if it was the first in a while.
func (a *allowance) rest() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.left < pagesInARow-1 {
		return false
	}
	a.left = 0
	return true
}

func (a *allowance) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.busy = false
}
