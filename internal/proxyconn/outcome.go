package proxyconn

import (
	"errors"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
)

// Kind is how an exchange ended.
type Kind uint8

// The ways in which an exchange ends.
const (
	// Clean: both directions ended with a FIN.
	Clean Kind = iota + 1
	// Refused: the agent did not open a private connection.
	Refused
	// Reset: one end aborted.
	Reset
	// Lost: the connection ended without a word, or had to be closed.
	Lost
)

// String is the kind's name for logs and metrics.
func (k Kind) String() string {
	switch k {
	case Clean:
		return "clean"
	case Refused:
		return "refused"
	case Reset:
		return "reset"
	case Lost:
		return "lost"
	default:
		return "open"
	}
}

// Outcome is how an exchange ended. The zero value: it has not.
type Outcome struct {
	Kind Kind
	// Code of a refusal or abort.
	Code proxyv1.Code
	// Err is nil if clean, else a *RefusedError, *ResetError, *LostError,
	// *ProtocolError or ErrUnsolicited.
	Err error
	// Reusable says that the connection has survived.
	Reusable bool
}

// judgeLocked makes the outcome of an exchange that ends.
func (e *ServerExchange) judgeLocked(lost error) Outcome {
	o := Outcome{Kind: Clean, Reusable: lost == nil && !e.s.retired}
	switch {
	case e.refusal != nil:
		o.Kind, o.Code, o.Err = Refused, e.refusal.Code, e.refusal
	case e.resetErr != nil:
		o.Kind, o.Code, o.Err = Reset, e.resetErr.Code, e.resetErr
	case lost != nil:
		o.Kind, o.Err = Lost, asLost(lost)
	}
	return o
}

// asLost leaves errors that say more than "lost" as they are.
func asLost(err error) error {
	var gone *LostError
	var wrong *ProtocolError
	if errors.As(err, &gone) || errors.As(err, &wrong) || errors.Is(err, ErrUnsolicited) {
		return err
	}
	return &LostError{Err: err}
}
