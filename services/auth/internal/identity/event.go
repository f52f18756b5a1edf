package identity

import (
	"time"

	"github.com/dialback/dialback/internal/principal"
)

// Caller is who asks for a change, as it is kept in the audit.
type Caller struct {
	principal.Principal
	Address string // of the client
}

// self is who does what nobody has asked for.
var self = Caller{Principal: principal.Principal{Role: principal.Admin, Actor: "service:auth"}}

// Action is what was done. Its text is what records say.
type Action string

// The actions.
const (
	Created  Action = "created"
	Updated  Action = "updated"
	Deleted  Action = "deleted"
	Revoked  Action = "revoked"
	Expired  Action = "expired"
	LoggedIn Action = "logged-in"
)

// The kinds of things that events are about.
const (
	kindAccount = "account"
	kindToken   = "token"
)

// Event says who did what to what. It is kept in the same transaction as the
// change, and no secret is ever in one.
type Event struct {
	Revision int64 // the store's, of the change
	Time     time.Time
	Action   Action
	Kind     string // "account" or "token"
	Name     string // its id
	Account  string
	Actor    string
	Address  string
	Details  map[string]string
}

// event is about an account or a token of one.
func (c Caller) event(now time.Time, action Action, kind, name, account string, details map[string]string) Event {
	return Event{
		Time: now.UTC(), Action: action, Kind: kind, Name: name, Account: account,
		Actor: c.Actor, Address: c.Address, Details: details,
	}
}
