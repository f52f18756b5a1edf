package directory

import "context"

// found is what a bind is decided on.
type found struct {
	view View
	// old is the endpoint that the tunnel has and is to leave; without a claim if
	// there is none.
	old Endpoint
}

// find reads the endpoint that a bind is for. A name that the registry chooses is
// the one that the tunnel has, if it was chosen, or a new one; that one is drawn
// before it is known to be needed, for it costs nothing and spares a round trip.
func (d *Directory) find(ctx context.Context, req BindRequest, name string) (found, error) {
	tcp := req.Service.Protocol == ProtocolTCP
	wanted := name
	if name == "" && !tcp {
		wanted = randomName(d.config.Domain)
	}
	view, err := d.load(ctx, req, wanted)
	if err != nil {
		return found{}, err
	}
	f := found{view: view}
	if has := view.Tunnel.Hostname; has != "" && has != wanted {
		if f.old, err = d.store.Endpoint(ctx, has); err != nil {
			return found{}, err
		}
	}
	switch {
	case name != "":
		return f, nil
	case f.old.Claim.has(view.Tunnel.Key) && f.old.Claim.chosenFor(tcp):
		f.view.Endpoint, f.old, f.view.Levels = f.old, Endpoint{}, nil
	case tcp:
		if f.view, err = d.findPort(ctx, req, view.Tunnel); err != nil {
			return found{}, err
		}
	}
	return f, d.mayHave(req.Principal, f.view.Endpoint.Hostname)
}

// chosenFor reports whether the claim is what a tunnel without a wish has.
func (c *Claim) chosenFor(tcp bool) bool {
	if tcp {
		return c.Port() != 0
	}
	return c.Random && c.Port() == 0
}

// findPort reads the endpoint of a port that the registry chooses, for a tunnel
// that still has what it had.
func (d *Directory) findPort(ctx context.Context, req BindRequest, has TunnelEntry) (View, error) {
	name, err := d.choosePort(ctx, req.Principal)
	if err != nil {
		return View{}, err
	}
	view, err := d.load(ctx, req, name)
	if err == nil && view.Tunnel.Version != has.Version {
		err = ErrConflict // it was given another name meanwhile
	}
	return view, err
}

func (d *Directory) load(ctx context.Context, req BindRequest, name string) (View, error) {
	want := Want{Tunnel: req.key(), Name: name, Count: req.Principal.Limits.any()}
	if name != "" {
		want.Above = Above(name, d.config.Domain)
	}
	return d.store.Load(ctx, want)
}
