package connector_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/netip"
	"slices"
	"testing"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/proxyheader"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/services/connector"
)

const agentAddress = "192.0.2.7:5000"

func prefixes(list ...string) (networks []netip.Prefix) {
	for _, s := range list {
		networks = append(networks, netip.MustParsePrefix(s))
	}
	return networks
}

// relaying gives a connector a relay port for frontdoors at 127.0.0.2.
func relaying(t *testing.T) (func(*connector.Config, *connector.Deps), net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return func(cfg *connector.Config, deps *connector.Deps) {
		deps.RelayListener = l
		cfg.RelayAddress, cfg.RelayFrom = l.Addr().String(), prefixes("127.0.0.2/32")
	}, l
}

// joinFrom opens a session over a connection that a node at an address makes for
// an agent, behind a header.
func (r *rig) joinFrom(node string, to net.Addr, header []byte, auth *agentv1.Auth) (*agent, error) {
	r.t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(r.ca.CertPEM())
	conn, err := rpc.Dial(rpc.ClientConfig{
		Target: "passthrough:///relayed",
		TLS:    &tls.Config{RootCAs: roots, ServerName: "control.example.com", MinVersion: tls.VersionTLS13},
		Dialer: func(ctx context.Context, _ string) (net.Conn, error) {
			c, err := (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(node)}}).DialContext(ctx, "tcp", to.String())
			if err == nil {
				_, err = c.Write(header)
			}
			return c, err
		},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = conn.Close() })
	stream, err := agentv1.NewControlServiceClient(conn).Connect(r.ctx)
	if err != nil {
		return nil, err
	}
	a := &agent{t: r.t, stream: stream, conn: conn, instance: auth.GetInstance()}
	_ = stream.Send(&agentv1.ConnectRequest{Message: &agentv1.ConnectRequest_Auth{Auth: auth}}) // Recv has its error
	msg, err := stream.Recv()
	if err != nil {
		return nil, err
	}
	a.AuthResp = msg.GetAuthResp()
	return a, nil
}

func relayHeader(t *testing.T, via string) []byte {
	t.Helper()
	raw, err := proxyheader.Format(net.TCPAddrFromAddrPort(netip.MustParseAddrPort(agentAddress)),
		net.TCPAddrFromAddrPort(netip.MustParseAddrPort("198.51.100.1:443")), via)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func (r *rig) presented() []string {
	r.auth.mu.Lock()
	defer r.auth.mu.Unlock()
	return slices.Clone(r.auth.addresses)
}

// An agent whose connection a frontdoor hands over is the agent, by its own
// address: auth slows down who guesses, not the frontdoor that all come through.
func TestAFrontdoorHandsOverAControlConnection(t *testing.T) {
	t.Parallel()
	port, l := relaying(t)
	r := start(t, port)
	a, err := r.joinFrom("127.0.0.2", l.Addr(), relayHeader(t, "f1-abcd"), hello("t-acme"))
	if err != nil {
		t.Fatal(err)
	}
	a.ping(7)
	a.hearPong(7)
	if got := r.presented(); !slices.Equal(got, []string{agentAddress}) {
		t.Errorf("auth heard of %v", got)
	}
	if got := see(r.registry, func() string { return r.registry.node.GetRelayAddress() }); got != l.Addr().String() {
		t.Errorf("the registry has the relay address %q", got)
	}
}

// Who may hand over is configured, for he is believed: the address is what
// guessing is slowed down by.
func TestNobodyElseHandsOver(t *testing.T) {
	t.Parallel()
	port, l := relaying(t)
	r := start(t, port, quickDrain)
	if _, err := r.joinFrom("127.0.0.3", l.Addr(), relayHeader(t, "f1-abcd"), hello("t-acme")); err == nil {
		t.Error("from elsewhere")
	}
	if _, err := r.joinFrom("127.0.0.2", l.Addr(), nil, hello("t-acme")); err == nil {
		t.Error("without a header")
	}
	if _, err := r.joinFrom("127.0.0.2", r.node.AgentAddr(), relayHeader(t, "f1-abcd"), hello("t-acme")); err == nil {
		t.Error("at the agents' own port")
	}
	if got := r.presented(); len(got) > 0 {
		t.Errorf("auth was asked about %v", got)
	}
}

// Behind a load balancer an agent is known by its own address, too, and nobody
// beside it can claim one.
func TestAgentsBehindALoadBalancer(t *testing.T) {
	t.Parallel()
	r := start(t, quickDrain, func(cfg *connector.Config, _ *connector.Deps) { cfg.ProxyProtocolFrom = prefixes("127.0.0.2/32") })
	header := []byte("PROXY TCP4 192.0.2.7 198.51.100.1 5000 443\r\n")
	if _, err := r.joinFrom("127.0.0.2", r.node.AgentAddr(), header, hello("t-acme")); err != nil {
		t.Fatal(err)
	}
	if _, err := r.joinFrom("127.0.0.2", r.node.AgentAddr(), nil, hello("t-acme")); err == nil {
		t.Error("a load balancer that says nothing is let in")
	}
	if _, err := r.joinFrom("127.0.0.3", r.node.AgentAddr(), header, hello("t-acme")); err == nil {
		t.Error("somebody else's header is believed")
	}
	r.join(hello("t-acme")) // directly
	got := r.presented()
	if len(got) != 2 || got[0] != agentAddress || !netip.MustParseAddrPort(got[1]).Addr().IsLoopback() {
		t.Errorf("auth heard of %v", got)
	}
}

// A frontdoor that stops cuts in the end what it relays: agents that come through
// it are asked to come by another way, the others are not bothered.
func TestAgentsLeaveAFrontdoorThatStops(t *testing.T) {
	t.Parallel()
	port, l := relaying(t)
	r := start(t, port)
	leaves, err := r.joinFrom("127.0.0.2", l.Addr(), relayHeader(t, "f1-abcd"), hello("t-acme"))
	if err != nil {
		t.Fatal(err)
	}
	stays, err := r.joinFrom("127.0.0.2", l.Addr(), relayHeader(t, "f2-abcd"), hello("t-acme"))
	if err != nil {
		t.Fatal(err)
	}
	direct := r.join(hello("t-acme"))
	r.registry.announce(&registryv1.Change{Change: &registryv1.Change_Node{Node: &registryv1.Node{
		Kind: registryv1.NodeKind_NODE_KIND_FRONTDOOR, Id: "f1-abcd", State: registryv1.NodeState_NODE_STATE_DRAINING,
	}}})
	away := leaves.hear(func(m *agentv1.ConnectResponse) bool { return m.GetGoAway() != nil }).GetGoAway()
	if away.GetReason() != agentv1.CloseReason_CLOSE_REASON_SHUTDOWN || away.GetSpread().AsDuration() > away.GetDeadline().AsDuration()/2 {
		t.Errorf("%v", away)
	}
	for _, a := range []*agent{stays, direct} {
		a.ping(9)
		a.hear(func(m *agentv1.ConnectResponse) bool {
			if m.GetGoAway() != nil {
				t.Error("asked to leave for no reason")
			}
			return m.GetPong() != nil
		})
	}
}
