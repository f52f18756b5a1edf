package session

import (
	"errors"
	"fmt"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/tlsconf"
)

// maxRetryAfter caps a wait that the other side asks for.
const maxRetryAfter = 5 * time.Minute

var (
	// ErrSilent ends a session whose other side was not heard for too long.
	ErrSilent = errors.New("the server has not been heard from")
	// ErrClosed ends a session that this side has closed.
	ErrClosed = errors.New("the session was closed")
	// ErrGone ends a session that the other side has closed in order.
	ErrGone = errors.New("the server has closed the session")

	errAuthTimeout = errors.New("the server did not answer the authentication in time")
	errMalformed   = errors.New("the server's answer is not understood")
)

// ConnectError says that there was no session because no trusted connection to
// the server came about.
type ConnectError struct {
	// Address and ServerName are whom the agent tried to reach.
	Address, ServerName string
	Err                 error
}

func (e *ConnectError) Error() string {
	return fmt.Sprintf("cannot connect to %s as %s: %v", e.Address, e.ServerName, e.Err)
}

// Unwrap returns the cause.
func (e *ConnectError) Unwrap() error { return e.Err }

// IsPin reports whether err is about a server whose authority is not pinned.
func IsPin(err error) bool {
	var pin *tlsconf.PinError
	return errors.As(err, &pin)
}

// ReasonOf returns the stable code of an error that the server gave, or "".
func ReasonOf(err error) errs.Reason {
	if e, ok := errs.From(err); ok {
		return e.Reason()
	}
	return ""
}

// RetryAfterOf returns the wait that the server asked for, capped; 0: none.
func RetryAfterOf(err error) time.Duration {
	if e, ok := errs.From(err); ok {
		return min(max(e.RetryAfter(), 0), maxRetryAfter)
	}
	return 0
}

// refusal turns a tunnel's error into ours.
func refusal(e *agentv1.Error) error {
	const maxText = 512
	text := e.GetMessage()
	if len(text) > maxText {
		text = text[:maxText]
	}
	return errs.New(errs.FailedPrecondition, errs.Reason(e.GetReason()), text).
		WithRetry(e.GetRetryAfter().AsDuration())
}
