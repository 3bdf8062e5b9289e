package service

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"leadloom/internal/account"
	"leadloom/internal/crm"
	"leadloom/internal/crm/connector"
	"leadloom/internal/event"
	"leadloom/internal/outbound"
	"leadloom/internal/queue"
	"leadloom/internal/store"
)

// Limits of a test.
const (
	testTimeout  = 15 * time.Second
	probeTimeout = 10 * time.Second // a busy host that is slow to say who it is would be taken for a stranger
)

// findings are what a test learned; err nil means that the connection works.
type findings struct {
	account connector.Account
	schema  string
	err     *connector.Error
}

// testJob asks the other side who it is and whether it takes our credentials, then records it.
func (m *CRM) testJob(ctx context.Context, job queue.Job[testArgs]) error {
	id := crm.ConnectionID(job.Args.Connection)
	sc := account.SystemScope(account.TenantID(job.Args.Tenant), "crm.test")
	con, err := m.st.Read(ctx).Connection(sc, id)
	if errors.Is(err, store.ErrNotFound) || (err == nil && !con.Enabled) {
		return m.st.Write(ctx, func(tx *store.Tx) error { return job.Finish(tx) })
	}
	if err != nil {
		return err
	}
	found := m.probe(ctx, sc, con)
	return m.st.Write(ctx, func(tx *store.Tx) error {
		now, err := tx.Connection(sc, id)
		if err != nil {
			return notFound(err, "connection", string(id))
		}
		if now.Version == con.Version { // else a newer save has queued a test of its own
			if err := m.recordTest(tx, sc, now, found); err != nil {
				return err
			}
		}
		return job.Finish(tx)
	})
}

// probe makes the calls of a test: is it ourselves, does it answer, what fields does it have.
func (m *CRM) probe(ctx context.Context, sc account.Scope, con *crm.Connection) (f findings) {
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	peer, err := m.askInstance(ctx, con.APIURL)
	if err != nil {
		f.err = err
		return f
	}
	c, buildErr := m.connector(sc, con, m.takeBudget(sc, con), 0)
	if buildErr != nil {
		f.err = connector.AsError(buildErr)
		return f
	}
	acc, testErr := c.Test(ctx)
	if f.err = connector.AsError(testErr); f.err != nil {
		return f
	}
	f.account = acc
	f.account.Peer = or(acc.Peer, peer)
	schema, descErr := c.Describe(ctx)
	if f.err = connector.AsError(descErr); f.err != nil {
		return f
	}
	if schema.Known {
		b, _ := json.Marshal(schema.Fields)
		sum := sha256.Sum256(b)
		f.schema = hex.EncodeToString(sum[:8])
	}
	return f
}

// askInstance reads {origin}/health: our own instance id means that the address leads back here, by whatever name.
// Everything else, no answer included, is for the test itself to judge.
func (m *CRM) askInstance(ctx context.Context, raw string) (peer string, refused *connector.Error) {
	u, err := url.Parse(raw)
	if err != nil {
		return "", nil
	}
	r, err := m.Outbound.Do(ctx, outbound.Request{Method: http.MethodGet, URL: u.Scheme + "://" + u.Host + "/health", Route: "GET /health", Timeout: probeTimeout, MaxBody: 64 << 10})
	if outbound.HasCode(err, outbound.CodeSelfLoop) {
		return "", selfLoop()
	}
	if err != nil {
		return "", nil
	}
	var body struct {
		Instance string `json:"instance"`
	}
	if r.Status == http.StatusLoopDetected {
		return "", selfLoop()
	}
	if outbound.DecodeJSON(r.Body, &body) == nil && body.Instance != "" {
		if body.Instance == m.st.InstanceID() {
			return "", selfLoop()
		}
		return outbound.Redact(body.Instance), nil
	}
	return r.Peer, nil
}

func selfLoop() *connector.Error {
	return &connector.Error{Class: connector.ClassSelfLoop, Code: "self_loop", Message: "The connection points at this server itself: enter the CRM's own address."}
}

// recordTest stores a test's findings and starts sending when it went well.
func (m *CRM) recordTest(tx *store.Tx, sc account.Scope, con *crm.Connection, f findings) error {
	before := con.Standing()
	schema := or(f.schema, con.SchemaHash)
	if err := tx.SetTested(sc, con.ID, or(f.account.Name, con.Account), f.account.Peer, schema); err != nil {
		return err
	}
	if f.err == nil && con.SchemaHash != "" && schema != con.SchemaHash {
		if err := m.retryAfterSchema(tx, sc, con.ID); err != nil {
			return err
		}
	}
	if con.State == crm.StatePaused {
		return nil
	}
	after := before.AfterSuccess()
	if f.err != nil {
		after = before.AfterStop(f.err, string(con.ID), tx.Now())
	}
	if err := m.setState(tx, sc, con, before, after, time.Time{}); err != nil || f.err != nil {
		return err
	}
	return m.wakeDrain(tx, sc, con.ID)
}

// retryAfterSchema gives what was refused another try, now that the CRM's fields are others: as many problems as one
// transaction can turn around, and for more of them the marking of every lead, in chunks.
func (m *CRM) retryAfterSchema(tx *store.Tx, sc account.Scope, id crm.ConnectionID) error {
	n, err := tx.RetryProblems(sc, id, crm.RetrySchema, nil, maxRetried)
	if err != nil || n < maxRetried {
		return err
	}
	return m.markEvery(tx, sc, id)
}

// setState stores a connection's standing when it differs and tells about a change of state.
func (m *CRM) setState(tx *store.Tx, sc account.Scope, con *crm.Connection, before, after crm.Standing, synced time.Time) error {
	if before == after && synced.IsZero() {
		return nil
	}
	if err := tx.SetConnectionState(sc, con.ID, after, synced, before != after); err != nil {
		return err
	}
	return m.tellState(tx, sc, con.ID, before, after)
}

func (m *CRM) tellState(tx *store.Tx, sc account.Scope, id crm.ConnectionID, before, after crm.Standing) error {
	if before.State == after.State && before.Code == after.Code {
		return nil
	}
	data, err := json.Marshal(map[string]any{"from": before.State, "to": after.State, "code": after.Code, "reason": after.Reason})
	if err != nil {
		return fmt.Errorf("tell a state: %w", err)
	}
	_, err = tx.AppendEvent(sc, event.Event{Type: event.ConnectionState, Subject: string(id), Data: data})
	return err
}
