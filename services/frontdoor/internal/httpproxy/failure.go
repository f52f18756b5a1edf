package httpproxy

import (
	"errors"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/frontdoor/internal/reach"
)

// errBadReply is what a visitor is told when its request has failed in a way that
// tells nothing else.
var errBadReply = errs.New(errs.Unavailable, errs.ReasonUpstreamBadReply,
	"the service behind this endpoint broke off, or its answer was not HTTP")

// explain says an engine's error in terms of the leg that failed.
func explain(err error) *errs.Error {
	if errors.Is(err, errAnswerTimeout) {
		return reach.ErrUpstreamTimeout.WithCause(err)
	}
	if e := reach.Explain(err); e != nil {
		return e
	}
	return errBadReply.WithCause(err)
}
