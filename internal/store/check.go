package store

import (
	"fmt"
	"slices"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/lead"
)

// Finding is one broken invariant: which, in which tenant, and the id of the row that shows it.
type Finding struct {
	Invariant int    `json:"invariant"` // its number in architecture.md §6
	Check     string `json:"check"`
	Tenant    string `json:"tenant_id,omitempty"`
	ID        string `json:"id"`
	Detail    string `json:"detail"`
}

// Checked is what one check has looked at and found.
type Checked struct {
	Invariant int       `json:"invariant"`
	Check     string    `json:"check"`
	Rows      int64     `json:"rows"` // how many rows it has judged
	Findings  []Finding `json:"findings"`
	Millis    int64     `json:"ms"`
}

// Invariants says of each number what must hold, in the order of architecture.md §6; Invariants[0] is empty.
var Invariants = []string{"",
	"the database is whole and reads back",
	"a change and its consequences are there together",
	"every run is over, parked, held, or has what will move it",
	"the send ledger accounts for every recipient",
	"no message and no step's effect happens twice, or it is shown as unknown",
	"every lead is in step with its CRMs, dirty, or a problem",
	"no row and no job names what belongs to another tenant",
	"the event chain verifies, and no event was changed",
	"every kept figure equals its rows",
	"no secret is kept in the open",
}

// Aids are what some checks need beside the rows; without one its checks look at less.
type Aids struct {
	// Rules are a tenant's rules of leads; nil: identities are not derived anew.
	Rules func(*Reader, account.Scope) (*lead.Rules, error)
	// Credentials opens a connection's; nil: there is no key here, and the secrets themselves are not looked for.
	Credentials func(account.TenantID, crm.ConnectionID, []byte) (map[string]string, error)
}

// check is one part of an invariant. Its query returns (tenant_id, id, detail) for each row that breaks it; postgres
// replaces text on that engine. What SQL alone cannot tell is a function.
type check struct {
	invariant int
	name      string
	of        string // the table whose rows are judged
	text      string
	postgres  string
	run       func(*checking) error
}

// findingsPerCheck bounds what one check reports.
const findingsPerCheck = 100

// checking is one check at work.
type checking struct {
	*Reader
	in   account.Instance
	aids Aids
	rows int64
	out  []Finding
}

// found notes a finding; full says that there are enough.
func (c *checking) found(tenant, id, format string, args ...any) {
	if !c.full() {
		c.out = append(c.out, Finding{Tenant: tenant, ID: id, Detail: fmt.Sprintf(format, args...)})
	}
}

func (c *checking) full() bool { return len(c.out) >= findingsPerCheck }

// Checks names every check that Check knows, in order.
func Checks() []string {
	out := make([]string, len(checks))
	for i, c := range checks {
		out[i] = c.name
	}
	return out
}

// Check runs one check over all tenants and returns at most 100 findings. It only reads.
func (r *Reader) Check(in account.Instance, name string) ([]Finding, error) {
	out, err := r.CheckWith(in, name, Aids{})
	return out.Findings, err
}

// CheckWith is Check with aids; it says what was looked at too. Every suspicion that a change during the check could
// raise is looked at again in one statement before it is reported.
func (r *Reader) CheckWith(in account.Instance, name string, aids Aids) (Checked, error) {
	i := slices.IndexFunc(checks, func(c check) bool { return c.name == name })
	if i < 0 {
		return Checked{}, fmt.Errorf("store: no check is named %q", name)
	}
	began := time.Now()
	c := checks[i]
	at := &checking{Reader: r.patient(), in: in, aids: aids}
	if err := c.do(at); err != nil {
		return Checked{}, fmt.Errorf("check %s: %w", name, err)
	}
	for i := range at.out {
		at.out[i].Check, at.out[i].Invariant = name, c.invariant
	}
	return Checked{Invariant: c.invariant, Check: name, Rows: at.rows, Findings: at.out, Millis: time.Since(began).Milliseconds()}, nil
}

func (c check) do(at *checking) (err error) {
	if c.of != "" {
		if at.rows, err = queryOne(at.Reader, scanInt, "SELECT COUNT(*) FROM "+c.of); err != nil {
			return err
		}
	}
	if c.run != nil {
		return c.run(at)
	}
	text := c.text
	if at.s.pg != nil && c.postgres != "" {
		text = c.postgres
	}
	return at.report(text)
}

// report adds the rows of a query for (tenant_id, id, detail).
func (c *checking) report(text string, args ...any) error {
	found, err := queryAll(c.Reader, func(r row) (f Finding, err error) {
		err = r.Scan(&f.Tenant, &f.ID, &f.Detail)
		return
	}, text+fmt.Sprintf(" LIMIT %d", findingsPerCheck), args...)
	for _, f := range found {
		c.found(f.Tenant, f.ID, "%s", f.Detail)
	}
	return err
}

// queryEach streams a query: what is scanned is not kept.
func queryEach(r *Reader, each func(row) error, text string, args ...any) error {
	rs, err := r.q.query(text, args)
	if err != nil {
		return mapError(err)
	}
	defer rs.Close()
	for rs.Next() {
		if err := each(rs); err != nil {
			return mapError(err)
		}
	}
	return mapError(rs.Err())
}
