package route

import (
	"slices"
	"time"
)

// Route is what is known of an endpoint at one moment. It is immutable and
// shared: a change makes a new one. It is all that a table keeps of a name, and
// there are a million of them: most have one way and nothing else.
type Route struct {
	Claim Claim // its Hostname is set even while there is no claim
	one   [1]way
	more  *more // nil: one is all there is
	// count is how many of one are ways, usable how many lead to the claim's owner.
	// Those come first, best first.
	count, usable uint16
	claimed       bool // false: its attachments came first
	orphan        bool // the latest snapshot has not named the claim
}

// more is what few routes have.
type more struct {
	ways    []way // instead of Route.one
	members []*Route
	lostAt  time.Time
}

// way is an attachment.
type way struct {
	session      *session
	generation   uint64
	registration int64 // the connector's, when it was last asserted
	suspectAt    int64 // Unix nanoseconds, since when it is suspect; 0: it is sure
}

// key makes routes elements of an index.
func (r *Route) key() string { return r.Claim.Hostname }

// wildcard is a route as an element of the index of those below a name.
type wildcard Route

func (w *wildcard) key() string { return w.Claim.Hostname[len(wildcardMark):] }

// Reachable reports whether an attachment leads to the endpoint.
func (r *Route) Reachable() bool { return r.usable > 0 || len(r.Members()) > 0 }

// Members returns the routes of a pooled endpoint that lead to an agent; its own
// attachments are theirs, together.
func (r *Route) Members() []*Route {
	if r.more == nil {
		return nil
	}
	return r.more.members
}

// LostAt is since when there is no attachment; zero while there is one.
func (r *Route) LostAt() time.Time {
	if r.more == nil {
		return time.Time{}
	}
	return r.more.lostAt
}

// Attachments lists those of the claim's generation, best first: linked before
// unlinked connectors, sure before suspect. The list is the caller's.
func (r *Route) Attachments() []Attachment {
	var list []Attachment
	for _, m := range r.Members() {
		list = append(list, m.Attachments()...)
	}
	for _, w := range r.ways()[:r.usable] {
		list = append(list, Attachment{
			Hostname: r.Claim.Hostname, Generation: w.generation,
			ConnectorID: w.session.connector.id, SessionID: w.session.id,
		})
	}
	return list
}

// Through reports whether one of Attachments is a session.
func (r *Route) Through(session string) bool {
	for _, w := range r.ways()[:r.usable] {
		if w.session.id == session {
			return true
		}
	}
	return slices.ContainsFunc(r.Members(), func(m *Route) bool { return m.Through(session) })
}

// ways returns all, which nobody may change.
func (r *Route) ways() []way {
	if r.more != nil && r.more.ways != nil {
		return r.more.ways
	}
	return r.one[:r.count]
}

// omitted holds if the way's connector has, under a newer registration, attached
// all that it has, and this was not among it.
func (w *way) omitted() bool {
	c := w.session.connector
	return c.present && c.synced && c.registration != w.registration
}
