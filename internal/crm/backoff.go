package crm

import (
	"hash/fnv"
	"time"

	"leadloom/internal/crm/connector"
	"leadloom/internal/outbound"
)

// Limits of waiting between attempts.
const (
	minBackoff     = time.Second
	maxBackoff     = 15 * time.Minute
	ThrottleWait   = 10 * time.Second // when a CRM says "slow down" and not for how long
	quotaProbe     = time.Hour        // when it does not say when its quota is renewed
	rubbishProbe   = 15 * time.Minute // when its reply is none: it is tested again, should nobody change anything
	MaxInDrainWait = 5 * time.Second  // longer waits give the worker back
)

// Backoff is the pause after n failures in a row (1 for the first): 1 s doubling to 15 min, with up to a quarter of
// jitter that depends on seed alone, and never less than the CRM asked for.
func Backoff(n int64, seed string, asked time.Duration) time.Duration {
	d := maxBackoff
	if n < 12 {
		d = min(maxBackoff, minBackoff<<max(0, n-1))
	}
	h := fnv.New32a()
	_, _ = h.Write([]byte(seed))
	_, _ = h.Write([]byte{byte(n)})
	d -= time.Duration(int64(d) / 4 * int64(h.Sum32()%1000) / 1000)
	return max(d, asked)
}

// Standing is the part of a connection that the outcome of calls changes.
type Standing struct {
	State    State
	Code     string
	Reason   string
	Until    time.Time
	Failures int64
}

// Standing of the connection now.
func (c *Connection) Standing() Standing {
	return Standing{State: c.State, Code: c.StateCode, Reason: c.StateReason, Until: c.StateUntil, Failures: c.Failures}
}

// AfterSuccess is the standing once the CRM took something.
func (s Standing) AfterSuccess() Standing { return Standing{State: StateOK} }

// AfterStop is the standing after an error that holds for the whole connection.
func (s Standing) AfterStop(e *connector.Error, seed string, now time.Time) Standing {
	out := Standing{State: s.State, Code: e.Code, Reason: e.Message, Failures: s.Failures}
	switch e.Class {
	case connector.ClassReauth:
		out.State = StateReauth
	case connector.ClassConfig:
		out.State = StateConfig
		if e.Code == outbound.CodeBadReply || e.Code == outbound.CodeTooLarge { // perhaps a page of a CRM in maintenance
			out.Until = now.Add(rubbishProbe)
		}
	case connector.ClassSelfLoop:
		out.State = StateSelfLoop
	case connector.ClassQuota:
		out.State, out.Until = StateQuota, e.Until
		if !e.Until.After(now) {
			out.Until = now.Add(quotaProbe)
		}
	case connector.ClassThrottled: // no failure is counted: it works, only slower
		out.Until = now.Add(ThrottleWait)
		if e.After > 0 {
			out.Until = now.Add(e.After)
		}
		if s.State != StateOK && s.State != StateDegraded {
			out.State = StateDegraded
		}
	default:
		out.State, out.Failures = StateDegraded, s.Failures+1
		out.Until = now.Add(Backoff(out.Failures, seed, e.After))
	}
	return out
}
