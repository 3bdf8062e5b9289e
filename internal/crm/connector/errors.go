package connector

import (
	"errors"
	"time"
)

// Class says what the shared drain does with an error (docs/crm.md).
type Class string

// The classes.
const (
	ClassRetry     Class = "retry"     // try again after a pause
	ClassThrottled Class = "throttled" // short-window limit: wait, no attempt is counted
	ClassQuota     Class = "quota"     // daily or monthly budget gone: pause until it is renewed
	ClassReauth    Class = "reauth"    // the credentials are dead: stop until a person renews them
	ClassConfig    Class = "config"    // object, field, scope or address is wrong: stop until a person changes it
	ClassRecord    Class = "record"    // this lead is refused; the others go on
	ClassMoved     Class = "moved"     // merged or converted remotely
	ClassGone      Class = "gone"      // deleted remotely
	ClassAmbiguous Class = "ambiguous" // sent, outcome unknown
	ClassSelfLoop  Class = "self_loop" // the address leads back to this server
	ClassPause     Class = "pause"     // nothing is wrong: our own turn is over, the rest follows in the next one
)

// StopsConnection reports whether an error of this class holds for the whole connection, not for one record.
func (c Class) StopsConnection() bool {
	switch c {
	case ClassThrottled, ClassQuota, ClassReauth, ClassConfig, ClassSelfLoop, ClassPause:
		return true
	}
	return false
}

// Error is a classified refusal. Message is for a person: redacted, without secrets, with what to do.
type Error struct {
	Class    Class
	Code     string // snake_case when ours, else the CRM's own
	Field    string // the remote field, when one is to blame
	Message  string
	After    time.Duration // for retry and throttled: 0 when the CRM did not say
	Until    time.Time     // for quota: zero when unknown
	RemoteID string        // for moved: the new record
}

// Error implements error.
func (e *Error) Error() string {
	out := string(e.Class) + " " + e.Code + ": " + e.Message
	if e.Field != "" {
		out += " (field " + e.Field + ")"
	}
	return out
}

// AsError finds the *Error in err. Anything else is a bug or a cancelled call and becomes a retry.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Class: ClassRetry, Code: "unexpected", Message: "The call could not be made. It is tried again."}
}
