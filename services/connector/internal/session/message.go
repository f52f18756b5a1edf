package session

import "time"

// Message is what a connector says to an agent.
type Message interface{ message() }

// Ping wants a Pong with the same id.
type Ping struct{ ID uint64 }

// Pong answers the agent's Ping.
type Pong struct{ ID uint64 }

// NewTunnel answers a request for a tunnel: one for each URL, or one with Err.
type NewTunnel struct {
	ReqID    uint64
	TunnelID string
	URL      string
	// Protocol by its number in the contract.
	Protocol int32
	Err      error
	Last     bool
}

// TunnelClosed says that a tunnel has ended.
type TunnelClosed struct {
	TunnelID string
	Reason   Reason
	Text     string
}

// GoAway asks the agent to attach elsewhere and leave.
type GoAway struct {
	Reason Reason
	// Deadline is when the session is closed; Spread, what agents are to
	// distribute their leaving over. Both count from receipt.
	Deadline, Spread time.Duration
	Text             string
}

// Connectors says which other connectors take sessions.
type Connectors struct {
	Others []string
	// Spread is what agents distribute their coming to a new one over.
	Spread time.Duration
}

// ReqProxy asks for dial-backs.
type ReqProxy struct{ Dials []Dial }

// Dial is one wanted dial-back.
type Dial struct {
	// Ticket is a secret: never logged.
	Ticket     string
	Addresses  []string
	ServerName string
	Deadline   time.Time
	Trace      Trace
}

// Trace is a W3C trace context with the cluster's MAC.
type Trace struct {
	Parent, State string
	MAC           []byte
}

func (Ping) message()         {}
func (Pong) message()         {}
func (NewTunnel) message()    {}
func (TunnelClosed) message() {}
func (GoAway) message()       {}
func (Connectors) message()   {}
func (ReqProxy) message()     {}
