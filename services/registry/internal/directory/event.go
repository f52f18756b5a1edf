package directory

import (
	"encoding/hex"
	"strconv"
	"time"
)

// Action is what was done, by its number in the contract.
type Action int32

// The actions.
const (
	Created   Action = 1
	Updated   Action = 2
	Removed   Action = 3
	Bound     Action = 6
	TookOver  Action = 7
	EndedWith Action = 8
	ParkedFor Action = 9
	Drained   Action = 10
)

// What events are about.
const (
	KindTunnel      = "tunnel"
	KindReservation = "reservation"
	KindNode        = "node"
	KindSession     = "session"
)

// systemActor is who did what nobody asked for.
const systemActor = "service:registry/sweeper"

// Event is one thing that happened, for the audit. It is written in the
// transaction that makes it true.
type Event struct {
	Time    time.Time
	Action  Action
	Kind    string
	Name    string
	Account string
	Reason  string
	Source
	Details map[string]string
}

// Source is who did something, from where.
type Source struct {
	Actor   string
	Address string
	Node    string
	Trace   string
}

// tunnelEvent says what became of a claim.
func tunnelEvent(action Action, c *Claim, by Source, reason string) Event {
	return Event{
		Time: time.Now(), Action: action, Kind: KindTunnel, Name: c.Hostname, Account: c.Account, Reason: reason, Source: by,
		Details: map[string]string{
			"agent": c.Agent, "tunnel": c.Tunnel, "instance": hex.EncodeToString([]byte(c.Instance)),
			"generation": strconv.FormatUint(c.Generation, 10), "protocol": c.Service.Protocol.String(),
		},
	}
}

// endEvents says that a claim has ended, and whether it is kept.
func endEvents(t Transition, by Source, reason string) []Event {
	list := []Event{tunnelEvent(EndedWith, t.Before.Claim, by, reason)}
	if t.Claim != nil && t.Claim.Parked {
		list = append(list, tunnelEvent(ParkedFor, t.Claim, by, reason))
	}
	return list
}

var reasonNames = map[CloseReason]string{
	Lost: "lost", Closed: "closed", Revoked: "revoked", TakenOver: "taken over", Deleted: "deleted", Shutdown: "shutdown",
	Unresponsive: "unresponsive",
}

// String is the reason as events have it.
func (r CloseReason) String() string {
	if name, ok := reasonNames[r]; ok {
		return name
	}
	return "reason " + strconv.Itoa(int(r))
}
