package directory

import (
	"context"
	"errors"
	"slices"
)

// Holders tells whether those who hold names are there.
type Holders interface {
	// There reports whether the process that holds an endpoint may be there: it
	// has answered, or it could not be found out.
	There(ctx context.Context, e Endpoint) bool
}

// held is the private cause of a refusal: another agent of the account has the
// endpoint.
type held struct{ Endpoint }

func (h *held) Error() string { return "held by agent " + h.Claim.Agent }

// challenge has the holder of a name prove that it is there, if err is a refusal
// on its account. It reports whether it did not: then req may take the name over.
// A replaced machine without its state would else wait for its own ghost. A name
// that is parked waits for its agent, whoever else is there.
func (d *Directory) challenge(ctx context.Context, req *BindRequest, err error) bool {
	var by *held
	if !errors.As(err, &by) || by.Claim.Parked || d.holders.There(ctx, by.Endpoint) {
		return false
	}
	req.silent = &by.Endpoint
	return true
}

// mayTake reports whether the endpoint is still as it was when its holder gave no
// answer: a new attachment, or a new owner, is a new holder.
func (r BindRequest) mayTake(now Endpoint) bool {
	return r.silent != nil && r.silent.Hostname == now.Hostname &&
		r.silent.Claim.Generation == now.Claim.Generation &&
		!slices.ContainsFunc(now.Attachments, func(a Attachment) bool { return !slices.Contains(r.silent.Attachments, a) })
}
