package replica

import (
	"maps"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/services/registry/internal/directory"
	"github.com/dialback/dialback/services/registry/internal/etcdstore"
)

func (c *Copy) applyAttachment(e event, set *changeSet) {
	before := c.attachments[e.key]
	if e.value == nil {
		if before != nil {
			delete(c.attachments, e.key)
			c.lose(before.GetHostname(), e.key, set.revision)
			set.attachmentGone(before)
		}
		return
	}
	a, err := etcdstore.DecodeAttachment(e.value)
	if err != nil {
		c.log.Error("a record cannot be read", "key", e.key, "error", err)
		return
	}
	c.attachments[e.key] = a
	if before == nil {
		c.reach[a.GetHostname()] = append(c.reach[a.GetHostname()], e.key)
		delete(c.detached, a.GetHostname())
	}
	set.attachments = append(set.attachments, &registryv1.Change{Change: &registryv1.Change_Attachment{Attachment: a}})
}

func (c *Copy) applyClaim(e event, set *changeSet) {
	before := c.claims[e.key]
	if e.value == nil {
		if before != nil {
			host := before.GetHostname()
			delete(c.claims, e.key)
			c.order.Delete(e.key)
			delete(c.parked, host)
			delete(c.detached, host)
			set.gone = append(set.gone, &registryv1.Change{Change: &registryv1.Change_ClaimRemoved{ClaimRemoved: host}})
		}
		return
	}
	claim, stored, err := etcdstore.DecodeClaim(e.value)
	if err != nil {
		c.log.Error("a record cannot be read", "key", e.key, "error", err)
		return
	}
	c.claims[e.key] = stored.GetClaim()
	if before == nil {
		c.order.ReplaceOrInsert(e.key)
	}
	c.watchOver(claim, set.revision)
	if !proto.Equal(before, stored.GetClaim()) {
		set.claims = append(set.claims, &registryv1.Change{Change: &registryv1.Change_Claim{Claim: stored.GetClaim()}})
	}
}

func (c *Copy) applyNode(e event, set *changeSet) {
	before := c.nodes[e.key]
	if e.value == nil {
		if before != nil {
			delete(c.nodes, e.key)
			set.nodes = append(set.nodes, &registryv1.Change{Change: &registryv1.Change_NodeRemoved{
				NodeRemoved: &registryv1.NodeRemoved{Kind: before.GetKind(), Id: before.GetId()},
			}})
		}
		return
	}
	node, _, err := etcdstore.DecodeNode(e.value)
	if err != nil {
		c.log.Error("a record cannot be read", "key", e.key, "error", err)
		return
	}
	c.nodes[e.key] = node
	set.nodes = append(set.nodes, &registryv1.Change{Change: &registryv1.Change_Node{Node: node}})
}

// watchOver notes since when a claim has no attachment, or until when it is kept.
func (c *Copy) watchOver(claim *directory.Claim, revision int64) {
	host := claim.Hostname
	delete(c.parked, host)
	if claim.Parked {
		c.parked[host] = claim.ParkUntil
		delete(c.detached, host)
		return
	}
	if len(c.reach[host]) > 0 {
		return
	}
	if d, ok := c.detached[host]; !ok || d.Generation != claim.Generation {
		c.detached[host] = directory.Detached{Generation: claim.Generation, Since: revision}
	}
}

// lose notes that an attachment has gone, and since when there is none.
func (c *Copy) lose(host, key string, revision int64) {
	left := slices.DeleteFunc(c.reach[host], func(k string) bool { return k == key })
	if len(left) > 0 {
		c.reach[host] = left
		return
	}
	delete(c.reach, host)
	if claim := c.claims[etcdstore.ClaimKey(host)]; claim.GetState() == registryv1.ClaimState_CLAIM_STATE_ACTIVE {
		c.detached[host] = directory.Detached{Generation: claim.GetGeneration(), Since: revision}
	}
}

// Detached returns the claims in use that have no attachment, by hostname.
func (c *Copy) Detached() map[string]directory.Detached {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.detached)
}

// ParkedUntil returns the hostnames of parked claims whose time is over.
func (c *Copy) ParkedUntil(now time.Time) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var over []string
	for host, until := range c.parked {
		if now.After(until) {
			over = append(over, host)
		}
	}
	return over
}

// Connector returns a connector's record, nil if it is not in the table.
func (c *Copy) Connector(id string) *registryv1.Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[etcdstore.NodeKey(directory.Connector, id)]
}
