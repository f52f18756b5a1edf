// Package connector is the connector service: it holds agents' control streams
// and has agents dial back to frontdoors. It never carries a visitor's byte.
package connector

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"log/slog"
	"net"
	"time"

	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/apikey"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/version"
	"github.com/dialback/dialback/services/connector/internal/control"
	"github.com/dialback/dialback/services/connector/internal/credentials"
	"github.com/dialback/dialback/services/connector/internal/directory"
	"github.com/dialback/dialback/services/connector/internal/frontdoors"
	"github.com/dialback/dialback/services/connector/internal/session"
	"github.com/dialback/dialback/services/connector/internal/spans"
)

// leaveWithin is how long the last words to the registry and to frontdoors may
// take, behind the drain of the sessions.
const leaveWithin = 5 * time.Second

// Deps is what a connector is given. It closes the listeners, nothing else.
type Deps struct {
	// AgentListener accepts agents' connections; RemoteAddr is the agent's own.
	AgentListener net.Listener
	// RelayListener accepts, over TCP, agents' connections that frontdoors hand over;
	// nil: they come to AgentListener alone.
	RelayListener net.Listener
	// AgentTLS has the certificate of control.<domain> and the names below it.
	AgentTLS *tls.Config
	// ServiceListener accepts frontdoors, with mutual TLS.
	ServiceListener net.Listener
	ServiceTLS      *tls.Config
	// Auth and Registry are connections made by rpc.Dial.
	Auth, Registry grpc.ClientConnInterface
	Logger         *slog.Logger
	Telemetry      *telemetry.Telemetry
	// SpanExporter takes agents' spans, an otlptrace.Client's UploadTraces for
	// instance; nil: they are dropped.
	SpanExporter func(ctx context.Context, spans []*tracev1.ResourceSpans) error
}

// Connector is the service.
type Connector struct {
	cfg    Config
	deps   Deps
	log    *slog.Logger
	nodeID string

	table      *session.Table
	keeper     *credentials.Keeper
	names      *directory.Client
	spans      *spans.Intake
	control    *control.Server
	frontdoors *frontdoors.Server
	agents     *rpc.Server
	services   *rpc.Server
}

// New returns a connector that serves once it is Run.
func New(cfg Config, deps Deps) (*Connector, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := deps.validate(); err != nil {
		return nil, err
	}
	if (deps.RelayListener == nil) != (cfg.RelayAddress == "") {
		return nil, errors.New("connector: want a relay listener and its address, or neither")
	}
	c := &Connector{cfg: cfg, deps: deps, nodeID: cfg.NodeName + "-" + suffix()}
	c.log = deps.Logger.With("part", "connector")
	log := c.log.With("node", c.nodeID)
	c.table = session.NewTable(cfg.MaxSessions, func(s *session.Session, reason session.Reason) {
		c.names.EndSession(s, reason)
	})
	c.names = directory.New(deps.Registry, c.table, directory.Node{
		ID: c.nodeID, Address: cfg.Address, AgentAddresses: cfg.AgentAddresses, RelayAddress: cfg.RelayAddress, Version: version.Version,
	}, log)
	c.keeper = credentials.New(deps.Auth, c.table, func(s *session.Session, tunnelID string) {
		c.names.Release(s, tunnelID, session.Revoked)
	}, log)
	c.spans = spans.New(deps.SpanExporter, c.keeper.TraceKey, log)
	c.control = control.New(control.Config{
		ConnectorID: c.nodeID, HTTPPort: cfg.PublicHTTPPort, HTTPSPort: cfg.PublicHTTPSPort, Domain: cfg.Domain,
		Pings: cfg.pings(), ProxyCAPins: pins(cfg), Banner: cfg.Banner, MaxTunnels: cfg.MaxTunnels,
	}, control.Deps{Table: c.table, Keeper: c.keeper, Directory: c.names, Spans: c.spans, Logger: log})
	c.agents = c.control.GRPC(deps.AgentTLS)
	c.frontdoors = frontdoors.New(c.table, c.keeper.TraceKey)
	c.services = c.frontdoors.GRPC(deps.ServiceTLS, frontdoors.NewSessions(c.table, c.nodeID, c.names.Ended, log), apikey.New(deps.Auth, time.Now), log, deps.Telemetry)
	return c, nil
}

