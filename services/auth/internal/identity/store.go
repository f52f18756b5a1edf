package identity

import (
	"context"
	"time"
)

// Store keeps what auth knows. Several replicas share one: each method is
// atomic against all others. What the store cannot answer is ErrUnavailable,
// with its cause.
type Store interface {
	TokenStore
	AgentStore
	KeyStore
	Feed
}

// TokenStore keeps authtokens. They are never deleted.
type TokenStore interface {
	// CreateToken adds a token, and its account if this is its first one. False:
	// the id is in use, nothing was changed.
	CreateToken(ctx context.Context, t Token) (bool, error)
	// Token returns one, or ErrTokenNotFound.
	Token(ctx context.Context, id string) (Token, error)
	// Tokens returns at most limit tokens of an account (empty: of all) whose ids
	// come after the given one, in the order of their ids.
	Tokens(ctx context.Context, account, after string, limit int) ([]Token, error)
	// RevokeToken sets when the token was revoked, unless it is already, and
	// returns what stands. ErrTokenNotFound.
	RevokeToken(ctx context.Context, id string, now time.Time) (Token, error)
	// LapseToken marks a token that is expired at now, so that all replicas
	// announce it. One that has ended, or is not expired, or not there, it leaves
	// alone.
	LapseToken(ctx context.Context, id string, now time.Time) error
}

// AgentStore keeps agents.
type AgentStore interface {
	// CreateAgent adds an agent. False: the id is in use, nothing was changed.
	CreateAgent(ctx context.Context, a Agent) (bool, error)
	// Agent returns one. False: there is none.
	Agent(ctx context.Context, id string) (Agent, bool, error)
}

// KeyStore keeps the keys that all replicas share.
type KeyStore interface {
	// Keys returns the keys that stand; the first replica to ask makes its
	// proposal them.
	Keys(ctx context.Context, proposal Keys) (Keys, error)
}

// Feed tells what happens to tokens, in the order of revisions: numbers that
// rise with every change, whoever made it.
type Feed interface {
	// Snapshot calls each for every token, with the revision of its last change,
	// and returns the revision at which all of that was so.
	Snapshot(ctx context.Context, each func(Change)) (int64, error)
	// Follow calls each for what happens after a revision, and from time to time
	// for nothing but a higher revision, until ctx ends or the feed breaks.
	// ErrCompacted: what comes after the revision is not kept any more.
	Follow(ctx context.Context, after int64, each func(Progress)) error
	// Kept is nil if everything after the revision can still be told, else
	// ErrCompacted; also for a revision that is still to come, for then the
	// history is not the one that the revision is from.
	Kept(ctx context.Context, revision int64) error
}

// Change is what a token has become.
type Change struct {
	TokenID  string
	Revision int64
	// Ended: whoever lives by it must stop. So it is for a token that is gone,
	// or whose record nobody understands.
	Ended bool
	// Expires is zero for never.
	Expires time.Time
}

// Progress is a step of a Feed: changes in the order of their revisions, and the
// revision up to which nothing is missing.
type Progress struct {
	Changes  []Change
	Revision int64
}
