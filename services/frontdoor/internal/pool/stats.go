package pool

import (
	"sync/atomic"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// Reason is why a connection ended.
type Reason uint8

// The reasons.
const (
	Broken       Reason = iota + 1 // lost, or closed because of what came or did not
	NoAck                          // a START was not acknowledged in time
	NoPong                         // a PING was not answered in time
	Expired                        // nobody wanted it for long
	Evicted                        // others needed its place
	Age                            // retired
	Bytes                          // retired
	Certificate                    // retired: this frontdoor's has changed
	AgentRetired                   // the agent wanted no more visitors on it
	Superseded                     // the agent was restarted, or its tunnel changed
	Cut                            // its tunnel or session has ended
	Revoked                        // the agent's right to it has
	RelayStops                     // retired: the frontdoor that relays it stops
	Drained                        // this frontdoor has
	reasons
)

var reasonNames = [reasons]string{
	Broken: "broken", NoAck: "no_ack", NoPong: "no_pong", Expired: "expired", Evicted: "evicted",
	Age: "age", Bytes: "bytes", Certificate: "certificate", AgentRetired: "agent_retired",
	Superseded: "superseded", Cut: "cut", Revoked: "revoked", RelayStops: "relay_stops", Drained: "drained",
}

// String is the reason's name in metrics.
func (r Reason) String() string { return reasonNames[r] }

// Why is for whom a dial-back was asked for.
type Why uint8

// The purposes.
const (
	Visitor Why = iota
	Adaptive
	Floor
	whys
)

var whyNames = [whys]string{"visitor", "adaptive", "floor"}

// String is the purpose's name in metrics.
func (w Why) String() string { return whyNames[w] }

// counters are read by metrics while they count.
type counters struct {
	warm, recycled atomic.Uint64
	live, idle     atomic.Int64
	fetching       atomic.Int64
	asked          [whys]atomic.Uint64
	ended          [reasons]atomic.Uint64
}

// Stats are what has happened so far, and what is.
type Stats struct {
	// Warm is how many visitors found a connection that waited, Recycled how many
	// connections came back from one.
	Warm, Recycled uint64
	// Live is all connections, Idle those among them that wait for a visitor,
	// Fetching the dial-backs that are on their way.
	Live, Idle, Fetching int
	Asked                map[Why]uint64
	Ended                map[Reason]uint64
}

// State counts an agent's connections: those that wait for a visitor, and all.
func (p *Pool) State(id route.Agent) (idle, all int) {
	s := p.shard(id.ID)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.agents[id]; a != nil {
		idle, all = a.idle.n, len(a.live)
	}
	return idle, all
}

// Stats returns them.
func (p *Pool) Stats() Stats {
	s := Stats{
		Warm: p.count.warm.Load(), Recycled: p.count.recycled.Load(),
		Live: int(p.count.live.Load()), Idle: int(p.count.idle.Load()), Fetching: int(p.count.fetching.Load()),
		Asked: map[Why]uint64{}, Ended: map[Reason]uint64{},
	}
	for w := range whys {
		s.Asked[w] = p.count.asked[w].Load()
	}
	for r := Broken; r < reasons; r++ {
		s.Ended[r] = p.count.ended[r].Load()
	}
	return s
}
