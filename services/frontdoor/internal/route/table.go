package route

import (
	"hash/maphash"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// suspectFor is how long an attachment whose lease ran out is used without
// another word about it.
const suspectFor = 10 * time.Minute

const shards = 64 // a power of two

// Table is the copy of the registry's mapping. Reading it takes a shared lock
// of one shard and allocates nothing; writers are serialized.
type Table struct {
	now      func() time.Time
	changed  func(old, now *Route) // called when a route is another one now; see NewTable
	seed     maphash.Seed
	read     [shards]shard
	progress atomic.Pointer[progress]
	// wildcards is how many there are: mostly none, and then nobody looks.
	wildcards atomic.Int64

	mu         sync.Mutex // guards all below, and the order of publishing
	records    map[string]*record
	connectors map[string]*connector
	pools      map[string]map[string]struct{} // to the names of members
	suspects   int
}

type shard struct {
	mu     sync.RWMutex
	routes map[string]*Route
	// wildcards by the name that theirs are below: a lookup cuts its way up and
	// makes no string.
	wildcards map[string]*Route
	_         [24]byte // keeps neighbours' locks off this cache line
}

type progress struct {
	position Position
	at       time.Time
}

// record is all that is known of one hostname.
type record struct {
	hostname    string
	claim       *Claim // nil: its attachments came first
	attachments map[sessionKey]*attachment
	lostAt      time.Time
	orphanAt    time.Time // since when a snapshot has not named the claim; zero: it has
}

type sessionKey struct{ connector, session string }

type attachment struct {
	Attachment
	registration int64     // the connector's, when it was last asserted
	suspectAt    time.Time // since when it is suspect; zero: it is sure
}

// connector is a node and what it has said about its attachments.
type connector struct {
	Connector
	present  bool // in the node table
	unlinked bool // our stream to it is broken
	sessions map[string]map[string]*attachment
}

// NewTable returns an empty table. changed is told of each route that is another
// one now, in order; either may be nil, and they may be alike. It must not block.
func NewTable(now func() time.Time, changed func(old, now *Route)) *Table {
	t := &Table{
		now: now, changed: changed, seed: maphash.MakeSeed(),
		records: map[string]*record{}, connectors: map[string]*connector{},
		pools: map[string]map[string]struct{}{},
	}
	for i := range t.read {
		t.read[i].routes, t.read[i].wildcards = map[string]*Route{}, map[string]*Route{}
	}
	t.progress.Store(&progress{at: now()})
	return t
}

// Lookup returns the route of a canonical hostname, its own or else that of the
// nearest wildcard above it; nil if none is known.
func (t *Table) Lookup(hostname string) *Route {
	if r := t.Own(hostname); r != nil || t.wildcards.Load() == 0 {
		return r
	}
	for rest := hostname; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			return nil
		}
		rest = rest[i+1:]
		if r := t.shard(rest).wildcard(rest); r != nil {
			return r
		}
	}
}

// Own returns the route of an endpoint by its own name, which may be a wildcard;
// nil if it is not known.
func (t *Table) Own(name string) *Route {
	s := t.shard(name)
	s.mu.RLock()
	r := s.routes[name]
	s.mu.RUnlock()
	return r
}

// wildcard returns the route of the names below base.
func (s *shard) wildcard(base string) *Route {
	s.mu.RLock()
	r := s.wildcards[base]
	s.mu.RUnlock()
	return r
}

// Each calls f for every route, until it answers false. The order differs from
// call to call. Changes meanwhile may be missed.
func (t *Table) Each(f func(*Route) bool) {
	var list []*Route
	first := rand.IntN(shards) // #nosec G404 -- no secret
	for i := range shards {
		s := &t.read[(first+i)&(shards-1)]
		list = list[:0]
		s.mu.RLock()
		for _, r := range s.routes {
			list = append(list, r)
		}
		s.mu.RUnlock()
		for _, r := range list {
			if !f(r) {
				return
			}
		}
	}
}

// Progress returns how far the table has followed the registry, and the time
// since it last heard of it.
func (t *Table) Progress() (Position, time.Duration) {
	p := t.progress.Load()
	return p.position, t.now().Sub(p.at)
}

// Advance notes that everything up to the position has been applied.
func (t *Table) Advance(p Position) {
	t.progress.Store(&progress{position: p, at: t.now()})
}

func (t *Table) shard(hostname string) *shard {
	return &t.read[maphash.String(t.seed, hostname)&(shards-1)]
}

// record returns the record of a hostname, a new one if there is none.
func (t *Table) record(hostname string) *record {
	r := t.records[hostname]
	if r == nil {
		r = &record{hostname: hostname, attachments: map[sessionKey]*attachment{}}
		t.records[hostname] = r
	}
	return r
}

func (t *Table) connector(id string) *connector {
	c := t.connectors[id]
	if c == nil {
		c = &connector{Connector: Connector{ID: id}, sessions: map[string]map[string]*attachment{}}
		t.connectors[id] = c
	}
	return c
}

// attach enters an attachment as sure, under its connector's registration.
func (t *Table) attach(a Attachment) {
	key := sessionKey{a.ConnectorID, a.SessionID}
	r, c := t.record(a.Hostname), t.connector(a.ConnectorID)
	if old := r.attachments[key]; old != nil {
		t.setSuspect(old, time.Time{})
	}
	entry := &attachment{Attachment: a, registration: c.Registration}
	r.attachments[key] = entry
	if c.sessions[a.SessionID] == nil {
		c.sessions[a.SessionID] = map[string]*attachment{}
	}
	c.sessions[a.SessionID][a.Hostname] = entry
}

// detach removes an attachment. It leaves publishing to the caller.
func (t *Table) detach(a *attachment) {
	t.setSuspect(a, time.Time{})
	if r := t.records[a.Hostname]; r != nil {
		delete(r.attachments, sessionKey{a.ConnectorID, a.SessionID})
	}
	c := t.connectors[a.ConnectorID]
	if c == nil {
		return
	}
	delete(c.sessions[a.SessionID], a.Hostname)
	if len(c.sessions[a.SessionID]) == 0 {
		delete(c.sessions, a.SessionID)
	}
	if !c.present && len(c.sessions) == 0 {
		delete(t.connectors, c.ID)
	}
}

// setSuspect marks or clears, and keeps the count that makes Expire cheap.
func (t *Table) setSuspect(a *attachment, at time.Time) {
	switch {
	case a.suspectAt.IsZero() && !at.IsZero():
		t.suspects++
	case !a.suspectAt.IsZero() && at.IsZero():
		t.suspects--
	}
	a.suspectAt = at
}
