package route

import "slices"

// Snapshot is everything that the registry has at one position.
type Snapshot struct {
	Claims      []Claim
	Attachments []Attachment
	Connectors  []Connector

	before []int32 // see byName
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
	listed := s.byName()
	for name, l := range listed {
		t.take(name, s, l)
	}
	for _, shard := range t.shards {
		for r := range shard.each {
			if _, named := listed[r.Claim.Hostname]; !named {
				t.take(r.Claim.Hostname, s, listing{})
			}
		}
	}
	t.Advance(at)
	return true
}

// listing is what a snapshot has of one name, as numbers in its lists that begin
// with 1: a claim, and the last of its attachments.
type listing struct{ claim, attachment int32 }

// byName returns the listings. Each attachment's number is to be followed by
// s.before, of the one before it that has the same name; 0: there is none.
func (s *Snapshot) byName() map[string]listing {
	listed := make(map[string]listing, len(s.Claims))
	for i := range s.Claims {
		l := listed[s.Claims[i].Hostname]
		l.claim = int32(i + 1) // #nosec G115 -- a snapshot is bounded
		listed[s.Claims[i].Hostname] = l
	}
	s.before = make([]int32, len(s.Attachments)+1)
	for i := range s.Attachments {
		l := listed[s.Attachments[i].Hostname]
		s.before[i+1], l.attachment = l.attachment, int32(i+1) // #nosec G115 -- likewise
		listed[s.Attachments[i].Hostname] = l
	}
	return listed
}

// take turns a name's route into what the snapshot has of it.
func (t *Table) take(name string, s Snapshot, l listing) {
	d := t.draft(name)
	if l.claim > 0 {
		d.claim(s.Claims[l.claim-1])
	}
	var kept []*session
	for i := l.attachment; i > 0; i = s.before[i] {
		kept = append(kept, d.attach(s.Attachments[i-1]))
	}
	for _, w := range slices.Clone(d.list) {
		if !slices.Contains(kept, w.session) {
			d.absent(w.session)
		}
	}
	if l.claim == 0 {
		d.orphan = true
		d.dropOrphan()
	}
	t.publish(d)
}

func (t *Table) replaceConnectors(list []Connector) {
	for _, c := range t.connectors {
		c.present = false
	}
	for _, n := range list {
		t.connector(n.ID).set(n)
	}
	for _, c := range t.connectors {
		t.forgetConnector(c)
	}
}

// absent handles an attachment that a snapshot does not name. A connector that
// has said all it has stands for the absence, under whatever registration.
func (d *draft) absent(s *session) {
	if s.connector.present && s.connector.synced {
		d.detach(s)
		return
	}
	d.doubt(d.through(s))
}

// Merge enters what a lookup found, and reports whether the endpoint is known
// now. A table that has followed the registry beyond the answer knows better.
func (t *Table) Merge(c Claim, attachments []Attachment, at Position) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if p, _ := t.Progress(); p.Epoch == at.Epoch && !p.before(at) {
		return t.Own(c.Hostname) != nil
	}
	d := t.draft(c.Hostname)
	d.claim(c)
	for _, a := range attachments {
		d.attach(a)
	}
	t.publish(d)
	return true
}
