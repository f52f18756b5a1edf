package session

import (
	"cmp"
	"slices"
	"time"
)

// Attachment is a tunnel and the session that it can be reached through.
type Attachment struct {
	Session *Session
	Tunnel
}

// drainRetry is when an agent asks again for a tunnel that a stopping connector
// does not take: by then it has left, or knows whereto.
const drainRetry = time.Second

// Reserve makes room for a tunnel while the registry is asked for its name. It
// reports whether the session has the tunnel already, which counts once.
func (t *Table) Reserve(s *Session, tunnelID string, limit int) (again bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sessions[s.ID] != s {
		return false, ErrEnded
	}
	if s.tunnel(tunnelID) != nil {
		return true, nil
	}
	if t.draining {
		return false, ErrDraining.WithRetry(drainRetry)
	}
	if limit > 0 && len(s.tunnels) >= limit {
		return false, ErrTunnelLimit
	}
	s.tunnels = append(s.tunnels, Tunnel{ID: tunnelID})
	return false, nil
}

// Attach notes what the registry answered for a reserved tunnel; false: the
// session, or the tunnel, has ended meanwhile.
func (t *Table) Attach(s *Session, tunnel Tunnel) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := s.tunnel(tunnel.ID)
	if old == nil || t.sessions[s.ID] != s {
		return false
	}
	t.unhost(s, *old)
	*old = tunnel
	t.host(s, tunnel)
	t.lineage.bound(tunnel.Hostname, tunnel.Generation, process{s.Agent, s.Instance})
	return true
}

// Detach removes a tunnel that its agent has given up, or never got; false: the
// session has none such.
func (t *Table) Detach(s *Session, tunnelID string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	tunnel := s.tunnel(tunnelID)
	if tunnel == nil {
		return false
	}
	delete(t.lineage.holders, tunnel.Hostname)
	t.detach(s, *tunnel)
	return true
}

func (t *Table) detach(s *Session, tunnel Tunnel) {
	s.tunnels = slices.DeleteFunc(s.tunnels, func(other Tunnel) bool { return other.ID == tunnel.ID })
	t.unhost(s, tunnel)
}

// tunnel returns the session's tunnel with an id, or nil.
func (s *Session) tunnel(id string) *Tunnel {
	i := slices.IndexFunc(s.tunnels, func(t Tunnel) bool { return t.ID == id })
	if i < 0 {
		return nil
	}
	return &s.tunnels[i]
}

// place is a session's tunnel on a hostname.
type place struct {
	session *Session
	tunnel  string // its id
}

// attachment returns the tunnel as it is now. The index and the sessions change together.
func (h place) attachment() Attachment {
	return Attachment{Session: h.session, Tunnel: *h.session.tunnel(h.tunnel)}
}

// host enters a tunnel into the index, in place of another one of the session on
// the same name.
func (t *Table) host(s *Session, tunnel Tunnel) {
	list := slices.DeleteFunc(t.hosts[tunnel.Hostname], func(h place) bool { return h.session == s })
	t.hosts[tunnel.Hostname] = append(list, place{s, tunnel.ID})
}

// unhost drops the index entry of a tunnel, if it is that tunnel's.
func (t *Table) unhost(s *Session, tunnel Tunnel) {
	left := slices.DeleteFunc(t.hosts[tunnel.Hostname], func(h place) bool { return h == place{s, tunnel.ID} })
	if t.hosts[tunnel.Hostname] = left; len(left) == 0 {
		delete(t.hosts, tunnel.Hostname)
	}
}

// TunnelsOf returns a session's tunnels, by hostname.
func (t *Table) TunnelsOf(s *Session) []Tunnel {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return slices.SortedFunc(slices.Values(s.tunnels), func(a, b Tunnel) int { return cmp.Compare(a.Hostname, b.Hostname) })
}

// Tunnels returns how many tunnels a session has.
func (t *Table) Tunnels(s *Session) int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(s.tunnels)
}

// Attachments returns all tunnels that the registry has acknowledged.
func (t *Table) Attachments() []Attachment {
	t.mu.RLock()
	defer t.mu.RUnlock()
	var all []Attachment
	for _, places := range t.hosts {
		for _, h := range places {
			all = append(all, h.attachment())
		}
	}
	return all
}

// Serves reports whether a hostname is bound here, or was: a cheap first look, for
// almost no change in the registry is about one of ours.
func (t *Table) Serves(hostname string) bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	_, known := t.lineage.holders[hostname]
	return known || len(t.hosts[hostname]) > 0
}

// Claim says to which process of an agent a hostname went.
type Claim struct {
	Hostname   string
	Generation uint64
	Agent      string
	Instance   Instance
}

// Supersede ends the tunnels on a hostname whose generation is below the claim's.
// Only a process whose agent has another one now is told that it was taken over,
// which costs it its identity; all others may ask again, and hear why not.
func (t *Table) Supersede(c Claim) {
	for _, a := range t.older(c) {
		reason := Lost
		if a.Session.Agent == c.Agent && a.Session.Instance != c.Instance {
			reason = TakenOver
		}
		t.CloseTunnel(a.Session, a.Tunnel, reason)
	}
}

func (t *Table) older(c Claim) []Attachment {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lineage.claimed(c.Hostname, c.Generation, process{c.Agent, c.Instance})
	var older []Attachment
	for _, h := range t.hosts[c.Hostname] {
		if a := h.attachment(); a.Generation < c.Generation {
			older = append(older, a)
		}
	}
	return older
}

// Find returns the tunnel that a session has on a hostname.
func (t *Table) Find(sessionID, hostname string) (Attachment, bool) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	s := t.sessions[sessionID]
	if s == nil {
		return Attachment{}, false
	}
	for _, h := range t.hosts[hostname] {
		if h.session == s {
			return h.attachment(), true
		}
	}
	return Attachment{Session: s}, false
}

// CloseTunnel ends one tunnel, unless it has been bound anew since: frontdoors
// hear of it, then the agent. It reports whether it did.
func (t *Table) CloseTunnel(s *Session, tunnel Tunnel, reason Reason) bool {
	t.mu.Lock()
	now := s.tunnel(tunnel.ID)
	ok := now != nil && *now == tunnel
	if ok {
		t.detach(s, tunnel)
	}
	t.mu.Unlock()
	if !ok {
		return false
	}
	t.PublishTunnel(s, tunnel.ID, reason)
	t.Tell(s, TunnelClosed{TunnelID: tunnel.ID, Reason: reason, Text: closedText[reason]})
	return true
}

// PublishTunnel tells frontdoors that a session serves a tunnel no longer.
func (t *Table) PublishTunnel(s *Session, tunnelID string, reason Reason) {
	t.feed.publish(Ended{Agent: s.Agent, Instance: s.Instance, Session: s.ID, Reason: reason, Tunnel: tunnelID})
}

// Tell queues an answer; a session that has left too many unread is ended.
func (t *Table) Tell(s *Session, m Message) {
	if !s.Answer(m) {
		t.End(s, Unresponsive, ErrUnresponsive)
	}
}

var closedText = map[Reason]string{
	TakenOver: "another process with this agent's id has taken the tunnel over",
	Deleted:   "an operator has ended the tunnel",
	Revoked:   "the authtoken does not allow the tunnel any more",
	Lost:      "the registry does not know the tunnel any more; ask for it again",
}
