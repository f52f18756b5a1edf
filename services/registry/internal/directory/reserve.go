package directory

import (
	"cmp"
	"context"
	"time"

	"github.com/dialback/dialback/internal/hostname"
	"github.com/dialback/dialback/internal/principal"
)

// Caller is a user who manages names, and where from.
type Caller struct {
	principal.Principal
	Address string
	Trace   string
}

func (c Caller) source() Source { return Source{Actor: c.Actor, Address: c.Address, Trace: c.Trace} }

// admin reports whether the caller may decide for all accounts.
func (c Caller) admin() bool { return c.Role >= principal.Admin }

// Reserve keeps a name for an account. A repeat with the same content answers the
// reservation that is there.
func (d *Directory) Reserve(ctx context.Context, by Caller, want Reservation) (*Reservation, error) {
	if err := d.reservable(by, &want); err != nil {
		return nil, err
	}
	var got *Reservation
	err := retry(ctx, func() (err error) {
		got, err = d.reserve(ctx, by, want)
		return err
	})
	return got, err
}

// reservable completes what is wanted and refuses what the caller may not decide.
func (d *Directory) reservable(by Caller, want *Reservation) (err error) {
	want.Account = cmp.Or(want.Account, by.Account)
	if want.Account != by.Account && !by.admin() {
		return principal.ErrForeign.WithMessage("account %q is not yours", want.Account)
	}
	if want.Name, err = ParseName(want.Name); err != nil {
		return err
	}
	if err := d.eligible(want.Name); err != nil {
		return err
	}
	if PortOf(want.Name) == 0 && !hostname.Within(Base(want.Name), d.config.Domain) && !by.admin() {
		return ErrNameForbidden.WithMessage("%q is not below %s; an administrator reserves it for you, who knows whose it is", want.Name, d.config.Domain)
	}
	return nil
}

func (d *Directory) reserve(ctx context.Context, by Caller, want Reservation) (*Reservation, error) {
	view, err := d.store.Load(ctx, Want{Name: want.Name, Above: Above(want.Name, d.config.Domain)})
	if err != nil {
		return nil, err
	}
	if there := view.Levels[0].Reservation; there != nil {
		switch {
		case there.same(&want):
			return there, nil
		case there.Account == want.Account && by.Sees(there.Account):
			return nil, ErrReserved.WithMessage("%q is reserved already, with other content; update that reservation", want.Name)
		}
	}
	plan, err := d.unowned(ctx, by, want, view)
	if err != nil {
		return nil, err
	}
	mine, err := d.store.Reservations(ctx, want.Account, "", MaxReservations)
	if err != nil {
		return nil, err
	}
	if len(mine) >= MaxReservations {
		return nil, overQuota("reservations", MaxReservations)
	}
	want.Created = time.Now()
	want.Updated = want.Created
	return d.commitReservation(ctx, by, plan, Created, nil, &want)
}

// unowned refuses a reservation over what another account has: it could not be
// had at any time, and what is bound there would be somebody's who may not bind
// it. The plan holds only while that is so.
//
// Reservations above and below another account's are an administrator's to give,
// who splits a domain between accounts; the most specific one counts.
func (d *Directory) unowned(ctx context.Context, by Caller, want Reservation, view View) (Plan, error) {
	plan := Plan{Levels: view.Levels}
	for i, l := range view.Levels {
		if l.Claim != nil && l.Claim.Account != want.Account {
			return plan, taken(want.Name, l.Name, "%q belongs to another account; end that tunnel first, or choose another name", l.Name)
		}
		if l.Reservation != nil && l.Reservation.Account != want.Account && (i == 0 || !by.admin()) {
			return plan, taken(want.Name, l.Name, "%q is reserved for another account; choose another name", l.Name)
		}
	}
	if !IsWildcard(want.Name) {
		return plan, nil
	}
	below, err := d.store.Below(ctx, want.Name, want.Account)
	switch {
	case err != nil:
		return plan, err
	case below.Claim != "":
		return plan, taken(want.Name, below.Claim, "%q belongs to another account; end that tunnel first, or choose another name", below.Claim)
	case below.Reservation != "" && !by.admin():
		return plan, taken(want.Name, below.Reservation, "%q is reserved for another account; choose another name", below.Reservation)
	}
	plan.Below = &below
	return plan, nil
}

