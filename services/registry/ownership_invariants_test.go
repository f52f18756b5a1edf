package registry_test

import (
	"bytes"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/hostname"
)

// check judges what a revision has made of the names that it touched.
func (l *ledger) check() {
	accounts := map[string]bool{}
	for name, before := range l.before {
		now := l.claims[name]
		l.checkSuccession(name, before, now)
		l.checkTunnel(name, before, now)
		l.checkWays(name, now)
		for _, c := range []*registryv1.Claim{before, now} {
			if c != nil {
				accounts[c.GetAccountId()] = true
			}
		}
	}
	for account := range accounts {
		l.checkUsage(account)
	}
	l.checkRemoved()
}

// checkSuccession checks that nobody loses a name to another account, and that an
// owner has a generation that nobody had before.
func (l *ledger) checkSuccession(name string, before, now *registryv1.Claim) {
	if now == nil {
		return
	}
	if before != nil && before.GetAccountId() != now.GetAccountId() {
		l.fault("%s is %s's without having been given up by %s", name, now.GetAccountId(), before.GetAccountId())
	}
	switch generation := now.GetGeneration(); {
	case sameOwner(before, now) && generation == before.GetGeneration():
	case generation <= l.highest[name]:
		l.fault("%s has a new owner under the generation %d, and had %d before", name, generation, l.highest[name])
	default:
		l.highest[name] = generation
	}
}

func sameOwner(a, b *registryv1.Claim) bool {
	return a != nil && b != nil && a.GetAgentId() == b.GetAgentId() && bytes.Equal(a.GetInstance(), b.GetInstance()) &&
		a.GetTunnelId() == b.GetTunnelId() && (a.GetState() == b.GetState() || b.GetState() == registryv1.ClaimState_CLAIM_STATE_PARKED)
}

// checkTunnel checks that a name has a tunnel whose name it is, and that no tunnel
// has a name that is not its own.
func (l *ledger) checkTunnel(name string, before, now *registryv1.Claim) {
	if now != nil && hostname.Reversed(l.tunnels[tunnelOf(now)]) != name {
		l.fault("%s is for a tunnel whose name is %q", name, l.tunnels[tunnelOf(now)])
	}
	if before == nil || now != nil && tunnelOf(now) == tunnelOf(before) {
		return
	}
	if has, ok := l.tunnels[tunnelOf(before)]; ok && hostname.Reversed(has) == name {
		l.fault("%s is not the name any more of a tunnel that has it", name)
	}
}

func tunnelOf(c *registryv1.Claim) string {
	return c.GetAccountId() + "/" + c.GetAgentId() + "/" + c.GetTunnelId()
}

// checkWays checks that all ways lead to the owner, and are known by their session.
func (l *ledger) checkWays(name string, now *registryv1.Claim) {
	for way, a := range l.ways[name] {
		if now == nil || now.GetState() == registryv1.ClaimState_CLAIM_STATE_PARKED || a.GetGeneration() != now.GetGeneration() {
			l.fault("%s leads to generation %d of %s, whose claim is %v", way, a.GetGeneration(), name, now)
		}
		if !l.sessions[way+"/"+name] {
			l.fault("%s leads to %s, and is not in the session's entries", way, name)
		}
	}
}

// checkUsage checks a count.
func (l *ledger) checkUsage(account string) {
	usage := l.usage[account]
	if !usage.GetCounted() {
		return
	}
	endpoints, agents := uint32(0), map[string]bool{}
	for _, c := range l.claims {
		if c.GetAccountId() == account && c.GetState() != registryv1.ClaimState_CLAIM_STATE_PARKED {
			endpoints++
			agents[c.GetAgentId()] = true
		}
	}
	if usage.GetEndpoints() != endpoints || int(usage.GetAgents()) != len(agents) {
		l.fault("%s has %d endpoints and %d agents, and its record says %v", account, endpoints, len(agents), usage)
	}
}

// checkRemoved checks that a revision which removes attachments on purpose says
// which they were: none has taken the place of one that was meant.
func (l *ledger) checkRemoved() {
	if l.ended == nil {
		return
	}
	said := map[string]bool{}
	for _, e := range l.ended.GetAttachments() {
		said[e.GetAttachment().String()] = true
	}
	for _, a := range l.removed {
		if !said[a.String()] {
			l.fault("removed is %v, and the word about it is %v", a, l.ended)
		}
	}
}

// checkEnd compares the whole of what is there in the end.
func (l *ledger) checkEnd() {
	ways := 0
	for name, list := range l.ways {
		ways += len(list)
		l.checkWays(name, l.claims[name])
	}
	if ways != len(l.sessions) {
		l.fault("%d attachments have %d entries of sessions", ways, len(l.sessions))
	}
	if len(l.tunnels) != len(l.claims) {
		l.fault("%d tunnels have a name, %d names have a tunnel", len(l.tunnels), len(l.claims))
	}
	for name, c := range l.claims {
		l.checkTunnel(name, nil, c)
		l.checkUsage(c.GetAccountId())
	}
	if len(l.highest) == 0 || len(l.usage) == 0 || len(l.tunnels) == 0 {
		l.fault("there was nothing to see")
	}
}
