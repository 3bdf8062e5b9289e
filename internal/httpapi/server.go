package httpapi

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/netip"
	"regexp"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
	gojson "github.com/goccy/go-json"
	"github.com/google/uuid"

	"leadloom/internal/account"
	"leadloom/internal/fault"
	"leadloom/internal/outbound"
	"leadloom/internal/secret"
	"leadloom/internal/service"
)

// Deps are what the API is built from.
type Deps struct {
	Services *service.Services
	Secrets  *secret.Box
	Log      *slog.Logger
	Version  string
	Instance string           // the database's id, sent with every reply so that a loop is seen
	Now      func() time.Time // nil means time.Now
	InFlight int64            // requests worked on at once before new ones get 503; 0 means 4096

	// TrustedProxies may name the client in X-Forwarded-For and -Proto; from others these headers mean nothing.
	TrustedProxies []netip.Prefix

	MetricsElsewhere bool // MetricsHandler has an address of its own: the main one does not serve /metrics

	Jobs  http.Handler // the queue's screen; nil: this process has none
	Links []Link       // further entries of the start page: simulator, mail sink

	// Authenticate turns a request into a scope; nil means credentials as api-contract.md has them.
	Authenticate func(*http.Request) (account.Scope, error)
}

// API holds the routes and serves them.
type API struct {
	Deps
	mux      *http.ServeMux
	huma     huma.API
	routes   []Route
	inFlight atomic.Int64
	served   atomic.Int64
	cursors  cursorKey
	observe  func(r *http.Request, route string, status int, took time.Duration)

	requests    *recorder
	exporter    http.Handler
	healthPages healthPages
}

// New registers every route.
func New(d Deps) *API {
	if d.Log == nil {
		d.Log = slog.New(slog.DiscardHandler)
	}
	if d.Now == nil {
		d.Now = time.Now
	}
	if d.InFlight == 0 {
		d.InFlight = 4096
	}
	a := &API{Deps: d, mux: http.NewServeMux(), requests: newRecorder()}
	a.observe = a.requests.observe
	a.cursors = cursorKey(d.Secrets.Derive("list cursors", 32))
	if a.Authenticate == nil {
		a.Authenticate = a.credentials
	}
	useProblems()
	cfg := huma.DefaultConfig("Leadloom", d.Version)
	cfg.DocsPath, cfg.OpenAPIPath, cfg.SchemasPath, cfg.CreateHooks = "", "", "", nil
	json := huma.Format{Marshal: encode, Unmarshal: huma.DefaultJSONFormat.Unmarshal}
	cfg.Formats = map[string]huma.Format{"application/json": json, "json": json}
	cfg.DefaultFormat = "application/json"
	cfg.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "An access token from POST /api/auth/login, or an API key."},
		"key":    {Type: "apiKey", In: "header", Name: "X-API-Key"},
	}
	a.huma = humago.New(a.mux, cfg)
	a.registerAll()
	return a
}

// registerAll is the list of all rooms of the API.
func (a *API) registerAll() {
	a.home()
	a.health()
	a.metrics()
	a.docs()
	a.audit()
	a.monitoring()
	a.jobsScreen()
	a.auth()
	a.loginPages()
	a.users()
	a.tenants()
	a.leads()
	a.workflows()
	a.campaigns()
	a.email()
	a.crm()
	a.analytics()
}

// RequestsServed counts the requests since the start, without those that monitors send all the time.
func (a *API) RequestsServed() int64 { return a.served.Load() }

// encode writes a reply as JSON without escaping HTML, byte for byte what encoding/json gives.
func encode(w io.Writer, v any) error {
	e := gojson.NewEncoder(w)
	e.SetEscapeHTML(false)
	return e.Encode(v)
}

// requestState travels in the request's context.
type requestState struct {
	id     string
	path   string // of the URL, once a route was found
	route  string
	scope  account.Scope
	w      http.ResponseWriter
	client client
	hops   int  // of servers of our kind that the request has passed
	quiet  bool // asked by monitors all the time: logged at debug
}

type stateKey struct{}

func stateOf(ctx context.Context) *requestState {
	s, _ := ctx.Value(stateKey{}).(*requestState)
	if s == nil {
		s = &requestState{}
	}
	return s
}

