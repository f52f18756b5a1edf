package agent

import (
	"crypto/x509"
	"errors"

	"github.com/dialback/dialback/internal/agent/session"
	"github.com/dialback/dialback/internal/errs"
)

// What Run returns, beside what a server said (see Failure).
var (
	// ErrUntrusted means that the server's certificate is not one that the
	// configuration trusts.
	ErrUntrusted = errors.New("the server is not the configured one")
	// ErrCannotConnect means that the first try failed and Config.FailFast is
	// set.
	ErrCannotConnect = errors.New("cannot connect to the server")
	// ErrEnded means that an operator ended this agent's session or tunnel.
	ErrEnded = errors.New("an operator has ended the tunnel")

	errTakenOver = errors.New("another process uses this agent's identity")
	errLeaving   = errors.New("the server asked to attach elsewhere")
	errNoAnswer  = errors.New("the server did not answer in time")
	errTwice     = errors.New("the agent is attached to this connector already")
	errOther     = errors.New("the server takes this agent for another one")
)

// errRevoked stands for a revocation that came without a text.
var errRevoked = errs.New(errs.Unauthenticated, errs.ReasonTokenRevoked, "the authtoken was revoked")

// Failure is the class of an error of Run.
type Failure int

// The classes.
const (
	// FailureOther is none of the following.
	FailureOther Failure = iota
	// FailureUntrusted: see ErrUntrusted.
	FailureUntrusted
	// FailureToken: the authtoken was refused.
	FailureToken
	// FailureName: the wanted name was refused.
	FailureName
	// FailureConnect: see ErrCannotConnect.
	FailureConnect
	// FailureVersion: the server does not speak with this release any more.
	FailureVersion
)

// Classify says what class an error of Run is of.
func Classify(err error) Failure {
	switch {
	case errors.Is(err, ErrUntrusted):
		return FailureUntrusted
	case errors.Is(err, ErrCannotConnect):
		return FailureConnect
	}
	switch session.ReasonOf(err) {
	case errs.ReasonTokenMissing, errs.ReasonTokenInvalid, errs.ReasonTokenRevoked, errs.ReasonTokenExpired:
		return FailureToken
	case errs.ReasonNameTaken, errs.ReasonNameForbidden, errs.ReasonNameInvalid, errs.ReasonNotGranted:
		return FailureName
	case errs.ReasonVersionUnsupported:
		return FailureVersion
	}
	return FailureOther
}

// untrusted reports whether err is about the server's certificate: trying again
// does not help.
func untrusted(err error) bool {
	var authority x509.UnknownAuthorityError
	var name x509.HostnameError
	return session.IsPin(err) || errors.As(err, &authority) || errors.As(err, &name)
}

// takenOver reports whether err says that this agent's identity is another's.
func takenOver(err error) bool {
	reason := session.ReasonOf(err)
	return errors.Is(err, errTakenOver) || reason == errs.ReasonTakenOver || reason == errs.ReasonSuperseded
}

// final reports whether the server's refusal of a session will be the same the
// next time.
func final(err error) bool {
	class := Classify(err)
	return class == FailureToken || class == FailureVersion || errors.Is(err, ErrEnded)
}

// refusedForGood reports whether the refusal of a tunnel will be the same the
// next time, unless something else changes.
func refusedForGood(err error) bool {
	if session.RetryAfterOf(err) > 0 {
		return false
	}
	switch session.ReasonOf(err) {
	case errs.ReasonOptionUnsupported, errs.ReasonTunnelLimit, errs.ReasonInvalidArgument:
		return true
	}
	return Classify(err) == FailureName
}
