package route

// Snapshot is everything that the registry has at one position.
type Snapshot struct {
	Claims      []Claim
	Attachments []Attachment
	Connectors  []Connector
}

// Replace applies a snapshot. What it does not name is removed only if someone
// stands for the absence: the first snapshot behind an outage is empty because
// all leases have run out, not because all endpoints have gone. A snapshot from
// before the table's own position is refused: a replica that lags would bring
// deleted routes back.
func (t *Table) Replace(s Snapshot, at Position) bool {
	if p, _ := t.Progress(); at.before(p) {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.replaceConnectors(s.Connectors)
	claimed := make(map[string]bool, len(s.Claims))
	for _, c := range s.Claims {
		claimed[c.Hostname] = true
		t.putClaim(c)
	}
	attached := make(map[Attachment]bool, len(s.Attachments))
	for _, a := range s.Attachments {
		attached[a] = true
		t.attach(a)
	}
	for hostname, r := range t.records {
		for _, a := range r.attachments {
			if !attached[a.Attachment] {
				t.absent(a)
			}
		}
		if !claimed[hostname] {
			r.orphanAt = t.now()
			t.dropOrphan(r)
		}
		t.publish(hostname)
	}
	t.Advance(at)
	return true
}

func (t *Table) replaceConnectors(list []Connector) {
	for _, c := range t.connectors {
		c.present = false
	}
	for _, n := range list {
		c := t.connector(n.ID)
		c.Connector, c.present = n, true
	}
	for id, c := range t.connectors {
		if !c.present && len(c.sessions) == 0 {
			delete(t.connectors, id)
		}
	}
}

// absent handles an attachment that a snapshot does not name. A connector that
// has said all it has stands for the absence, under whatever registration.
func (t *Table) absent(a *attachment) {
	if c := t.connectors[a.ConnectorID]; c != nil && c.present && c.Synced {
		t.detach(a)
		return
	}
	t.doubt(a)
}

// Merge enters what a lookup found, and reports whether the endpoint is known
// now. A table that has followed the registry beyond the answer knows better.
func (t *Table) Merge(c Claim, attachments []Attachment, at Position) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, _ := t.Progress(); p.Epoch == at.Epoch && !p.before(at) {
		return t.records[c.Hostname] != nil && t.records[c.Hostname].claim != nil
	}
	t.putClaim(c)
	for _, a := range attachments {
		t.attach(a)
	}
	t.publish(c.Hostname)
	return true
}
