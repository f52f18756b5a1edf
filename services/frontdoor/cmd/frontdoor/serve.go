package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"

	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/frontdoor"
)

// Serve runs a frontdoor until ctx ends.
func (f *flags) Serve(ctx context.Context, p *daemon.Process) error {
	config, err := f.config(p.Identity.Identity().Name)
	if err != nil {
		return err
	}
	registry, err := p.Connect(f.Registry, tlsconf.RoleRegistry)
	if err != nil {
		return err
	}
	auth, err := p.Connect(f.Auth, tlsconf.RoleAuth)
	if err != nil {
		return err
	}
	proxy, err := tlsconf.WatchFiles(ctx, f.ProxyCert, f.ProxyKey, p.Log)
	if err != nil {
		return fmt.Errorf("proxy %w", err)
	}
	var services net.Listener
	if f.Listen != "" {
		if services, err = p.Listen(ctx, f.Listen); err != nil {
			return err
		}
	}
	service, err := frontdoor.New(config, frontdoor.Deps{
		ServiceTLS: p.Identity.Server(), PeerTLS: p.Identity.Client(tlsconf.RoleFrontdoor), ServiceListener: services,
		Registry: registry, Auth: auth, Logger: p.Log, Telemetry: p.Tracing, Metrics: p.Metrics,
		ProxyTLS: &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: proxy.GetCertificate},
		Connector: func(_, address string) (grpc.ClientConnInterface, error) {
			return p.Dial(address, tlsconf.RoleConnector)
		},
	})
	if err != nil {
		return err
	}
	return service.Run(ctx)
}
