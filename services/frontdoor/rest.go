package frontdoor

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/apikey"
	"github.com/dialback/dialback/internal/lifecycle"
	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/rpc/validate"
	"github.com/dialback/dialback/services/frontdoor/internal/gateway"
	"github.com/dialback/dialback/services/frontdoor/internal/grpcapi"
	"github.com/dialback/dialback/services/frontdoor/internal/httpproxy"
	"github.com/dialback/dialback/services/frontdoor/internal/peers"
	"github.com/dialback/dialback/services/frontdoor/internal/reach"
	"github.com/dialback/dialback/services/frontdoor/internal/route"
)

// apiReadTimeout bounds how long a REST client may take for a whole request.
const apiReadTimeout = 30 * time.Second

// apiHeadRoom is how many times what a request's head may have is read of one that
// is too large: its sender is then answered in JSON.
const apiHeadRoom = 4

// rest is what users call: this frontdoor's own services, and REST in front of
// all services.
type rest struct {
	services *rpc.Server
	inside   *rpc.Memory      // where the gateway calls the services
	own      *grpc.ClientConn // to inside
	peers    *peers.Peers
	gateway  *gateway.Gateway
	http     *http.Server
	stopping chan struct{} // closed when streams are to end
}

func (f *Frontdoor) newRest(table *route.Table, finder *reach.Finder) (r *rest, err error) {
	r = &rest{inside: rpc.NewMemory(), stopping: make(chan struct{})}
	dial := func(target string, dialer func(context.Context, string) (net.Conn, error)) (*grpc.ClientConn, error) {
		return rpc.Dial(rpc.ClientConfig{Target: target, Dialer: dialer, TLS: f.deps.PeerTLS, Telemetry: f.deps.Telemetry})
	}
	r.peers = peers.New(f.id, f.nodes.Frontdoors, func(address string) (grpc.ClientConnInterface, error) {
		return dial("dns:///"+address, nil)
	}, f.log)
	r.services = rpc.NewServer(rpc.ServerConfig{
		TLS: f.deps.ServiceTLS, Methods: grpcapi.Methods(), Validator: validate.New(),
		Users: apikey.New(f.deps.Auth, time.Now), Logger: f.log, Telemetry: f.deps.Telemetry,
	})
	f.userServices(table, finder, r).Register(r.services)
	if r.own, err = dial("frontdoor", r.inside.Dial); err != nil {
		return nil, err
	}
	r.gateway, err = gateway.New(gateway.Config{Trusted: f.cfg.TrustedProxies, Rate: f.cfg.APIRate, MaxHead: f.cfg.MaxHeaderBytes}, gateway.Deps{
		Auth: f.deps.Auth, Registry: f.deps.Registry, Frontdoor: r.own, Stopping: r.stopping,
		Telemetry: f.deps.Telemetry, Logger: f.log, Observe: newRestMetrics(f.deps.Metrics),
	})
	if err != nil {
		return nil, err
	}
	r.http = newAPIServer(r.gateway, f.cfg.MaxHeaderBytes, f.cfg.HeaderTimeout, f.log)
	return r, nil
}

func (f *Frontdoor) userServices(table *route.Table, finder *reach.Finder, r *rest) grpcapi.Services {
	local := grpcapi.Local{
		ID: f.id, Routes: table, Conns: f.dialer.State, InFlight: finder.InFlight, PortProblem: f.ports.Problem, Draining: f.draining.Load,
	}
	connectors := func() grpcapi.Nodes { return f.dialer.Links().Conns() }
	return grpcapi.Services{
		Sessions: grpcapi.NewSessions(connectors),
		Inspect:  grpcapi.NewInspect(local),
		Events:   grpcapi.NewEvents(f.deps.Auth, f.deps.Registry, r.stopping),
		Explain: grpcapi.NewExplain(grpcapi.ExplainDeps{
			Local: local, Registry: f.deps.Registry, Connectors: connectors,
			Frontdoors: func() grpcapi.Nodes { return r.peers.Conns() },
			Listed: func(id string) bool {
				n := f.nodes.Connector(id)
				return n != nil && n.VanishedAt.IsZero()
			},
			Hold: f.cfg.Hold, Capabilities: httpproxy.Capabilities,
		}),
	}
}

func newAPIServer(handler http.Handler, maxHeader int, headerTimeout time.Duration, log *slog.Logger) *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	return &http.Server{
		Handler: handler, Protocols: protocols, MaxHeaderBytes: apiHeadRoom * maxHeader, // the gateway refuses, in its own form
		ReadHeaderTimeout: headerTimeout, ReadTimeout: apiReadTimeout, IdleTimeout: 2 * time.Minute,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: maxStreams, SendPingTimeout: pingAfter, PingTimeout: pingWait},
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		// "OPTIONS *" is answered like all that is not there.
		DisableGeneralOptionsHandler: true,
	}
}

// start adds REST to what runs; its end is before that of what it asks.
func (r *rest) start(group *lifecycle.Group, f *Frontdoor) {
	group.OnDrain("close connections of REST", func(context.Context) error {
		return errors.Join(r.own.Close(), r.peers.Close())
	})
	serve := func(l net.Listener) func(context.Context) error {
		return func(ctx context.Context) error {
			defer context.AfterFunc(ctx, r.services.Stop)()
			return r.services.Serve(l)
		}
	}
	group.Go("services inside", serve(r.inside))
	if f.deps.ServiceListener != nil {
		group.Go("services", serve(f.deps.ServiceListener))
	}
	group.OnDrain("close the services", r.services.Drain)
	if f.api != nil {
		group.Go("REST", func(context.Context) error {
			if err := r.http.Serve(f.api); !errors.Is(err, http.ErrServerClosed) {
				return fmt.Errorf("REST: %w", err)
			}
			return nil
		})
		group.OnDrain("finish REST", func(ctx context.Context) error {
			err := r.http.Shutdown(ctx)
			if err != nil {
				err = errors.Join(err, r.http.Close())
			}
			return err
		})
	}
}

// apiListener wraps the listener of REST: on a loopback address it speaks clear
// text, for nobody else hears it.
func (f *Frontdoor) apiListener(l net.Listener) net.Listener {
	if isLoopback(f.cfg.APIListen) {
		return l
	}
	config := f.certs.TLS()
	byName := config.GetCertificate
	config.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if c := f.certs.Find("api." + f.cfg.Domain); c != nil && h.ServerName == "" {
			return c, nil // it was called by its address
		}
		return byName(h)
	}
	return tls.NewListener(l, config)
}
