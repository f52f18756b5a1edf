package reach

import (
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

const (
	// A member whose service has refused so often in a row is passed over, for so
	// long, twice as long each time, at most so long: it may be starting.
	refusals               = 2
	firstBench, benchLimit = time.Second, 10 * time.Second
	// maxMembers bounds what is remembered of members that come and go.
	maxMembers = 10_000
)

// pools remembers how the members of pools fare, by the names of their claims.
type pools struct {
	mu      sync.Mutex
	members map[string]*member
}

type member struct {
	visitors int // on their way through it
	refused  int // in a row
	bench    time.Duration
	until    time.Time // passed over
}

// Another chooses a member that the trip has not tried; false: there is none, or
// the endpoint is no pool. Of two at random the one with fewer visitors is taken:
// nobody compares all, and no two frontdoors all take the same one.
func (t *Trip) Another() bool {
	left := untried(t.endpoint, t.tried)
	if len(left) == 0 {
		return false
	}
	t.leave()
	r := t.f.pools.enter(left)
	t.tried = append(t.tried, r.Claim.Hostname)
	t.mu.Lock()
	defer t.mu.Unlock()
	t.Route = r
	return true
}

// route is Route for others than the visitor's own goroutine, which alone changes
// it.
func (t *Trip) route() *route.Route {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.Route
}

// untried are a pool's members beside those that have been tried.
func untried(endpoint *route.Route, tried []string) []*route.Route {
	return slices.DeleteFunc(slices.Clone(endpoint.Members()), func(r *route.Route) bool {
		return slices.Contains(tried, r.Claim.Hostname)
	})
}

// Done ends the trip. refused says that the service behind the endpoint did not
// take the visitor.
func (t *Trip) Done(refused bool) {
	t.Started()
	if t.Route != nil && t.Route.Claim.Pool() != "" {
		t.f.pools.judge(t.Route.Claim.Hostname, refused)
		t.leave()
	}
}

func (t *Trip) leave() {
	if t.Route.Claim.Pool() != "" {
		t.f.pools.leave(t.Route.Claim.Hostname)
	}
}

// Refused says that the member that was tried did not take the visitor, of whom
// nothing was delivered: another one may.
func (t *Trip) Refused() bool {
	name := t.Route.Claim.Hostname
	if t.Route.Claim.Pool() == "" || !t.Another() {
		return false
	}
	t.f.pools.judge(name, true)
	return true
}

// InFlight is how many visitors are on their way through a member of a pool, by
// the name of its claim.
func (f *Finder) InFlight(member string) int {
	f.pools.mu.Lock()
	defer f.pools.mu.Unlock()
	if m := f.pools.members[member]; m != nil {
		return m.visitors
	}
	return 0
}

// enter takes one of several members for a visitor.
func (p *pools) enter(among []*route.Route) *route.Route {
	p.mu.Lock()
	defer p.mu.Unlock()
	r := p.chooseLocked(among)
	p.member(r.Claim.Hostname).visitors++
	return r
}

func (p *pools) choose(among []*route.Route) *route.Route {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.chooseLocked(among)
}

func (p *pools) chooseLocked(among []*route.Route) *route.Route {
	now := time.Now()
	ready := slices.DeleteFunc(slices.Clone(among), func(r *route.Route) bool {
		m := p.members[r.Claim.Hostname]
		return m != nil && now.Before(m.until)
	})
	if len(ready) == 0 {
		ready = among
	}
	i := rand.IntN(len(ready)) // #nosec G404 -- spreads load
	if len(ready) > 1 {
		j := (i + 1 + rand.IntN(len(ready)-1)) % len(ready) // #nosec G404 -- spreads load
		if p.visitors(ready[j]) < p.visitors(ready[i]) {
			i = j
		}
	}
	return ready[i]
}

func (p *pools) visitors(r *route.Route) int {
	if m := p.members[r.Claim.Hostname]; m != nil {
		return m.visitors
	}
	return 0
}

func (p *pools) member(name string) *member {
	m := p.members[name]
	if m == nil {
		if p.members == nil || len(p.members) >= maxMembers {
			p.members = map[string]*member{}
		}
		m = &member{}
		p.members[name] = m
	}
	return m
}

func (p *pools) leave(name string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.members[name]
	if m == nil {
		return
	}
	if m.visitors = max(m.visitors-1, 0); m.visitors == 0 && m.refused == 0 {
		delete(p.members, name)
	}
}

// judge counts a member's refusals in a row, and has it passed over for them.
func (p *pools) judge(name string, refused bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	m := p.member(name)
	if !refused {
		m.refused, m.bench = 0, 0
		return
	}
	if m.refused++; m.refused >= refusals {
		m.bench = min(max(2*m.bench, firstBench), benchLimit)
		m.until = time.Now().Add(m.bench)
	}
}
