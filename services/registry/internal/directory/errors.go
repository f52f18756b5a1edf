package directory

import (
	"errors"
	"time"

	"github.com/dialback/dialback/internal/errs"
)

// What this package refuses with.
var (
	ErrNameTaken = errs.New(errs.AlreadyExists, errs.ReasonNameTaken,
		"the name belongs to another account; choose another one")
	ErrNameInUse = errs.New(errs.AlreadyExists, errs.ReasonNameInUse,
		"another agent of your account has the name; stop it, or choose another name")
	ErrNameForbidden = errs.New(errs.PermissionDenied, errs.ReasonNameForbidden,
		"the name is not to be had here; choose another one")
	ErrNameInvalid = errs.New(errs.InvalidArgument, errs.ReasonNameInvalid,
		"that is not a hostname")
	ErrNotGranted = errs.New(errs.PermissionDenied, errs.ReasonNotGranted,
		"the token's grants do not include the name; ask for a token that does")
	ErrOptionUnsupported = errs.New(errs.FailedPrecondition, errs.ReasonOptionUnsupported,
		"not every part of this deployment knows a critical option; upgrade it, or leave the option out")
	ErrNodeUnknown = errs.New(errs.NotFound, errs.ReasonNodeUnknown,
		"the node's registration has ended; register and attach again")
	ErrEndpointNotFound = errs.New(errs.NotFound, errs.ReasonEndpointNotFound,
		"no such endpoint")
	ErrReservationNotFound = errs.New(errs.NotFound, errs.ReasonNotFound,
		"no such reservation")
	ErrReserved = errs.New(errs.AlreadyExists, errs.ReasonAlreadyExists,
		"the name is reserved already, with other content; update that reservation")
	ErrEtag = errs.New(errs.Aborted, errs.ReasonEtagMismatch,
		"it has been changed since you read it; read it again")
	ErrQuota = errs.New(errs.ResourceExhausted, errs.ReasonQuotaExceeded,
		"the account has as much as it may; close something, or ask for a higher quota")
	ErrDraining = errs.New(errs.FailedPrecondition, errs.ReasonDrainInProgress,
		"another connector drains, and agents leave one connector at a time; wait for it, or force it")
	ErrResting = errs.New(errs.FailedPrecondition, errs.ReasonNameInUse,
		"the port was in use until a moment ago; close it once more later")
	ErrCompacted = errs.New(errs.NotFound, errs.ReasonCompacted,
		"that far back no history is kept; begin from now")
	ErrOverloaded = errs.New(errs.ResourceExhausted, errs.ReasonOverloaded,
		"a bound of the registry was reached; retry later")
	ErrUnavailable = errs.New(errs.Unavailable, errs.ReasonUnavailable,
		"the registry cannot reach its store; retry").WithRetry(time.Second)
	ErrInvalid = errs.New(errs.InvalidArgument, errs.ReasonInvalidArgument,
		"a field is missing or malformed")
	ErrDenied = errs.New(errs.PermissionDenied, errs.ReasonPermissionDenied,
		"the caller may not do this")
)

// ErrConflict is the store's word that something has changed since it was read.
// It never leaves this package: what was read is read again.
var ErrConflict = errors.New("the records have changed since they were read")
