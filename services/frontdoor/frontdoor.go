// Package frontdoor is the service that visitors meet: it accepts them, finds
// who serves the endpoint they want, has the agent dial back, and moves the
// bytes.
package frontdoor

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/version"
	"github.com/dialback/dialback/services/frontdoor/internal/authclient"
	"github.com/dialback/dialback/services/frontdoor/internal/dialback"
	"github.com/dialback/dialback/services/frontdoor/internal/httpproxy"
	"github.com/dialback/dialback/services/frontdoor/internal/ingress"
	"github.com/dialback/dialback/services/frontdoor/internal/nodes"
	"github.com/dialback/dialback/services/frontdoor/internal/pool"
	"github.com/dialback/dialback/services/frontdoor/internal/quota"
	"github.com/dialback/dialback/services/frontdoor/internal/reach"
	"github.com/dialback/dialback/services/frontdoor/internal/registryclient"
	"github.com/dialback/dialback/services/frontdoor/internal/relay"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
	"github.com/dialback/dialback/services/frontdoor/internal/tcpport"
)

// Deps is what a frontdoor works with. All but Control and Metrics must
// be set.
type Deps struct {
	// Registry and Auth are connections to these services.
	Registry, Auth grpc.ClientConnInterface
	// Connector returns a connection to a connector. One that can be closed is,
	// when the connector has gone.
	Connector func(id, address string) (grpc.ClientConnInterface, error)
	// ProxyTLS serves "*.proxy.<domain>" to agents: TLS 1.3.
	ProxyTLS *tls.Config
	// ServiceTLS identifies this frontdoor to who calls its services, PeerTLS to
	// other frontdoors.
	ServiceTLS, PeerTLS *tls.Config
	// ServiceListener accepts other frontdoors; nil: none ask this one.
	ServiceListener net.Listener
	// Control takes over a connection, still encrypted, whose server name is
	// "control.<domain>" (connectorID "") or "<id>.control.<domain>". Nil: it is
	// handed over to a connector of the node table.
	Control func(c net.Conn, connectorID string)
	// Now is the clock by which guessing passwords is slowed down; nil: time.Now.
	Now       func() time.Time
	Logger    *slog.Logger
	Telemetry *telemetry.Telemetry
	// Metrics takes this frontdoor's metrics; nil: nobody looks at them.
	Metrics prometheus.Registerer
}

func (d Deps) validate() error {
	switch {
	case d.Registry == nil || d.Auth == nil || d.Connector == nil:
		return errors.New("a frontdoor needs ways to registry, auth and connectors")
	case d.ProxyTLS == nil:
		return errors.New("a frontdoor needs a TLS configuration for agents")
	case d.ServiceTLS == nil || d.PeerTLS == nil:
		return errors.New("a frontdoor needs its identity as a service")
	case d.Logger == nil || d.Telemetry == nil:
		return errors.New("a frontdoor needs a logger and telemetry")
	}
	return nil
}

// Frontdoor is one replica.
type Frontdoor struct {
	cfg  Config
	deps Deps
	id   string
	log  *slog.Logger

	clear, secure, relayed *net.TCPListener // clear and relayed may be nil
	api                    net.Listener     // nil: REST has no port of its own

	nodes    *nodes.Table
	relays   *relay.Relays
	peers    *relay.Peers
	refused  func(why string) // told of connections that are not relayed
	follower *registryclient.Follower
	node     *registryclient.Node
	pool     *pool.Pool
	dialer   *dialback.Dialer
	metrics  *metrics
	engine   httpproxy.Engine
	handler  *httpproxy.Handler
	server   *server
	certs    ingress.Certificates
	traceKey *authclient.TraceKey
	rest     *rest
	ports    *tcpport.Ports
	draining atomic.Bool
	stop     context.CancelFunc // of what New has started
}

// New checks the configuration, loads certificates and listens. Nothing is
// served before Run.
func New(cfg Config, deps Deps) (*Frontdoor, error) {
	if err := errors.Join(cfg.Validate(), deps.validate()); err != nil {
		return nil, err
	}
	if deps.Now == nil {
		deps.Now = time.Now
	}
	if deps.Metrics == nil {
		deps.Metrics = prometheus.NewRegistry() // which nobody asks
	}
	ctx, stop := context.WithCancel(context.Background())
	f := &Frontdoor{cfg: cfg, deps: deps, id: nodeID(cfg.NodeName), stop: stop}
	f.log = deps.Logger.With("part", "frontdoor")
	err := f.loadCertificates(ctx)
	if err == nil {
		err = f.listen(ctx)
	}
	if err == nil {
		err = f.wire()
	}
	if err != nil {
		f.closeListeners()
		stop()
		return nil, err
	}
	return f, nil
}

