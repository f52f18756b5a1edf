package directory

import (
	"context"

	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/internal/hostname"
)

// Inspection is all that decides about a name.
type Inspection struct {
	// Endpoint is the name's own or, where it has no claim, that of the nearest
	// wildcard above it that has one; without a claim there is none that the caller
	// sees. Its attachments are those of all generations.
	Endpoint Endpoint
	// Members are those of a pool.
	Members []Endpoint
	// Reservation that counts for the name; nil: there is none that the caller sees.
	Reservation *Reservation
	// Forbidden is why nobody can have the name; nil: somebody can.
	Forbidden error
}

// Inspect answers what there is about a name, as far as it is the caller's to see.
func (d *Directory) Inspect(ctx context.Context, by Caller, name string) (found Inspection, err error) {
	if name, err = ParseName(name); err != nil {
		return found, err
	}
	view, err := d.store.Load(ctx, Want{Name: name, Above: Above(name, d.config.Domain)})
	if err != nil {
		return found, err
	}
	found.Endpoint = view.Endpoint
	var reserved *Reservation
	for _, l := range view.Levels {
		if reserved == nil {
			reserved = l.Reservation
		}
		if found.Endpoint.Claim == nil && l.Claim != nil {
			if found.Endpoint, err = d.store.Endpoint(ctx, l.Name); err != nil {
				return found, err
			}
		}
	}
	if reserved != nil && by.Sees(reserved.Account) {
		found.Reservation = reserved
	}
	found.Forbidden = d.forbidden(name, reserved)
	if c := found.Endpoint.Claim; c == nil || !by.Sees(c.Account) {
		found.Endpoint.Claim, found.Endpoint.Attachments, found.Endpoint.Record = nil, nil, nil
		return found, nil
	}
	if found.Endpoint.Claim.Pooled {
		found.Members, err = d.membersOf(ctx, found.Endpoint.Hostname)
	}
	return found, err
}

// forbidden is why nobody can bind a name, without a grant for it.
func (d *Directory) forbidden(name string, reserved *Reservation) error {
	if err := d.eligible(name); err != nil {
		return err
	}
	if reserved == nil && PortOf(name) == 0 && !hostname.Within(Base(name), d.config.Domain) {
		return ErrNameForbidden.WithMessage("%q is not below %s: it must be reserved or granted", name, d.config.Domain)
	}
	return nil
}

func (d *Directory) membersOf(ctx context.Context, pool string) ([]Endpoint, error) {
	members, err := d.store.Members(ctx, pool)
	if err != nil {
		return nil, err
	}
	var list []Endpoint
	for _, name := range members.Names {
		member, err := d.store.Endpoint(ctx, name)
		if err != nil {
			return nil, err
		}
		if member.Claim != nil { // it may have left meanwhile
			list = append(list, member)
		}
	}
	return list, nil
}

// Why is Forbidden for people; "" if there is none.
func (i Inspection) Why() string {
	if e, ok := errs.From(i.Forbidden); ok {
		return e.Message()
	}
	return ""
}
