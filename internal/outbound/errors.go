package outbound

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/url"
	"strconv"
)

// Codes of an Error.
const (
	CodeBadURL   = "bad_url"             // nothing was sent
	CodeAddress  = "address_not_allowed" // nothing was sent
	CodeSelfLoop = "self_loop"           // the call came back to us, or would go in a ring
	CodeTimeout  = "timeout"
	CodeNetwork  = "network" // name, connection, TLS or a reply that broke off
	CodeTooLarge = "too_large"
	CodeCanceled = "cancelled" // the caller gave up
	CodeBadReply = "bad_reply" // not UTF-8, not JSON, too deep, with NUL
)

const addressMessage = "This address is not allowed: it lies in a private or special network. The operator can allow private ranges."

var (
	errAddress  = errors.New("address not allowed")
	errTooLarge = errors.New("reply too large")
)

// Error is a call that gave no usable reply. Message is for a person and holds no secret.
type Error struct {
	Code    string
	Message string
	Sent    bool  // the request may have reached the other side: its effect is unknown
	Cause   error // for logs
}

// Error is the sentence for a person.
func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Unwrap gives the cause to errors.Is.
func (e *Error) Unwrap() error { return e.Cause }

// HasCode reports whether err is an Error with that code.
func HasCode(err error, code string) bool {
	var e *Error
	return errors.As(err, &e) && e.Code == code
}

// explain turns what net/http says into an Error; texts name the host, never the path, the query or an address.
func (c *Client) explain(parent context.Context, u *url.URL, sent bool, err error) error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	out := &Error{Code: CodeNetwork, Sent: sent, Cause: stripURL(err)}
	host := u.Hostname()
	var dns *net.DNSError
	var timeout net.Error
	switch {
	case errors.Is(err, errAddress):
		out.Code, out.Message = CodeAddress, addressMessage
	case errors.Is(err, errTooLarge):
		out.Code, out.Message = CodeTooLarge, "The reply of "+host+" is too large."
	case errors.Is(err, context.Canceled):
		out.Code, out.Message = CodeCanceled, "The call to "+host+" was given up."
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		out.Code, out.Message = CodeTimeout, host+" did not answer in time."
	case errors.As(err, &dns):
		out.Message = "The name " + host + " could not be resolved."
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		out.Message = host + " closed the connection before its reply was complete."
	default:
		out.Message = "The connection to " + host + " failed."
	}
	return out
}

// stripURL drops the URL that net/http puts into its errors: it may hold what should not be logged.
func stripURL(err error) error {
	var ue *url.Error
	if errors.As(err, &ue) {
		return ue.Err
	}
	return err
}

var processID = func() string {
	b := make([]byte, 6)
	_, _ = rand.Read(b)
	return hex.EncodeToString(b)
}()

func requestID(n uint64) string { return "ll-" + processID + "-" + strconv.FormatUint(n, 36) }