// NodeID returns this connector's id, which is new at each start.
func (c *Connector) NodeID() string { return c.nodeID }

// AgentAddr returns where agents connect.
func (c *Connector) AgentAddr() net.Addr { return c.deps.AgentListener.Addr() }

// ServiceAddr returns where frontdoors connect.
func (c *Connector) ServiceAddr() net.Addr { return c.deps.ServiceListener.Addr() }

// Run serves until ctx ends, then has the agents attach elsewhere and leaves.
func (c *Connector) Run(ctx context.Context) error {
	g := lifecycle.New(c.log)
	g.Go("registry", c.names.Run)
	g.Go("auth", c.keeper.Run)
	g.Go("pings", c.control.Beat)
	g.Go("peers", c.control.Announce)
	g.Go("operator", c.leaveWhenAsked)
	g.Go("spans", c.spans.Run)
	g.Go("frontdoors", serve(c.services, c.deps.ServiceListener))
	g.Go("agents", serve(c.agents, c.agentListener()))
	if c.deps.RelayListener != nil {
		g.Go("relayed agents", serve(c.agents, c.relayListener()))
		g.Go("leaving frontdoors", c.control.FollowFrontdoors)
	}
	// The last added goes first. Sessions leave while dial-backs are still asked
	// for over them; then the registry hears of their ends, and frontdoors, who
	// have heard, lose their streams.
	g.OnDrain("frontdoors", c.endWatches)
	g.OnDrain("registry", c.names.Leave)
	g.OnDrain("sessions", c.drainSessions)
	return g.Run(ctx, c.cfg.DrainTimeout+leaveWithin)
}

// leaveWhenAsked has the agents attach elsewhere when an operator drains this
// node, which goes on until it is stopped.
func (c *Connector) leaveWhenAsked(ctx context.Context) error {
	select {
	case <-c.names.DrainAsked():
		c.log.InfoContext(ctx, "an operator drains this connector")
		c.control.Leave(time.Now().Add(c.cfg.DrainTimeout))
	case <-ctx.Done():
		return nil
	}
	<-ctx.Done()
	return nil
}

// drainSessions leaves the last steps their time.
func (c *Connector) drainSessions(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.cfg.DrainTimeout)
	defer cancel()
	c.names.Drain()
	return c.control.Drain(ctx)
}

func (c *Connector) endWatches(ctx context.Context) error {
	c.frontdoors.Stop()
	return c.services.Drain(ctx)
}

// serve returns a task that serves until its context ends.
func serve(server *rpc.Server, l net.Listener) func(context.Context) error {
	return func(ctx context.Context) error {
		defer context.AfterFunc(ctx, server.Stop)()
		return server.Serve(l)
	}
}

func (d Deps) validate() error {
	switch {
	case d.AgentListener == nil || d.AgentTLS == nil:
		return errors.New("connector: no listener or certificate for agents")
	case d.ServiceListener == nil || d.ServiceTLS == nil:
		return errors.New("connector: no listener or certificate for frontdoors")
	case d.Auth == nil || d.Registry == nil:
		return errors.New("connector: no connection to auth or registry")
	case d.Logger == nil || d.Telemetry == nil:
		return errors.New("connector: no logger or telemetry")
	}
	return nil
}

func pins(cfg Config) [][]byte {
	raw := make([][]byte, 0, len(cfg.ProxyCAPins))
	for _, pin := range cfg.ProxyCAPins {
		raw = append(raw, pin[:])
	}
	return raw
}

// suffix makes a node's id new at each start: nothing is inherited.
func suffix() string {
	var id [6]byte
	_, _ = rand.Read(id[:]) // never fails
	return hex.EncodeToString(id[:])
}
