package directory

import (
	"context"
	"time"
)

// Release ends a tunnel: its claim and all its attachments, at once. A tunnel
// that is not there, or that another instance has taken over, is left alone.
func (d *Directory) Release(ctx context.Context, p Principal, tunnel string, reason CloseReason, by Source) error {
	key := TunnelKey{Account: p.Account, Agent: p.Agent, Tunnel: tunnel}
	return retry(ctx, func() error {
		view, err := d.store.Load(ctx, Want{Tunnel: key})
		if err != nil || view.Tunnel.Hostname == "" {
			return err
		}
		before, err := d.store.Endpoint(ctx, view.Tunnel.Hostname)
		if err != nil {
			return err
		}
		c := before.Claim
		if !c.has(key) || c.Instance != p.Instance || c.Parked {
			return nil
		}
		t := d.end(before, reason)
		plan := Plan{Transitions: []Transition{t}, Usage: view.Usage, Events: endEvents(t, by, reason.String())}
		if err := d.leavePool(ctx, &plan, before.Hostname); err != nil {
			return err
		}
		_, err = d.store.Commit(ctx, plan)
		return err
	})
}

// finish commits one transition and writes down that a tunnel has ended.
func (d *Directory) finish(ctx context.Context, t Transition, by Source, reason string) error {
	plan := Plan{Transitions: []Transition{t}, Events: endEvents(t, by, reason)}
	if err := d.leavePool(ctx, &plan, t.Before.Hostname); err != nil {
		return err
	}
	_, err := d.store.Commit(ctx, plan)
	return err
}

// end frees a name; a random one, or a port, stays parked for its tunnel.
func (d *Directory) end(before Endpoint, reason CloseReason) Transition {
	t := Transition{Before: before, End: true, Reason: reason}
	if before.Claim.keeps() {
		t.Claim = before.Claim.clone()
		t.Claim.Parked, t.Claim.ParkedAt = true, time.Now()
		t.Claim.ParkUntil = t.Claim.ParkedAt.Add(d.config.Park)
		t.Claim.Connectors = nil
	}
	return t
}

// expire ends a claim whose grace is over, if it is still that claim and still
// has no attachment. It reports whether it did.
func (d *Directory) expire(ctx context.Context, name string, generation uint64) (bool, error) {
	before, err := d.store.Endpoint(ctx, name)
	if err != nil {
		return false, err
	}
	c := before.Claim
	if c == nil || c.Parked || c.Generation != generation || len(before.Attachments) > 0 {
		return false, nil
	}
	if c.Pooled {
		return d.dissolve(ctx, before)
	}
	err = d.finish(ctx, d.end(before, Lost), Source{Actor: systemActor}, Lost.String())
	return err == nil, err
}

// unpark removes a parked claim whose time is over.
func (d *Directory) unpark(ctx context.Context, name string) (bool, error) {
	before, err := d.store.Endpoint(ctx, name)
	if err != nil {
		return false, err
	}
	c := before.Claim
	if c == nil || !c.Parked || time.Now().Before(c.ParkUntil) {
		return false, nil
	}
	err = d.finish(ctx, Transition{Before: before}, Source{Actor: systemActor}, "expired")
	return err == nil, err
}

// Lookup answers an endpoint that is in use, with the attachments that count: the
// name's own or, where it has no claim, that of the nearest wildcard above it.
func (d *Directory) Lookup(ctx context.Context, name string) (Endpoint, error) {
	e, err := d.store.Nearest(ctx, append([]string{name}, Above(name, d.config.Domain)...))
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
