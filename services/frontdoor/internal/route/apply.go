package route

import "time"

// PutClaim enters a new or changed claim.
func (t *Table) PutClaim(c Claim) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.putClaim(c)
	t.publish(c.Hostname)
}

func (t *Table) putClaim(c Claim) {
	r := t.record(c.Hostname)
	if r.claim != nil && r.claim.Generation != c.Generation {
		r.lostAt = time.Time{} // another owner's loss is not this one's
	}
	r.claim, r.orphanAt = &c, time.Time{}
	for _, a := range r.attachments {
		if a.Generation != c.Generation && !a.suspectAt.IsZero() {
			t.detach(a) // a newer generation ends the doubt
		}
	}
}

// RemoveClaim removes an endpoint: its owner or an operator has ended it, or
// its grace is over.
func (t *Table) RemoveClaim(hostname string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.removeClaim(hostname)
	t.publish(hostname)
}

func (t *Table) removeClaim(hostname string) {
	r := t.records[hostname]
	if r == nil {
		return
	}
	for _, a := range r.attachments {
		t.detach(a)
	}
	r.claim = nil
}

// PutAttachment enters an attachment, or asserts it again.
func (t *Table) PutAttachment(a Attachment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.attach(a)
	t.publish(a.Hostname)
}

// EndAttachment removes an attachment that has ended on purpose, or that its
// connector does not know.
func (t *Table) EndAttachment(a Attachment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if entry := t.find(a); entry != nil {
		t.detach(entry)
		t.publish(a.Hostname)
	}
}

// EndForGood removes an attachment whose agent will not be back: nobody is held
// for it.
func (t *Table) EndForGood(a Attachment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if entry := t.find(a); entry != nil {
		t.detach(entry)
	}
	if r := t.records[a.Hostname]; r != nil && r.claim != nil && r.claim.Generation == a.Generation && len(r.attachments) == 0 {
		r.lostAt = longAgo
	}
	t.publish(a.Hostname)
}

// VanishAttachment handles an attachment whose lease ran out without a word. It
// is suspect, not gone: an outage of the registry ends leases of connectors that
// are well. Only if its connector has since said everything it has, it is gone.
func (t *Table) VanishAttachment(a Attachment) {
	t.mu.Lock()
	defer t.mu.Unlock()
	entry := t.find(a)
	if entry == nil {
		return
	}
	t.doubt(entry)
	t.publish(a.Hostname)
}

// doubt makes an attachment suspect, or removes it if nothing speaks for it.
func (t *Table) doubt(a *attachment) {
	r := t.records[a.Hostname]
	if r.claim != nil && r.claim.Generation != a.Generation || t.omitted(a) {
		t.detach(a)
		return
	}
	if a.suspectAt.IsZero() {
		t.setSuspect(a, t.now())
	}
}

// omitted holds if the connector has, under a newer registration, attached all
// that it has, and this one was not among it.
func (t *Table) omitted(a *attachment) bool {
	c := t.connectors[a.ConnectorID]
	return c != nil && c.present && c.Synced && c.Registration != a.registration
}

// PutConnector enters a connector's record in the node table.
func (t *Table) PutConnector(n Connector) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.connector(n.ID)
	c.Connector, c.present = n, true
	for _, a := range c.all() {
		if !a.suspectAt.IsZero() && t.omitted(a) {
			t.detach(a)
			t.publish(a.Hostname)
		}
	}
}

// RemoveConnector removes a connector from the node table. Its attachments stay
// until it is heard of them: a lease that ran out is no proof of death.
func (t *Table) RemoveConnector(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.connectors[id]
	if c == nil {
		return
	}
	c.present = false
	if len(c.sessions) == 0 {
		delete(t.connectors, id)
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
	for _, a := range c.all() {
		t.publish(a.Hostname)
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
	ended, left := 0, 0
	for _, a := range c.sessions[sessionID] {
		r := t.records[a.Hostname]
		if tunnelID == "" || r.claim != nil && r.claim.TunnelID == tunnelID {
			t.detach(a)
			t.publish(a.Hostname)
			if ended++; r.claim != nil && r.claim.Generation == a.Generation && len(t.usable(r)) > 0 {
				left++
			}
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
	limit := t.now().Add(-suspectFor)
	for hostname, r := range t.records {
		changed := false
		for _, a := range r.attachments {
			if !a.suspectAt.IsZero() && a.suspectAt.Before(limit) {
				t.detach(a)
				changed = true
			}
		}
		if changed {
			t.dropOrphan(r)
			t.publish(hostname)
		}
	}
}

// dropOrphan removes a claim that no snapshot names and nothing speaks for.
func (t *Table) dropOrphan(r *record) {
	if !r.orphanAt.IsZero() && len(r.attachments) == 0 {
		r.claim = nil
	}
}

func (t *Table) find(a Attachment) *attachment {
	r := t.records[a.Hostname]
	if r == nil {
		return nil
	}
	entry := r.attachments[sessionKey{a.ConnectorID, a.SessionID}]
	if entry == nil || entry.Generation != a.Generation {
		return nil
	}
	return entry
}

// all returns the connector's attachments, in a list that may be changed under.
func (c *connector) all() []*attachment {
	var list []*attachment
	for _, session := range c.sessions {
		for _, a := range session {
			list = append(list, a)
		}
	}
	return list
}
