package connector_test

import (
	"errors"
	"testing"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/errs"
	"github.com/dialback/dialback/services/connector"
)

func TestDrainLetsAgentsLeaveFirst(t *testing.T) {
	t.Parallel()
	r := start(t, func(cfg *connector.Config, _ *connector.Deps) { cfg.DrainTimeout = limit }) // nobody stays for it
	watch := r.watch()
	a, stays := r.join(hello("t-acme")), r.join(hello("t-acme"))
	a.ask(reqTunnel(1, tunnelID(1)))
	f := r.frontdoor()
	r.stop()
	away := a.hear(func(m *agentv1.ConnectResponse) bool { return m.GetGoAway() != nil }).GetGoAway()
	if away.GetReason() != agentv1.CloseReason_CLOSE_REASON_SHUTDOWN || away.GetDeadline().AsDuration() <= 0 ||
		away.GetSpread().AsDuration() > away.GetDeadline().AsDuration()/2 {
		t.Errorf("%v", away)
	}
	eventually(t, func() bool {
		return see(r.registry, func() bool { return r.registry.node.GetState() == registryv1.NodeState_NODE_STATE_DRAINING })
	}, "the registry hears of the drain")
	_, err := r.tryJoin(hello("t-acme"))
	if e, ok := errs.From(err); !ok || !errors.Is(err, unavailable) || e.RetryAfter() <= 0 {
		t.Errorf("a new session: %v", err)
	}
	if v := verdict(t, requestProxy(r.ctx, t, f, a.wanted(ticket()))); v.GetVerdict() != asked {
		t.Errorf("a dial-back while draining: %v", v.GetVerdict())
	}
	for _, leaves := range []*agent{a, stays} {
		if err := leaves.stream.CloseSend(); err != nil {
			t.Fatal(err)
		}
		if _, err := watch.Recv(); err != nil {
			t.Error(err)
		}
	}
	if err := <-r.stopped; err != nil {
		t.Errorf("Run: %v", err)
	}
	r.stopped <- nil
	if !see(r.registry, func() bool { return r.registry.left }) {
		t.Error("the node is still in the table")
	}
	if _, ok := r.registry.endOf(a.GetSessionId()); !ok {
		t.Error("the registry was not told of the session's end")
	}
	if _, err := watch.Recv(); !errors.Is(err, unavailable) {
		t.Errorf("the watch ended with %v", err)
	}
}

func TestDrainEndsWhoStaysAtTheDeadline(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain)
	a := r.join(hello("t-acme"))
	r.stop()
	if err := a.end(); !errors.Is(err, unavailable) {
		t.Errorf("the agent was told %v", err)
	}
	r.ended(a.GetSessionId(), agentv1.CloseReason_CLOSE_REASON_SHUTDOWN)
}
