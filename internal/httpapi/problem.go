package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"leadloom/internal/fault"
	"leadloom/internal/store"
)

// statusOf is the one table from the kind of an error to its HTTP status.
var statusOf = map[fault.Kind]int{
	fault.KindInternal: 500, fault.KindMalformed: 400, fault.KindUnauthorized: 401, fault.KindForbidden: 403, fault.KindNotFound: 404,
	fault.KindConflict: 409, fault.KindStale: 412, fault.KindTooLarge: 413, fault.KindUnsupportedMedia: 415, fault.KindInvalid: 422,
	fault.KindTooMany: 429, fault.KindUnavailable: 503, fault.KindLoop: 508, fault.KindTimeout: 408,
}

// Problem is an RFC 9457 problem document.
type Problem struct {
	Type      string         `json:"type" doc:"Where the code is explained."`
	Title     string         `json:"title" doc:"The status in words."`
	Status    int            `json:"status"`
	Detail    string         `json:"detail" doc:"What was wrong and what to do."`
	Instance  string         `json:"instance,omitempty" doc:"The path of the request."`
	Code      string         `json:"code" doc:"Stable, snake_case."`
	RequestID string         `json:"request_id,omitempty"`
	Errors    []fault.Field  `json:"errors,omitempty" doc:"One entry per bad field."`
	Current   any            `json:"current,omitempty" doc:"With 412: the resource as it is now."`
	Extra     map[string]any `json:"-"`

	retryAfter int
}

// Error implements error.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header {
	h := http.Header{}
	if p.retryAfter > 0 {
		h.Set("Retry-After", strconv.Itoa(p.retryAfter))
	}
	if p.Status == 401 {
		h.Set("WWW-Authenticate", `Bearer realm="leadloom"`)
	}
	return h
}

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return "application/problem+json" }

// useProblems makes huma's own errors (decoding, schema validation) our problems; both hooks are package variables of huma.
var useProblems = sync.OnceFunc(func() {
	huma.NewError = func(status int, msg string, errs ...error) huma.StatusError {
		return humaProblem(nil, status, msg, errs)
	}
	huma.NewErrorWithContext = func(hc huma.Context, status int, msg string, errs ...error) huma.StatusError {
		return humaProblem(hc, status, msg, errs)
	}
})

// toProblem turns any error into a problem document; what is not a fault is logged whole and told as 500 without its text.
func toProblem(ctx context.Context, err error, log *slog.Logger) *Problem {
	st := stateOf(ctx)
	if p, ok := err.(*Problem); ok {
		p.RequestID = st.id
		return p
	}
	f := fault.As(err)
	switch {
	case f != nil:
	case store.IsConflict(err, ""):
		f = &fault.Error{Kind: fault.KindConflict, Code: "conflict", Message: "Another request changed the same thing at the same moment. Read it again and repeat.", Cause: err}
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		f = fault.Unavailable("too_slow", "The server could not do it in time, and gave up. Whether anything was changed is not certain: read it again, or repeat the request with the same Idempotency-Key.", 2*time.Second, err)
	case ctx.Err() != nil:
		f, log = fault.Unavailable("cancelled", "The request ended before its work did.", 0, err), nil // the client has gone: nobody's fault
	default:
		f = fault.Internal("request", err)
	}
	p := &Problem{Status: statusOf[f.Kind], Code: f.Code, Detail: f.Message, Errors: f.Fields, RequestID: st.id, Instance: st.path, Extra: f.Extra,
		retryAfter: int(math.Ceil(f.RetryAfter.Seconds())), Current: f.Extra["current"]}
	if p.Status == 503 && p.retryAfter == 0 {
		p.retryAfter = 1
	}
	p.fill()
	if p.Status >= 500 && log != nil {
		log.Error("request failed", "request_id", st.id, "route", st.route, "status", p.Status, "code", p.Code, "error", err.Error())
	}
	return p
}

func (p *Problem) fill() {
	p.Type = "/docs/errors#" + p.Code
	p.Title = http.StatusText(p.Status)
}

