package agent

import (
	"time"

	"github.com/dialback/dialback/internal/agent/forward"
)

// Event is something that the agent's owner may want to know. The types below
// are all there are.
type Event interface{ event() }

type (
	// Connecting is the first event.
	Connecting struct{ Server string }

	// Connected says that there is a session.
	Connected struct {
		Connector string
		// Banner is the operator's word to agents, or empty.
		Banner string
		// Additional says that there was one already, to another connector.
		Additional bool
	}

	// Narrowed says that one of several sessions was lost. The tunnels are
	// served by the others.
	Narrowed struct {
		Connector string
		Cause     error
	}

	// Retrying says that there is no session, why, and when the next try is.
	Retrying struct {
		Cause error
		In    time.Duration
		// Lost says that there was a session, and this is the first try since.
		Lost bool
	}

	// TunnelOnline says where a tunnel can be reached.
	TunnelOnline struct {
		URLs       []string
		ForwardsTo string
		// Again says that it was there before, under the same URLs.
		Again bool
	}

	// TunnelWaiting says that a tunnel was refused for now and is asked for
	// again.
	TunnelWaiting struct {
		ForwardsTo string
		Cause      error
	}

	// TunnelEnded says that a tunnel was ended by the server and is asked for
	// again.
	TunnelEnded struct {
		URLs    []string
		Message string
	}

	// Upstream is about a local service.
	Upstream struct{ forward.Report }

	// TakenOver says that another process uses this agent's identity, and that
	// this one goes on under a new one.
	TakenOver struct{}

	// Notice is a line of text.
	Notice struct{ Text string }

	// Stopping says that the agent closes its tunnels and lets the visitors who
	// are there finish.
	Stopping struct{}
)

func (Connecting) event()    {}
func (Connected) event()     {}
func (Narrowed) event()      {}
func (Retrying) event()      {}
func (TunnelOnline) event()  {}
func (TunnelWaiting) event() {}
func (TunnelEnded) event()   {}
func (Upstream) event()      {}
func (TakenOver) event()     {}
func (Notice) event()        {}
func (Stopping) event()      {}
