package httpapi

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"leadloom/internal/account"
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
	Status       int                // of success; 0 means 200
	Hidden       bool               // not in OpenAPI
	OwnChecks    bool               // the body's type decodes and checks itself; its Schema is for the document only
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
		SkipValidateBody: rt.OwnChecks, MaxBodyBytes: rt.MaxBody, DefaultStatus: rt.Status, Hidden: rt.Hidden, Middlewares: huma.Middlewares{a.guard(rt)},
		Extensions: map[string]any{"x-permission": rt.Permission.String()},
		Errors:     []int{400, 401, 403, 404, 409, 412, 413, 415, 422, 429, 503},
	}
	if rt.Or != account.Public {
		op.Extensions["x-permission-or"] = rt.Or.String()
	}
	if rt.Permission == account.Public {
		op.Security = []map[string][]string{}
		op.Errors = []int{400, 404, 413, 415, 422, 429, 503}
	} else {
		op.Security = []map[string][]string{{"bearer": {}}, {"key": {}}}
	}
	huma.Register(a.huma, op, func(ctx context.Context, in *I) (*O, error) {
		st := stateOf(ctx)
		out, err := h(ctx, st.scope, in)
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
		h(w, r, stateOf(r.Context()).scope)
	})
}

// guard authenticates the caller and checks the route's permission before the body is read.
func (a *API) guard(rt Route) func(huma.Context, func(huma.Context)) {
	return func(hc huma.Context, next func(huma.Context)) {
		r, w := humago.Unwrap(hc)
		if err := a.admit(rt, r); err != nil {
			writeProblem(w, r, err, a.Log)
			return
		}
		if rt.Method == http.MethodPost && r.Header.Get("Idempotency-Key") != "" {
			if err := idempotency(rt, r, w); err != nil {
				writeProblem(w, r, err, a.Log)
				return
			}
		}
		next(hc)
	}
}

func (a *API) admit(rt Route, r *http.Request) error {
	st := stateOf(r.Context())
	st.route = rt.Method + " " + rt.Path
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
	sc.RequestID = st.id
	st.scope = sc
	return nil
}

// idempotency binds the caller's key to the route and the body's digest, and puts the body back for the handler.
func idempotency(rt Route, r *http.Request, w http.ResponseWriter) error {
	key := r.Header.Get("Idempotency-Key")
	if len(key) > 255 {
		return fault.Invalid("Idempotency-Key", "too_long", "send a key of at most 255 bytes")
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, rt.MaxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return errTooLarge(rt.MaxBody)
		}
		return fault.Malformed("unreadable_body", "The request's body ended early. Send it again whole.")
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	sum := sha256.New()
	sum.Write([]byte(r.URL.RequestURI() + "\n"))
	sum.Write(body)
	stateOf(r.Context()).scope.Idempotency = &account.Idempotency{Key: key, Route: rt.Method + " " + rt.Path, Digest: hex.EncodeToString(sum.Sum(nil))}
	return nil
}
