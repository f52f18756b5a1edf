package reach

import (
	"errors"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/dialback"
)

// What a visitor is told of the way's last leg, from the agent to its service.
var (
	ErrRefused = errs.New(errs.Unavailable, errs.ReasonUpstreamRefused,
		"the service behind this endpoint does not accept connections")
	ErrUpstreamTimeout = errs.New(errs.DeadlineExceeded, errs.ReasonUpstreamTimeout,
		"the service behind this endpoint did not answer in time")
	ErrUnsupported = errs.New(errs.Unavailable, errs.ReasonOptionUnsupported,
		"this endpoint asks for an option that is not known here")
)

// Unwilling holds for a service that has not taken the visitor.
func Unwilling(err error) bool {
	var refused *proxyconn.RefusedError
	return errors.As(err, &refused) || errors.Is(err, ErrRefused)
}

// Explain says an error in terms of the leg that failed; nil: it does not tell.
// What is ours already stays as it is.
func Explain(err error) *errs.Error {
	if e, ok := errs.From(err); ok {
		return e
	}
	var refused *proxyconn.RefusedError
	var reset *proxyconn.ResetError
	e := (*errs.Error)(nil)
	switch {
	case errors.As(err, &refused):
		e = ofCode(refused.Code)
	case errors.As(err, &reset):
		e = ofCode(reset.Code)
	case errors.Is(err, proxyconn.ErrAckTimeout):
		e = dialback.ErrTimeout
	}
	if e == nil {
		return nil
	}
	return e.WithCause(err)
}

func ofCode(code proxyv1.Code) *errs.Error {
	switch code {
	case proxyv1.Code_CODE_UPSTREAM_REFUSED:
		return ErrRefused
	case proxyv1.Code_CODE_UPSTREAM_TIMEOUT:
		return ErrUpstreamTimeout
	case proxyv1.Code_CODE_UPSTREAM_TLS:
		return ErrRefused.WithMessage("the service behind this endpoint could not be reached over TLS")
	case proxyv1.Code_CODE_TUNNEL_UNKNOWN, proxyv1.Code_CODE_TUNNEL_CLOSED, proxyv1.Code_CODE_SHUTDOWN:
		return dialback.ErrUnreachable
	case proxyv1.Code_CODE_AGENT_LIMIT, proxyv1.Code_CODE_LIMIT:
		return dialback.ErrLimit
	case proxyv1.Code_CODE_UNSUPPORTED:
		return ErrUnsupported
	}
	return nil
}
