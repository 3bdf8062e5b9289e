package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"leadloom/internal/account"
	"leadloom/internal/failpoint"
	"leadloom/internal/fault"
)

// Route is a line of the one table that feeds registration, permission checks, OpenAPI and the tests.
type Route struct {
	Method, Path string
	ID           string // operation id, kebab-case
	Tag          string
	Summary      string
	Description  string
	Permission   account.Permission // account.Public: no credential needed
	Or           account.Permission // another right that opens the route too; the handler asks for the one its body needs
	MaxBody      int64              // bytes; 0 means 1 MiB
	Timeout      time.Duration      // until the request is given up with 503; 0 means requestTimeout
	Status       int                // of success; 0 means 200
	Also         []int              // further statuses that are no problems: a redirect
	Hidden       bool               // not in OpenAPI
	Quiet        bool               // asked by monitors all the time: logged at debug
	OwnChecks    bool               // the body's type decodes and checks itself; its Schema is for the document only
}

const (
	requestTimeout = 20 * time.Second // a database that hangs must not hold requests for ever
	bodyPatience   = 30 * time.Second // for a body, and longer for a large one:
	slowestBody    = 128 << 10        // bytes a second
	largestBody    = 64 << 20
	replyPatience  = 2 * time.Minute // for a client that reads its reply slowly; above every Timeout
)

// bodyTime is how long a body of that many bytes may take.
func bodyTime(bytes int64) time.Duration {
	return bodyPatience + time.Duration(bytes/slowestBody)*time.Second
}

// Routes is the table, in order of registration.
func (a *API) Routes() []Route { return slices.Clone(a.routes) }

// register adds a route whose handler gets the caller's scope. The handler decodes, makes one service call, encodes.
func register[I, O any](a *API, rt Route, h func(context.Context, account.Scope, *I) (*O, error)) {
	if rt.MaxBody == 0 {
		rt.MaxBody = 1 << 20
	}
	a.routes = append(a.routes, rt)
	op := huma.Operation{
		Method: rt.Method, Path: rt.Path, OperationID: rt.ID, Tags: []string{rt.Tag}, Summary: rt.Summary, Description: rt.Description,
		SkipValidateBody: rt.OwnChecks, MaxBodyBytes: rt.MaxBody, BodyReadTimeout: bodyTime(rt.MaxBody), DefaultStatus: rt.Status, Hidden: rt.Hidden, Middlewares: huma.Middlewares{a.guard(rt)},
		Extensions: map[string]any{"x-permission": rt.Permission.String()},
		Errors:     []int{400, 401, 403, 404, 408, 409, 412, 413, 415, 422, 429, 503, 508},
	}
	if rt.Or != account.Public {
		op.Extensions["x-permission-or"] = rt.Or.String()
	}
	if rt.Permission == account.Public {
		op.Security = []map[string][]string{}
		op.Errors = []int{400, 401, 404, 408, 413, 415, 422, 429, 503, 508}
	} else {
		op.Security = []map[string][]string{{"bearer": {}}, {"key": {}}}
	}
	for _, status := range rt.Also {
		if op.Responses == nil {
			op.Responses = map[string]*huma.Response{}
		}
		op.Responses[strconv.Itoa(status)] = &huma.Response{Description: http.StatusText(status)}
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		st := stateOf(ctx)
		out, err := h(ctx, st.scope, in)
		failpoint.Hit(failpoint.BeforeReply)
		if err != nil {
			return nil, toProblem(ctx, err, a.Log)
		}
		if k := st.scope.Idempotency; k != nil && k.Replayed {
			st.w.Header().Set("Idempotency-Replayed", "true")
		}
		return out, nil
	})
}

