package account

import "time"

// SessionID names a session within its tenant.
type SessionID string

// SessionKind says how a session is carried.
type SessionKind string

// The kinds of session.
const (
	SessionToken  SessionKind = "token"  // access and refresh tokens of an API client
	SessionCookie SessionKind = "cookie" // a browser
)

// How long a session lives (behaviours 3.15.5), and how long a refresh token may be used twice, for the client that
// lost the reply to its first use.
const (
	SessionIdle     = 12 * time.Hour
	SessionLifetime = 30 * 24 * time.Hour
	RefreshGrace    = 30 * time.Second
)

// Session is one login of a user on one device. Its token is kept as a digest only.
type Session struct {
	ID         SessionID
	UserID     UserID
	Kind       SessionKind
	Digest     string // of the refresh or cookie token
	Previous   string // digest of the refresh token before, to recognise one that is used again
	RotatedAt  time.Time
	Address    string
	Device     string
	CreatedAt  time.Time
	LastUsedAt time.Time
	ExpiresAt  time.Time
	RevokedAt  time.Time
}

// Active reports whether the session is in force at now: not ended, not too old, and used within the idle time.
func (s *Session) Active(now time.Time) bool {
	return s.RevokedAt.IsZero() && now.Before(s.ExpiresAt) && now.Sub(s.LastUsedAt) < SessionIdle
}
