package route

import (
	"slices"
	"time"
)

// PutClaim enters a new or changed claim.
func (t *Table) PutClaim(c Claim) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.draft(c.Hostname)
	d.claim(c)
	t.publish(d)
}

// RemoveClaim removes an endpoint: its owner or an operator has ended it, or
// its grace is over.
func (t *Table) RemoveClaim(hostname string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.draft(hostname)
	d.unclaim()
	t.publish(d)
}

// PutAttachment enters an attachment, or asserts it again.
func (t *Table) PutAttachment(a Attachment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.draft(a.Hostname)
	d.attach(a)
	t.publish(d)
}

// EndAttachment removes an attachment that has ended on purpose, or that its
// connector does not know.
func (t *Table) EndAttachment(a Attachment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.draft(a.Hostname)
	if w := d.find(a); w != nil {
		d.detach(w.session)
		t.publish(d)
	}
}

// EndForGood removes an attachment whose agent will not be back: nobody is held
// for it.
func (t *Table) EndForGood(a Attachment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.draft(a.Hostname)
	if w := d.find(a); w != nil {
		d.detach(w.session)
	}
	if d.owned(a.Generation) && len(d.list) == 0 {
		d.lostAt = longAgo
	}
	t.publish(d)
}

// VanishAttachment handles an attachment whose lease ran out without a word. It
// is suspect, not gone: an outage of the registry ends leases of connectors that
// are well. Only if its connector has since said everything it has, it is gone.
func (t *Table) VanishAttachment(a Attachment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	d := t.draft(a.Hostname)
	if w := d.find(a); w != nil {
		d.doubt(w)
		t.publish(d)
	}
}

// PutConnector enters a connector's record in the node table.
func (t *Table) PutConnector(n Connector) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.connector(n.ID)
	c.set(n)
	if t.suspects == 0 {
		return
	}
	for _, name := range c.names() {
		t.dropWays(name, func(w way) bool { return w.session.connector == c && w.suspectAt != 0 && w.omitted() })
	}
}

// dropWays removes a name's attachments that are to go.
func (t *Table) dropWays(name string, goes func(way) bool) {
	r := t.routes(name).get(name)
	if r == nil || !slices.ContainsFunc(r.ways(), goes) {
		return
	}
	d := t.draft(name)
	for _, w := range r.ways() {
		if goes(w) {
			d.detach(w.session)
		}
	}
	d.dropOrphan()
	t.publish(d)
}

// RemoveConnector removes a connector from the node table. Its attachments stay
// until it is heard of them: a lease that ran out is no proof of death.
func (t *Table) RemoveConnector(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.connectors[id]; c != nil {
		c.present = false
		t.forgetConnector(c)
	}
}

// Link notes whether our own stream to a connector stands.
func (t *Table) Link(id string, up bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.connectors[id]
	if c == nil || c.unlinked == !up {
		return
	}
	c.unlinked = !up
	for _, name := range c.names() {
		t.publish(t.draft(name))
	}
}

// EndSession removes the attachments of a session that its connector itself
// says has ended; of one tunnel alone if tunnelID is not empty. It reports whether
// there were some, and the same agent can be reached in another way for each.
func (t *Table) EndSession(connectorID, sessionID, tunnelID string) (elsewhere bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.connectors[connectorID]
	if c == nil {
		return false
	}
	s := c.sessions.get(sessionID)
	if s == nil {
		return false
	}
	ended, left := 0, 0
	for _, name := range s.names() {
		d := t.draft(name)
		if tunnelID != "" && (!d.claimed || d.Claim.TunnelID != tunnelID) {
			continue
		}
		owned := d.owned(d.through(s).generation)
		d.detach(s)
		now := t.publish(d)
		if ended++; owned && now.usable > 0 {
			left++
		}
	}
	return ended > 0 && left == ended
}

// Expire removes what has been suspect for too long. To be called now and then.
func (t *Table) Expire() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.suspects == 0 {
		return
	}
	limit := t.now().Add(-suspectFor).UnixNano()
	for _, shard := range t.shards {
		for r := range shard.each {
			t.dropWays(r.Claim.Hostname, func(w way) bool { return w.suspectAt != 0 && w.suspectAt < limit })
		}
	}
}

// longAgo is when an agent was lost that is not waited for.
var longAgo = time.Unix(0, 0)
