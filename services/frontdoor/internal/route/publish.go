package route

import "strings"

// publish makes a draft what readers see, and tells who wants to know; of a pool's
// member that is the pool too. It returns the route, nil if there is none any more.
func (t *Table) publish(d *draft) *Route {
	r := t.publishOne(d)
	if pool := PoolOf(d.Claim.Hostname); pool != "" {
		t.enroll(pool, d.Claim.Hostname, r != nil)
		t.publishOne(t.draft(pool))
	}
	return r
}

func (t *Table) publishOne(d *draft) *Route {
	name := d.Claim.Hostname
	shard := t.routes(name)
	old, r := shard.get(name), d.seal()
	if r == nil {
		shard.remove(name)
	} else {
		shard.put(r)
	}
	before, now := visible(old), visible(r)
	if strings.HasPrefix(name, wildcardMark) {
		if now == nil {
			t.wildcards.remove(name[len(wildcardMark):])
		} else {
			t.wildcards.put((*wildcard)(now))
		}
		t.anyWild.Store(t.wildcards.live > 0)
	}
	if t.changed != nil && (before != nil || now != nil) {
		t.changed(before, now)
	}
	return r
}
