package frontdoor_test

import (
	"crypto/tls"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	registryv1 "github.com/dialback/dialback/api/gen/dialback/registry/v1"
	"github.com/dialback/dialback/internal/proxyheader"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/testkit"
	"github.com/dialback/dialback/services/frontdoor"
)

// relaying gives a frontdoor a relay port. Its real address is put into the node
// table by inTable, once it is known.
func relaying(c *frontdoor.Config) {
	c.RelayListen, c.RelayAddress = "127.0.0.1:0", "127.0.0.1:1"
}

// inTable enters a frontdoor into the node table.
func (w *world) inTable(state registryv1.NodeState) {
	w.registry.put(&registryv1.Change{Change: &registryv1.Change_Node{Node: &registryv1.Node{
		Kind: registryv1.NodeKind_NODE_KIND_FRONTDOOR, Id: w.front.NodeID(), State: state,
		RelayAddress: w.front.RelayAddr().String(),
	}}})
}

// beside adds a frontdoor to the world of another one. Connectors are to be there
// before.
func (w *world) beside(o worldOptions) *world {
	w.t.Helper()
	other := &world{
		t: w.t, registry: w.registry, connectors: w.connectors, services: maps.Clone(w.services),
		serviceCA: w.serviceCA, proxyCA: w.proxyCA, publicCA: w.publicCA,
	}
	other.run(o)
	return other
}

// pairOfFrontdoors returns two, and an agent behind the address of the first.
func pairOfFrontdoors(t *testing.T, second worldOptions) (first, other *world, a *fakeAgent) {
	t.Helper()
	first = newWorld(t, worldOptions{config: relaying})
	a = first.tunnel(app, upstream(t, func(rw http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(rw, "served") }))
	if second.config == nil {
		second.config = relaying
	}
	other = first.beside(second)
	first.inTable(registryv1.NodeState_NODE_STATE_READY)
	other.inTable(registryv1.NodeState_NODE_STATE_READY)
	return first, other, a
}

// An agent reaches one frontdoor only, the address in front of all of them. A
// visitor of another one is served: the first passes the agent's connection on,
// as it is, for the certificate that the agent sees is the other's.
func TestAnAgentThatReachesOneFrontdoorServesTheVisitorsOfAnother(t *testing.T) {
	t.Parallel()
	sink := testkit.Spans(t)
	tel, err := telemetry.New(t.Context(), telemetry.Config{Service: "frontdoor"}, sink.Exporter())
	fatal(t, err)
	first, other, _ := pairOfFrontdoors(t, worldOptions{telemetry: tel})
	for range 3 {
		res, body := get(t, other.client(), "https://"+app+"/")
		if res.StatusCode != http.StatusOK || body != "served" {
			t.Fatalf("%s %q", res.Status, body)
		}
	}
	_ = other.stop()
	fatal(t, tel.Shutdown(t.Context()))
	spans := sink.Wait(func(spans []testkit.Span) bool { return len(named(spans, "GET")) == 3 })
	for _, s := range named(spans, "GET") {
		if got := s.Attribute("dialback.relay"); got != first.front.NodeID() {
			t.Errorf("the trace says relayed by %q", got)
		}
	}
}

