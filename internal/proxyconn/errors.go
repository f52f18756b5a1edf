package proxyconn

import (
	"errors"
	"fmt"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

var (
	// ErrBusy refuses a Start or Ping on a connection that is not idle.
	ErrBusy = errors.New("proxyconn: the connection is not idle")
	// ErrRetired refuses a Start on a connection that is to end.
	ErrRetired = errors.New("proxyconn: the connection is retired")
	// ErrAckTimeout is why a connection is dead whose agent did not
	// acknowledge a START in time.
	ErrAckTimeout = errors.New("proxyconn: the agent did not acknowledge in time")
	// ErrAbortTimeout is why a connection was closed whose other end did not
	// answer a RESET in time or with too much behind it.
	ErrAbortTimeout = errors.New("proxyconn: the abort was not acknowledged in time")
	// ErrUnsolicited is why a connection was closed that carried bytes which
	// answer no request. They might have become another visitor's answer.
	ErrUnsolicited = errors.New("proxyconn: bytes that answer no request")
	// ErrNoRequest refuses a Write on an HTTP exchange outside of a request.
	ErrNoRequest = errors.New("proxyconn: no HTTP request was begun")
	// ErrPeerGone is why an agent gave up a connection whose frontdoor has
	// closed it while the agent was blocked in a write to the local service.
	ErrPeerGone = errors.New("proxyconn: the other end has closed the connection")

	errWriteClosed = errors.New("proxyconn: write after CloseWrite")
	errTooLong     = errors.New("proxyconn: the other end sent too much after a RESET")
)

// ProtocolError says what the other end did that the wire forbids. It always
// ends the connection.
type ProtocolError struct{ Reason string }

func (e *ProtocolError) Error() string { return "proxyconn: protocol violation: " + e.Reason }

func violation(format string, args ...any) error {
	return &ProtocolError{Reason: fmt.Sprintf(format, args...)}
}

// RefusedError is the agent's refusal of an exchange. The connection is not
// harmed by it.
type RefusedError struct {
	Code proxyv1.Code
	// Delivered is how many bytes of the exchange reached the local service.
	Delivered uint64
}

func (e *RefusedError) Error() string { return "proxyconn: refused by the agent: " + e.Code.String() }

// ResetError is the abort of an exchange.
type ResetError struct {
	Code proxyv1.Code
	// Local says that this end aborted.
	Local bool
}

func (e *ResetError) Error() string {
	if e.Local {
		return "proxyconn: exchange aborted here: " + e.Code.String()
	}
	return "proxyconn: exchange aborted by the other end: " + e.Code.String()
}

// LostError says that the connection ended under an exchange without a word.
type LostError struct{ Err error }

func (e *LostError) Error() string { return "proxyconn: connection lost: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *LostError) Unwrap() error { return e.Err }
