package route

import (
	"cmp"
	"slices"
	"time"
)

// draft is what will be the next route of a name. Changes are made to a draft,
// and readers see none of them before it is published, whole.
type draft struct {
	table *Table
	Route
	list   []way // in place of the route's own, in any order
	lostAt time.Time
}

// draft returns a new one, of what is known of the name.
func (t *Table) draft(name string) *draft {
	d := &draft{table: t, Route: Route{Claim: Claim{Hostname: name}}}
	if r := t.routes(name).get(name); r != nil {
		d.Route, d.lostAt = *r, r.LostAt()
		d.list = slices.Clone(r.ways())
	}
	return d
}

// claim enters a claim.
func (d *draft) claim(c Claim) {
	if d.claimed && d.Claim.Generation != c.Generation {
		d.lostAt = time.Time{} // another owner's loss is not this one's
	}
	c.Hostname = d.Claim.Hostname // others share its memory
	d.Claim, d.claimed, d.orphan = c, true, false
	for _, w := range slices.Clone(d.list) {
		if w.generation != c.Generation && w.suspectAt != 0 {
			d.detach(w.session) // a newer generation ends the doubt
		}
	}
}

// unclaim removes the claim and all attachments.
func (d *draft) unclaim() {
	for _, w := range slices.Clone(d.list) {
		d.detach(w.session)
	}
	d.claimed = false
}

// owned holds if a generation is the claim's.
func (d *draft) owned(generation uint64) bool {
	return d.claimed && d.Claim.Generation == generation
}

// attach enters an attachment as sure, under its connector's registration, and
// returns its session.
func (d *draft) attach(a Attachment) *session {
	c := d.table.connector(a.ConnectorID)
	s := c.session(a.SessionID)
	w := d.through(s)
	if w == nil {
		s.add(d.Claim.Hostname)
		d.list = append(d.list, way{session: s})
		w = &d.list[len(d.list)-1]
	}
	d.setSuspect(w, time.Time{})
	w.generation, w.registration = a.Generation, c.registration
	return s
}

// detach removes the attachment through a session.
func (d *draft) detach(s *session) {
	for i := range d.list {
		if d.list[i].session == s {
			d.setSuspect(&d.list[i], time.Time{})
			d.list = slices.Delete(d.list, i, i+1)
			break
		}
	}
	s.remove(d.Claim.Hostname)
	d.table.forget(s)
}

// find returns the way that is an attachment, or nil.
func (d *draft) find(a Attachment) *way {
	c := d.table.connectors[a.ConnectorID]
	if c == nil {
		return nil
	}
	w := d.through(c.sessions.get(a.SessionID))
	if w == nil || w.generation != a.Generation {
		return nil
	}
	return w
}

func (d *draft) through(s *session) *way {
	i := slices.IndexFunc(d.list, func(w way) bool { return w.session == s })
	if i < 0 {
		return nil
	}
	return &d.list[i]
}

// doubt makes an attachment suspect, or removes it if nothing speaks for it.
func (d *draft) doubt(w *way) {
	switch {
	case d.claimed && d.Claim.Generation != w.generation || w.omitted():
		d.detach(w.session)
	case w.suspectAt == 0:
		d.setSuspect(w, d.table.now())
	}
}

// dropOrphan removes a claim that no snapshot names and nothing speaks for.
func (d *draft) dropOrphan() {
	if d.orphan && len(d.list) == 0 {
		d.claimed = false
	}
}

// setSuspect marks, or clears if at is zero, and keeps the count that makes Expire cheap.
func (d *draft) setSuspect(w *way, at time.Time) {
	if w.suspectAt != 0 {
		d.table.suspects--
	}
	if w.suspectAt = 0; !at.IsZero() {
		w.suspectAt = at.UnixNano()
		d.table.suspects++
	}
}

// seal returns the route that the draft has become, nil if it says nothing any more.
func (d *draft) seal() *Route {
	if !d.claimed && len(d.list) == 0 {
		return nil
	}
	r := d.Route
	r.usable, r.more = 0, nil
	var members []*Route
	if d.claimed {
		r.usable = d.sort()
		if d.Claim.Pooled {
			r.usable, members = 0, d.table.members(d.Claim.Hostname)
		}
		switch {
		case r.usable > 0 || len(members) > 0:
			d.lostAt = time.Time{}
		case d.lostAt.IsZero():
			d.lostAt = d.table.now()
		}
	}
	if r.count = uint16(copy(r.one[:], d.list)); r.count == 0 { // #nosec G115 -- one at most
		r.one[0] = way{}
	}
	if len(d.list) > 1 || len(members) > 0 || !d.lostAt.IsZero() {
		r.more = &more{members: members, lostAt: d.lostAt}
	}
	if len(d.list) > 1 {
		r.one[0], r.more.ways = way{}, slices.Clip(d.list)
	}
	return &r
}

// sort puts the attachments in their order and returns how many lead to the
// claim's owner: these come first, best first.
func (d *draft) sort() (usable uint16) {
	slices.SortFunc(d.list, func(a, b way) int {
		return cmp.Or(
			cmp.Compare(d.rank(a), d.rank(b)),
			cmp.Compare(a.session.connector.id, b.session.connector.id),
			cmp.Compare(a.session.id, b.session.id),
		)
	})
	for _, w := range d.list {
		if d.rank(w) < useless {
			usable++
		}
	}
	return usable
}

const useless = 4

// rank orders attachments: a connector that we have no stream to comes last,
// for it may be dead; a suspect attachment comes behind a sure one. Of another
// generation or of a parked claim it is useless.
func (d *draft) rank(w way) (n int) {
	if !d.owned(w.generation) || d.Claim.Parked {
		n += useless
	}
	if w.session.connector.unlinked {
		n += 2
	}
	if w.suspectAt != 0 {
		n++
	}
	return n
}
