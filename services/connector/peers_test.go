package connector_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
)

// node is the change that says in which state a connector is; 0: it is gone.
func node(id string, state registryv1.NodeState) *registryv1.Change {
	kind := registryv1.NodeKind_NODE_KIND_CONNECTOR
	if state == registryv1.NodeState_NODE_STATE_UNSPECIFIED {
		return &registryv1.Change{Change: &registryv1.Change_NodeRemoved{NodeRemoved: &registryv1.NodeRemoved{Kind: kind, Id: id}}}
	}
	return &registryv1.Change{Change: &registryv1.Change_Node{Node: &registryv1.Node{Kind: kind, Id: id, State: state}}}
}

// wish is the change that says that an operator drains a connector.
func wish(id string) *registryv1.Change {
	change := node(id, registryv1.NodeState_NODE_STATE_READY)
	change.GetNode().DrainRequested = true
	return change
}

// hearConnectors waits until the agent is told of these connectors.
func (a *agent) hearConnectors(others ...string) *agentv1.Connectors {
	a.t.Helper()
	return a.hear(func(m *agentv1.ConnectResponse) bool {
		told := m.GetConnectors().GetOthers()
		slices.Sort(told)
		return m.GetConnectors() != nil && slices.Equal(told, others)
	}).GetConnectors()
}

func TestAgentsHearOfConnectorsThatComeAndGo(t *testing.T) {
	t.Parallel()
	const ready, draining = registryv1.NodeState_NODE_STATE_READY, registryv1.NodeState_NODE_STATE_DRAINING
	r := start(t)
	a := r.join(hello("t-acme"))
	if told := a.hearConnectors(); told.GetSpread().AsDuration() < time.Second {
		t.Errorf("agents come within %v", told.GetSpread().AsDuration())
	}
	r.registry.announce(node(r.node.NodeID(), ready), node("c2-a", ready), node("c3-a", ready))
	a.hearConnectors("c2-a", "c3-a")
	b := r.join(hello("t-acme"))
	b.hearConnectors("c2-a", "c3-a")
	r.registry.announce(node("c3-a", draining))
	a.hearConnectors("c2-a")
	r.registry.announce(node("c4-a", ready))
	a.hearConnectors("c2-a", "c4-a")
	r.registry.announce(wish("c4-a"))
	a.hearConnectors("c2-a")
	r.registry.announce(node("c2-a", 0))
	a.hearConnectors()
	b.hearConnectors()
}

// An operator's drain comes by the table of nodes. The connector goes on: it is
// the operator who stops it.
func TestAnOperatorDrainsAConnector(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.join(hello("t-acme"))
	a.ask(reqTunnel(1, tunnelID(1)))
	r.registry.announce(wish(r.node.NodeID()))
	away := a.hear(func(m *agentv1.ConnectResponse) bool { return m.GetGoAway() != nil }).GetGoAway()
	if away.GetReason() != agentv1.CloseReason_CLOSE_REASON_SHUTDOWN || away.GetSpread().AsDuration() > away.GetDeadline().AsDuration()/2 {
		t.Errorf("%v", away)
	}
	eventually(t, func() bool {
		return see(r.registry, func() bool { return r.registry.node.GetState() == registryv1.NodeState_NODE_STATE_DRAINING })
	}, "the heartbeats say it, too")
	if _, err := r.tryJoin(hello("t-acme")); !errors.Is(err, unavailable) {
		t.Errorf("a new session: %v", err)
	}
	if v := verdict(t, requestProxy(r.ctx, t, r.frontdoor(), a.wanted(ticket()))); v.GetVerdict() != asked {
		t.Errorf("a dial-back while draining: %v", v.GetVerdict())
	}
}

// A tunnel that is bound to a connector that stops would have to move at once.
func TestADrainingConnectorBindsNothingNew(t *testing.T) {
	t.Parallel()
	r := start(t)
	a := r.join(hello("t-acme"))
	a.ask(reqTunnel(1, tunnelID(1)))
	r.registry.announce(wish(r.node.NodeID()))
	a.hear(func(m *agentv1.ConnectResponse) bool { return m.GetGoAway() != nil })
	if e := a.ask(reqTunnel(2, tunnelID(2)))[0].GetError(); e.GetReason() != string(errs.ReasonUnavailable) || e.GetRetryAfter() == nil {
		t.Errorf("a new tunnel: %v", e)
	}
	if e := a.ask(reqTunnel(3, tunnelID(1)))[0].GetError(); e != nil {
		t.Errorf("the tunnel that it has: %v", e)
	}
}
