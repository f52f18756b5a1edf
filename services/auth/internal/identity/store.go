package identity

import (
	"context"
	"time"
)

// Store keeps what auth knows. Several replicas share one: each method is
// atomic against all others, and an event is kept with its change or neither is.
// What the store cannot answer is ErrUnavailable, with its cause.
type Store interface {
	AccountStore
	TokenStore
	AgentStore
	KeyStore
	EventStore
	Feed
}

// AccountStore keeps accounts.
type AccountStore interface {
	// CreateAccount adds an account and returns what stands. False: the id is in
	// use, nothing was changed.
	CreateAccount(ctx context.Context, a Account, e Event) (Account, bool, error)
	// Account returns one, or ErrAccountNotFound.
	Account(ctx context.Context, id string) (Account, error)
	// Accounts returns at most limit accounts whose ids come after the given one, in
	// the order of their ids.
	Accounts(ctx context.Context, after string, limit int) ([]Account, error)
	// ChangeAccount has change change an account, and writes it with the event.
	// change may be called several times; with a nil event nothing is written, and
	// its error is returned. ErrAccountNotFound.
	ChangeAccount(ctx context.Context, id string, change func(*Account) (*Event, error)) (Account, error)
	// DeleteAccount removes an account. ErrAccountNotFound.
	DeleteAccount(ctx context.Context, id string, e Event) error
}

// NewTokenIn says how a token comes into its account.
type NewTokenIn struct {
	// Begin the account if there is none; else ErrAccountNotFound.
	Begin bool
	By    Caller // of the event of that
	Event Event  // of the token
}

// TokenStore keeps authtokens and API keys.
type TokenStore interface {
	// CreateToken adds a token. False: the id is in use, nothing was changed.
	// ErrAccountDisabled: its account is being deleted.
	CreateToken(ctx context.Context, t Token, in NewTokenIn) (Token, bool, error)
	// Token returns one, or ErrTokenNotFound.
	Token(ctx context.Context, id string) (Token, error)
	// Tokens returns at most limit tokens of an account (empty: of all) whose ids
	// come after the given one, in the order of their ids.
	Tokens(ctx context.Context, account, after string, limit int) ([]Token, error)
	// ChangeToken is as ChangeAccount. ErrTokenNotFound.
	ChangeToken(ctx context.Context, id string, change func(*Token) (*Event, error)) (Token, error)
	// DeleteToken removes a token, unless judge fails; it may be called several
	// times. ErrTokenNotFound.
	DeleteToken(ctx context.Context, id string, judge func(Token) (Event, error)) error
	// UseTokens notes when tokens were used. Of one that is not there it notes
	// nothing that lasts.
	UseTokens(ctx context.Context, uses map[string]time.Time) error
	// LastUses returns when tokens were used last whose ids are from first to last.
	LastUses(ctx context.Context, first, last string) (map[string]time.Time, error)
}

// AgentStore keeps agents.
type AgentStore interface {
	// CreateAgent adds an agent. False: the id is in use, nothing was changed.
	CreateAgent(ctx context.Context, a Agent) (bool, error)
	// Agent returns one. False: there is none.
	Agent(ctx context.Context, id string) (Agent, bool, error)
	// Agents returns at most limit agents whose ids come after the given one.
	Agents(ctx context.Context, after string, limit int) ([]Agent, error)
	// SeeAgent notes when an agent was seen; one that is not there it leaves so.
	SeeAgent(ctx context.Context, id string, now time.Time) error
	// ForgetAgent removes an agent, unless it was seen since it was read.
	ForgetAgent(ctx context.Context, a Agent) error
	// ChangeLive has change change who lives of an account. change may be called
	// several times; if it fails nothing is written.
	ChangeLive(ctx context.Context, account string, change func(Live) error) error
}

// KeyStore keeps the keys that all replicas share.
type KeyStore interface {
	// Keys returns the keys that stand; the first replica to ask makes its
	// proposal them.
	Keys(ctx context.Context, proposal Keys) (Keys, error)
}

// EventStore keeps the history of changes.
type EventStore interface {
	// Events returns at most about limit events after a revision, in their order,
	// and the revision up to which that is all. ErrCompacted: they are not all kept
	// any more, or the revision is still to come.
	Events(ctx context.Context, after int64, limit int) ([]Event, int64, error)
	// Bounds returns the lowest revision that Events can be asked for, and the
	// present one.
	Bounds(ctx context.Context) (oldest, now int64, err error)
	// TrimEvents removes events from before a time, and the oldest of those that
	// are too many; some at once. It returns how many.
	TrimEvents(ctx context.Context, before time.Time, keep int) (int, error)
}

// Feed tells what happens to tokens and accounts, in the order of revisions:
// numbers that rise with every change, whoever made it.
type Feed interface {
	// Snapshot calls each for every token and account, with the revision of its
	// last change, and returns the revision at which all of that was so.
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

// Change is what a token or an account has become; one of the ids is set.
type Change struct {
	TokenID   string
	AccountID string
	Revision  int64
	// Ended: whoever lives by it must stop. So it is for what is gone or suspended,
	// or whose record nobody understands.
	Ended bool
	// Fresh: it is new, so that nobody lives by it yet.
	Fresh bool
	// Expires is zero for never.
	Expires time.Time
}

// Progress is a step of a Feed: changes in the order of their revisions, and the
// revision up to which nothing is missing.
type Progress struct {
	Changes  []Change
	Revision int64
}