// page adds a plain handler (HTML, a file, a stream) under the same table and checks as register.
func (a *API) page(rt Route, h func(w http.ResponseWriter, r *http.Request, sc account.Scope)) {
	rt.Hidden = true
	a.routes = append(a.routes, rt)
	a.mux.HandleFunc(rt.Method+" "+rt.Path, func(w http.ResponseWriter, r *http.Request) {
		if err := a.admit(rt, r); err != nil {
			if !askLogin(w, r, err) {
				writeProblem(w, r, err, a.Log)
			}
			return
		}
		ctx, cancel := rt.bounded(r.Context())
		defer cancel()
		h(w, r.WithContext(ctx), stateOf(ctx).scope)
	})
}

// bounded ends a request's work when its client has gone or its time is over.
func (rt Route) bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	d := rt.Timeout
	if d == 0 {
		d = requestTimeout
	}
	return context.WithTimeout(ctx, d)
}

// guard authenticates the caller and checks the route's permission before the body is read.
func (a *API) guard(rt Route) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(hc)
		stateOf(r.Context()).path = r.URL.Path
		if err := a.admit(rt, r); err != nil {
			writeProblem(w, r, err, a.Log)
			return
		}
		if err := readable(r.URL.RawQuery); err != nil {
			writeProblem(w, r, err, a.Log)
			return
		}
		if r.ContentLength > rt.MaxBody { // without waiting for what will be refused
			writeProblem(w, r, errTooLarge(rt.MaxBody), a.Log)
			return
		}
		if rt.Method == http.MethodPost && r.Header.Get("Idempotency-Key") != "" {
			if err := idempotency(rt, r, w); err != nil {
				writeProblem(w, r, err, a.Log)
				return
			}
		}
		ctx, cancel := rt.bounded(hc.Context())
		defer cancel()
		next(huma.WithContext(hc, ctx))
	}
}

func (a *API) admit(rt Route, r *http.Request) error {
	st := stateOf(r.Context())
	st.route, st.quiet = rt.Method+" "+rt.Path, rt.Quiet
	if isNoText(r.URL.Path) { // such an id nobody has
		return &fault.Error{Kind: fault.KindNotFound, Code: "not_found", Message: "There is no such object here."}
	}
	if rt.Permission == account.Public {
		return nil
	}
	sc, err := a.Authenticate(r)
	if err != nil {
		return err
	}
	if err := sc.Require(rt.Permission); err != nil && (rt.Or == account.Public || !sc.Can(rt.Or)) {
		return err
	}
	sc.RequestID, sc.Cause.Hops = st.id, st.hops
	st.scope = sc
	return nil
}

// readable refuses what no filter can be: bytes that are no text, and NUL, which PostgreSQL cannot compare.
func readable(query string) error {
	if query == "" || !strings.Contains(query, "%") && utf8.ValidString(query) {
		return nil
	}
	if q, err := url.QueryUnescape(query); err != nil || isNoText(q) {
		return fault.Malformed("unreadable_query", "The query is not UTF-8 text in percent encoding. Check how it was encoded.")
	}
	return nil
}

func isNoText(s string) bool { return strings.IndexByte(s, 0) >= 0 || !utf8.ValidString(s) }

// idempotency binds the caller's key to the route and the body's digest, and puts the body back for the handler.
func idempotency(rt Route, r *http.Request, w http.ResponseWriter) error {
	key := r.Header.Get("Idempotency-Key")
	if len(key) > 255 {
		return fault.Invalid("Idempotency-Key", "too_long", "send a key of at most 255 bytes")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, rt.MaxBody))
	if err != nil {
		return errBody(err, rt.MaxBody)
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	sum := sha256.New()
	sum.Write([]byte(r.URL.RequestURI() + "\n"))
	sum.Write(body)
	stateOf(r.Context()).scope.Idempotency = &account.Idempotency{Key: key, Route: rt.Method + " " + rt.Path, Digest: hex.EncodeToString(sum.Sum(nil))}
	return nil
}

// errBody says why a body could not be read.
func errBody(err error, limit int64) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return errTooLarge(limit)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &fault.Error{Kind: fault.KindTimeout, Code: "body_too_slow", Message: "The body did not arrive in time. Send it again over a faster connection, or less at once."}
	}
	return fault.Malformed("unreadable_body", "The request's body ended early. Send it again whole.")
}