// Handler is the chain every request walks: request id, recovery, limits, self-loop check, then the routes.
func (a *API) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started := time.Now()
		st := &requestState{id: requestID(r.Header.Get("X-Request-Id"), r.Header.Get("Traceparent")), client: a.clientOf(r)}
		sw := &statusWriter{ResponseWriter: w}
		st.w = sw
		r = r.WithContext(context.WithValue(r.Context(), stateKey{}, st))
		h := w.Header()
		h.Set("X-Request-Id", st.id)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Leadloom-Instance", a.Instance)
		h.Set("Referrer-Policy", "same-origin")
		h.Set("X-Frame-Options", "SAMEORIGIN")
		defer func() {
			if p := recover(); p != nil {
				if p == http.ErrAbortHandler {
					panic(p)
				}
				writeProblem(sw, r, fault.Internal(r.Method+" "+r.URL.Path, fmt.Errorf("panic: %v\n%s", p, debug.Stack())), a.Log)
			}
			took := time.Since(started)
			a.observe(r, st.route, sw.status, took)
			if !st.quiet {
				a.served.Add(1)
			}
			a.logRequest(r, st, sw.status, took)
		}()
		if a.inFlight.Add(1) > a.InFlight {
			a.inFlight.Add(-1)
			writeProblem(sw, r, fault.Unavailable("overloaded", "The server works on as many requests as it can. Nothing was changed; try again shortly.", time.Second, nil), a.Log)
			return
		}
		defer a.inFlight.Add(-1)
		var err error
		if st.hops, err = outbound.CheckIncoming(r.Header, a.Instance); err != nil {
			writeProblem(sw, r, err, a.Log)
			return
		}
		if err := plainBody(r); err != nil {
			writeProblem(sw, r, err, a.Log)
			return
		}
		conn := http.NewResponseController(w)
		_ = conn.SetWriteDeadline(started.Add(replyPatience))
		if r.Body != nil && r.Body != http.NoBody {
			_ = conn.SetReadDeadline(started.Add(bodyTime(min(max(r.ContentLength, 0), largestBody)))) // huma sets the route's own
		}
		a.serve(sw, r)
	})
}

// plainBody refuses a compressed body: nothing here unpacks one, so that a few kilobytes never become gigabytes. The
// coding of a body that is not there means nothing.
func plainBody(r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	for _, coding := range r.Header.Values("Content-Encoding") {
		if coding = strings.TrimSpace(coding); coding != "" && !strings.EqualFold(coding, "identity") {
			return &fault.Error{Kind: fault.KindUnsupportedMedia, Code: "unsupported_encoding", Message: "Send the body without a Content-Encoding: compressed bodies are not taken."}
		}
	}
	return nil
}

// logRequest writes one line a request: ids and the route, never a path or a query, which may hold an address. What
// monitors ask for each second is logged at debug only.
func (a *API) logRequest(r *http.Request, st *requestState, status int, took time.Duration) {
	level := slog.LevelInfo
	if st.quiet {
		level = slog.LevelDebug
	}
	if !a.Log.Enabled(r.Context(), level) {
		return
	}
	route := st.route
	if route == "" {
		route = r.Method + " " + noRoute
	}
	a.Log.LogAttrs(r.Context(), level, "request", slog.String("request_id", st.id), slog.String("route", route), slog.Int("status", status),
		slog.Float64("ms", ms(took)), slog.String("tenant", string(st.scope.Tenant())), slog.String("actor", st.scope.Actor.ID))
}

// serve finds the route; what has none gets a problem document.
func (a *API) serve(w http.ResponseWriter, r *http.Request) {
	if _, pattern := a.mux.Handler(r); pattern != "" {
		a.mux.ServeHTTP(w, r)
		return
	}
	var allowed []string
	for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		probe := r.Clone(r.Context())
		probe.Method = m
		if _, pattern := a.mux.Handler(probe); pattern != "" {
			allowed = append(allowed, m)
		}
	}
	if len(allowed) > 0 {
		w.Header().Set("Allow", strings.Join(allowed, ", "))
		writeProblem(w, r, errMethod(allowed), nil)
		return
	}
	writeProblem(w, r, &fault.Error{Kind: fault.KindNotFound, Code: "no_such_route", Message: "There is no such route. GET /docs lists those that exist."}, a.Log)
}

type statusWriter struct {
	http.ResponseWriter
	status int
}

func (w *statusWriter) WriteHeader(code int) {
	if w.status == 0 {
		w.status = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// requestID keeps a caller's id when it is short and plain, else takes the id of his trace, else makes one.
func requestID(sent, traceparent string) string {
	if n := len(sent); n > 0 && n <= 128 {
		ok := true
		for i := range n {
			c := sent[i]
			if c <= ' ' || c > '~' || c == '"' || c == '\\' {
				ok = false
				break
			}
		}
		if ok {
			return sent
		}
	}
	if m := traceContext.FindStringSubmatch(traceparent); m != nil && strings.Trim(m[1], "0") != "" {
		return m[1]
	}
	id, err := uuid.NewV7()
	if err != nil {
		return "no-randomness"
	}
	return id.String()
}

// traceContext is https://www.w3.org/TR/trace-context/#traceparent-header; the first group is the trace's id.
var traceContext = regexp.MustCompile(`^[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}`)