func (d *Directory) commitReservation(ctx context.Context, by Caller, plan Plan, action Action, before, after *Reservation) (*Reservation, error) {
	plan.Reserve = &ReserveChange{Before: before, After: after}
	about := cmp.Or(after, before)
	plan.Events = []Event{{
		Time: time.Now(), Action: action, Kind: KindReservation, Name: about.Name, Account: about.Account, Source: by.source(),
	}}
	revision, err := d.store.Commit(ctx, plan)
	if err != nil || after == nil {
		return nil, err
	}
	after.Version = Version(revision)
	return after, nil
}

// Reservation answers one, if it is the caller's to see.
func (d *Directory) Reservation(ctx context.Context, by Caller, name string) (*Reservation, error) {
	r, _, err := d.reservation(ctx, by, name)
	return r, err
}

func (d *Directory) reservation(ctx context.Context, by Caller, name string) (*Reservation, View, error) {
	name, err := ParseName(name)
	if err != nil {
		return nil, View{}, err
	}
	view, err := d.store.Load(ctx, Want{Name: name, Above: Above(name, d.config.Domain)})
	if err != nil {
		return nil, view, err
	}
	r := view.Levels[0].Reservation
	if r == nil || !by.Sees(r.Account) {
		return nil, view, ErrReservationNotFound.WithMessage("there is no reservation %q", name)
	}
	return r, view, nil
}

// Reservations lists those of an account behind a name, all that the caller sees
// with an empty one.
func (d *Directory) Reservations(ctx context.Context, by Caller, account, after string, limit int) ([]*Reservation, error) {
	account, err := by.Scope(account)
	if err != nil {
		return nil, err
	}
	return d.store.Reservations(ctx, account, after, limit)
}

// Change is what UpdateReservation is to change; nil: leave it.
type Change struct {
	Description *string
	Account     *string
	// Version is the one that was read; 0: whichever it is.
	Version Version
}

// UpdateReservation changes one.
func (d *Directory) UpdateReservation(ctx context.Context, by Caller, name string, change Change) (*Reservation, error) {
	var got *Reservation
	err := retry(ctx, func() (err error) {
		got, err = d.updateReservation(ctx, by, name, change)
		return err
	})
	return got, err
}

func (d *Directory) updateReservation(ctx context.Context, by Caller, name string, change Change) (*Reservation, error) {
	before, view, err := d.reservation(ctx, by, name)
	if err != nil {
		return nil, err
	}
	if change.Version != 0 && change.Version != before.Version {
		return nil, ErrEtag
	}
	after := *before
	if change.Description != nil {
		after.Description = *change.Description
	}
	plan := Plan{Levels: view.Levels[:1]}
	if change.Account != nil && *change.Account != before.Account {
		if !by.admin() {
			return nil, principal.ErrRole.WithMessage("an administrator gives a reservation to another account")
		}
		after.Account = *change.Account
		view.Levels[0].Reservation = nil
		if plan, err = d.unowned(ctx, by, after, view); err != nil {
			return nil, err
		}
	}
	if after.same(before) {
		return before, nil
	}
	after.Updated = time.Now()
	return d.commitReservation(ctx, by, plan, Updated, before, &after)
}

// Unreserve gives a name up. What is bound stays bound. version is the one that
// was read; 0: whichever it is.
func (d *Directory) Unreserve(ctx context.Context, by Caller, name string, version Version) error {
	return retry(ctx, func() error {
		before, view, err := d.reservation(ctx, by, name)
		if err != nil {
			return err
		}
		if version != 0 && version != before.Version {
			return ErrEtag
		}
		_, err = d.commitReservation(ctx, by, Plan{Levels: view.Levels[:1]}, Removed, before, nil)
		return err
	})
}
