package main

import (
	"context"
	"fmt"
	"time"

	"google.golang.org/grpc"

	"github.com/dialback/dialback/internal/apikey"
	"github.com/dialback/dialback/internal/daemon"
	"github.com/dialback/dialback/internal/daemon/etcdclient"
	"github.com/dialback/dialback/internal/portrange"
	"github.com/dialback/dialback/internal/tlsconf"
	"github.com/dialback/dialback/services/registry"
)

// flags are the command line's, the environment's and the file's.
type flags struct {
	daemon.Flags
	Etcd     etcdclient.Flags `embed:""`
	Listen   string           `default:"127.0.0.1:7402" help:"Where nodes call, host:port."`
	Domain   string           `required:"" help:"The deployment's domain: names are given below it."`
	Auth     string           `required:"" help:"Where auth is, a gRPC target such as dns:///auth:7401."`
	LeaseTTL time.Duration    `default:"10s" help:"How long a node lives without a heartbeat."`
	Grace    time.Duration    `default:"1m" help:"How long a name is kept for an agent that is not there."`
	Park     time.Duration    `default:"720h" help:"How long a random name, or a port, is kept for its tunnel after its end."`

	TCPPorts     portrange.Range `name:"tcp-ports" placeholder:"20000-20999" help:"Ports of TCP endpoints, outside of the frontdoors' range of ephemeral ports; none: there are no TCP endpoints."`
	AuditKeep    time.Duration   `default:"168h" help:"How long it is kept what happened."`
	AuditRecords int             `default:"100000" help:"How many changes are kept of what happened, at most."`
}

// Serve runs the registry until ctx ends.
func (f *flags) Serve(ctx context.Context, p *daemon.Process) error {
	if err := f.TCPPorts.CheckEphemeral(portrange.EphemeralFile); err != nil {
		return fmt.Errorf("--tcp-ports: %w", err)
	}
	etcd, err := f.Etcd.Open(p)
	if err != nil {
		return err
	}
	auth, err := p.Connect(f.Auth, tlsconf.RoleAuth)
	if err != nil {
		return err
	}
	listener, err := p.Listen(ctx, f.Listen)
	if err != nil {
		return err
	}
	config := registry.Default(f.Domain)
	config.LeaseTTL, config.Grace, config.Park = f.LeaseTTL, f.Grace, f.Park
	config.Ports, config.AuditKeep, config.AuditRecords = f.TCPPorts, f.AuditKeep, f.AuditRecords
	service, err := registry.New(config, registry.Deps{
		Etcd: etcd, TLS: p.Identity.Server(), Listener: listener,
		Logger: p.Log, Telemetry: p.Tracing, AssertionKeys: registry.AuthKeys(auth), Users: apikey.New(auth, time.Now),
		Connector: func(_, address string) (grpc.ClientConnInterface, error) {
			return p.Dial(address, tlsconf.RoleConnector)
		},
	})
	if err != nil {
		return err
	}
	return service.Run(ctx)
}
