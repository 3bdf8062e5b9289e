package connector

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"leadloom/internal/outbound"
)

// keyField is the name of our lead id in the generic contract.
const keyField = "external_id"

// noBatchFor is how long a missing batch route is remembered.
const noBatchFor = 24 * time.Hour

// generic speaks our own small REST contract (docs/crm.md), which any side may implement.
type generic struct {
	env  Env
	base string
}

func newGeneric(env Env) Connector {
	return &generic{env: env, base: strings.TrimRight(env.BaseURL, "/")}
}

// Info implements Connector.
func (g *generic) Info() Info {
	return Info{Type: Generic, BatchSize: g.env.Settings.batchSize(), Can: Capabilities{
		NativeBatch: g.env.Settings.BatchPath != "-", NativeUpsert: true, Describe: true, Changes: true, Webhooks: true, Picklists: true}}
}

// Test implements Connector.
func (g *generic) Test(ctx context.Context) (Account, error) {
	r, err := g.call(ctx, http.MethodGet, g.path(or(g.env.Settings.TestPath, "/")), "", nil, nil)
	if err != nil {
		return Account{}, err
	}
	if e := g.refusal(r, false); e != nil {
		return Account{}, e
	}
	var reply struct {
		Account string `json:"account"`
		Name    string `json:"name"`
	}
	_ = outbound.DecodeJSON(r.Body, &reply) // the contract asks for 2xx only
	return Account{Name: g.quote(or(reply.Account, reply.Name)), Peer: r.Peer}, nil
}

// Describe implements Connector.
func (g *generic) Describe(ctx context.Context) (Schema, error) {
	r, err := g.call(ctx, http.MethodGet, g.path(or(g.env.Settings.SchemaPath, "/schema")), "", nil, nil)
	if err != nil {
		return Schema{}, err
	}
	if r.Status == http.StatusNotFound || r.Status == http.StatusMethodNotAllowed || r.Status == http.StatusNotImplemented {
		return Schema{}, nil // optional: the mapping is the schema
	}
	if e := g.refusal(r, false); e != nil {
		return Schema{}, e
	}
	var reply struct {
		Fields *[]FieldSpec `json:"fields"`
	}
	if err := outbound.DecodeJSON(r.Body, &reply); err != nil {
		return Schema{}, badReply(err)
	}
	if reply.Fields == nil { // no schema at all: the CRM is out of order, its fields need not be changed
		return Schema{}, badReply(&outbound.Error{Code: outbound.CodeBadReply, Message: "The reply has no list of fields.", Sent: true})
	}
	if !slices.ContainsFunc(*reply.Fields, func(f FieldSpec) bool { return f.Name == keyField }) {
		return Schema{}, &Error{Class: ClassConfig, Code: "key_field_missing", Field: keyField,
			Message: "The CRM's schema has no field " + keyField + ": add a text field of that name, unique, to its lead object."}
	}
	return Schema{Known: true, Fields: *reply.Fields}, nil
}

// UpsertBatch implements Connector.
func (g *generic) UpsertBatch(ctx context.Context, records []Record) ([]Result, error) {
	if len(records) == 0 {
		return nil, nil
	}
	if len(records) > 1 && g.batchKnown() {
		results, tried, err := g.upsertMany(ctx, records)
		if tried {
			return results, err
		}
	}
	results := make([]Result, 0, len(records))
	for _, rec := range records {
		res, err := g.upsertOne(ctx, rec)
		if err != nil {
			return results, err
		}
		results = append(results, res)
	}
	return results, nil
}

func (g *generic) batchKnown() bool {
	if g.env.Settings.BatchPath == "-" {
		return false
	}
	m := g.env.Memory
	m.mu.Lock()
	defer m.mu.Unlock()
	return !g.env.Now().Before(m.noBatchUntil)
}

// upsertMany sends one batch; tried is false when the CRM has no batch route.
func (g *generic) upsertMany(ctx context.Context, records []Record) (results []Result, tried bool, err error) {
	body := struct {
		Records []map[string]any `json:"records"`
	}{make([]map[string]any, len(records))}
	keys := make([]string, len(records))
	for i, rec := range records {
		body.Records[i] = withKey(rec)
		keys[i] = rec.IdempotencyKey
	}
	s := g.env.Settings
	r, err := g.call(ctx, or(s.BatchMethod, http.MethodPost), g.path(or(s.BatchPath, "/leads/batch")), digest(keys), body, nil)
	if err != nil {
		return nil, true, err
	}
	if r.Status == http.StatusNotFound || r.Status == http.StatusMethodNotAllowed {
		g.env.Memory.mu.Lock()
		g.env.Memory.noBatchUntil = g.env.Now().Add(noBatchFor)
		g.env.Memory.mu.Unlock()
		return nil, false, nil
	}
	if e := g.refusal(r, true); e != nil {
		return nil, true, e
	}
	var reply any
	if err := outbound.DecodeJSON(r.Body, &reply); err != nil {
		return nil, true, badReply(err)
	}
	list, ok := at(reply, or(s.ResultsField, "results")).([]any)
	if !ok {
		return nil, true, &Error{Class: ClassConfig, Code: "bad_reply", Message: "The reply to a batch holds no list of results: check the address and results_field."}
	}
	return g.readResults(list), true, nil
}

