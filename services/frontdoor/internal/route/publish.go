package route

import (
	"cmp"
	"slices"
	"strings"
	"time"
)

// longAgo is when an agent was lost that is not waited for.
var longAgo = time.Unix(0, 0)

// publish makes what the record says visible to readers, and tells who wants to
// know. A record that says nothing any more is dropped.
func (t *Table) publish(hostname string) {
	t.publishOne(hostname)
	if pool := PoolOf(hostname); pool != "" {
		t.enroll(pool, hostname)
		t.publishOne(pool)
	}
}

func (t *Table) publishOne(hostname string) {
	r := t.records[hostname]
	if r == nil {
		t.store(hostname, nil)
		return
	}
	if r.claim == nil {
		if len(r.attachments) == 0 {
			delete(t.records, hostname)
		}
		t.store(hostname, nil)
		return
	}
	usable := t.usable(r)
	var members []*Route
	if r.claim.Pooled {
		members, usable = t.members(hostname)
	}
	switch {
	case len(usable) > 0:
		r.lostAt = time.Time{}
	case r.lostAt.IsZero():
		r.lostAt = t.now()
	}
	t.store(hostname, &Route{Claim: *r.claim, Attachments: usable, LostAt: r.lostAt, Members: members})
}

func (t *Table) store(hostname string, route *Route) {
	s := t.shard(hostname)
	s.mu.Lock()
	old := s.routes[hostname]
	set(s.routes, hostname, route)
	s.mu.Unlock()
	if base, ok := strings.CutPrefix(hostname, "*."); ok {
		s = t.shard(base)
		s.mu.Lock()
		t.wildcards.Add(int64(set(s.wildcards, base, route)))
		s.mu.Unlock()
	}
	if old != nil || route != nil {
		t.changed(old, route)
	}
}

// set enters a route, removes it if it is nil, and returns by how many there are
// more.
func set(routes map[string]*Route, name string, route *Route) int {
	before := len(routes)
	if route == nil {
		delete(routes, name)
	} else {
		routes[name] = route
	}
	return len(routes) - before
}

// usable returns the attachments of the claim's generation, best first.
func (t *Table) usable(r *record) []Attachment {
	var list []*attachment
	for _, a := range r.attachments {
		if a.Generation == r.claim.Generation && !r.claim.Parked {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b *attachment) int {
		return cmp.Or(
			cmp.Compare(t.rank(a), t.rank(b)),
			cmp.Compare(a.ConnectorID, b.ConnectorID),
			cmp.Compare(a.SessionID, b.SessionID),
		)
	})
	out := make([]Attachment, len(list))
	for i, a := range list {
		out[i] = a.Attachment
	}
	return out
}

// rank orders attachments: a connector that we have no stream to comes last,
// for it may be dead; a suspect attachment comes behind a sure one.
func (t *Table) rank(a *attachment) int {
	n := 0
	if c := t.connectors[a.ConnectorID]; c == nil || c.unlinked {
		n += 2
	}
	if !a.suspectAt.IsZero() {
		n++
	}
	return n
}
