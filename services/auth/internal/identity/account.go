package identity

import (
	"time"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/principal"
)

// The errors of accounts.
var (
	ErrAccountNotFound = errs.New(errs.NotFound, errs.ReasonNotFound, "no account has this id")
	ErrAccountExists   = errs.New(errs.AlreadyExists, errs.ReasonAlreadyExists,
		"there is another account with this id; choose another id, or change that one")
	// ErrAccountDisabled is no final refusal: the account may be enabled again.
	ErrAccountDisabled = errs.New(errs.Unauthenticated, errs.ReasonAccountDisabled,
		"the account is suspended; ask the server's administrator")
	ErrAccountInUse = errs.New(errs.FailedPrecondition, errs.ReasonInvalidArgument,
		"the account has tokens that are good; revoke them first, or delete it with force")
	ErrEtag = errs.New(errs.Aborted, errs.ReasonEtagMismatch,
		"it was changed since it was read; read it again and change that")
	ErrAgentQuota = errs.New(errs.ResourceExhausted, errs.ReasonQuotaExceeded,
		"the account has as many agents as it may have; stop one, or ask the server's administrator for more")
)

// Account owns tokens, and through them agents and tunnels.
type Account struct {
	ID          string
	DisplayName string
	Disabled    bool
	// Deleting: its tokens are being deleted, and then it is. Nothing is added.
	Deleting bool
	Quotas   Quotas
	Created  time.Time
	Revision int64 // of its last change; the store's
}

// Quotas bound an account; 0: no bound.
type Quotas struct {
	MaxAgents, MaxEndpoints, MaxConnections uint32
}

// Stopped reports whether nobody may live by the account.
func (a Account) Stopped() bool { return a.Disabled || a.Deleting }

// NewDefaultAccount is the account that there is from the start, and the event of
// its creation.
func NewDefaultAccount(now time.Time) (Account, Event) {
	a := Account{ID: principal.DefaultAccount, Created: now.UTC()}
	return a, self.event(now, Created, kindAccount, a.ID, a.ID, nil)
}

// Begun is an account that its first token begins, and the event of that.
func (t Token) Begun(by Caller) (Account, Event) {
	return Account{ID: t.AccountID, Created: t.Created}, by.event(t.Created, Created, kindAccount, t.AccountID, t.AccountID, nil)
}
