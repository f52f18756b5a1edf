// Package dialer opens proxy connections: it dials the frontdoors that ask for
// it, in a bounded number, and only where this agent's configuration allows.
package dialer

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	agentv1 "github.com/dialback/dialback/api/gen/dialback/agent/v1"
	proxyv1 "github.com/dialback/dialback/api/gen/dialback/proxy/v1"
	"github.com/dialback/dialback/internal/agent/spans"
	"github.com/dialback/dialback/internal/proxyconn"
	"github.com/dialback/dialback/internal/tlsconf"
)

const (
	minTicket, maxTicket = 16, 64 // bytes
	// defaultRemaining and maxRemaining bound what a server says.
	defaultRemaining, maxRemaining = 10 * time.Second, time.Minute
	sessionCacheSize               = 256
)

// Config is what the agent's owner has decided.
type Config struct {
	// Domain of the deployment and Address, "host:port", of its server.
	Domain, Address string
	// MaxConnections is how many proxy connections there may be at once.
	MaxConnections int
	// Version of the agent, for the frontdoor's logs.
	Version string
}

// Deps are what a Dialer works with.
type Deps struct {
	Log   *slog.Logger
	Spans *spans.Recorder
	// Serve makes the handler of a new connection's exchanges.
	Serve func(dialback spans.Span) proxyconn.Handler
	// Lookup resolves a name; nil: the system's resolver.
	Lookup func(ctx context.Context, host string) ([]netip.Addr, error)
}

// Want is one dial-back that a session was asked for.
type Want struct {
	*agentv1.Dial
	// Control is the address of the session's server.
	Control net.Addr
	// Pins of the authorities that may sign the frontdoor's certificate; none:
	// the system's.
	Pins []tlsconf.Pin
	// Failed is told that the connection will not come.
	Failed func(agentv1.FailReason)
}

// Dialer owns the agent's proxy connections.
type Dialer struct {
	config   Config
	deps     Deps
	policy   policy
	sessions *tlsconf.Sessions
	tickets  tickets
	memory   memory
	places   chan struct{} // one taken for each connection

	life   context.Context
	cancel context.CancelFunc
	tasks  sync.WaitGroup

	mu      sync.Mutex
	clients map[*proxyconn.Client]bool // true: asked to leave for another one
	begun   int                        // dial-backs and connections
	leaving int                        // connections that were asked to leave
	retired bool
	stopped bool
}

// New returns a Dialer. Stop ends it.
func New(config Config, deps Deps) (*Dialer, error) {
	host, _, err := net.SplitHostPort(config.Address)
	if err != nil {
		return nil, err
	}
	if deps.Lookup == nil {
		deps.Lookup = func(ctx context.Context, host string) ([]netip.Addr, error) {
			return net.DefaultResolver.LookupNetIP(ctx, "ip", host)
		}
	}
	life, cancel := context.WithCancel(context.Background())
	return &Dialer{
		config:   config,
		deps:     deps,
		policy:   policy{domain: config.Domain, host: host, lookup: deps.Lookup},
		sessions: tlsconf.NewSessions(sessionCacheSize),
		places:   make(chan struct{}, config.MaxConnections),
		life:     life,
		cancel:   cancel,
		clients:  map[*proxyconn.Client]bool{},
	}, nil
}

// Dial begins a dial-back and returns at once. A ticket that was seen before is
// left alone.
func (d *Dialer) Dial(w Want) {
	remaining := w.GetRemaining().AsDuration()
	if remaining <= 0 {
		remaining = defaultRemaining
	}
	remaining = min(remaining, maxRemaining)
	if n := len(w.GetTicket()); n < minTicket || n > maxTicket || !d.tickets.first(w.GetTicket(), remaining) {
		return
	}
	name, err := d.policy.serverName(w.GetServerName())
	if err != nil {
		d.deps.Log.Warn("refused a dial-back: its server name is not one of the deployment's frontdoors", "server_name", w.GetServerName())
		w.Failed(agentv1.FailReason_FAIL_REASON_FORBIDDEN)
		return
	}
	if !d.begin() {
		w.Failed(agentv1.FailReason_FAIL_REASON_LIMIT)
		return
	}
	go func() {
		defer d.finish()
		ctx, cancel := context.WithTimeout(d.life, remaining)
		defer cancel()
		select {
		case d.places <- struct{}{}:
			d.run(ctx, w, name)
			<-d.places
		case <-ctx.Done():
			w.Failed(agentv1.FailReason_FAIL_REASON_LIMIT)
		}
	}()
}

