package identity

import (
	"crypto/sha256"
	"time"
)

// Token is an authtoken as it is kept: without its secret.
type Token struct {
	ID          string
	AccountID   string
	Description string
	Grants      []string          // canonical; none: everything
	Hash        [sha256.Size]byte // of the whole authtoken
	Created     time.Time
	Expires     time.Time // zero: never
	Revoked     time.Time // zero: not revoked
	Lapsed      bool      // its expiry was announced to those who watch
}

// Ended reports whether those who live by the token were told to stop.
func (t Token) Ended() bool { return t.Lapsed || !t.Revoked.IsZero() }

// ExpiredAt reports whether the token's time is over.
func (t Token) ExpiredAt(now time.Time) bool {
	return !t.Expires.IsZero() && !now.Before(t.Expires)
}

// Agent is one agent: who it belongs to, for ever, and the hash of what proves
// that it is the same.
type Agent struct {
	ID         string
	AccountID  string
	ResumeHash [sha256.Size]byte
	Created    time.Time
}
