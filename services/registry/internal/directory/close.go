package directory

import (
	"context"
	"time"
)

// Tunnel answers an endpoint that has a claim, parked or not, if it is the
// caller's to see.
func (d *Directory) Tunnel(ctx context.Context, by Caller, name string) (Endpoint, error) {
	name, err := ParseKnown(name)
	if err != nil {
		return Endpoint{}, err
	}
	e, err := d.store.Endpoint(ctx, name)
	if err != nil {
		return Endpoint{}, err
	}
	if e.Claim == nil || !by.Sees(e.Claim.Account) {
		return Endpoint{}, ErrEndpointNotFound.WithMessage("there is no tunnel %q", name)
	}
	return e, nil
}

// Close ends a tunnel for good: claim and attachments in one transaction, and
// whoever holds a session of it hears that an operator did it. A parked one is
// forgotten: its name is free. A port is not before it has rested, for anybody.
func (d *Directory) Close(ctx context.Context, by Caller, name string) error {
	return retry(ctx, func() error {
		before, err := d.Tunnel(ctx, by, name)
		if err != nil {
			return err
		}
		if before.Claim.Pooled {
			return d.closePool(ctx, before, by.source())
		}
		t := Transition{Before: before, End: true, Reason: Deleted}
		switch c := before.Claim; {
		case c.active():
			t = d.end(before, Deleted)
		case c.Port() != 0 && time.Since(c.ParkedAt) < d.config.PortRest:
			return ErrResting.WithMessage("port %d rests: whoever gets it next would get the visitors of who had it; close it once more in %v", c.Port(), d.config.PortRest)
		}
		return d.finish(ctx, t, by.source(), Deleted.String())
	})
}
