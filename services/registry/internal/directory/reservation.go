package directory

import "time"

// MaxReservations bounds the reservations of an account: every replica holds all.
const MaxReservations = 1000

// Reservation keeps a name for an account.
type Reservation struct {
	// Name is the endpoint's canonical name.
	Name        string
	Account     string
	Description string
	Created     time.Time
	Updated     time.Time
	// Version is the store's mark; 0: it is not stored yet.
	Version Version
	// Record is the reservation as the store has it, with what only the store knows.
	Record any
}

// same reports whether a repeat asks for what there is.
func (r *Reservation) same(o *Reservation) bool {
	return r.Name == o.Name && r.Account == o.Account && r.Description == o.Description
}

// Level is what the store has about a name, or about a wildcard above it.
type Level struct {
	Name string
	// Reservation is nil where there is none.
	Reservation *Reservation
	// Claim is nil where there is none.
	Claim *Claim
	// Reserved and Claimed are the versions of both.
	Reserved, Claimed Version
}

// Subtree is what the store had below a wildcard, at one revision.
type Subtree struct {
	Wildcard string
	Revision int64
	// Claim and Reservation are the name of the first claim, or reservation, that
	// another account has there; empty: there is none.
	Claim, Reservation string
}
