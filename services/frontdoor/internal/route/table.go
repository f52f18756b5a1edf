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

const (
	shards = 64 // a power of two
	// wildcardMark is what a wildcard's name begins with.
	wildcardMark = "*."
)

// Table is the copy of the registry's mapping. Reading it takes no lock and
// allocates nothing; writers are serialized.
type Table struct {
	now     func() time.Time
	changed func(old, now *Route) // called when a route is another one now; see NewTable
	seed    maphash.Seed
	// shards of all routes, for one to grow is a short pause of the writers.
	shards [shards]*index[Route, *Route]
	// wildcards by the name that theirs are below: a lookup cuts its way up and
	// makes no string. Mostly there are none, and then nobody looks.
	wildcards *index[wildcard, *wildcard]
	anyWild   atomic.Bool
	progress  atomic.Pointer[progress]

	mu         sync.Mutex // guards all below, and the order of publishing
	connectors map[string]*connector
	pools      map[string]map[string]struct{} // to the names of members
	suspects   int
}

type progress struct {
	position Position
	at       time.Time
}

// NewTable returns an empty table. changed is told of each route that is another
// one now, in order; either may be nil, and they may be alike. It must not block.
func NewTable(now func() time.Time, changed func(old, now *Route)) *Table {
	seed := maphash.MakeSeed()
	t := &Table{
		now: now, changed: changed, seed: seed, wildcards: newIndex[wildcard](seed),
		connectors: map[string]*connector{}, pools: map[string]map[string]struct{}{},
	}
	for i := range t.shards {
		t.shards[i] = newIndex[Route](seed)
	}
	t.progress.Store(&progress{at: now()})
	return t
}

// Lookup returns the route of a canonical hostname, its own or else that of the
// nearest wildcard above it; nil if none is known.
func (t *Table) Lookup(hostname string) *Route {
	if r := t.Own(hostname); r != nil || !t.anyWild.Load() {
		return r
	}
	for rest := hostname; ; {
		i := strings.IndexByte(rest, '.')
		if i < 0 {
			return nil
		}
		rest = rest[i+1:]
		if r := t.wildcards.get(rest); r != nil {
			return (*Route)(r)
		}
	}
}

// Own returns the route of an endpoint by its own name, which may be a wildcard;
// nil if it is not known.
func (t *Table) Own(name string) *Route { return visible(t.routes(name).get(name)) }

// visible returns the route if there is a claim.
func visible(r *Route) *Route {
	if r == nil || !r.claimed {
		return nil
	}
	return r
}

// Each calls f for every route, until it answers false. The order differs from
// call to call. Changes meanwhile may be missed.
func (t *Table) Each(f func(*Route) bool) {
	first := rand.IntN(shards) // #nosec G404 -- no secret
	for i := range shards {
		for r := range t.shards[(first+i)&(shards-1)].each {
			if r.claimed && !f(r) {
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

// routes returns the shard of a name.
func (t *Table) routes(name string) *index[Route, *Route] {
	return t.shards[maphash.String(t.seed, name)>>(64-6)]
}
