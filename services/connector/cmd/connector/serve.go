package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/rpc"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/internal/version"
	"github.com/dialback/dialback/services/connector"
)

// serve runs the connector until ctx ends.
func serve(ctx context.Context, f flags) (err error) {
	log, err := telemetry.NewLogger(os.Stderr, f.LogFormat, f.LogLevel)
	if err != nil {
		return err
	}
	telemetry.SetErrorHandler(log)
	tracing, err := telemetry.New(ctx, telemetry.Config{Service: "connector", Instance: f.Address, Version: version.Version}, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, tracing.Shutdown(context.WithoutCancel(ctx))) }()
	id, err := f.identity()
	if err != nil {
		return err
	}
	config, err := f.config(id.name)
	if err != nil {
		return err
	}
	auth, err := id.dial(f.Auth, tlsconf.RoleAuth, tracing)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, auth.Close()) }()
	registry, err := id.dial(f.Registry, tlsconf.RoleRegistry, tracing)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, registry.Close()) }()
	deps := connector.Deps{
		ServiceTLS: tlsconf.ServiceServer(id.cert, id.pool),
		Auth:       auth, Registry: registry, Logger: log, Telemetry: tracing,
	}
	if err := f.listen(ctx, log, &deps); err != nil {
		return err
	}
	uploader, err := telemetry.NewUploader(ctx)
	if err != nil {
		return err
	}
	if uploader != nil {
		deps.SpanExporter = uploader.UploadTraces
		defer func() { err = errors.Join(err, uploader.Stop(context.WithoutCancel(ctx))) }()
	}
	service, err := connector.New(config, deps)
	if err != nil {
		return err
	}
	return service.Run(ctx)
}

// listen opens both listeners; the agents' certificate is read anew when its
// file changes.
func (f flags) listen(ctx context.Context, log *slog.Logger, deps *connector.Deps) error {
	cert, err := tlsconf.WatchFiles(ctx, f.AgentCert, f.AgentKey, log)
	if err != nil {
		return fmt.Errorf("certificate for agents: %w", err)
	}
	deps.AgentTLS = &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: cert.GetCertificate}
	var open net.ListenConfig
	if deps.AgentListener, err = open.Listen(ctx, "tcp", f.AgentListen); err != nil {
		return err
	}
	deps.ServiceListener, err = open.Listen(ctx, "tcp", f.Listen)
	return err
}

// dial calls a service of a role.
func (id identity) dial(target, role string, tracing *telemetry.Telemetry) (*grpc.ClientConn, error) {
	return rpc.Dial(rpc.ClientConfig{
		Target: target, TLS: tlsconf.ServiceClient(id.cert, id.pool, role), Telemetry: tracing,
	})
}
