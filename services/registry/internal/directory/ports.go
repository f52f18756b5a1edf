package directory

import (
	"context"
	"math/rand/v2"
	"time"
)

// Ports is the range from which TCP endpoints get theirs, both ends included; the
// zero value: there are none.
type Ports struct {
	First, Last uint16
}

func (r Ports) check(port uint16) error {
	switch {
	case r.First == 0:
		return errNoPorts
	case port < r.First || port > r.Last:
		return ErrNameForbidden.WithMessage("port %d is outside of %d-%d; choose one of these", port, r.First, r.Last)
	}
	return nil
}

var errNoPorts = ErrOptionUnsupported.WithMessage("this deployment serves no tcp endpoints")

// PortHolder says who has a port.
type PortHolder struct {
	// Claim of the port; nil: there is none.
	Claim *Claim
	// Reservation of the port; nil: there is none.
	Reservation *Reservation
}

// choosePort returns a port for a tunnel that does not care which: a free one of
// those that its token includes. Only if there is none, one that an agent of the
// account has given up; at last one that a stranger gave up the longest ago, and
// that has rested: who connected to it yesterday does not expect somebody else.
func (d *Directory) choosePort(ctx context.Context, p Principal) (string, error) {
	held, err := d.store.Ports(ctx)
	if err != nil {
		return "", err
	}
	var unused []uint16
	var givenUp *Claim
	for n := uint(d.config.Ports.First); n <= uint(d.config.Ports.Last) && n != 0; n++ {
		port := uint16(n)
		holder := held[port]
		if p.Grants != nil && !p.Grants.AllowsPort(port) || holder.Reservation != nil && holder.Reservation.Account != p.Account {
			continue
		}
		switch {
		case holder.Claim == nil:
			unused = append(unused, port)
		case d.rested(holder.Claim, p.Account) && sooner(holder.Claim, givenUp, p.Account):
			givenUp = holder.Claim
		}
	}
	switch {
	case len(unused) > 0:
		return PortName(unused[rand.IntN(len(unused))]), nil // #nosec G404 -- not a secret
	case givenUp != nil:
		return givenUp.Hostname, nil
	}
	return "", ErrOverloaded.WithMessage("no port is free; close a tcp tunnel, or ask for a wider range of ports")
}

// rested reports whether a port's claim can be given to another agent of an
// account: it is parked, and a stranger's has been so for long enough.
func (d *Directory) rested(c *Claim, account string) bool {
	if !c.Parked {
		return false
	}
	return c.Account == account || !c.ParkedAt.IsZero() && time.Since(c.ParkedAt) >= d.config.PortRest
}

// sooner reports whether a is given to the account before b.
func sooner(a, b *Claim, account string) bool {
	if b == nil || (a.Account == account) != (b.Account == account) {
		return b == nil || a.Account == account
	}
	return a.ParkedAt.Before(b.ParkedAt)
}
