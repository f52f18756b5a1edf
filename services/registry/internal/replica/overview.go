package replica

import (
	"time"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

// scanAtOnce is how many claims are visited under the lock before others have a
// turn: of a million, an account may have one.
const scanAtOnce = 2048

// Tunnels visits the claims behind a name, in the order of their keys, until
// visit says no more. What is bound meanwhile may be seen or not.
func (c *Copy) Tunnels(after string, visit func(*registryv1.Claim, time.Time, []*registryv1.Attachment) bool) {
	from := etcdstore.ClaimPrefix
	if after != "" {
		from = etcdstore.ClaimKey(after) + "\x00"
	}
	for more := true; more; {
		from, more = c.visit(from, visit)
	}
}

func (c *Copy) visit(from string, visit func(*registryv1.Claim, time.Time, []*registryv1.Attachment) bool) (next string, more bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	visited := 0
	c.order.AscendGreaterOrEqual(from, func(key string) bool {
		if visited == scanAtOnce {
			next, more = key, true
			return false
		}
		visited++
		claim := c.claims[key]
		var ways []*registryv1.Attachment
		for _, way := range c.reach[claim.GetHostname()] {
			ways = append(ways, c.attachments[way])
		}
		return visit(claim, c.parked[claim.GetHostname()], ways)
	})
	return next, more
}

// PortProblems returns what frontdoors say of a port, by node.
func (c *Copy) PortProblems(port uint32) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	problems := map[string]string{}
	for _, n := range c.nodes {
		for _, p := range n.GetPortProblems() {
			if p.GetPort() == port {
				problems[n.GetId()] = p.GetProblem()
			}
		}
	}
	return problems
}

// Epoch returns the store's, as far as it is known here.
func (c *Copy) Epoch() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.epoch
}