// nodeID is new at each start: a ticket for an earlier one must not reach us.
func nodeID(name string) string {
	var suffix [8]byte
	_, _ = rand.Read(suffix[:]) // it never fails
	return name + "-" + hex.EncodeToString(suffix[:])
}

// wire makes the parts and joins them.
func (f *Frontdoor) wire() (err error) {
	var room *route.Room
	table := route.NewTable(time.Now, func(old, now *route.Route) {
		room.Changed(now)
		f.dialer.Changed(old, now)
		f.ports.Changed(old, now)
	})
	room = route.NewRoom(f.cfg.MaxHoldsEndpoint, table.Own)

	f.wireRelays()
	f.wireConnections(table)
	f.follower = registryclient.NewFollower(registryclient.FollowerDeps{
		Registry: f.deps.Registry, Table: table, Nodes: f.nodes, Listener: f.dialer.Links(), Logger: f.log,
	})
	f.node = registryclient.NewNode(f.deps.Registry, registryclient.Entry{
		ID: f.id, Address: f.cfg.Address, AgentAddresses: f.cfg.AgentAddresses, RelayAddress: f.cfg.RelayAddress,
		Version: version.Version, Capabilities: httpproxy.Capabilities,
	}, f.log)
	f.traceKey = authclient.NewTraceKey(f.deps.Auth, f.log)

	config := httpproxy.Config{
		Trusted: f.cfg.TrustedProxies, AnswerTimeout: f.cfg.AnswerTimeout, IdlePrivate: f.cfg.IdleTimeout,
		MaxRequests: f.cfg.MaxRequests, MaxRequestsEndpoint: f.cfg.MaxRequestsEndpoint,
	}
	finder := &reach.Finder{
		Config: reach.Config{Hold: f.cfg.Hold},
		Deps: reach.Deps{
			Table: table, Room: room, Dialer: f.dialer,
			Miss: registryclient.NewResolver(f.deps.Registry, table).Resolve,
		},
	}
	quotas := quota.New(func() int { return len(f.nodes.ReadyFrontdoors()) })
	f.ports = f.newPorts(finder, quotas)
	f.engine = httpproxy.NewStandard(config, f.dialer.Keep)
	f.handler = httpproxy.New(config, httpproxy.Deps{
		Finder: finder, Quota: quotas,
		Engine: f.engine, Progress: table.Progress, Covers: f.certs.Covers, MACKey: f.traceKey.Get,
		Observe: f.metrics.request, Reused: f.metrics.bound, Now: f.deps.Now,
		Telemetry: f.deps.Telemetry, Logger: f.log,
	})
	if f.rest, err = f.newRest(table, finder); err != nil {
		return err
	}
	var visitors http.Handler = f.handler
	if f.cfg.APIPublic {
		visitors = byHost("api."+f.cfg.Domain, f.rest.gateway, visitors)
	}
	f.server = newServer(f.cfg, visitors, f.engine, &f.draining, f.secure.Addr(), f.log)
	return nil
}

// NodeID is this frontdoor's id in the node table, new at each start.
func (f *Frontdoor) NodeID() string { return f.id }

// HTTPAddr is where visitors without TLS are served; nil: nowhere.
func (f *Frontdoor) HTTPAddr() net.Addr {
	if f.clear == nil {
		return nil
	}
	return f.clear.Addr()
}

// APIAddr is where REST is served on a port of its own; nil: nowhere.
func (f *Frontdoor) APIAddr() net.Addr {
	if f.api == nil {
		return nil
	}
	return f.api.Addr()
}

// APIURL is the base URL of REST on its own port; "": there is none.
func (f *Frontdoor) APIURL() string {
	if f.api == nil {
		return ""
	}
	if isLoopback(f.cfg.APIListen) {
		return "http://" + f.api.Addr().String()
	}
	_, port, _ := net.SplitHostPort(f.api.Addr().String()) // a listener's address has one
	return "https://" + net.JoinHostPort("api."+f.cfg.Domain, port)
}

// TLSAddr is where visitors and agents are served.
func (f *Frontdoor) TLSAddr() net.Addr { return f.secure.Addr() }

