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
	case f.old.Claim.has(view.Tunnel.Key) && (tcp && f.old.Claim.Port() != 0 || !tcp && f.old.Claim.Random && f.old.Claim.Port() == 0):
		f.view.Endpoint, f.old, f.view.Levels = f.old, Endpoint{}, nil
	case tcp:
		if wanted, err = d.choosePort(ctx, req.Principal); err != nil {
			return found{}, err
		}
		if f.view, err = d.load(ctx, req, wanted); err != nil {
			return found{}, err
		}
		if f.view.Tunnel.Version != view.Tunnel.Version {
			return found{}, ErrConflict // it was given another name meanwhile
		}
	}
	return f, d.mayHave(req.Principal, f.view.Endpoint.Hostname)
}

func (d *Directory) load(ctx context.Context, req BindRequest, name string) (View, error) {
	want := Want{Tunnel: req.key(), Name: name, Count: req.Principal.Limits.any()}
	if name != "" {
		want.Above = Above(name, d.config.Domain)
	}
	return d.store.Load(ctx, want)
}