// readResults keeps the items that name a record; which of the inputs has none is for the caller to see.
func (g *generic) readResults(list []any) []Result {
	out := make([]Result, 0, len(list))
	for _, item := range list {
		m, ok := item.(map[string]any)
		if !ok || text(m[keyField]) == "" {
			continue
		}
		out = append(out, g.readResult(text(m[keyField]), m))
	}
	return out
}

func (g *generic) readResult(key string, m map[string]any) Result {
	res := Result{Key: key, ID: clip(text(at(m, or(g.env.Settings.IDField, "id")))), Stamp: clip(text(m["updated_at"])), URL: g.ownURL(text(m["url"]))}
	status := strings.ToLower(text(m["status"]))
	if n, err := strconv.Atoi(status); err == nil && n >= 300 {
		res.Err = g.recordError(m, itemClass(n))
		return res
	}
	switch status {
	case "created", "201":
		res.Created = true
	case "", "ok", "success", "updated", "unchanged", "200", "204":
		if text(m["code"]) != "" && status == "" {
			res.Err = g.recordError(m, ClassRecord)
		}
	case "retry", "locked":
		res.Err = g.recordError(m, ClassRetry)
	case "gone", "deleted":
		res.Err = g.recordError(m, ClassGone)
	case "moved", "merged":
		res.Err = g.recordError(m, ClassMoved)
		res.Err.RemoteID = res.ID
	default:
		res.Err = g.recordError(m, ClassRecord)
	}
	return res
}

// itemClass classifies the status of one record in a batch that as a whole was taken: what would stop the connection
// as the status of a call (401, 403, 404 …) is here about this record alone.
func itemClass(status int) Class {
	switch {
	case status == http.StatusGone:
		return ClassGone
	case status == http.StatusRequestTimeout, status == http.StatusLocked, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		return ClassRetry
	}
	return ClassRecord
}

func (g *generic) recordError(m map[string]any, c Class) *Error {
	return unknownField(&Error{Class: c, Code: or(g.name(text(m["code"])), "refused"), Field: g.name(text(m["field"])),
		Message: or(g.quote(text(m["message"])), "The CRM refused this lead without saying why.")})
}

// unknownField makes an error of the whole connection of a refusal that each lead would get: the CRM has no such field.
func unknownField(e *Error) *Error {
	if e.Class == ClassRecord && e.Code == "unknown_field" {
		e.Class, e.Message = ClassConfig, "The CRM has no field "+or(e.Field, "of that name")+" (any more): take it out of the mapping, or add it there. In its words: "+e.Message
	}
	return e
}

func (g *generic) upsertOne(ctx context.Context, rec Record) (Result, error) {
	s := g.env.Settings
	r, err := g.call(ctx, or(s.RecordMethod, http.MethodPut), g.recordPath(rec.Key), rec.IdempotencyKey, withKey(rec), nil)
	if err != nil {
		return Result{}, err
	}
	if e := g.refusal(r, true); e != nil {
		if e.Class.StopsConnection() || e.Class == ClassRetry {
			return Result{}, e
		}
		return Result{Key: rec.Key, Err: e}, nil
	}
	if len(r.Body) == 0 {
		return Result{Key: rec.Key, Created: r.Status == http.StatusCreated}, nil
	}
	m := map[string]any{}
	if err := outbound.DecodeJSON(r.Body, &m); err != nil {
		return Result{}, badReply(err)
	}
	delete(m, "status")
	res := g.readResult(rec.Key, m)
	res.Created = r.Status == http.StatusCreated
	return res, nil
}

// Fetch implements Connector; records that are not there are left out, deleted ones are marked.
func (g *generic) Fetch(ctx context.Context, keys []string) ([]RemoteRecord, error) {
	var out []RemoteRecord
	for _, key := range keys {
		r, err := g.call(ctx, http.MethodGet, g.recordPath(key), "", nil, nil)
		if err != nil {
			return out, err
		}
		switch {
		case r.Status == http.StatusNotFound:
			continue
		case r.Status == http.StatusGone:
			out = append(out, RemoteRecord{Key: key, Deleted: true})
			continue
		}
		if e := g.refusal(r, true); e != nil {
			return out, e
		}
		m := map[string]any{}
		if err := outbound.DecodeJSON(r.Body, &m); err != nil {
			return out, badReply(err)
		}
		out = append(out, g.readRecord(m))
	}
	return out, nil
}

func (g *generic) readRecord(m map[string]any) RemoteRecord {
	rec := RemoteRecord{Key: text(m[keyField]), ID: clip(text(at(m, or(g.env.Settings.IDField, "id")))), Stamp: clip(text(m["updated_at"])), Fields: m}
	rec.Deleted, _ = m["deleted"].(bool)
	return rec
}