// What a frontdoor relays for another one is in its way when it stops. The other
// one ends what is idle and lets a request finish, so nobody is cut off.
func TestAFrontdoorThatRelaysStops(t *testing.T) {
	t.Parallel()
	first := newWorld(t, worldOptions{config: func(c *frontdoor.Config) {
		relaying(c)
		c.DrainTimeout = 3 * limit // what is cut at its end is not what is waited for
	}})
	finish := make(chan struct{})
	a := first.tunnel(app, upstream(t, func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(rw, "begin ")
		_ = http.NewResponseController(rw).Flush()
		<-finish
		_, _ = io.WriteString(rw, "end")
	}))
	other := first.beside(worldOptions{config: relaying})
	first.inTable(registryv1.NodeState_NODE_STATE_READY)
	other.inTable(registryv1.NodeState_NODE_STATE_READY)
	res, err := other.client().Get("https://" + app + "/")
	fatal(t, err)
	defer res.Body.Close()
	testkit.Eventually(t, limit, func() bool { return a.conns() > 0 }, "the agent has connections")

	first.inTable(registryv1.NodeState_NODE_STATE_DRAINING)
	stopped := make(chan error, 1)
	go func() { stopped <- first.stop() }()
	testkit.Eventually(t, limit, func() bool { return a.conns() == 1 }, "idle ones leave")
	select {
	case err := <-stopped:
		t.Fatalf("stopped while it relays a request: %v", err)
	default:
	}
	close(finish)
	if rest, err := io.ReadAll(res.Body); string(rest) != "begin end" || err != nil {
		t.Errorf("in flight: %q, %v", rest, err)
	}
	testkit.Eventually(t, limit, func() bool { return a.conns() == 0 }, "the one that was busy leaves")
	fatal(t, <-stopped)
}

// What is for another node goes there or nowhere: an id that nobody has is refused
// at once, whatever the name looks like.
func TestUnknownNodesAreRefusedAtOnce(t *testing.T) {
	t.Parallel()
	w, _, _ := pairOfFrontdoors(t, worldOptions{})
	w.registry.put(&registryv1.Change{Change: &registryv1.Change_Node{Node: &registryv1.Node{
		Kind: registryv1.NodeKind_NODE_KIND_FRONTDOOR, Id: "fd-nowhere", State: registryv1.NodeState_NODE_STATE_READY,
	}}})
	for _, name := range []string{
		"fd-0000.proxy." + domain, "localhost.proxy." + domain, "proxy." + domain, "c-0000.control." + domain,
		"control." + domain, "a.b.control." + domain, "x." + w.front.NodeID() + ".proxy." + domain, "fd-nowhere.proxy." + domain,
	} {
		conn, err := w.shake(name, "dialback-proxy/1", "h2")
		if err == nil || !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("%s: %v", name, err)
		}
		_ = conn.Close()
	}
}

// The relay port takes what is for this frontdoor and relays nothing: were a stale
// address to lead here, a connection would go round for ever.
func TestARelayedConnectionIsNotRelayedAgain(t *testing.T) {
	t.Parallel()
	first, other, _ := pairOfFrontdoors(t, worldOptions{})
	header, err := proxyheader.Format(addrOf("192.0.2.7:5000"), addrOf("198.51.100.1:443"), "fd-somebody")
	fatal(t, err)
	shake := func(head []byte, name, protocol string) error {
		raw, err := net.Dial("tcp", first.front.RelayAddr().String())
		fatal(t, err)
		defer raw.Close()
		_ = raw.SetDeadline(time.Now().Add(limit))
		_, err = raw.Write(head)
		fatal(t, err)
		return tls.Client(raw, &tls.Config{
			ServerName: name, NextProtos: []string{protocol}, InsecureSkipVerify: true, // #nosec G402 -- what is asked is who answers
		}).Handshake()
	}
	own, others := first.front.NodeID()+".proxy."+domain, other.front.NodeID()+".proxy."+domain
	testkit.Eventually(t, limit, func() bool { return shake(header, own, "dialback-proxy/1") == nil }, "its own name is served")
	for _, c := range []struct{ name, protocol, want string }{
		{others, "dialback-proxy/1", "unrecognized name"},
		{"control." + domain, "h2", "unrecognized name"},
		{app, "http/1.1", "unrecognized name"},
		{own, "h2", "no application protocol"},
	} {
		if err := shake(header, c.name, c.protocol); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s with %s: %v, want %s", c.name, c.protocol, err, c.want)
		}
	}
	if err := shake(nil, own, "dialback-proxy/1"); err == nil {
		t.Error("served without a header")
	}
}

func addrOf(s string) net.Addr { return net.TCPAddrFromAddrPort(netip.MustParseAddrPort(s)) }
