package main

import (
	"context"
	"crypto/tls"
	"fmt"

	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/internal/telemetry"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/connector"
)

// Serve runs the connector until ctx ends.
func (f *flags) Serve(ctx context.Context, p *daemon.Process) (err error) {
	config, err := f.config(p.Identity.Identity().Name)
	if err != nil {
		return err
	}
	deps := connector.Deps{ServiceTLS: p.Identity.Server(), Logger: p.Log, Telemetry: p.Tracing}
	if deps.Auth, err = p.Connect(f.Auth, tlsconf.RoleAuth); err != nil {
		return err
	}
	if deps.Registry, err = p.Connect(f.Registry, tlsconf.RoleRegistry); err != nil {
		return err
	}
	cert, err := tlsconf.WatchFiles(ctx, f.AgentCert, f.AgentKey, p.Log)
	if err != nil {
		return fmt.Errorf("agents' %w", err)
	}
	deps.AgentTLS = &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: cert.GetCertificate}
	if deps.AgentListener, err = p.Listen(ctx, f.AgentListen); err != nil {
		return err
	}
	if deps.ServiceListener, err = p.Listen(ctx, f.Listen); err != nil {
		return err
	}
	if f.RelayListen != "" {
		if deps.RelayListener, err = p.Listen(ctx, f.RelayListen); err != nil {
			return err
		}
	}
	uploader, err := telemetry.NewUploader(ctx)
	if err != nil {
		return err
	}
	if uploader != nil {
		p.OnClose(uploader.Stop)
		deps.SpanExporter = uploader.UploadTraces
	}
	service, err := connector.New(config, deps)
	if err != nil {
		return err
	}
	return service.Run(ctx)
}
