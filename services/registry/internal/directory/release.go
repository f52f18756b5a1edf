package directory

import (
	"context"
	"time"
)

// Release ends a tunnel: its claim and all its attachments, at once. A tunnel
// that is not there, or that another instance has taken over, is left alone.
func (d *Directory) Release(ctx context.Context, p Principal, tunnel string, reason CloseReason) error {
	key := TunnelKey{Account: p.Account, Agent: p.Agent, Tunnel: tunnel}
	return retry(ctx, func() error {
		entry, _, err := d.store.Load(ctx, key, "")
		if err != nil || entry.Hostname == "" {
			return err
		}
		before, err := d.store.Endpoint(ctx, entry.Hostname)
		if err != nil {
			return err
		}
		c := before.Claim
		if !c.has(key) || c.Instance != p.Instance || c.Parked {
			return nil
		}
		return d.store.Commit(ctx, Plan{Transitions: []Transition{d.end(before, reason)}})
	})
}

// end frees a name; a random one stays parked for its tunnel.
func (d *Directory) end(before Endpoint, reason CloseReason) Transition {
	t := Transition{Before: before, End: true, Reason: reason}
	if before.Claim.Random {
		t.Claim = before.Claim.clone()
		t.Claim.Parked, t.Claim.ParkUntil = true, time.Now().Add(d.config.Park)
		t.Claim.Connectors = nil
	}
	return t
}

// expire ends a claim whose grace is over, if it is still that claim and still
// has no attachment. It reports whether it did.
func (d *Directory) expire(ctx context.Context, hostname string, generation uint64) (bool, error) {
	before, err := d.store.Endpoint(ctx, hostname)
	if err != nil {
		return false, err
	}
	c := before.Claim
	if c == nil || c.Parked || c.Generation != generation || len(before.Attachments) > 0 {
		return false, nil
	}
	err = d.store.Commit(ctx, Plan{Transitions: []Transition{d.end(before, Lost)}})
	return err == nil, err
}

// unpark removes a parked claim whose time is over.
func (d *Directory) unpark(ctx context.Context, hostname string) (bool, error) {
	before, err := d.store.Endpoint(ctx, hostname)
	if err != nil {
		return false, err
	}
	c := before.Claim
	if c == nil || !c.Parked || time.Now().Before(c.ParkUntil) {
		return false, nil
	}
	err = d.store.Commit(ctx, Plan{Transitions: []Transition{{Before: before}}})
	return err == nil, err
}

// Lookup answers an endpoint that is in use, with the attachments that count.
func (d *Directory) Lookup(ctx context.Context, hostname string) (Endpoint, error) {
	e, err := d.store.Endpoint(ctx, hostname)
	if err != nil {
		return Endpoint{}, err
	}
	if e.Claim == nil || e.Claim.Parked {
		return Endpoint{}, ErrEndpointNotFound
	}
	var valid []Attachment
	for _, a := range e.Attachments {
		if a.Generation == e.Claim.Generation {
			valid = append(valid, a)
		}
	}
	e.Attachments = valid
	return e, nil
}
