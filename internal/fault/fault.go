// Package fault is the one error type of Leadloom. It imports only the standard library; everything else may
// import it. A Fault says what was wrong, where, and what to do; httpapi turns its Kind into a status in one table.
package fault

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Kind is the class of an error; httpapi has one table from Kind to HTTP status.
type Kind uint8

// The kinds, with the HTTP status each becomes.
const (
	KindInternal         Kind = iota // 500: a bug or an unknown failure; its text stays in the log
	KindMalformed                    // 400: the request could not be read
	KindUnauthorized                 // 401
	KindForbidden                    // 403
	KindNotFound                     // 404: also for another tenant's object
	KindConflict                     // 409
	KindStale                        // 412: If-Match does not match
	KindTooLarge                     // 413
	KindUnsupportedMedia             // 415
	KindInvalid                      // 422: one Field per problem
	KindTooMany                      // 429 with RetryAfter
	KindUnavailable                  // 503 with RetryAfter
	KindLoop                         // 508: a call of ours came back to us
	KindTimeout                      // 408: the request did not arrive in time
)

// Field is one problem of an input: Path in dots and indexes ("leads[3].email"), a stable snake_case Code and a
// sentence that says what to send.
type Field struct {
	Path    string `json:"path"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

// Error is the only error type that crosses package borders with a meaning for the caller.
type Error struct {
	Kind       Kind
	Code       string // snake_case and stable, listed in docs/errors.md
	Message    string // one sentence for a person: what was wrong and what to do
	Fields     []Field
	RetryAfter time.Duration
	Extra      map[string]any // further members of the problem document (e.g. "current" for 412)
	Cause      error          // private: goes to the log, never to the caller
}

// Error implements error with the public sentence, then the private cause: for logs only.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Code)
	b.WriteString(": ")
	b.WriteString(e.Message)
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "; %s: %s", f.Path, f.Message)
	}
	if e.Cause != nil {
		b.WriteString(": ")
		b.WriteString(e.Cause.Error())
	}
	return b.String()
}

// Unwrap gives the private cause to errors.Is and errors.As.
func (e *Error) Unwrap() error { return e.Cause }

// Invalid is a validation failure of one field: Invalid("email", "not_an_address", "send name@domain").
func Invalid(path, code, message string) *Error {
	return InvalidFields([]Field{{path, code, message}})
}

// InvalidFields is a validation failure with every problem found. It returns nil for an empty list, so that a
// validator may end in `return fault.InvalidFields(problems).OrNil()`.
func InvalidFields(fields []Field) *Error {
	if len(fields) == 0 {
		return nil
	}
	msg := strings.TrimPrefix(fields[0].Path+": "+fields[0].Message, ": ")
	if len(fields) > 1 {
		msg = fmt.Sprintf("%d fields are wrong; see errors", len(fields))
	}
	return &Error{Kind: KindInvalid, Code: "validation_failed", Message: msg, Fields: fields}
}

// OrNil turns a typed nil into an untyped one.
func (e *Error) OrNil() error {
	if e == nil {
		return nil
	}
	return e
}

// Malformed is a request that cannot be read at all.
func Malformed(code, message string) *Error {
	return &Error{Kind: KindMalformed, Code: code, Message: message}
}

// NotFound is the same whether the object does not exist or belongs to another tenant.
func NotFound(noun, id string) *Error {
	return &Error{Kind: KindNotFound, Code: "not_found", Message: fmt.Sprintf("There is no %s %q here.", noun, clip(id))}
}

// Conflict is a state that forbids the act: say the state and what is possible.
func Conflict(code, message string) *Error {
	return &Error{Kind: KindConflict, Code: code, Message: message}
}

// Stale is a failed If-Match; current is the resource as it is now, so that a client can merge.
func Stale(current any) *Error {
	e := &Error{Kind: KindStale, Code: "stale", Message: "The resource has changed since you read it. Read it again, merge, and send the new ETag in If-Match."}
	if current != nil {
		e.Extra = map[string]any{"current": current}
	}
	return e
}

// Unauthorized is a missing, unknown, expired or revoked credential.
func Unauthorized(code, message string) *Error {
	return &Error{Kind: KindUnauthorized, Code: code, Message: message}
}

// Forbidden is a known caller without the right.
func Forbidden(permission string) *Error {
	return &Error{Kind: KindForbidden, Code: "forbidden", Message: fmt.Sprintf("This needs the permission %s. Ask an administrator for it, or use a key that has it.", permission)}
}

// TooMany is a limit of ours.
func TooMany(code, message string, after time.Duration) *Error {
	return &Error{Kind: KindTooMany, Code: code, Message: message, RetryAfter: after}
}

// Unavailable is a passing inability of ours: database gone, disk full, too much work.
func Unavailable(code, message string, after time.Duration, cause error) *Error {
	return &Error{Kind: KindUnavailable, Code: code, Message: message, RetryAfter: after, Cause: cause}
}

// Internal wraps an unexpected error; its text never leaves the log.
func Internal(doing string, cause error) *Error {
	return &Error{Kind: KindInternal, Code: "internal", Message: "Something failed on our side. Nothing was changed. Report the request id to the operator.", Cause: fmt.Errorf("%s: %w", doing, cause)}
}

// As returns the *Error inside err, or nil.
func As(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return nil
}

// Under puts the fields of a fault below a path: what is wrong with a part is told in the words of the whole.
func Under(path string, err error) error {
	f := As(err)
	if f == nil || len(f.Fields) == 0 {
		return err
	}
	out := *f
	out.Fields = make([]Field, len(f.Fields))
	for i, field := range f.Fields {
		field.Path = path + "." + field.Path
		out.Fields[i] = field
	}
	if f.Kind == KindInvalid {
		out.Message = InvalidFields(out.Fields).Message
	}
	return &out
}

// IsKind reports whether err carries a fault of that kind.
func IsKind(err error, k Kind) bool {
	e := As(err)
	return e != nil && e.Kind == k
}

// HasCode reports whether err carries a fault with that code.
func HasCode(err error, code string) bool {
	e := As(err)
	return e != nil && e.Code == code
}

// clip keeps an echoed id short and free of control characters.
func clip(s string) string {
	r := []rune(strings.Map(func(r rune) rune {
		if r < 0x20 || r == 0x7f {
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "")))
	if len(r) > 64 {
		return string(r[:64]) + "…"
	}
	return string(r)
}