// begin says whether there is a place for another connection, or will be: if there
// is none, a frontdoor is asked to close an idle one. That one may have no visitors
// any more while another has, and neither can know.
func (d *Dialer) begin() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.stopped || d.begun-d.leaving >= cap(d.places) && !d.makeRoom() {
		return false
	}
	d.begun++
	d.tasks.Add(1)
	return true
}

func (d *Dialer) makeRoom() bool {
	for c, asked := range d.clients {
		if !asked && c.Idle() {
			c.Retire()
			d.clients[c] = true
			d.leaving++
			return true
		}
	}
	return false
}

func (d *Dialer) finish() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.begun--
	d.tasks.Done()
}

// run dials until ctx ends, introduces the agent and serves the connection to its
// end.
func (d *Dialer) run(ctx context.Context, w Want, name string) {
	span := d.deps.Spans.Start("dialback.dial", trace.SpanKindClient, w.GetTrace(), spans.Span{})
	client, err := d.connect(ctx, w, name, span)
	if err != nil {
		reason := reasonOf(err)
		w.Failed(reason)
		span.Fail(reason.String())
		span.End()
		d.deps.Log.DebugContext(span.Context(d.life), "a dial-back failed", "server_name", name, "reason", reason, "error", err)
		return
	}
	span.End()
	d.add(client)
	defer d.remove(client)
	if err := client.Serve(d.life, d.deps.Serve(span)); err != nil {
		d.deps.Log.DebugContext(span.Context(d.life), "a proxy connection ended", "server_name", name, "error", err)
	}
}

func (d *Dialer) connect(ctx context.Context, w Want, name string, span spans.Span) (*proxyconn.Client, error) {
	control := addrPort(w.Control)
	addresses := withShared(w.GetAddresses(), control.String())
	a := attempt{policy: d.policy, control: control, serverName: name, pins: w.Pins, sessions: d.sessions}
	won, err := a.race(ctx, d.memory.order(name, addresses))
	if err != nil {
		return nil, err
	}
	d.memory.remember(name, won.address, addresses[0])
	span.String("server.address", won.address)
	span.Bool("tls.resumed", won.conn.ConnectionState().DidResume)
	return proxyconn.Register(ctx, won.conn, &proxyv1.RegProxy{
		Ticket: w.GetTicket(), AgentVersion: d.config.Version,
	}, proxyconn.Options{})
}

// withShared returns the addresses to try, in order. A frontdoor's own may be good
// from where it is and not from here, so the last one is always that of the control
// connection, which is known to be: whoever answers there passes the dial-back on.
func withShared(own []string, shared string) []string {
	addresses := slices.Clone(own[:min(len(own), maxAddresses)])
	if !slices.Contains(addresses, shared) {
		addresses = append(addresses, shared)
	}
	return addresses
}

func addrPort(a net.Addr) netip.AddrPort {
	tcp, ok := a.(*net.TCPAddr)
	if !ok {
		return netip.AddrPort{}
	}
	ap := tcp.AddrPort()
	return netip.AddrPortFrom(ap.Addr().Unmap().WithZone(""), ap.Port())
}

// reasonOf is coarse on purpose: the other side is told nothing of this network.
func reasonOf(err error) agentv1.FailReason {
	var isTLS tlsError
	var op *net.OpError
	switch {
	case errors.As(err, &isTLS):
		return agentv1.FailReason_FAIL_REASON_TLS
	case errors.Is(err, errForbidden) && (!errors.As(err, &op) || errors.Is(op, errForbidden)):
		return agentv1.FailReason_FAIL_REASON_FORBIDDEN
	default:
		return agentv1.FailReason_FAIL_REASON_UNREACHABLE
	}
}

func (d *Dialer) add(c *proxyconn.Client) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clients[c] = false
	if d.retired {
		c.Retire()
	}
}

func (d *Dialer) remove(c *proxyconn.Client) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.clients[c] {
		d.leaving--
	}
	delete(d.clients, c)
}

// Connections is how many proxy connections there are.
func (d *Dialer) Connections() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.clients)
}

// Stop asks the frontdoors for no more visitors, lets those who are there finish
// until ctx ends, and then ends what is left.
func (d *Dialer) Stop(ctx context.Context) {
	d.mu.Lock()
	d.retired, d.stopped = true, true
	for c := range d.clients {
		c.Retire()
	}
	d.mu.Unlock()
	stop := context.AfterFunc(ctx, d.cancel)
	defer stop()
	d.tasks.Wait()
	d.cancel()
}