// Ready holds while this frontdoor wants visitors: it knows the routes and is
// not about to stop.
func (f *Frontdoor) Ready() bool {
	select {
	case <-f.follower.Standing():
		return !f.draining.Load()
	default:
		return false
	}
}

// Standing is closed once this frontdoor knows the routes.
func (f *Frontdoor) Standing() <-chan struct{} { return f.follower.Standing() }

// Run serves until ctx ends, then drains. It returns nil for a clean stop.
func (f *Frontdoor) Run(ctx context.Context) error {
	defer f.stop()
	defer f.closeListeners()
	agents := f.proxyTLS() // one, for sessions that are resumed wherever they come in
	port := ingress.NewPort(f.secure, ingress.Config{
		Domain: f.cfg.Domain, NodeID: f.id, MaxConns: f.cfg.MaxConns, Behind: f.cfg.ProxyProtocolFrom,
	}, ingress.Deps{
		Control: f.control, Elsewhere: f.relays.ToFrontdoor, Proxy: f.dialer.Accept, ProxyTLS: agents,
		Visitor: f.server.http1.Start, Public: f.certs.TLS(), HasName: f.certs.Has, Logger: f.log,
	})
	group := lifecycle.New(f.log)

	// Leaving is the reverse of this: visitors first, what serves them last.
	group.OnDrain("leave the node table", f.node.Leave)
	group.Go("node", f.node.Run)
	group.Go("operator", f.leaveWhenAsked)
	group.Go("routes", f.follower.Run)
	group.Go("connectors", f.dialer.Links().Run)
	group.Go("trace key", f.traceKey.Run)
	group.Go("pool", f.pool.Run)
	group.Go("floor", f.dialer.RunFloor)
	group.OnDrain("close proxy connections", func(context.Context) error {
		f.engine.Close()
		f.dialer.Close()
		return nil
	})
	f.rest.start(group, f)
	group.Go("tcp ports", f.ports.Run)
	group.OnDrain("finish relays", f.finishRelays)
	f.serveRelayed(group, agents)
	group.Go("port", port.Run)
	group.OnDrain("close the port", func(context.Context) error { return port.Close() })
	group.Go("visitors by HTTP/2", func(context.Context) error { return f.server.serveHTTP2() })
	if f.clear != nil {
		plain := ingress.NewClear(f.clear, f.cfg.MaxConns, f.cfg.ProxyProtocolFrom, f.server.http1.Start, f.log)
		group.Go("clear port", plain.Run)
		group.OnDrain("close the clear port", func(context.Context) error { return plain.Close() })
	}
	group.OnDrain("finish visits", f.finishVisits)
	group.OnDrain("announce the end", f.announce)
	f.log.Info("frontdoor listens", "node", f.id, "tls", f.TLSAddr().String(), "http", addrText(f.HTTPAddr()))
	return group.Run(ctx, f.cfg.DrainTimeout)
}

// announce says that nothing new is wanted here, and leaves load balancers the
// time to notice. The port stays open: dial-backs for those who are here come
// through it.
func (f *Frontdoor) announce(ctx context.Context) error {
	f.takeNothingNew()
	timer := time.NewTimer(f.cfg.DrainDelay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	close(f.rest.stopping) // streams of REST would hold the stop
	return nil
}

// leaveWhenAsked has visitors go elsewhere when an operator drains this node,
// which goes on until it is stopped.
func (f *Frontdoor) leaveWhenAsked(ctx context.Context) error {
	select {
	case <-f.node.DrainAsked():
		f.log.InfoContext(ctx, "an operator drains this frontdoor")
		f.takeNothingNew()
	case <-ctx.Done():
	}
	<-ctx.Done()
	return nil
}

// takeNothingNew makes this node unready, and its answers the last ones of their
// connections.
func (f *Frontdoor) takeNothingNew() {
	f.draining.Store(true)
	f.pool.Drain()
	f.node.Drain()
}

// proxyTLS fixes what does not depend on the operator's certificate.
func (f *Frontdoor) proxyTLS() *tls.Config {
	c := f.deps.ProxyTLS.Clone()
	c.MinVersion = tls.VersionTLS13
	c.NextProtos = []string{ingress.ProxyProtocol}
	c.DynamicRecordSizingDisabled = true // a frame is a record
	return c
}

func addrText(a net.Addr) string {
	if a == nil {
		return ""
	}
	return a.String()
}
