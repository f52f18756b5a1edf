package httpproxy

import (
	"errors"

	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/dialback"
)

// What a visitor is told when its request has failed on the way.
var (
	errRefused = errs.New(errs.Unavailable, errs.ReasonUpstreamRefused,
		"the service behind this endpoint does not accept connections")
	errUpstreamTimeout = errs.New(errs.DeadlineExceeded, errs.ReasonUpstreamTimeout,
		"the service behind this endpoint did not answer in time")
	errBadReply = errs.New(errs.Unavailable, errs.ReasonUpstreamBadReply,
		"the service behind this endpoint broke off, or its answer was not HTTP")
)

// unwilling holds for a service that has not taken the request.
func unwilling(err error) bool {
	var refused *proxyconn.RefusedError
	return errors.As(err, &refused) || errors.Is(err, errRefused)
}

// explain says an engine's error in terms of the leg that failed. What is ours
// already stays as it is.
func explain(err error) *errs.Error {
	if e, ok := errs.From(err); ok {
		return e
	}
	var refused *proxyconn.RefusedError
	var reset *proxyconn.ResetError
	switch {
	case errors.Is(err, errAnswerTimeout):
		return errUpstreamTimeout.WithCause(err)
	case errors.As(err, &refused):
		return ofCode(refused.Code).WithCause(err)
	case errors.As(err, &reset):
		return ofCode(reset.Code).WithCause(err)
	case errors.Is(err, proxyconn.ErrAckTimeout):
		return dialback.ErrTimeout.WithCause(err)
	}
	return errBadReply.WithCause(err)
}

func ofCode(code proxyv1.Code) *errs.Error {
	switch code {
	case proxyv1.Code_CODE_UPSTREAM_REFUSED:
		return errRefused
	case proxyv1.Code_CODE_UPSTREAM_TIMEOUT:
		return errUpstreamTimeout
	case proxyv1.Code_CODE_UPSTREAM_TLS:
		return errRefused.WithMessage("the service behind this endpoint could not be reached over TLS")
	case proxyv1.Code_CODE_TUNNEL_UNKNOWN, proxyv1.Code_CODE_TUNNEL_CLOSED, proxyv1.Code_CODE_SHUTDOWN:
		return dialback.ErrUnreachable
	case proxyv1.Code_CODE_AGENT_LIMIT, proxyv1.Code_CODE_LIMIT:
		return dialback.ErrLimit
	case proxyv1.Code_CODE_UNSUPPORTED:
		return errUnsupported
	}
	return errBadReply
}
