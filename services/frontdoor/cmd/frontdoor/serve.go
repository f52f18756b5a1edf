package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"time"

	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/internal/version"
	"github.com/dialback/dialback/services/frontdoor"
)

// flags are the command line's, the environment's and the file's.
type flags struct {
	NodeName      string         `required:"" help:"Name in the service certificate; the node's id begins with it."`
	Domain        string         `required:"" help:"Domain of the deployment."`
	HTTPListen    string         `default:"" help:"Where visitors without TLS are served, host:port; empty: nowhere."`
	TLSListen     string         `default:"127.0.0.1:7443" help:"Where visitors and agents are served, host:port."`
	PublicCert    []string       `type:"path" help:"Certificate for visitors, PEM with its chain; several. Reloaded when it changes."`
	PublicKey     []string       `type:"path" help:"Its key, PEM; one for each certificate, in the same order."`
	TrustedProxy  []netip.Prefix `help:"Network whose forwarded headers are believed, for instance 10.0.0.0/8; several."`
	AgentAddress  []string       `help:"host:port at which agents reach this frontdoor, best first; none: their control connection's address."`
	Registry      string         `required:"" help:"gRPC target of the registry, for instance dns:///registry:7402."`
	Auth          string         `required:"" help:"gRPC target of auth."`
	ProxyCert     string         `required:"" type:"path" help:"Certificate for *.proxy.<domain>, PEM with its CA. Reloaded when it changes."`
	ProxyKey      string         `required:"" type:"path" help:"Its key, PEM."`
	Cert          string         `required:"" type:"path" help:"Service certificate, PEM. Reloaded when it changes."`
	Key           string         `required:"" type:"path" help:"Its key, PEM."`
	CA            string         `required:"" type:"path" help:"CA of the service certificates, PEM."`
	Hold          time.Duration  `default:"5s" help:"How long a visitor waits for an agent that is away for a moment."`
	AnswerTimeout time.Duration  `default:"2m" help:"How long a service may take until its answer begins; 0: for ever."`
	IdleTimeout   time.Duration  `default:"90s" help:"How long connections are kept between two requests."`
	DrainDelay    time.Duration  `default:"5s" help:"How long a stop goes on listening."`
	DrainTimeout  time.Duration  `default:"30s" help:"Bound of a stop."`
	LogFormat     string         `enum:"text,json" default:"json" help:"Log as text or json."`
	LogLevel      string         `enum:"debug,info,warn,error" default:"info" help:"Log from this level on."`
}

// serve runs a frontdoor until ctx ends.
func serve(ctx context.Context, f flags) (err error) {
	log, err := telemetry.NewLogger(os.Stderr, f.LogFormat, f.LogLevel)
	if err != nil {
		return err
	}
	telemetry.SetErrorHandler(log)
	tracing, err := telemetry.New(ctx, telemetry.Config{Service: "frontdoor", Instance: f.NodeName, Version: version.Version}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tracing.Shutdown(context.WithoutCancel(ctx))) }()
	config, err := f.config()
	if err != nil {
		return err
	}
	caller, err := f.caller(ctx, log, tracing)
	if err != nil {
		return err
	}
	registry, err := caller.dial(f.Registry, tlsconf.RoleRegistry)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registry.Close()) }()
	auth, err := caller.dial(f.Auth, tlsconf.RoleAuth)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, auth.Close()) }()
	proxy, err := tlsconf.WatchFiles(ctx, f.ProxyCert, f.ProxyKey, log)
	if err != nil {
		return fmt.Errorf("proxy certificate: %w", err)
	}
	service, err := frontdoor.New(config, frontdoor.Deps{
		Registry: registry, Auth: auth, Logger: log, Telemetry: tracing,
		ProxyTLS: &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: proxy.GetCertificate},
		Connector: func(_, address string) (grpc.ClientConnInterface, error) {
			return caller.dial(address, tlsconf.RoleConnector)
		},
	})
	if err != nil {
		return err
	}
	return service.Run(ctx)
}

func (f flags) config() (frontdoor.Config, error) {
	c := frontdoor.Default()
	if len(f.PublicCert) != len(f.PublicKey) {
		return c, fmt.Errorf("%d public certificates and %d keys: give one key for each", len(f.PublicCert), len(f.PublicKey))
	}
	for i, cert := range f.PublicCert {
		c.Certificates = append(c.Certificates, frontdoor.CertFile{Cert: cert, Key: f.PublicKey[i]})
	}
	c.NodeName, c.Domain = f.NodeName, f.Domain
	c.HTTPListen, c.TLSListen = f.HTTPListen, f.TLSListen
	c.TrustedProxies, c.AgentAddresses = f.TrustedProxy, f.AgentAddress
	c.Hold, c.AnswerTimeout, c.IdleTimeout = f.Hold, f.AnswerTimeout, f.IdleTimeout
	c.DrainDelay, c.DrainTimeout = f.DrainDelay, f.DrainTimeout
	return c, nil
}

// caller calls other services under this frontdoor's identity.
type caller struct {
	cert    *tlsconf.Files
	pool    *x509.CertPool
	tracing *telemetry.Telemetry
}

func (f flags) caller(ctx context.Context, log *slog.Logger, tracing *telemetry.Telemetry) (*caller, error) {
	cert, err := tlsconf.WatchFiles(ctx, f.Cert, f.Key, log)
	if err != nil {
		return nil, fmt.Errorf("service certificate: %w", err)
	}
	pem, err := os.ReadFile(f.CA)
	if err != nil {
		return nil, err
	}
	pool, err := tlsconf.LoadPool(pem)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.CA, err)
	}
	return &caller{cert: cert, pool: pool, tracing: tracing}, nil
}

// dial takes the certificate anew for each connection.
func (c *caller) dial(target, role string) (*grpc.ClientConn, error) {
	config := tlsconf.ServiceClient(tls.Certificate{}, c.pool, role)
	config.Certificates = nil
	config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
		return c.cert.Certificate(), nil
	}
	return rpc.Dial(rpc.ClientConfig{Target: target, TLS: config, Telemetry: c.tracing})
}
