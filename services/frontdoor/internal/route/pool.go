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

// enroll notes whether a member has a record.
func (t *Table) enroll(pool, member string) {
	if t.records[member] == nil {
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

// members returns the routes of a pool's members that lead somewhere, by name, and
// their attachments.
func (t *Table) members(pool string) (routes []*Route, attachments []Attachment) {
	for name := range t.pools[pool] {
		if r := t.Lookup(name); r != nil && len(r.Attachments) > 0 {
			routes = append(routes, r)
		}
	}
	slices.SortFunc(routes, func(a, b *Route) int { return strings.Compare(a.Claim.Hostname, b.Claim.Hostname) })
	for _, r := range routes {
		attachments = append(attachments, r.Attachments...)
	}
	return routes, attachments
}