// Changes implements Connector.
func (g *generic) Changes(ctx context.Context, since time.Time, cursor string) (Page, error) {
	q := url.Values{"limit": {"200"}}
	if cursor != "" {
		q.Set("cursor", cursor)
	} else {
		q.Set("updated_since", since.UTC().Format(time.RFC3339Nano))
	}
	r, err := g.call(ctx, http.MethodGet, g.path(or(g.env.Settings.ListPath, "/leads")), "", nil, q)
	if err != nil {
		return Page{}, err
	}
	if r.Status == http.StatusGone && cursor != "" {
		return Page{}, &Error{Class: ClassConfig, Code: "cursor_expired", Message: "The CRM no longer knows this place in its changes: read all of them again."}
	}
	if e := g.refusal(r, false); e != nil {
		return Page{}, e
	}
	var reply any
	if err := outbound.DecodeJSON(r.Body, &reply); err != nil {
		return Page{}, badReply(err)
	}
	list, ok := at(reply, or(g.env.Settings.RecordsField, "records")).([]any)
	if !ok {
		return Page{}, &Error{Class: ClassConfig, Code: "bad_reply", Message: "The list of changes holds no records: check the address and records_field."}
	}
	page := Page{Cursor: text(at(reply, or(g.env.Settings.CursorField, "next_cursor")))}
	for _, item := range list {
		if m, ok := item.(map[string]any); ok && text(m[keyField]) != "" {
			page.Records = append(page.Records, g.readRecord(m))
		}
	}
	return page, nil
}

// Forget implements Connector; a record that is not there is forgotten already.
func (g *generic) Forget(ctx context.Context, key string) error {
	r, err := g.call(ctx, http.MethodDelete, g.recordPath(key), "", nil, nil)
	if err != nil {
		return err
	}
	if r.Status == http.StatusNotFound || r.Status == http.StatusGone {
		return nil
	}
	if e := g.refusal(r, true); e != nil {
		return e
	}
	return nil
}

// place is a path to call and the same without values, for logs.
type place struct{ path, route string }

func (g *generic) path(p string) place { return place{p, p} }

func (g *generic) recordPath(key string) place {
	p := or(g.env.Settings.RecordPath, "/leads/{external_id}")
	return place{strings.ReplaceAll(p, "{external_id}", url.PathEscape(key)), p}
}

// withKey is the record's body: its fields and our key beside them.
func withKey(rec Record) map[string]any {
	m := make(map[string]any, len(rec.Fields)+1)
	for k, v := range rec.Fields {
		m[k] = v
	}
	m[keyField] = rec.Key
	return m
}

// call makes one call with the connection's headers and credentials.
func (g *generic) call(ctx context.Context, method string, at place, idempotency string, body any, query url.Values) (*outbound.Response, error) {
	req := outbound.Request{Method: method, URL: g.base + at.path, Route: method + " " + at.route, Header: http.Header{}, Timeout: g.env.Settings.timeout(), Hops: g.env.Hops}
	if len(query) > 0 {
		req.URL += "?" + query.Encode()
	}
	for k, v := range g.env.Settings.Headers {
		req.Header.Set(k, v)
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		var err error
		if req.Body, err = json.Marshal(body); err != nil {
			return nil, &Error{Class: ClassRecord, Code: "not_json", Message: "A value of this lead cannot be written as JSON."}
		}
		req.Header.Set("Content-Type", "application/json")
	}
	if idempotency != "" {
		req.Header.Set("Idempotency-Key", idempotency)
	}
	return g.send(ctx, req)
}

// send takes the budget, authorises and calls; a 401 under oauth2 renews the token once and calls once more.
func (g *generic) send(ctx context.Context, req outbound.Request) (*outbound.Response, error) {
	for attempt := 0; ; attempt++ {
		if g.env.Take != nil {
			if err := g.env.Take(ctx); err != nil {
				return nil, err
			}
		}
		used, err := g.authorise(ctx, req.Header)
		if err != nil {
			return nil, err
		}
		r, err := g.env.Client.Do(ctx, req)
		if err != nil {
			return nil, callError(err)
		}
		if r.Status == http.StatusUnauthorized && g.env.Settings.Auth == "oauth2" && attempt == 0 {
			g.env.Memory.dropToken(used)
			continue
		}
		return r, nil
	}
}

// callError classifies a call without a reply.
func callError(err error) *Error {
	var e *outbound.Error
	if !errors.As(err, &e) {
		return AsError(err)
	}
	out := &Error{Class: ClassRetry, Code: e.Code, Message: e.Message}
	switch e.Code {
	case outbound.CodeSelfLoop:
		out.Class = ClassSelfLoop
	case outbound.CodeBadURL, outbound.CodeAddress, outbound.CodeTooLarge:
		out.Class = ClassConfig
	}
	return out
}

func badReply(err error) *Error {
	e := callError(err)
	e.Class = ClassConfig
	e.Message += " Check that the address is that of the CRM's API."
	return e
}
