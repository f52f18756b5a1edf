package dialback

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	spareEach = 8    // unused connections kept of one agent, or as many as it has in use
	spareAll  = 1024 // and of all
)

// Conn is a proxy connection of a run of an agent.
type Conn struct {
	*proxyconn.Server
	Agent route.Agent
	// Spare says that the connection has waited for its use, or had one before.
	Spare bool

	set   *conns
	timer *time.Timer // of a spare one

	mu       sync.Mutex
	use      string // the tunnel that it serves; empty: none yet
	dropIdle func()
}

// Serve notes which tunnel the connection is used for. dropIdle ends that use if
// no visitor is being served this moment; it may be called at any time.
func (c *Conn) Serve(tunnelID string, dropIdle func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.use, c.dropIdle = tunnelID, dropIdle
}

func (c *Conn) serves() (tunnelID string, dropIdle func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.use, c.dropIdle
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
	keep := !s.closed && c.Idle() && s.wantedLocked(c.Agent)
	if keep {
		s.spare[c.Agent] = append(s.spare[c.Agent], c)
		s.spares++
		c.timer = time.AfterFunc(s.keep, func() { s.expire(c) })
	}
	s.mu.Unlock()
	if !keep {
		c.Discard()
	}
}

// wantedLocked says that one more spare connection of the agent may be of use.
// Where many are in use, visitors come and go by the dozen: each surplus of one
// moment is a want of the next, and must not cost a handshake each time.
func (s *conns) wantedLocked(agent route.Agent) bool {
	spare := len(s.spare[agent])
	inUse := len(s.live[agent]) - spare - 1 // without the one in question
	return spare < max(spareEach, inUse) && s.spares < spareAll
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
			return c
		}
		s.removeLocked(c)
	}
	return nil
}

// expire closes a connection that nobody has wanted.
func (s *conns) expire(c *Conn) {
	s.mu.Lock()
	unwanted := s.unspareLocked(c)
	s.mu.Unlock()
	if unwanted {
		c.Discard()
	}
}

// unspareLocked reports whether the connection was a spare one.
func (s *conns) unspareLocked(c *Conn) bool {
	list := s.spare[c.Agent]
	i := slices.Index(list, c)
	if i < 0 {
		return false
	}
	c.timer.Stop()
	s.spares--
	if len(list) == 1 {
		delete(s.spare, c.Agent)
	} else {
		s.spare[c.Agent] = append(list[:i:i], list[i+1:]...)
	}
	return true
}

// cut ends the agent's connections for a tunnel, for all if it is empty: all of
// them at once, or only those that serve nobody this moment.
func (s *conns) cut(agent route.Agent, tunnelID string, busyToo bool) {
	s.mu.Lock()
	list := slices.Collect(maps.Keys(s.live[agent]))
	s.mu.Unlock()
	for _, c := range list {
		use, dropIdle := c.serves()
		switch {
		case tunnelID != "" && use != tunnelID:
		case busyToo:
			c.Discard()
		default:
			if dropIdle != nil {
				c.Retire() // what is under way finishes, and is the last
				dropIdle()
			}
			s.expire(c)
		}
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
