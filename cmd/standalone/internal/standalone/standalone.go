package standalone

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"syscall"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	authv1 "github.com/dialback/dialback/api/gen/dialback/auth/v1"
	"github.com/dialback/dialback/internal/agentconfig"
	"github.com/dialback/dialback/internal/ctlconfig"
	"github.com/dialback/dialback/internal/debugport"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/services/auth"
	"github.com/dialback/dialback/services/connector"
	"github.com/dialback/dialback/services/frontdoor"
	"github.com/dialback/dialback/services/registry"
)

// drainTimeout bounds a stop on purpose, all parts together.
const drainTimeout = 30 * time.Second

// Server is dialbackd: all parts, not yet running.
type Server struct {
	config  Config
	log     *slog.Logger
	metrics *prometheus.Registry

	store    *store
	pki      *pki
	tracing  *tracing
	wires    *wires
	parts    parts
	greeting Greeting
}

// parts are the services, in the order in which they start.
type parts struct {
	auth      *auth.Service
	registry  *registry.Registry
	connector *connector.Connector
	frontdoor *frontdoor.Frontdoor
}

// Greeting is what a user wants to know of a server that is ready.
type Greeting struct {
	// HTTP, TLS, Admin and API are where it listens.
	HTTP, TLS, Admin, API string
	// REST is the base URL of API.
	REST string
	// Example is a public URL with "<name>" in place of a name.
	Example string
	// Agents is where agents connect; Pin is what they check.
	Agents, Pin string
	Domain      string
	Data        string
	// Note is about this user's agent configuration, ContextNote about their
	// dialbackctl; both may be empty.
	Note, ContextNote string
}

// Open builds everything up to the point where it can serve: it locks the data
// directory, starts the store and listens. Close undoes it.
func Open(ctx context.Context, config Config, log *slog.Logger) (*Server, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	s := &Server{config: config, log: log, metrics: debugport.NewMetrics()}
	if err := s.open(ctx); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Server) open(ctx context.Context) (err error) {
	if s.store, err = openStore(ctx, s.config.Data, s.log); err != nil {
		return err
	}
	if s.pki, err = openPKI(s.config.Data); err != nil {
		return err
	}
	if err := s.pki.writeAdmin(s.config.Data); err != nil {
		return err
	}
	if s.tracing, err = newTracing(ctx); err != nil {
		return err
	}
	if s.wires, err = newWires(s.pki, s.tracing); err != nil {
		return err
	}
	if err = s.build(); errors.Is(err, syscall.EADDRINUSE) {
		err = fmt.Errorf("%w: is another dialbackd running? Choose other addresses with --http, --tls, --admin and --api", err)
	}
	return err
}

// Close gives back what Open took; after Run it is still needed.
func (s *Server) Close() {
	if s.wires != nil {
		s.wires.close()
	}
	if s.tracing != nil {
		if err := s.tracing.close(); err != nil {
			s.log.Warn("the last spans are lost", "error", err)
		}
	}
	if s.store != nil {
		s.store.Close()
	}
}

// Run serves until ctx ends, then drains: visitors first, the store last. ready
// is called once, when everything serves.
func (s *Server) Run(ctx context.Context, ready func(Greeting)) error {
	group := lifecycle.New(s.log)
	for _, part := range []struct {
		name string
		run  func(context.Context) error
	}{
		{"auth", s.parts.auth.Run},
		{"registry", s.parts.registry.Run},
		{"connector", s.parts.connector.Run},
		{"frontdoor", s.parts.frontdoor.Run},
	} {
		group.GoInTurn(part.name, part.run)
	}
	group.Go("debug", s.serveDebug)
	group.Go("ready", func(ctx context.Context) error {
		s.becomeReady(ctx, ready)
		<-ctx.Done()
		return nil
	})
	return group.Run(ctx, drainTimeout)
}

// becomeReady waits for the parts and introduces the server to its user.
func (s *Server) becomeReady(ctx context.Context, ready func(Greeting)) {
	select {
	case <-s.parts.frontdoor.Standing():
	case <-ctx.Done():
		return
	}
	greeting := s.greeting
	greeting.Admin = s.parts.auth.Addr().String()
	if s.config.Domain == LocalDomain {
		greeting.Note = s.introduceToUser(ctx)
	}
	greeting.ContextNote = s.introduceToOperator(ctx)
	ready(greeting)
}

// introduceToOperator makes `dialbackctl get tunnels` work at once for the user
// who has started this server.
func (s *Server) introduceToOperator(ctx context.Context) (note string) {
	path, err := ctlconfig.DefaultPath()
	if err == nil {
		var tokens authv1.TokenServiceClient
		if tokens, err = s.wires.tokens(); err == nil {
			note, err = introduceOperator(ctx, tokens, path, s.greeting.REST)
		}
	}
	if err != nil {
		s.log.WarnContext(ctx, "this user's dialbackctl does not know this server", "error", err)
	}
	return note
}

// introduceToUser makes `dialback http 8080` work at once for the user who has
// started this server.
func (s *Server) introduceToUser(ctx context.Context) (note string) {
	path, err := agentconfig.DefaultPath()
	if err == nil {
		_, note, err = s.Introduce(ctx, path, "made by dialbackd for the user who started it")
	}
	if err != nil {
		s.log.WarnContext(ctx, "this user's agent does not know this server", "error", err)
	}
	return note
}

// Introduce makes this server known to the agent whose configuration is at path:
// see introduce.
func (s *Server) Introduce(ctx context.Context, path, description string) (known agentconfig.Server, note string, err error) {
	tokens, err := s.wires.tokens()
	if err != nil {
		return known, "", err
	}
	return introduce(ctx, tokens, path, s.greeting.Agents, description, s.pki.proxy.Pin())
}

// serveDebug serves metrics and profiles, if it is asked to.
func (s *Server) serveDebug(ctx context.Context) error {
	port, err := debugport.Listen(ctx, s.config.Debug, s.metrics)
	if err != nil {
		return err
	}
	return port.Run(ctx)
}