// humaProblem rewrites what huma found wrong, without the values that it would echo.
func humaProblem(hc huma.Context, status int, msg string, errs []error) huma.StatusError {
	if status == 500 && msg == "cannot read request body" { // the client broke off, or its chunks are none
		status = 400
	}
	if status == 422 && unknownMedia(errs) {
		status = 415
	}
	if status == 422 && notJSON(errs) { // a body that checks itself (Route.OwnChecks) is not parsed before
		status = 400
	}
	p := &Problem{Status: status, Detail: msg}
	if hc != nil {
		p.RequestID = stateOf(hc.Context()).id
		u := hc.URL()
		p.Instance = u.Path
	}
	switch {
	case status >= 500:
		p.Code, p.Detail = "internal", "Something failed on our side. Report the request id to the operator."
	case status == 408:
		p.Code, p.Detail = "body_too_slow", "The body did not arrive in time. Send it again over a faster connection, or less at once."
	case status == 413:
		p.Code, p.Detail = "too_large", "The body is larger than this route takes. Send less at once."
	case status == 415:
		p.Code, p.Detail = "unsupported_media_type", "Send the body as application/json."
	case status == 400:
		p.Code = "malformed"
		p.Detail = "The body is not valid JSON. Check it with a JSON validator and send it again."
		switch {
		case strings.Contains(msg, "required"):
			p.Detail = "The request needs a JSON body."
		case msg == "cannot read request body":
			p.Code, p.Detail = "unreadable_body", "The request's body ended early. Send it again whole."
		}
	default:
		p.Code = "validation_failed"
	}
	if status == 422 {
		for _, err := range errs {
			p.Errors = append(p.Errors, humaField(err))
		}
		if n := len(p.Errors); n == 1 {
			p.Detail = p.Errors[0].Path + ": " + p.Errors[0].Message
		} else {
			p.Detail = fmt.Sprintf("%d fields are wrong; see errors", n)
		}
	}
	p.fill()
	return p
}

// unknownMedia reports that the body has a type that the route does not take.
func unknownMedia(errs []error) bool {
	for _, err := range errs {
		if d, ok := err.(*huma.ErrorDetail); ok && strings.HasPrefix(d.Message, huma.ErrUnknownContentType.Error()) {
			return true
		}
	}
	return false
}

// notJSON reports that the only finding is a syntax error of the whole body.
func notJSON(errs []error) bool {
	if len(errs) != 1 {
		return false
	}
	d, ok := errs[0].(*huma.ErrorDetail)
	return ok && d.Location == "body" && (strings.Contains(d.Message, "end of JSON input") || strings.HasPrefix(d.Message, "invalid character"))
}

// humaField gives one of huma's findings a stable code and a sentence. Its message never repeats the value.
func humaField(err error) fault.Field {
	d, ok := err.(*huma.ErrorDetail)
	if !ok {
		return fault.Field{Path: "", Code: "invalid", Message: "is not valid"}
	}
	path := d.Location
	for _, prefix := range []string{"body.", "query.", "path.", "header."} {
		path = strings.TrimPrefix(path, prefix)
	}
	msg := d.Message
	code := "invalid"
	switch {
	case strings.HasPrefix(msg, "expected required property"):
		name := strings.Trim(strings.Fields(strings.TrimPrefix(msg, "expected required property "))[0], `"`)
		if path == "body" || path == "" {
			path = name
		} else if !strings.HasSuffix(path, name) {
			path += "." + name
		}
		code, msg = "required", "is required; send it"
	case strings.HasPrefix(msg, "required"):
		code, msg = "required", "is required; send it"
	case strings.HasPrefix(msg, "unexpected property"):
		code, msg = "unknown_field", "this route does not know the field; remove it or check its spelling"
	case strings.HasPrefix(msg, "expected value to be one of"):
		code, msg = "not_allowed", "send "+strings.TrimPrefix(msg, "expected value to be ")
	case strings.HasPrefix(msg, "expected length"), strings.HasPrefix(msg, "expected array length"):
		code, msg = "wrong_length", strings.Replace(msg, "expected", "send a", 1)
	case strings.HasPrefix(msg, "expected number"), strings.HasPrefix(msg, "expected minimum"), strings.HasPrefix(msg, "expected maximum"):
		code, msg = "out_of_range", "send "+strings.TrimPrefix(msg, "expected ")
	case strings.HasPrefix(msg, "expected "), strings.HasPrefix(msg, "invalid "):
		code, msg = "wrong_type", "send "+article(strings.TrimPrefix(strings.TrimPrefix(msg, "expected "), "invalid "))
	}
	return fault.Field{Path: path, Code: code, Message: msg}
}

func article(what string) string {
	if what == "" || strings.HasPrefix(what, "a ") {
		return what
	}
	if strings.ContainsRune("aeio", rune(what[0])) {
		return "an " + what
	}
	return "a " + what
}

// writeProblem answers outside huma: the chain's own refusals and plain pages.
func writeProblem(w http.ResponseWriter, r *http.Request, err error, log *slog.Logger) {
	p := toProblem(r.Context(), err, log)
	p.Instance = r.URL.Path
	for k, v := range p.GetHeaders() {
		w.Header()[k] = v
	}
	w.Header().Set("Content-Type", "application/problem+json")
	b, merr := json.Marshal(p)
	if merr != nil {
		b = []byte(`{"status":500,"code":"internal"}`)
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(b, '\n'))
}

func errTooLarge(limit int64) error {
	return &fault.Error{Kind: fault.KindTooLarge, Code: "too_large", Message: fmt.Sprintf("The body is larger than %d bytes. Send less at once.", limit)}
}

func errMethod(allowed []string) *Problem {
	p := &Problem{Status: http.StatusMethodNotAllowed, Code: "method_not_allowed", Detail: "This path answers " + strings.Join(allowed, ", ") + "."}
	p.fill()
	return p
}
