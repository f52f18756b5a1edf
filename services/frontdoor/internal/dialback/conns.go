package dialback

import (
	"sync"
	"time"

	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	spareEach = 8    // unused connections kept of one agent
	spareAll  = 1024 // and of all
)

// Conn is a proxy connection of a run of an agent.
type Conn struct {
	*proxyconn.Server
	Agent route.Agent
	// Spare says that the connection has waited for its use, or had one before.
	Spare bool

	set   *conns
	mu    sync.Mutex
	use   string // the tunnel that it serves; empty: none yet
	busy  func() bool
	timer *time.Timer // of a spare one
}

// Serve notes what the connection is used for: a tunnel, and how to tell
// whether a visitor is being served this moment. It reports false if the
// connection has been cut.
func (c *Conn) Serve(tunnelID string, busy func() bool) bool {
	c.mu.Lock()
	c.use, c.busy = tunnelID, busy
	c.mu.Unlock()
	return c.Err() == nil
}

func (c *Conn) state() (tunnelID string, busy bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.use, c.busy != nil && c.busy()
}

// Discard closes the connection and forgets it.
func (c *Conn) Discard() {
	c.set.remove(c)
	_ = c.Close()
}

// conns are all proxy connections, by run of an agent. The spare ones among them
// serve nobody: their visitors had gone when they came.
type conns struct {
	keep time.Duration

	mu     sync.Mutex
	closed bool
	live   map[route.Agent]map[*Conn]struct{}
	spare  map[route.Agent][]*Conn
	spares int
}

func newConns(keep time.Duration) *conns {
	return &conns{
		keep: keep,
		live: map[route.Agent]map[*Conn]struct{}{}, spare: map[route.Agent][]*Conn{},
	}
}

// add enters a connection. It reports false if all are being closed.
func (s *conns) add(c *Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	c.set = s
	if s.live[c.Agent] == nil {
		s.live[c.Agent] = map[*Conn]struct{}{}
	}
	s.live[c.Agent][c] = struct{}{}
	return true
}

func (s *conns) remove(c *Conn) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(c)
}

func (s *conns) removeLocked(c *Conn) {
	delete(s.live[c.Agent], c)
	if len(s.live[c.Agent]) == 0 {
		delete(s.live, c.Agent)
	}
	s.unspareLocked(c)
}

// put keeps a connection for the next visitor, or closes it.
func (s *conns) put(c *Conn) {
	s.mu.Lock()
	keep := !s.closed && c.Idle() && len(s.spare[c.Agent]) < spareEach && s.spares < spareAll
	if keep {
		s.spare[c.Agent] = append(s.spare[c.Agent], c)
		s.spares++
		c.timer = time.AfterFunc(s.keep, c.Discard)
	}
	s.mu.Unlock()
	if !keep {
		c.Discard()
	}
}

// take returns the spare connection of the agent that came last, nil if there
// is none that lives.
func (s *conns) take(agent route.Agent) *Conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for list := s.spare[agent]; len(list) > 0; list = s.spare[agent] {
		c := list[len(list)-1]
		s.unspareLocked(c)
		if c.Idle() {
			c.Spare = true
			return c
		}
		s.removeLocked(c)
	}
	return nil
}

func (s *conns) unspareLocked(c *Conn) {
	list := s.spare[c.Agent]
	for i, other := range list {
		if other == c {
			s.spare[c.Agent] = append(list[:i:i], list[i+1:]...)
			s.spares--
			c.timer.Stop()
			break
		}
	}
	if len(s.spare[c.Agent]) == 0 {
		delete(s.spare, c.Agent)
	}
}

// cut closes the agent's connections for a tunnel, for all if it is empty; busy
// ones only if asked to.
func (s *conns) cut(agent route.Agent, tunnelID string, busyToo bool) {
	var list []*Conn
	s.mu.Lock()
	for c := range s.live[agent] {
		use, busy := c.state()
		if (tunnelID == "" || use == tunnelID) && (busyToo || !busy) {
			list = append(list, c)
		}
	}
	s.mu.Unlock()
	for _, c := range list {
		c.Discard()
	}
}

// closeAll ends every connection and takes no new ones.
func (s *conns) closeAll() {
	var list []*Conn
	s.mu.Lock()
	s.closed = true
	for _, set := range s.live {
		for c := range set {
			list = append(list, c)
		}
	}
	s.mu.Unlock()
	for _, c := range list {
		c.Discard()
	}
}

func (s *conns) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, set := range s.live {
		n += len(set)
	}
	return n
}
