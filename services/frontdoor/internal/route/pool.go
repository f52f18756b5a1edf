package route

import (
	"slices"
	"strings"
)

// PoolOf returns the pool that a name is a member's of: "@<agent>+<tunnel>.<pool>";
// "" for all other names.
func PoolOf(name string) string {
	if !strings.HasPrefix(name, "@") {
		return ""
	}
	_, pool, _ := strings.Cut(name, ".")
	return pool
}

// enroll notes whether a member is known.
func (t *Table) enroll(pool, member string, known bool) {
	if !known {
		if delete(t.pools[pool], member); len(t.pools[pool]) == 0 {
			delete(t.pools, pool)
		}
		return
	}
	if t.pools[pool] == nil {
		t.pools[pool] = map[string]struct{}{}
	}
	t.pools[pool][member] = struct{}{}
}

// members returns the routes of a pool's members that lead somewhere, by name.
func (t *Table) members(pool string) (routes []*Route) {
	for name := range t.pools[pool] {
		if r := t.Own(name); r != nil && r.Reachable() {
			routes = append(routes, r)
		}
	}
	slices.SortFunc(routes, func(a, b *Route) int { return strings.Compare(a.Claim.Hostname, b.Claim.Hostname) })
	return routes
}
